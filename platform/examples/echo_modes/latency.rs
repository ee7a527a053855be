//! What one message waits for: sleeping, or asking again and again.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use super::ring::{Mode, Ring, Wait};
use super::{BASE, SQPOLL, WARMUP, ended, pairs, print};

const WAITS: [Mode; 4] = [
    BASE,
    Mode {
        name: "busy polling",
        wait: Wait::Ask,
        ..BASE
    },
    SQPOLL,
    Mode {
        name: "SQPOLL, no system calls",
        wait: Wait::Look,
        ..SQPOLL
    },
];

const MESSAGE: usize = 64;

/// Messages of a round, one after the other.
const MESSAGES: usize = 500;

/// A ring and a thread with the other end of its one connection.
struct Bench {
    ring: Ring,
    go: Sender<()>,
    back: Receiver<io::Result<Vec<u64>>>,
    /// A message there and back.
    trips: Vec<u64>,
    /// What the ring spent on each.
    costs: Vec<u64>,
}

impl Bench {
    fn open(mode: Mode) -> io::Result<Self> {
        let (sockets, mut peers) = pairs(1)?;
        let (go, going) = mpsc::channel();
        let (done, back) = mpsc::channel();
        thread::spawn(move || {
            for () in going {
                if done.send(trips(&mut peers[0])).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            ring: Ring::open(mode, sockets, MESSAGE, 1)?,
            go,
            back,
            trips: Vec::new(),
            costs: Vec::new(),
        })
    }

    fn round(&mut self, counts: bool) -> io::Result<()> {
        let before = self.ring.cpu_nanos();
        self.go.send(()).map_err(|_| ended())?;
        for _ in 0..MESSAGES {
            self.ring.echo(MESSAGE)?;
        }
        let cost = self.ring.cpu_nanos().saturating_sub(before);
        let trips = self.back.recv().map_err(|_| ended())??;
        if counts {
            self.trips.extend(trips);
            self.costs.push(cost / MESSAGES as u64);
        }
        Ok(())
    }
}

/// Nanoseconds that each message took to come back.
fn trips(peer: &mut TcpStream) -> io::Result<Vec<u64>> {
    let mut message = [0x5a; MESSAGE];
    let mut trips = Vec::with_capacity(MESSAGES);
    for _ in 0..MESSAGES {
        let start = Instant::now();
        peer.write_all(&message)?;
        peer.read_exact(&mut message)?;
        trips.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(trips)
}

pub(super) fn run(rounds: usize) -> io::Result<()> {
    let benches = WAITS.into_iter().map(Bench::open);
    let mut benches = benches.collect::<io::Result<Vec<_>>>()?;
    for round in 0..WARMUP + rounds {
        for bench in &mut benches {
            bench.round(round >= WARMUP)?;
        }
    }
    let title = format!("1 connection, {MESSAGE} bytes, one at a time");
    let trips = benches
        .iter_mut()
        .map(|bench| (bench.ring.mode.name, &mut bench.trips));
    print(&format!("{title}: ns there and back"), trips)?;
    let costs = benches
        .iter_mut()
        .map(|bench| (bench.ring.mode.name, &mut bench.costs));
    print(&format!("{title}: CPU ns per message"), costs)
}
