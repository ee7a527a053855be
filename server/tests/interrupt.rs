//! SIGINT stops the server as SIGTERM does, and the log says which it was.

#![forbid(unsafe_code)]
#![cfg(unix)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::Serving;
use support::client::Client;

#[test]
fn either_signal_drains_and_is_named() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut serving = Serving::start(&[]);
        let mut client = Client::connect(serving.addr, "/echo");
        let id = serving.process.id().try_into().expect("a process id");
        kill(Pid::from_raw(id), signal).expect("the process is there");
        client.expect_end(1001);
        drop(client);
        let ended = serving.process.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains(signal.as_str()), "{}", ended.stderr);
    }
}
