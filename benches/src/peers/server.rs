//! A peer as a child process.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hioload_platform::affinity;

use super::build::BENCHES;
use super::catalog::{Kind, Peer};
use super::measure::Bench;
use super::workload::{Echo, Load};

/// How long a peer may take to say where it listens.
const START: Duration = Duration::from_secs(30);

/// The most bytes of a message that servers are told to take.
const MAX_MESSAGE: &str = "16777216";

/// A running server; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    addr: SocketAddr,
    /// What it wrote to standard error.
    errors: PathBuf,
}

impl Server {
    /// Starts a peer for a load, on the CPU of servers.
    ///
    /// # Errors
    /// When it does not start, with the end of what it said.
    pub(crate) fn start(bench: &Bench<'_>, peer: &Peer, load: &Load) -> Result<Self, String> {
        let errors = bench.certificate.at("server.err");
        let output = File::create(&errors).map_err(|error| error.to_string())?;
        let mut command = command(bench, peer, load)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(output);
        let mut child = on_cpu(bench.args.server_cpu, || command.spawn())?
            .map_err(|error| format!("cannot start {}: {error}", peer.name))?;
        let said = child.stdout.take().map(listen);
        let mut server = Self {
            child,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            errors,
        };
        match said.and_then(|said| said.recv_timeout(START).ok()) {
            Some(addr) => server.addr = addr,
            None => {
                return Err(format!(
                    "{} did not say where it listens{}",
                    peer.name,
                    server.last_words()
                ));
            }
        }
        Ok(server)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The end of what it wrote to standard error, or how it ended, to be
    /// appended to a message.
    pub(crate) fn last_words(&mut self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(3)..].join("; ");
        let ended = match self.child.try_wait() {
            Ok(Some(status)) => format!(" (it ended: {status})"),
            _ => String::new(),
        };
        if last.is_empty() {
            ended
        } else {
            format!("{ended}: {last}")
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs something, the start of a process that is to inherit the pin, on a CPU.
///
/// # Errors
/// When the CPU cannot be used.
pub(crate) fn on_cpu<T>(cpu: usize, start: impl FnOnce() -> T) -> Result<T, String> {
    let all = affinity::allowed().map_err(|error| error.to_string())?;
    affinity::pin(cpu).map_err(|error| error.to_string())?;
    let started = start();
    affinity::confine(&all).map_err(|error| error.to_string())?;
    Ok(started)
}

/// Waits for the line with the address, and reads on, so that the server never
/// waits for a reader.
fn listen(stdout: ChildStdout) -> mpsc::Receiver<SocketAddr> {
    let (found, addr) = mpsc::sync_channel(1);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(addr) = address(&line) {
                // Only the first is waited for.
                let _awaited = found.try_send(addr).is_ok();
            }
        }
    });
    addr
}

/// The loopback address in a line such as `listening on http://127.0.0.1:80`.
fn address(line: &str) -> Option<SocketAddr> {
    let rest = &line[line.find("127.0.0.1:")?..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

fn command(bench: &Bench<'_>, peer: &Peer, load: &Load) -> Result<Command, String> {
    let program = bench.binaries.of(peer)?;
    let mut command = Command::new(program);
    let (tls, deflate) = match load {
        Load::Echo(echo) | Load::Tail(echo) => (echo.tls, false),
        Load::Broadcast { deflate, .. } => (false, *deflate),
        Load::Storm { .. } | Load::Idle { .. } => (false, false),
    };
    let mode = match load {
        Load::Broadcast { .. }
        | Load::Idle {
            subscribed: true, ..
        } => "broadcast",
        _ => "echo",
    };
    match peer.kind {
        Kind::Hioload => {
            hioload(&mut command, bench);
            if tls {
                command
                    .arg("--tls-cert")
                    .arg(bench.certificate.certificate());
                command.arg("--tls-key").arg(bench.certificate.key());
            }
            return Ok(command);
        }
        Kind::Raw(api) => {
            command.args([api, mode]).args(buffers(load));
            return Ok(command);
        }
        Kind::Rust { batched, .. } => {
            command.arg(mode);
            if batched {
                command.arg("--batched");
            }
        }
        Kind::Node => {
            command.arg(script("ws.mjs")).arg(mode);
        }
        Kind::Bun => {
            command.arg(script("bun.mjs")).arg(mode);
        }
    }
    if deflate {
        command.arg("--deflate");
    }
    if tls {
        command.arg("--tls");
        command
            .arg(bench.certificate.certificate())
            .arg(bench.certificate.key());
    }
    Ok(command)
}

fn hioload(command: &mut Command, bench: &Bench<'_>) {
    let cpu = bench.args.server_cpu.to_string();
    command.args(["--listen", "127.0.0.1:0", "--shards", "1", "--cpus", &cpu]);
    command.args(["--log", "warn", "--max-message", MAX_MESSAGE]);
}

fn script(name: &str) -> PathBuf {
    Path::new(BENCHES).join("peers/js").join(name)
}

/// Buffers of the raw server that take a whole message, and no more than the
/// load needs: few are warm in the cache.
fn buffers(load: &Load) -> [String; 4] {
    let (bytes, connections) = match *load {
        Load::Echo(echo) | Load::Tail(echo) => arriving(echo),
        Load::Broadcast { .. } => (256, 256),
        Load::Storm { at_once } => (512, at_once),
        Load::Idle { .. } => (512, 64),
    };
    let size = bytes.next_multiple_of(64).min(256 << 10);
    let count = connections
        .next_power_of_two()
        .clamp(64, 8192)
        .min((64 << 20) / size);
    [
        "--buffer".to_owned(),
        size.to_string(),
        "--buffers".to_owned(),
        (1 << count.ilog2()).to_string(),
    ]
}

/// Bytes of one connection that are under way, with their frames' headers, and
/// connections.
fn arriving(echo: Echo) -> (usize, usize) {
    let bytes = echo.depth * (echo.size + 14);
    (bytes as usize, echo.connections as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_whatever_surrounds_it() {
        let addr = Some(SocketAddr::from(([127, 0, 0, 1], 8123)));
        assert_eq!(address("listening on http://127.0.0.1:8123 (TLS)"), addr);
        assert_eq!(address("listening on 127.0.0.1:8123"), addr);
        assert_eq!(address("listening on http://127.0.0.1:8123/"), addr);
        assert_eq!(address("starting"), None);
    }

    #[test]
    fn buffers_of_the_raw_server_are_a_power_of_two() {
        for size in [20, 1 << 10, 16 << 10, 1 << 20] {
            for connections in [1, 100, 1_000, 10_000] {
                let load = Load::Echo(Echo {
                    connections,
                    size,
                    depth: 16,
                    tls: false,
                });
                let [_, bytes, _, count] = buffers(&load);
                let (bytes, count): (usize, usize) = (
                    bytes.parse().expect("a number"),
                    count.parse().expect("a number"),
                );
                assert!(count.is_power_of_two() && bytes * count <= 64 << 20);
            }
        }
    }
}
