//! Searches for the highest rate.

use std::io::{BufRead as _, BufReader};

use hioload_platform::signals::ask_to_stop;
use serde_json::Value;

use crate::server::{Fault, Ran, Server, command, outcome, run};

fn rounds(ran: &Ran) -> &[Value] {
    ran.json["rounds"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether the machine was too busy for a round to say anything.
fn disturbed(ran: &Ran) -> bool {
    let limit = |round: &Value| round["verdict"] == "generator_limit";
    rounds(ran).iter().any(limit)
}

#[test]
fn the_rate_above_which_messages_are_lost_is_found() {
    // 50 ms of warm-up and 100 ms of measurement: the hundredth message is
    // sent from 667 per second on.
    let server = Server::start(Fault::Lose(100));
    let search = "--connections 1 --rate 200 --find-max max=60s --step-duration 100ms";
    let ran = run(&format!("echo --url {} {search}", server.echo_url()));
    assert_eq!(ran.json["schema"], "hioload-loadgen-search/1", "{ran:#?}");
    for round in rounds(&ran) {
        let lost = round["rate"].as_f64().unwrap() > 660.0;
        assert!(!lost || round["verdict"] != "met", "{ran:#?}");
        assert_eq!(round["result"]["config"]["rate"], round["rate"]);
    }
    if !disturbed(&ran) {
        assert_eq!(ran.code, 0, "{ran:#?}");
        let rates: Vec<_> = rounds(&ran)
            .iter()
            .map(|round| round["rate"].as_f64().unwrap())
            .collect();
        let first = [
            200.0, 400.0, 800.0, 800.0, 600.0, 700.0, 700.0, 650.0, 675.0, 675.0,
        ];
        assert_eq!(rates, first, "{ran:#?}");
        assert_eq!(ran.json["answer"]["rate"], 650.0, "{ran:#?}");
        assert_eq!(ran.json["answer"]["next"], 675.0, "{ran:#?}");
        assert_eq!(ran.json["answer"]["limit"], "missed", "{ran:#?}");
    }
}

#[test]
fn a_goal_that_no_rate_meets_has_its_own_exit_code() {
    let server = Server::start(Fault::Lose(1));
    let search = "--subscribers 1 --rate 10 --find-max p50=60s --step-duration 100ms";
    let url = server.broadcast_url();
    let ran = run(&format!("broadcast --url {url} {search}"));
    assert_eq!(ran.json["answer"]["rate"], Value::Null, "{ran:#?}");
    assert!(disturbed(&ran) || ran.code == 1, "{ran:#?}");
    // Lower rates would have fewer than a hundred messages.
    assert_eq!(rounds(&ran).len(), 2, "{ran:#?}");
}

#[test]
fn a_search_ends_at_a_server_that_answers_wrongly() {
    let server = Server::start(Fault::Corrupt(5));
    let search = "--connections 1 --rate 200 --find-max p50=60s --step-duration 100ms";
    let ran = run(&format!("echo --url {} {search}", server.echo_url()));
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert_eq!(rounds(&ran).len(), 1, "{ran:#?}");
}

#[test]
fn a_search_without_a_server_is_a_connection_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let ran = run(&format!("echo --url ws://{addr}/echo --find-max p50=1ms"));
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.json["failure"].is_string(), "{ran:#?}");
}

#[test]
fn an_interrupted_search_tells_of_the_rounds_before() {
    let server = Server::start(Fault::None);
    let line = format!(
        "echo --url {} --rate 100 --find-max max=60s --warmup 0s --step-duration 300ms --json -",
        server.echo_url()
    );
    let mut child = command(&line).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let round = |line: &String| line.trim_start().starts_with("1 ");
    assert!(told.by_ref().flatten().any(|line| round(&line)));
    ask_to_stop(child.id()).unwrap();
    let ran = outcome(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert_eq!(ran.json["interrupted"], true, "{ran:#?}");
    assert!(!rounds(&ran).is_empty(), "{ran:#?}");
}
