//! Where io_uring is forbidden the server says so in one line and exits
//! with 2.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use support::{Ended, Process, server};

/// Set in the process that is to become a server without io_uring; holds the
/// server's argument.
const INNER: &str = "HIOLOAD_TEST_FORBIDDEN";

/// Every system call but this one.
fn forbid_io_uring() {
    let action = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let rules = [(libc::SYS_io_uring_setup, Vec::new())]
        .into_iter()
        .collect();
    let arch = std::env::consts::ARCH
        .try_into()
        .expect("seccomp knows this architecture");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).expect("a filter");
    let program = BpfProgram::try_from(filter).expect("a program");
    seccompiler::apply_filter(&program).expect("a thread may forbid itself calls");
}

/// Runs the server under the filter: this very test, in a process of its own,
/// applies it and becomes the server.
fn run_without_io_uring(test: &str, argument: &str) -> Ended {
    if let Ok(argument) = std::env::var(INNER) {
        forbid_io_uring();
        let error =
            server(&[&argument, "--log", "error"][..1 + 2 * usize::from(argument != "probe")])
                .exec();
        panic!("the server did not start: {error}");
    }
    let own = std::env::current_exe().expect("a path");
    let mut command = Command::new(own);
    command
        .args(["--exact", test, "--nocapture"])
        .env(INNER, argument);
    Process::spawn(command).wait()
}

#[test]
fn the_server_names_seccomp_and_exits_with_2() {
    let ended = run_without_io_uring(
        "the_server_names_seccomp_and_exits_with_2",
        "--listen=127.0.0.1:0",
    );
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("seccomp"), "{}", ended.stderr);
    assert!(
        !ended.stdout.iter().any(|line| line.contains("listening")),
        "{:?}",
        ended.stdout
    );
}

#[test]
fn the_probe_names_seccomp_and_exits_with_2() {
    let ended = run_without_io_uring("the_probe_names_seccomp_and_exits_with_2", "probe");
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(
        ended.stdout.iter().any(|line| line.contains("seccomp")),
        "{:?}",
        ended.stdout
    );
}
