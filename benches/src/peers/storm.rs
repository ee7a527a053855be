//! Connections that open, are upgraded, and close, as fast as they can.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hioload_platform::affinity;
use socket2::{Domain, Socket, Type};

use super::catalog::Peer;
use super::measure::{Bench, Numbers};
use super::process_time::{self, Ticked};
use super::server::Server;

/// How long a server may take for one handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer.
const HEAD: usize = 4096;

/// The key of RFC 6455, section 1.3, and what it must be answered with.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A handshake under way.
struct Shake {
    stream: TcpStream,
    begun: Instant,
}

/// What happened in a time.
#[derive(Default)]
struct Count {
    latencies: Vec<u64>,
    elapsed: Duration,
}

/// Opens connections `at_once`, one thread on the CPU of the load.
///
/// # Errors
/// When the server refuses one, or is too slow.
pub(crate) fn measure(
    bench: &Bench<'_>,
    server: &Server,
    peer: &Peer,
    at_once: usize,
) -> Result<Numbers, String> {
    let (cpu, addr, raw) = (bench.args.load_cpu, server.addr(), peer.is_raw());
    let (warmup, duration) = (bench.args.warmup(), bench.args.duration());
    let pid = server.pid();
    let storming = thread::spawn(move || {
        affinity::pin(cpu).map_err(|error| error.to_string())?;
        let mut storm = Storm::new(addr, raw);
        storm.run(warmup, at_once)?;
        let look = |pid: u32| Ok((process_time::exact(pid)?, Ticked::of(&pid.to_string())?));
        let before: Result<_, String> = look(pid);
        let count = storm.run(duration, at_once)?;
        Ok::<_, String>((count, before?, look(pid)?))
    });
    let stormed = storming.join();
    let (count, before, after) = stormed.map_err(|_| "the storm panicked".to_owned())??;
    Ok(numbers(count, before, after, process_time::resident(pid)?))
}

fn numbers(mut count: Count, before: (u64, Ticked), after: (u64, Ticked), rss: u64) -> Numbers {
    let made = count.latencies.len() as f64;
    let cpu_ns = after.0.saturating_sub(before.0) as f64 / made;
    let (user, system) = (
        after.1.user - before.1.user,
        after.1.system - before.1.system,
    );
    // Ticks say how the exact time is split.
    let split =
        |part: u64| (user + system > 0).then(|| cpu_ns * part as f64 / (user + system) as f64);
    count.latencies.sort_unstable();
    let at = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in the list"
        )]
        let place = (made * part) as usize;
        count.latencies.get(place).map(|&nanos| nanos as f64)
    };
    Numbers {
        per_second: Some(made / count.elapsed.as_secs_f64()),
        cpu_ns: Some(cpu_ns),
        user_ns: split(user),
        system_ns: split(system),
        p50_ns: at(0.5),
        p99_ns: at(0.99),
        p99_9_ns: at(0.999),
        max_ns: count.latencies.last().map(|&nanos| nanos as f64),
        rss_bytes: Some(rss as f64),
        bytes_per_connection: None,
        valid: true,
        ..Numbers::default()
    }
}

struct Storm {
    addr: SocketAddr,
    raw: bool,
    request: String,
    opened: u32,
}

impl Storm {
    fn new(addr: SocketAddr, raw: bool) -> Self {
        let request = format!(
            "GET /echo HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        Self {
            addr,
            raw,
            request,
            opened: 0,
        }
    }

    /// Keeps `at_once` handshakes under way. Servers answer in the order of the
    /// requests, near enough: the oldest is waited for.
    fn run(&mut self, duration: Duration, at_once: usize) -> Result<Count, String> {
        let start = Instant::now();
        let mut under_way = VecDeque::with_capacity(at_once);
        let mut count = Count::default();
        while start.elapsed() < duration || count.latencies.is_empty() {
            while under_way.len() < at_once {
                let begun = self.begin();
                under_way.push_back(begun.map_err(|error| format!("cannot connect: {error}"))?);
            }
            if let Some(shake) = under_way.pop_front() {
                count.latencies.push(self.finish(shake)?);
            }
        }
        count.elapsed = start.elapsed();
        Ok(count)
    }

    /// Connects, from an address of its own among 60,000, so that the ports of
    /// closed connections do not run out.
    fn begin(&mut self) -> io::Result<Shake> {
        let [_, _, high, low] = (self.opened % 60_000).to_be_bytes();
        self.opened = self.opened.wrapping_add(1);
        let from = Ipv4Addr::new(127, 1, high, low.max(1));
        let begun = Instant::now();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&self.addr.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(self.request.as_bytes())?;
        Ok(Shake { stream, begun })
    }

    /// Reads the answer; nanoseconds since the connection was begun.
    fn finish(&self, mut shake: Shake) -> Result<u64, String> {
        let mut head = [0; HEAD];
        let mut filled = 0;
        while !head[..filled].ends_with(b"\r\n\r\n") {
            match shake.stream.read(&mut head[filled..]) {
                Ok(0) => return Err("the server ended a connection during the handshake".into()),
                Ok(read) => filled += read,
                Err(error) => return Err(format!("a handshake got no answer: {error}")),
            }
        }
        let latency = shake.begun.elapsed().as_nanos();
        let answer = String::from_utf8_lossy(&head[..filled]);
        let granted = if self.raw {
            answer == self.request
        } else {
            answer.starts_with("HTTP/1.1 101 ") && answer.contains(ACCEPT)
        };
        if granted {
            Ok(u64::try_from(latency).unwrap_or(u64::MAX))
        } else {
            Err(format!("the handshake was answered with {answer:?}"))
        }
    }
}
