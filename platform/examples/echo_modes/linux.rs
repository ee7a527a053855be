//! The loads, and what is printed of them.

#[expect(
    dead_code,
    reason = "the raw server also sends from the buffers; here they go back at once"
)]
#[path = "../raw_echo/buffers.rs"]
mod buffers;
#[path = "latency.rs"]
mod latency;
#[path = "ring.rs"]
mod ring;

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use ring::{Gather, Mode, Ring, Wait};

/// As the driver, but for its descriptors: everything else is compared with it.
const BASE: Mode = Mode {
    name: "the base",
    direct: true,
    defer: true,
    sqpoll: false,
    multishot: true,
    gather: Gather::Copy,
    wait: Wait::Sleep,
};

const SQPOLL: Mode = Mode {
    name: "SQPOLL",
    sqpoll: true,
    defer: false,
    ..BASE
};

const RINGS: [Mode; 5] = [
    BASE,
    Mode {
        name: "descriptors of the process",
        direct: false,
        ..BASE
    },
    Mode {
        name: "COOP_TASKRUN",
        defer: false,
        ..BASE
    },
    Mode {
        name: "a receive for each message",
        multishot: false,
        ..BASE
    },
    SQPOLL,
];

const SENDS: [Mode; 2] = [
    BASE,
    Mode {
        name: "send_zc",
        gather: Gather::ZeroCopy,
        ..BASE
    },
];

const GATHERS: [Mode; 3] = [
    Mode {
        name: "copied together",
        ..BASE
    },
    Mode {
        name: "sendmsg of parts",
        gather: Gather::Vectored,
        ..BASE
    },
    Mode {
        name: "linked sends",
        gather: Gather::Linked,
        ..BASE
    },
];

/// The first rounds warm up.
const WARMUP: usize = 5;

/// So much of a load is written before it is read back, which fits the sockets'
/// buffers on both sides.
const AT_ONCE: usize = 256 << 10;

/// A ring and a thread with the other ends of its connections: what arrives
/// must arrive from elsewhere, or the writer would do part of the ring's work.
struct Bench {
    ring: Ring,
    /// Lets the peers send so many bytes each.
    go: Sender<usize>,
    /// They have got them back.
    back: Receiver<io::Result<()>>,
    nanos: Vec<u64>,
}

impl Bench {
    fn open(mode: Mode, connections: usize, message: usize, burst: usize) -> io::Result<Self> {
        let (sockets, mut peers) = pairs(connections)?;
        let (go, going) = mpsc::channel();
        let (done, back) = mpsc::channel();
        thread::spawn(move || {
            for bytes in going {
                if done.send(burst_of(&mut peers, bytes)).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            ring: Ring::open(mode, sockets, message, burst)?,
            go,
            back,
            nanos: Vec::new(),
        })
    }

    /// All connections send a burst and get it back.
    fn round(&mut self, bytes: usize) -> io::Result<u64> {
        let before = self.ring.cpu_nanos();
        let gone = self.go.send(bytes);
        self.ring.echo(bytes)?;
        let nanos = self.ring.cpu_nanos().saturating_sub(before);
        gone.map_err(|_| ended())?;
        self.back.recv().map_err(|_| ended())??;
        Ok(nanos)
    }
}

fn ended() -> io::Error {
    io::Error::other("the peers have ended")
}

/// Both ends of connections.
fn pairs(connections: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (mut sockets, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..connections {
        let peer = TcpStream::connect(listener.local_addr()?)?;
        let socket = listener.accept()?.0;
        for end in [&peer, &socket] {
            end.set_nodelay(true)?;
        }
        sockets.push(socket);
        peers.push(peer);
    }
    Ok((sockets, peers))
}

/// Each peer sends so many bytes, then each reads as many.
fn burst_of(peers: &mut [TcpStream], bytes: usize) -> io::Result<()> {
    let mut burst = vec![0x5a; bytes];
    peers
        .iter_mut()
        .try_for_each(|peer| peer.write_all(&burst))?;
    peers
        .iter_mut()
        .try_for_each(|peer| peer.read_exact(&mut burst))
}

/// CPU time per message, of many connections.
fn costs(
    modes: &[Mode],
    connections: usize,
    message: usize,
    burst: usize,
    rounds: usize,
) -> io::Result<()> {
    assert!(message * burst <= AT_ONCE, "more would block the peers");
    let open = |&mode| Bench::open(mode, connections, message, burst);
    let mut benches = modes.iter().map(open).collect::<io::Result<Vec<_>>>()?;
    for round in 0..WARMUP + rounds {
        for bench in &mut benches {
            let nanos = bench.round(message * burst)?;
            if round >= WARMUP {
                bench.nanos.push(nanos / (connections * burst) as u64);
            }
        }
    }
    let title = format!("{connections} connections, {burst} x {message} bytes: CPU ns per message");
    let named = benches
        .iter_mut()
        .map(|bench| (bench.ring.mode.name, &mut bench.nanos));
    print(&title, named)
}

/// Medians with quartiles, and ratios to the first.
fn print<'a>(
    title: &str,
    rows: impl Iterator<Item = (&'a str, &'a mut Vec<u64>)>,
) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{title}")?;
    let mut first = None;
    for (name, nanos) in rows {
        nanos.sort_unstable();
        let at = |part: usize| nanos[(nanos.len() - 1) * part / 4];
        let base = *first.get_or_insert(at(2));
        writeln!(
            stdout,
            "  {name:28} {:8} ({}..{}), ratio {:.2}",
            at(2),
            at(1),
            at(3),
            at(2) as f64 / base as f64,
        )?;
    }
    Ok(())
}

pub(super) fn run() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let rounds = args.next().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(101);
    let part = args.next();
    let wanted = |name| part.as_deref().is_none_or(|part| part == name);
    if wanted("rings") {
        for (connections, message) in [(100, 64), (1000, 64), (100, 1 << 10), (100, 16 << 10)] {
            costs(&RINGS, connections, message, 1, rounds)?;
        }
    }
    if wanted("sends") {
        for message in [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10] {
            costs(&SENDS, 16, message, 1, rounds)?;
        }
    }
    if wanted("gathers") {
        for message in [64, 1 << 10, 4 << 10, 16 << 10] {
            costs(&GATHERS, 16, message, 16, rounds)?;
        }
    }
    if wanted("latency") {
        latency::run(rounds)?;
    }
    Ok(())
}
