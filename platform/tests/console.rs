//! Windows: Ctrl-Break from one process to another.

#![cfg(windows)]

use std::io::{BufRead, BufReader, Write};
use std::os::windows::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use hioload_platform::signals::{Signal, Signals, ask_to_stop};

/// Set in the child, which is this program again.
const CHILD: &str = "HIOLOAD_CONSOLE_CHILD";

const PATIENCE: Duration = Duration::from_secs(20);

/// A process creation flag: the child leads a process group of its own.
const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;

#[test]
fn a_child_asked_to_stop_heeds_it_and_ends_by_itself() {
    if std::env::var_os(CHILD).is_some() {
        return heed_one();
    }
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
        .args([
            "--exact",
            "a_child_asked_to_stop_heeds_it_and_ends_by_itself",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .creation_flags(CREATE_NEW_PROCESS_GROUP)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let output = child.stdout.take().expect("it is a pipe");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("holding")), "it holds");
    ask_to_stop(child.id()).expect("a child may be asked");
    assert!(lines.any(|line| line.contains("asked")), "it heeds");
    assert!(child.wait().expect("a child can be awaited").success());
}

fn heed_one() {
    let signals = Signals::hold(false).expect("signals can be held");
    let (asked, asks) = channel();
    let watch = signals
        .watch(move |signal| asked.send(signal).expect("the test waits"))
        .expect("a thread starts");
    let mut out = std::io::stdout();
    writeln!(out, "holding").expect("the parent reads");
    let signal = asks.recv_timeout(PATIENCE).expect("the parent asks");
    assert_eq!(signal, Signal::Stop { by: "Ctrl-Break" });
    drop(watch);
    drop(signals);
    writeln!(out, "asked").expect("the parent reads");
}
