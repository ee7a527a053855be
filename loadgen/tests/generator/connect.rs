//! Connection storms and reconnecting, against servers that behave and servers
//! that do not.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStderr, Stdio};

use hioload_platform::signals::ask_to_stop;

use crate::server::{Fault, Ran, Server, command, outcome, run};

fn connect(fault: Fault, options: &str) -> Ran {
    let server = Server::start(fault);
    run(&format!("connect --url {} {options}", server.echo_url()))
}

/// Reads what the generator says on standard error up to `word`.
fn await_line(progress: &mut Lines<BufReader<ChildStderr>>, word: &str) {
    let found = progress
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains(word));
    assert!(found, "the run ended before it said {word}");
}

/// A generator that runs until it is asked to stop, or for long enough.
fn spawn(line: &str) -> Child {
    command(&format!("{line} --warmup 0s --quiet --json -"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_planned_storm_opens_as_many_connections_as_planned() {
    let ran = connect(Fault::None, "--rate 200 --threads 2");
    ran.assert_clean();
    // 50 ms of warm-up and 300 ms of measurement at 200 per second.
    assert_eq!(ran.json["connections"]["attempted"], 70, "{ran:#?}");
    assert_eq!(ran.json["connections"]["opened"], 70);
    assert_eq!(ran.json["connections"]["handshake_ns"]["count"], 60);
    assert_eq!(ran.json["latency_ns"]["count"], 60);
    assert_eq!(ran.json["config"]["load"], "connect");
}

#[test]
fn a_closed_storm_uses_each_slot_again_and_again() {
    let ran = connect(Fault::None, "--concurrency 3 --threads 2 --size 0..100");
    ran.assert_clean();
    let opened = ran.json["connections"]["opened"].as_u64().unwrap();
    assert!(opened > 3, "{ran:#?}");
    assert_eq!(ran.json["connections"]["attempted"], opened);
}

#[test]
fn a_held_connection_keeps_its_slot() {
    let ran = connect(Fault::None, "--concurrency 3 --hold 1h");
    ran.assert_clean();
    assert_eq!(ran.json["connections"]["opened"], 3, "{ran:#?}");
}

#[test]
fn an_unreachable_server_ends_the_storm_at_once_and_is_counted() {
    let addr = Server::start(Fault::None).kill();
    let child = spawn(&format!("connect --url ws://{addr}/echo --duration 1h"));
    let ran = outcome(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 3, "{ran:#?}");
    let failures = &ran.json["connections"]["failures"];
    assert!(
        failures["connect: refused"].as_u64().unwrap() > 0,
        "{ran:#?}"
    );
    let examples = ran.json["errors"]["examples"].to_string();
    assert!(
        examples.contains("is the server running there?"),
        "{ran:#?}"
    );
}

#[test]
fn the_table_of_a_failed_storm_says_why_and_what_to_do() {
    let addr = Server::start(Fault::None).kill();
    let line = format!("connect --url ws://{addr}/echo --duration 1h --quiet");
    let output = command(&line).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let table = String::from_utf8(output.stdout).unwrap();
    for words in [
        "failed: connect: refused",
        "connections did not open",
        "is the server running there?",
    ] {
        assert!(table.contains(words), "{words} is missing in {table}");
    }
    assert!(!table.contains("none"), "{table}");
}

#[test]
fn a_run_in_which_nothing_opens_ends_at_once_whatever_it_tolerates() {
    let addr = Server::start(Fault::None).kill();
    for load in [
        format!("echo --url ws://{addr}/echo --connections 3"),
        format!("idle --url ws://{addr}/echo --connections 3"),
        format!("broadcast --url ws://{addr}/broadcast/{{topic}} --subscribers 3"),
    ] {
        let child = spawn(&format!(
            "{load} --threads 2 --duration 1h --tolerate all --drain-timeout 1h"
        ));
        let ran = outcome(&child.wait_with_output().unwrap());
        assert_eq!(ran.code, 3, "{ran:#?}");
        let failed = ran.json["connections"]["failed"].as_u64().unwrap();
        assert_eq!(
            ran.json["connections"]["failures"]["connect: refused"],
            failed
        );
        assert_eq!(failed, ran.json["config"]["connections"], "{ran:#?}");
    }
}

#[test]
fn refused_handshakes_are_counted_by_status_and_tolerated_if_asked() {
    let options = "--rate 200 --tolerate";
    let ran = connect(Fault::RefuseEvery(7), &format!("{options} 20%"));
    assert!([0, 4].contains(&ran.code), "{ran:#?}");
    // Connections 0, 7, ... 63 of 70.
    let failures = &ran.json["connections"]["failures"];
    assert_eq!(failures["handshake: refused with HTTP 503"], 10, "{ran:#?}");
    assert_eq!(ran.json["connections"]["opened"], 60);
    assert_eq!(ran.json["errors"]["tolerated"], true);
    let ran = connect(Fault::RefuseEvery(7), &format!("{options} 10%"));
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert_eq!(ran.json["connections"]["opened"], 60);
}

#[test]
fn a_message_that_comes_back_damaged_or_not_at_all_is_found_out() {
    let ran = connect(Fault::Corrupt(1), "--rate 100");
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert_eq!(ran.error("corrupted"), 35, "{ran:#?}");
    assert_eq!(ran.error("total"), 35, "{ran:#?}");
    let ran = connect(Fault::Lose(1), "--rate 100");
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert_eq!(ran.error("lost"), 35, "{ran:#?}");
}

#[test]
fn silence_times_out_slot_by_slot() {
    let ran = connect(
        Fault::Silent,
        "--concurrency 2 --timeout 100ms --tolerate all",
    );
    // None ever opened, so there is nothing to tolerate.
    assert_eq!(ran.code, 3, "{ran:#?}");
    let failures = &ran.json["connections"]["failures"];
    let timeouts = failures["handshake: not answered in time"].as_u64();
    assert!(timeouts.unwrap() >= 4, "{ran:#?}");
}

#[test]
fn a_server_killed_mid_run_fails_the_run_unless_that_is_tolerated() {
    for (tolerate, code) in [("0", 2), ("3", 2), ("4", 0), ("50%", 2), ("all", 0)] {
        let server = Server::start(Fault::None);
        let line = format!(
            "echo --url {} --connections 4 --duration 1h --tolerate {tolerate}",
            server.echo_url()
        );
        let child = spawn(&line);
        server.await_messages(100);
        server.kill();
        let ran = outcome(&child.wait_with_output().unwrap());
        let code = [code, if code == 0 { 4 } else { code }];
        assert!(code.contains(&ran.code), "{tolerate}: {ran:#?}");
        let closes = ran.json["errors"]["closes"].as_object().unwrap();
        let closed: u64 = closes.values().filter_map(serde_json::Value::as_u64).sum();
        assert_eq!(closed, 4, "{ran:#?}");
        // What was on its way was cut off with its connection.
        assert_eq!(ran.error("lost"), 0, "{ran:#?}");
        assert!(ran.error("cut_off") <= 4, "{ran:#?}");
    }
}

#[test]
fn connections_come_back_after_a_restart() {
    let server = Server::start(Fault::None);
    let line = format!(
        "connect --url {} --reconnect --connections 5 --threads 2 --backoff 1ms..20ms \
         --warmup 0s --duration 1h --json -",
        server.echo_url()
    );
    let mut child = command(&line).spawn().unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
    await_line(&mut progress, "measuring");
    let addr = server.kill();
    await_line(&mut progress, " 0 open");
    let server = Server::start_at(addr, Fault::None);
    server.await_messages(5);
    await_line(&mut progress, " 5 open");
    ask_to_stop(child.id()).unwrap();
    progress.for_each(drop);
    let ran = outcome(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:#?}");
    let reconnect = &ran.json["reconnect"];
    let outages = reconnect["outages"].as_array().unwrap();
    assert_eq!(outages.len(), 1, "{ran:#?}");
    assert_eq!(outages[0]["dropped"], 5, "{ran:#?}");
    assert!(outages[0]["all_back_ns"].as_u64().unwrap() > 0);
    assert!(outages[0]["failed_attempts"].as_u64().unwrap() > 0);
    let refused = &reconnect["failed_attempts"]["connect: refused"];
    assert!(refused.as_u64().unwrap() > 0, "{ran:#?}");
    assert_eq!(reconnect["missing"], 0);
    assert_eq!(ran.json["latency_ns"]["count"], 5);
    assert_eq!(ran.error("total"), 0);
}

#[test]
fn connections_that_do_not_come_back_fail_the_run() {
    let server = Server::start(Fault::None);
    let line = format!(
        "connect --url {} --reconnect --connections 3 --warmup 0s --duration 3s \
         --drain-timeout 100ms --json -",
        server.echo_url()
    );
    let mut child = command(&line).spawn().unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
    await_line(&mut progress, "measuring");
    server.kill();
    progress.for_each(drop);
    let ran = outcome(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert_eq!(ran.json["reconnect"]["missing"], 3, "{ran:#?}");
}

#[test]
fn an_interruption_while_connections_open_is_reported() {
    let server = Server::start(Fault::Silent);
    let line = format!(
        "echo --url {} --connections 3 --timeout 1h --json -",
        server.echo_url()
    );
    let mut child = command(&line).spawn().unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
    await_line(&mut progress, "connecting");
    ask_to_stop(child.id()).unwrap();
    progress.for_each(drop);
    let ran = outcome(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert_eq!(ran.json["interrupted"], true);
    assert_eq!(ran.json["connections"]["opened"], 0, "{ran:#?}");
}
