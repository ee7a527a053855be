//! What `--server-pid` tells about the process that serves.

#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};

use crate::server::{Fault, Server, command, outcome, run};

#[test]
fn cpu_and_memory_of_the_server_are_measured() {
    let server = Server::start(Fault::None);
    let ran = run(&format!(
        "echo --url {} --connections 20 --depth 4 --server-pid {}",
        server.echo_url(),
        std::process::id()
    ));
    ran.assert_clean();
    let process = &ran.json["server_process"];
    assert_eq!(process["pid"], std::process::id());
    assert_eq!(process["valid"], true, "{ran:#?}");
    assert_eq!(process["per"], "message received");
    let number = |name: &str| {
        process[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} {ran:#?}"))
    };
    let per_second = ran.json["rates"]["received"].as_f64().unwrap();
    let expected = number("cpu_ns") / number("measured_seconds") / per_second;
    let per_message = number("cpu_ns_per_message");
    assert!(
        (per_message / expected - 1.0).abs() < 1e-6,
        "{per_message} {expected}"
    );
    // Its threads are counted once more at the end, when some may have left.
    assert!(
        number("cores") > 0.0 && number("threads") >= 1.0,
        "{ran:#?}"
    );
    for landmark in ["before", "open", "end", "closed"] {
        assert!(
            number(&format!("rss_{landmark}_bytes")) > 4096.0,
            "{ran:#?}"
        );
    }
    let grown = number("rss_open_bytes") - number("rss_before_bytes");
    assert!(
        (number("rss_bytes_per_connection") - grown / 20.0).abs() < 1e-6,
        "{ran:#?}"
    );
    assert!(
        !process["samples"].as_array().unwrap().is_empty(),
        "{ran:#?}"
    );
}

#[test]
fn a_broadcast_counts_per_delivery() {
    let server = Server::start(Fault::None);
    let ran = run(&format!(
        "broadcast --url {} --subscribers 3 --rate 200 --server-pid {}",
        server.broadcast_url(),
        std::process::id()
    ));
    ran.assert_clean();
    assert_eq!(ran.json["server_process"]["per"], "delivery");
    assert!(
        ran.json["server_process"]["cpu_ns_per_message"]
            .as_f64()
            .unwrap()
            > 0.0
    );
}

#[test]
fn lost_messages_void_the_cpu_time_per_message_as_well() {
    let server = Server::start(Fault::Lose(10));
    let ran = run(&format!(
        "echo --url {} --connections 1 --rate 300 --server-pid {}",
        server.echo_url(),
        std::process::id()
    ));
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert_eq!(ran.json["valid"], false);
    assert_eq!(ran.json["server_process"]["valid"], false);
}

#[test]
fn a_process_that_does_not_exist_is_refused_before_the_run() {
    let ran = run("echo --server-pid 2147483647");
    assert_eq!(ran.code, 5, "{ran:#?}");
    assert!(ran.stderr.contains("--server-pid 2147483647"), "{ran:#?}");
    assert!(ran.stderr.contains("no such process"), "{ran:#?}");
    assert_eq!(run("echo --server-pid 0").code, 64);
}

#[test]
fn a_process_that_ends_in_between_is_noted_and_the_run_goes_on() {
    let server = Server::start(Fault::None);
    let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let line = format!(
        "echo --url {} --connections 1 --rate 1000 --warmup 2s --duration 500ms --quiet --json - \
         --server-pid {}",
        server.echo_url(),
        other.id()
    );
    let child = command(&line).spawn().unwrap();
    server.wait_for_a_connection();
    drop(other.stdin.take());
    other.wait().unwrap();
    let ran = outcome(&child.wait_with_output().unwrap());
    ran.assert_clean();
    let process = &ran.json["server_process"];
    assert_eq!(process["valid"], false, "{ran:#?}");
    assert!(process["cpu_ns"].is_null(), "{ran:#?}");
    assert!(
        process["note"].as_str().unwrap().contains("has ended"),
        "{ran:#?}"
    );
}
