//! Chats on servers that behave and servers that do not.

use crate::server::{Fault, Ran, Server, command, outcome};

/// Two seconds in which users come and go; a grace that a busy machine keeps.
fn chat(server: &Server, options: &str) -> Ran {
    let line = format!(
        "chat --url {} --users 12 --rooms 2 --think 20ms..100ms --stay 1100ms..1500ms \
         --warmup 200ms --duration 2s --quiet --json - {options}",
        server.broadcast_url()
    );
    outcome(&command(&line).output().unwrap())
}

#[test]
fn users_join_talk_and_leave_and_nothing_is_lost() {
    let server = Server::start(Fault::None);
    let ran = chat(&server, "--threads 2 --size 32..2000");
    ran.assert_clean();
    let chat = &ran.json["chat"];
    // Twelve users that stay at most 1.5 s leave at least once in 2.2 s.
    assert!(chat["leaves"].as_u64().unwrap() >= 12, "{ran:#?}");
    assert!(chat["joins"].as_u64() > chat["leaves"].as_u64(), "{ran:#?}");
    let demanded = ran.json["messages"]["expected_total"].as_u64().unwrap();
    assert!(demanded > 0, "{ran:#?}");
    assert!(ran.json["latency_ns"]["count"].as_u64().unwrap() > 0);
    assert_eq!(ran.json["config"]["load"], "chat");
}

#[test]
fn text_is_verified_as_well() {
    let server = Server::start(Fault::None);
    chat(&server, "--text --size 64..300").assert_clean();
}

#[test]
fn lost_duplicated_reordered_and_corrupted_messages_are_found_out() {
    for (fault, cause) in [
        (Fault::Lose(5), "lost"),
        (Fault::Duplicate(5), "duplicated"),
        (Fault::Swap(5), "reordered"),
        (Fault::Corrupt(5), "corrupted"),
        (Fault::CorruptStamp(5), "corrupted"),
        (Fault::EchoToPublisher, "returned_to_publisher"),
    ] {
        let server = Server::start(fault);
        let ran = chat(&server, "--drain-timeout 3s");
        assert_eq!(ran.code, 2, "{fault:?} {ran:#?}");
        assert!(ran.error(cause) > 0, "{fault:?} {ran:#?}");
    }
}

#[test]
fn members_that_the_server_drops_are_counted_and_not_taken_for_losses() {
    let server = Server::start(Fault::Hangup(7));
    let ran = chat(&server, "--tolerate all");
    assert!([0, 4].contains(&ran.code), "{ran:#?}");
    assert_eq!(ran.error("lost"), 0, "{ran:#?}");
    let closes = ran.json["errors"]["closes"].as_object().unwrap();
    assert!(!closes.is_empty(), "{ran:#?}");
    let ran = chat(&server, "--tolerate 0");
    assert_eq!(ran.code, 2, "{ran:#?}");
}
