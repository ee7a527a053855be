//! The broadcast load against servers that behave and servers that do not.

use crate::server::{Fault, Ran, Server, run};

fn broadcast(fault: Fault, options: &str) -> Ran {
    let server = Server::start(fault);
    run(&format!(
        "broadcast --url {} {options}",
        server.broadcast_url()
    ))
}

#[test]
fn every_member_of_a_topic_gets_every_message_but_its_own() {
    let members = "--publishers 4 --subscribers 6 --topics 2";
    let ran = broadcast(Fault::None, &format!("{members} --rate 200 --threads 2"));
    ran.assert_clean();
    // 70 messages, each to the 3 subscribers and the other publisher of its topic.
    assert_eq!(ran.json["messages"]["sent_total"], 70);
    assert_eq!(ran.json["messages"]["expected_total"], 70 * 4);
    assert_eq!(ran.json["latency_ns"]["count"], 60 * 4);
}

#[test]
fn text_and_large_messages_are_verified() {
    broadcast(Fault::None, "--subscribers 3 --rate 100 --text").assert_clean();
    broadcast(Fault::None, "--subscribers 3 --rate 100 --size 32..100k").assert_clean();
}

#[test]
fn lost_duplicated_reordered_and_corrupted_messages_fail_the_run() {
    for (fault, cause) in [
        (Fault::Lose(10), "lost"),
        (Fault::Duplicate(10), "duplicated"),
        (Fault::Swap(10), "reordered"),
        (Fault::Corrupt(10), "corrupted"),
        (Fault::CorruptStamp(10), "corrupted"),
        (Fault::Cut(10), "corrupted"),
        (Fault::ChangeKind(10), "corrupted"),
    ] {
        let ran = broadcast(fault, "--subscribers 3 --rate 300");
        assert_eq!(ran.code, 2, "{fault:?} {ran:#?}");
        // 105 messages to 3 subscribers.
        assert_eq!(ran.error(cause), 30, "{fault:?} {ran:#?}");
        assert_eq!(ran.error("total"), 30, "{fault:?} {ran:#?}");
    }
}

#[test]
fn a_publisher_that_hears_itself_is_an_error() {
    let ran = broadcast(
        Fault::EchoToPublisher,
        "--publishers 2 --subscribers 1 --rate 100",
    );
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert_eq!(ran.error("returned_to_publisher"), 35, "{ran:#?}");
    assert_eq!(ran.error("total"), 35, "{ran:#?}");
}

#[test]
fn members_whose_connection_fails_are_tolerated_and_cut_nothing_but_themselves_off() {
    for fault in [Fault::Hangup(9), Fault::RefuseEvery(3)] {
        let members = "--publishers 3 --subscribers 6 --threads 2";
        let ran = broadcast(fault, &format!("{members} --rate 300 --tolerate all"));
        assert!([0, 4].contains(&ran.code), "{fault:?} {ran:#?}");
        assert_eq!(ran.error("lost"), 0, "{fault:?} {ran:#?}");
        assert!(ran.json["messages"]["arrived_total"].as_u64().unwrap() > 0);
        let failed = ran.json["connections"]["failed"].as_u64().unwrap();
        let closed = ran.json["errors"]["closes"].as_object().unwrap().len();
        assert!(failed > 0 || closed > 0, "{fault:?} {ran:#?}");
    }
}
