//! Runs that do not take place or are ended, and what they say.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;

use hioload_platform::limits::Limits;
use hioload_platform::signals::ask_to_stop;

use crate::server::{Fault, Server, command, outcome, run};

#[test]
fn nobody_listening_is_a_connection_error_with_advice() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ran = run(&format!("echo --url ws://{free}/echo"));
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(
        ran.stderr.contains("is the server running there?"),
        "{ran:#?}"
    );
    assert!(
        ran.json["failure"]
            .as_str()
            .unwrap()
            .contains("cannot connect"),
        "{ran:#?}"
    );
}

#[test]
fn a_refused_handshake_names_status_and_advice() {
    let server = Server::start(Fault::Refuse("404 Not Found"));
    let ran = run(&format!("echo --url {}", server.echo_url()));
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stderr.contains("404 Not Found"), "{ran:#?}");
    assert!(ran.stderr.contains("path is wrong"), "{ran:#?}");
}

#[test]
fn an_unanswered_handshake_is_cut_by_the_timeout() {
    let server = Server::start(Fault::Silent);
    let ran = run(&format!(
        "echo --url {} --timeout 200ms --threads 2",
        server.echo_url()
    ));
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(
        ran.stderr.contains("did not answer the handshake in time"),
        "{ran:#?}"
    );
}

#[test]
fn a_source_address_of_another_machine_is_refused_with_advice() {
    let server = Server::start(Fault::None);
    let ran = run(&format!(
        "echo --url {} --source 192.0.2.1",
        server.echo_url()
    ));
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stderr.contains("--source"), "{ran:#?}");
}

#[test]
fn too_many_connections_for_the_descriptor_limit_are_refused_with_the_number() {
    let hard = Limits::read().nofile.unwrap().hard;
    if hard >= 4_000_000 {
        return;
    }
    let ran = run(&format!("echo --connections {hard} --threads 1"));
    assert_eq!(ran.code, 5, "{ran:#?}");
    assert!(
        ran.stderr
            .contains(&format!("needs {} open files", hard + 40)),
        "{ran:#?}"
    );
}

#[test]
fn a_cpu_that_does_not_exist_is_named() {
    let ran = run("echo --pin 60000");
    assert_eq!(ran.code, 5, "{ran:#?}");
    assert!(ran.stderr.contains("60000"), "{ran:#?}");
}

#[test]
fn a_wrong_command_line_has_its_own_exit_code() {
    for wrong in [
        "",
        "echo --size x",
        "broadcast --size 5",
        "echo --url http://h/",
    ] {
        assert_eq!(run(wrong).code, 64, "{wrong}");
    }
}

#[test]
fn a_json_file_that_can_not_be_written_is_refused_before_the_run() {
    let output = command("echo --duration 1h --json /nonexistent/x.json")
        .output()
        .unwrap();
    let ran = outcome(&output);
    assert_eq!(ran.code, 5, "{ran:#?}");
    assert!(ran.stderr.contains("/nonexistent/x.json"), "{ran:#?}");
}

#[test]
fn a_json_file_holds_the_result_beside_the_table() {
    let server = Server::start(Fault::None);
    let path = std::env::temp_dir().join(format!("loadgen-{}.json", std::process::id()));
    let line = format!(
        "echo --url {} --rate 100 --warmup 0s --duration 100ms --quiet --json {}",
        server.echo_url(),
        path.display()
    );
    let output = command(&line).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(json["messages"]["sent_total"], 10, "{json:#}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("all 10 messages verified"), "{table}");
}

#[test]
fn an_interrupted_run_reports_what_was_measured() {
    let server = Server::start(Fault::None);
    let line = format!(
        "echo --url {} --rate 1000 --warmup 0s --duration 1h --json -",
        server.echo_url()
    );
    let mut child = command(&line).spawn().unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
    // From a second of measurement on.
    let measuring = |line: &String| line.contains("measuring ") && !line.contains(" 0/");
    assert!(progress.by_ref().flatten().any(|line| measuring(&line)));
    ask_to_stop(child.id()).unwrap();
    let ran = outcome(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert_eq!(ran.json["interrupted"], true);
    assert!(
        ran.json["latency_ns"]["count"].as_u64().unwrap() > 500,
        "{ran:#?}"
    );
    ran.json["errors"]["total"]
        .as_u64()
        .filter(|&total| total == 0)
        .unwrap();
}

#[test]
fn the_help_states_the_exit_codes_and_why_latency_counts_from_the_plan() {
    for line in ["--help", "echo --help", "broadcast --help"] {
        let output = command(line).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let help = String::from_utf8(output.stdout).unwrap();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for promise in [
            "Exit codes:",
            "coordinated omission",
            "latency counts from the planned time",
        ] {
            assert!(words.contains(promise), "{promise} is missing in {help}");
        }
    }
}
