//! The real server in its own process, which ends with its test.

#[path = "../../../framework/hioload/tests/support/client.rs"]
pub(crate) mod client;
#[path = "../../../framework/hioload/tests/support/http.rs"]
pub(crate) mod http;
#[path = "../../../framework/hioload/tests/support/wait.rs"]
pub(crate) mod wait;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use hioload_platform::signals;

use wait::{PATIENCE, until};

/// A command that runs the server.
pub(crate) fn server(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hioload-server"));
    command.args(args);
    command
}

/// A process whose output is collected; killed when its test fails.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// How a process ended and what it had said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = child.stdout.take().expect("piped");
        let mut stderr = child.stderr.take().expect("piped");
        let (tell, lines) = channel();
        // Ends with the process, or when nobody listens any more.
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.map_while(|line| tell.send(line).ok()).for_each(drop);
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            stderr
                .read_to_string(&mut text)
                .expect("log lines are text");
            text
        });
        Self {
            child,
            lines,
            errors: Some(errors),
        }
    }

    /// The next line on standard output.
    pub(crate) fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .expect("a line on standard output")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// As SIGTERM does.
    pub(crate) fn ask_to_stop(&self) {
        signals::ask_to_stop(self.id()).expect("the process is there");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> Ended {
        let mut status = None;
        until("the process ends", || {
            status = self.child.try_wait().expect("a child");
            status.map(drop).ok_or("running")
        });
        let stderr = self
            .errors
            .take()
            .expect("waited for once")
            .join()
            .expect("no panic");
        let stdout = self.lines.iter().collect();
        Ended {
            status: status.expect("ended"),
            stdout,
            stderr,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail for a process that has ended, which is fine.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
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
