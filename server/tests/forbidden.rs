//! Where io_uring is forbidden the server falls back to epoll and says why;
//! insisting on io_uring is refused.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[path = "support/seccomp.rs"]
mod seccomp;
#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::os::unix::process::CommandExt;
use std::process::Command;

use support::client::Client;
use support::{Process, Serving, server};

/// Set in the process that is to become a server without io_uring; holds the
/// server's arguments.
const INNER: &str = "HIOLOAD_TEST_FORBIDDEN";

/// Runs the server under the filter: this very test, in a process of its own,
/// applies it and becomes the server.
fn without_io_uring(test: &str, arguments: &[&str]) -> Process {
    let own = std::env::current_exe().expect("a path");
    let mut command = Command::new(own);
    command
        .args(["--exact", test, "--nocapture"])
        .env(INNER, arguments.join(" "));
    Process::spawn(command)
}

/// In that process: becomes the server.
fn become_server() {
    if let Ok(arguments) = std::env::var(INNER) {
        seccomp::forbid_io_uring();
        let arguments: Vec<_> = arguments.split(' ').collect();
        let error = server(&arguments).exec();
        panic!("the server did not start: {error}");
    }
}

#[test]
fn the_server_falls_back_to_epoll_and_serves() {
    become_server();
    let arguments = ["--listen", "127.0.0.1:0", "--shards", "2"];
    let process = without_io_uring("the_server_falls_back_to_epoll_and_serves", &arguments);
    let serving = Serving::of(process);
    let mut clients: Vec<_> = (0..50)
        .map(|_| Client::connect(serving.addr, "/echo"))
        .collect();
    for round in 0..20 {
        for (index, client) in clients.iter_mut().enumerate() {
            let text = format!("{round} {index}");
            client.check_echo(&text);
        }
    }
    drop(clients);
    let ended = serving.stop();
    let falls: Vec<_> = ended
        .stderr
        .lines()
        .filter(|line| line.contains("falling back to epoll"))
        .collect();
    assert_eq!(falls.len(), 1, "one line for all shards: {}", ended.stderr);
    assert!(falls[0].contains("seccomp"), "{}", falls[0]);
}

#[test]
fn who_insists_on_io_uring_is_told_of_seccomp() {
    become_server();
    let arguments = ["--listen", "127.0.0.1:0", "--backend", "uring"];
    let name = "who_insists_on_io_uring_is_told_of_seccomp";
    let ended = without_io_uring(name, &arguments).wait();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("seccomp"), "{}", ended.stderr);
    let listening = |line: &String| line.contains("listening");
    assert!(!ended.stdout.iter().any(listening), "{:?}", ended.stdout);
}

#[test]
fn the_probe_names_seccomp_and_the_fallback() {
    become_server();
    let name = "the_probe_names_seccomp_and_the_fallback";
    let ended = without_io_uring(name, &["probe"]).wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let said = |word: &str| ended.stdout.iter().any(|line| line.contains(word));
    assert!(said("seccomp"), "{:?}", ended.stdout);
    assert!(said("backend    epoll"), "{:?}", ended.stdout);
    let ended = without_io_uring(name, &["probe", "--backend", "uring"]).wait();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
}

#[test]
fn epoll_can_be_chosen_where_io_uring_is_there() {
    let serving = Serving::start(&["--backend", "compio"]);
    let mut client = Client::connect(serving.addr, "/echo");
    client.check_echo("hello");
    drop(client);
    let ended = serving.stop();
    assert!(
        ended.stderr.contains("backend is epoll"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("falling back"), "{}", ended.stderr);
}
