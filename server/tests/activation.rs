//! Socket activation: the server serves the sockets it is started with, and
//! what connects while none runs waits for the next.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use nix::fcntl::{FcntlArg, fcntl};
use support::client::{Client, dial};
use support::http::Answer;
use support::{Process, Serving, server};

/// Moves the descriptors to 3 and on, as systemd does, and becomes the server.
const LAUNCH: &str = "n=3; for fd in $SOCKETS; do eval \"exec $n<&$fd $fd<&-\"; n=$((n+1)); done; \
                      LISTEN_PID=$$ exec \"$@\"";

/// Sockets that stay open whatever becomes of a server.
struct Sockets {
    listeners: Vec<TcpListener>,
    /// Descriptors of them that programs inherit.
    numbers: Vec<String>,
}

impl Sockets {
    fn new(count: usize) -> Self {
        let listeners: Vec<_> = (0..count)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
            .collect();
        let inherited = |listener: &TcpListener| {
            let copy = fcntl(listener, FcntlArg::F_DUPFD(100)).expect("a descriptor");
            copy.to_string()
        };
        let numbers = listeners.iter().map(inherited).collect();
        Self { listeners, numbers }
    }

    fn addr(&self, index: usize) -> SocketAddr {
        self.listeners[index].local_addr().expect("bound")
    }

    /// A command that starts the server with them.
    fn activate(&self, names: &str, args: &[&str]) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-c", LAUNCH, "bash", env!("CARGO_BIN_EXE_hioload-server")])
            .args(args)
            .env("SOCKETS", self.numbers.join(" "))
            .env("LISTEN_FDS", self.numbers.len().to_string())
            .env("LISTEN_FDNAMES", names);
        command
    }
}

const GET: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn inherited_sockets_are_served_instead_of_the_addresses() {
    let sockets = Sockets::new(2);
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = elsewhere.local_addr().expect("bound").to_string();
    // An address that cannot be bound is no matter.
    let args = ["--shards", "3", "--listen", &taken];
    let serving = Serving::of(Process::spawn(sockets.activate("http:other", &args)));
    let mut clients: Vec<_> = (0..30)
        .map(|n| Client::connect(sockets.addr(n % 2), "/echo"))
        .collect();
    clients
        .iter_mut()
        .for_each(|client| client.check_echo("hello"));
    let open = serving.metrics();
    let open = open.iter().filter(|(name, _)| {
        name.starts_with("hioload_connections{") || name.as_str() == "hioload_connections"
    });
    let open: Vec<u64> = open.map(|(_, &count)| count).collect();
    assert_eq!(open.iter().sum::<u64>(), 30, "{open:?}");
    // Nothing it starts would inherit them: O_CLOEXEC is set.
    for number in [3, 4] {
        let path = format!("/proc/{}/fdinfo/{number}", serving.process.id());
        let info = std::fs::read_to_string(path).expect("it is open");
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        assert!(
            flags.is_some_and(|flags| flags & 0o2_000_000 != 0),
            "{info}"
        );
    }
    drop(clients);
    let ended = serving.stop();
    assert!(ended.stderr.contains("started with"), "{}", ended.stderr);
}

#[test]
fn what_connects_between_two_servers_is_served_by_the_second() {
    let sockets = Sockets::new(1);
    let args = ["--shards", "2"];
    let first = Serving::of(Process::spawn(sockets.activate("http", &args)));
    assert_eq!(first.addr, sockets.addr(0));
    first.stop();
    let mut waiting: Vec<_> = (0..20).map(|_| dial(sockets.addr(0))).collect();
    for stream in &mut waiting {
        stream.write_all(GET).expect("the kernel takes it");
    }
    let second = Serving::of(Process::spawn(sockets.activate("http", &args)));
    for stream in &mut waiting {
        assert_eq!(Answer::read(stream).status, 200);
    }
    drop(waiting);
    second.stop();
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let mut command = server(&["--listen", "127.0.0.1:0", "--shards", "1"]);
    // It has no such descriptors.
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "5");
    let serving = Serving::of(Process::spawn(command));
    Client::connect(serving.addr, "/echo").check_echo("hello");
    serving.process.ask_to_stop();
}

#[test]
fn what_is_wrong_with_inherited_sockets_is_said() {
    let sockets = Sockets::new(1);
    let refused = |names: &str, count: &str, words: &[&str]| {
        let mut command = sockets.activate(names, &[]);
        command.env("LISTEN_FDS", count);
        Process::spawn(command).wait().expect_refusal(words);
    };
    refused("a", "one", &["LISTEN_FDS", "one"]);
    refused("a:b:c", "1", &["LISTEN_FDNAMES", "a:b:c"]);
    // Beyond what was inherited there is nothing, or nothing that listens.
    let many = ["x"; 90].join(":");
    refused(&many, "90", &["inherited descriptor", "(x)"]);
    refused("https", "1", &["https", "certificate"]);
}
