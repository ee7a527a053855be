//! The echo load against servers that behave and servers that do not.

use crate::server::{Fault, Ran, Server, run};

fn echo(fault: Fault, options: &str) -> Ran {
    let server = Server::start(fault);
    run(&format!("echo --url {} {options}", server.echo_url()))
}

#[test]
fn an_honest_server_passes_in_a_closed_loop() {
    let ran = echo(Fault::None, "--connections 8 --depth 3 --threads 2");
    ran.assert_clean();
    assert_eq!(ran.json["schema"], "hioload-loadgen/1");
    assert_eq!(ran.json["config"]["pace"], "closed");
    assert!(ran.json["latency_ns"]["p50"].as_u64().unwrap() > 0);
}

#[test]
fn an_honest_server_passes_in_an_open_loop_at_the_planned_rate() {
    let ran = echo(Fault::None, "--connections 8 --rate 1000 --threads 2");
    ran.assert_clean();
    // 50 ms of warm-up and 300 ms of measurement at 1000 per second.
    assert_eq!(ran.json["messages"]["sent_total"], 350);
    assert_eq!(ran.json["latency_ns"]["count"], 300);
}

#[test]
fn all_sizes_are_verified_also_those_without_room_for_a_stamp() {
    for size in ["0", "1", "8", "0..100", "200000", "0..70k"] {
        echo(
            Fault::None,
            &format!("--connections 3 --rate 100 --size {size}"),
        )
        .assert_clean();
        echo(
            Fault::None,
            &format!("--connections 3 --depth 2 --text --size {size}"),
        )
        .assert_clean();
    }
}

#[test]
fn connections_are_opened_at_the_rate_asked_for_and_from_the_sources_asked_for() {
    let start = std::time::Instant::now();
    let ran = echo(
        Fault::None,
        "--connections 50 --connect-rate 100 --source-count 3 --rate 100",
    );
    ran.assert_clean();
    // 50 connections at 100 per second, 200 ms to settle, 350 ms of load.
    assert!(
        start.elapsed().as_millis() > 490 + 200 + 350,
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn lost_messages_are_counted_and_fail_the_run() {
    for size in [20, 64] {
        let ran = echo(
            Fault::Lose(10),
            &format!("--connections 1 --rate 300 --size {size}"),
        );
        assert_eq!(ran.code, 2, "{ran:#?}");
        // 105 messages; the plan makes the number certain.
        assert_eq!(ran.error("lost"), 10, "{ran:#?}");
        assert_eq!(ran.error("total"), 10, "{ran:#?}");
    }
}

#[test]
fn duplicated_messages_are_counted_and_fail_the_run() {
    for size in [20, 64] {
        let ran = echo(
            Fault::Duplicate(10),
            &format!("--connections 1 --rate 300 --size {size}"),
        );
        assert_eq!(ran.code, 2, "{ran:#?}");
        assert_eq!(ran.error("duplicated"), 10, "{ran:#?}");
        assert_eq!(ran.error("total"), 10, "{ran:#?}");
    }
}

#[test]
fn reordered_messages_are_counted_and_fail_the_run() {
    for size in [20, 64] {
        let ran = echo(
            Fault::Swap(10),
            &format!("--connections 1 --rate 300 --size {size}"),
        );
        assert_eq!(ran.code, 2, "{ran:#?}");
        assert_eq!(ran.error("reordered"), 10, "{ran:#?}");
        assert_eq!(ran.error("total"), 10, "{ran:#?}");
    }
}

#[test]
fn corrupted_messages_are_counted_and_fail_the_run() {
    for fault in [
        Fault::Corrupt(10),
        Fault::CorruptStamp(10),
        Fault::Cut(10),
        Fault::ChangeKind(10),
    ] {
        for size in [20, 64] {
            let ran = echo(fault, &format!("--connections 1 --rate 300 --size {size}"));
            assert_eq!(ran.code, 2, "{fault:?} {ran:#?}");
            assert_eq!(ran.error("corrupted"), 10, "{fault:?} {ran:#?}");
            assert_eq!(ran.error("total"), 10, "{fault:?} {ran:#?}");
            assert!(
                !ran.json["errors"]["examples"]
                    .as_array()
                    .unwrap()
                    .is_empty()
            );
        }
    }
}

#[test]
fn a_server_that_closes_is_named_with_its_code_and_reason() {
    let ran = echo(Fault::Close(5), "--connections 2 --rate 1000");
    assert_eq!(ran.code, 2, "{ran:#?}");
    let closes = &ran.json["errors"]["closes"];
    assert_eq!(
        closes["closed by the server, 1013: overloaded"], 2,
        "{ran:#?}"
    );
}

#[test]
fn a_cut_connection_is_an_error() {
    let ran = echo(Fault::Hangup(5), "--connections 1 --rate 1000");
    assert_eq!(ran.code, 2, "{ran:#?}");
    let closes = ran.json["errors"]["closes"].as_object().unwrap();
    assert_eq!(closes.len(), 1, "{ran:#?}");
}

#[test]
fn a_protocol_violation_of_the_server_is_an_error() {
    let ran = echo(Fault::BreakProtocol(5), "--connections 1 --rate 1000");
    assert_eq!(ran.code, 2, "{ran:#?}");
    let closes = ran.json["errors"]["closes"].as_object().unwrap();
    assert!(
        closes.keys().any(|cause| cause.contains("reserved bits")),
        "{ran:#?}"
    );
}

#[test]
fn an_unanswered_close_is_an_error() {
    let ran = echo(Fault::IgnoreClose, "--connections 3 --rate 100");
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert_eq!(ran.error("unclean_closes"), 3, "{ran:#?}");
}

#[test]
fn a_server_that_stops_reading_is_held_against_it_and_memory_stays_bounded() {
    let ran = echo(Fault::Stall, "--connections 1 --rate 2000 --size 100k");
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.error("lost") > 0, "{ran:#?}");
    assert!(
        ran.json["sends"]["held_back"].as_u64().unwrap() > 0,
        "{ran:#?}"
    );
    assert!(
        ran.json["sends"]["unsent"].as_u64().unwrap() > 0,
        "{ran:#?}"
    );
    assert_eq!(ran.json["valid"], false);
}
