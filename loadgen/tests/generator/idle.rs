//! Idle connections against servers that behave and servers that do not.

use crate::server::{Fault, Ran, Server, run};

fn idle(fault: Fault, options: &str) -> Ran {
    let server = Server::start(fault);
    run(&format!("idle --url {} {options}", server.echo_url()))
}

#[test]
fn idle_connections_are_opened_held_and_closed() {
    let ran = idle(Fault::None, "--connections 5 --threads 2");
    assert!([0, 4].contains(&ran.code), "{ran:#?}");
    assert_eq!(ran.error("total"), 0, "{ran:#?}");
    assert_eq!(ran.json["connections"]["opened"], 5);
    assert_eq!(ran.json["idle"]["pings_sent"], 0);
    assert_eq!(ran.json["messages"]["sent_total"], 0);
    let reasons = ran.json["reasons"].to_string();
    assert!(!reasons.contains("no message"), "{ran:#?}");
}

#[test]
fn planned_pings_are_answered_and_timed() {
    let ran = idle(
        Fault::None,
        "--connections 4 --threads 2 --ping-interval 50ms",
    );
    ran.assert_clean();
    // Every 50 ms for 50 ms of warm-up and 300 ms of measurement.
    assert_eq!(ran.json["idle"]["pings_sent"], 28, "{ran:#?}");
    assert_eq!(ran.json["idle"]["pongs"], 28);
    assert_eq!(ran.json["latency_ns"]["count"], 24);
}

#[test]
fn pings_that_are_not_answered_are_lost() {
    let ran = idle(Fault::IgnorePing, "--connections 2 --ping-interval 100ms");
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert_eq!(ran.error("lost"), 7, "{ran:#?}");
}

#[test]
fn pings_of_the_server_are_answered_and_counted() {
    let ran = idle(Fault::Ping(3), "--connections 6");
    assert!([0, 4].contains(&ran.code), "{ran:#?}");
    assert_eq!(ran.json["idle"]["server_pings"], 18, "{ran:#?}");
    assert_eq!(ran.error("total"), 0);
}
