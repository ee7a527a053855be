//! The real server in its own process, which ends with its test.

pub(crate) mod application;
#[path = "../../../framework/hioload/tests/support/client.rs"]
pub(crate) mod client;
#[path = "../../../framework/hioload/tests/support/http.rs"]
pub(crate) mod http;
pub(crate) mod peer;
#[path = "../../../framework/hioload/tests/support/process.rs"]
pub(crate) mod process;
pub(crate) mod receiver;
#[path = "../../../framework/hioload/tests/support/wait.rs"]
pub(crate) mod wait;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

pub(crate) use process::{Ended, Process};

/// A command that runs the server, with no settings from the environment.
pub(crate) fn server(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hioload-server"));
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("HIOLOAD_"))
        {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// Runs the server to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    Process::spawn(server(args)).wait()
}

/// Exit code 2 and, beside the log, one line that names what is wrong.
pub(crate) fn expect_refusal(args: &[&str], named: &[&str]) {
    run(args).expect_refusal(named);
}

impl Ended {
    pub(crate) fn expect_refusal(&self, named: &[&str]) {
        assert_eq!(self.status.code(), Some(2), "{self:?}");
        let is_log = |line: &&str| {
            [" INFO ", " WARN "]
                .iter()
                .any(|level| line.contains(level))
        };
        let lines: Vec<_> = self.stderr.lines().filter(|line| !is_log(line)).collect();
        assert_eq!(lines.len(), 1, "{}", self.stderr);
        assert!(lines[0].starts_with("hioload-server: "), "{}", lines[0]);
        for word in named {
            assert!(lines[0].contains(word), "no {word:?} in {}", lines[0]);
        }
        assert!(self.stdout.is_empty(), "{:?}", self.stdout);
    }
}

/// A server that listens.
pub(crate) struct Serving {
    pub(crate) process: Process,
    pub(crate) addr: SocketAddr,
}

impl Serving {
    /// Starts the server with these flags on a port the kernel chooses.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::listening_on("127.0.0.1:0", args)
    }

    pub(crate) fn listening_on(addr: &str, args: &[&str]) -> Self {
        let mut command = server(&["--listen", addr, "--shards", "2"]);
        command.args(args);
        Self::of(Process::spawn(command))
    }

    /// A server that is starting.
    pub(crate) fn of(process: Process) -> Self {
        let addr = loop {
            let line = process.line();
            if let Some(addr) = line.strip_prefix("listening on http://") {
                break addr.parse().expect("an address");
            }
        };
        Self { process, addr }
    }

    /// Every line of `/metrics` that is a number.
    pub(crate) fn metrics(&self) -> BTreeMap<String, u64> {
        let answer = http::get(self.addr, "/metrics");
        let lines = answer.text().lines().filter(|line| !line.starts_with('#'));
        let number = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        };
        lines.map(number).collect()
    }

    /// A metric, all shards and labels together.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics();
        let of_name = |key: &&String| key.split('{').next() == Some(name);
        metrics.keys().filter(of_name).map(|key| metrics[key]).sum()
    }

    /// Asks for the end and expects it in peace.
    pub(crate) fn stop(mut self) -> Ended {
        self.process.ask_to_stop();
        let ended = self.process.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        ended
    }
}
