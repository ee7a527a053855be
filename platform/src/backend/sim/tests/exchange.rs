//! Two drivers that echo, clients that check, one scheduler.

use std::collections::VecDeque;
use std::io::ErrorKind;

use super::super::{FaultCounts, Faults, SimConfig, SimDriver, SimNet, SimPeer, SimWaker};
use crate::buffer::{Frame, Segment};
use crate::clock::Nanos;
use crate::driver::{Driver, Event, Token};
use crate::socket::ListenOptions;

const CLIENTS: usize = 8;
const BYTES: usize = 6_000;

/// A run that takes longer than this hangs: every wait is bounded by seconds.
const PATIENCE: Nanos = 300_000_000_000;

/// What became of a run.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) digest: u64,
    pub(super) faults: FaultCounts,
    pub(super) clients: usize,
    /// Clients that got back what they sent.
    pub(super) echoed: usize,
    end: Nanos,
}

/// One run.
pub(super) fn exchange(seed: u64, faults: Faults) -> Outcome {
    let net = SimNet::stepped(seed, faults);
    let mut shards: Vec<_> = (0..2).map(|_| Shard::open(&net)).collect();
    let wakers: Vec<_> = shards.iter().map(|shard| shard.driver.waker()).collect();
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|index| Client::open(&net, index))
        .collect();
    let start = net.now();
    while clients.iter().any(|client| !client.over) {
        step(&net, &mut shards, &wakers, &mut clients);
        assert!(net.now() - start < PATIENCE, "{:#?}", net.history());
    }
    let echoed = clients.iter().filter(|client| client.echoed()).count();
    drop(clients);
    drain(&net, &mut shards, &wakers);
    drop(shards);
    Outcome {
        digest: net.digest(),
        faults: net.injected(),
        clients: CLIENTS,
        echoed,
        end: net.now(),
    }
}

/// Runs somebody who can run, or else lets time pass.
fn step(net: &SimNet, shards: &mut [Shard], wakers: &[SimWaker], clients: &mut [Client]) {
    let runnable: Vec<_> = (0..shards.len())
        .filter(|&index| shards[index].driver.is_runnable(None))
        .collect();
    let before = net.now();
    match net.choose(runnable.len() + 2) {
        0 => {
            let index = net.choose(clients.len());
            clients[index].act();
        }
        1 => {
            let due = shards
                .iter()
                .filter_map(|shard| shard.driver.next_time(None));
            let next = due.chain(net.next_event_time()).min();
            // Not far past what clients do meanwhile, but on.
            let latest = before + 10_000_000;
            net.advance_to(next.unwrap_or(latest).clamp(before + 1_000, latest));
            assert!(net.now() > before, "time never goes back");
        }
        chosen => shards[runnable[chosen - 2]].turn(wakers),
    }
}

/// Closes everything and checks that nothing is left.
fn drain(net: &SimNet, shards: &mut [Shard], wakers: &[SimWaker]) {
    for shard in &mut *shards {
        let sockets = std::mem::take(&mut shard.sockets);
        for token in sockets.into_iter().map(|(token, _)| token) {
            shard.driver.close(token);
        }
        shard.driver.close(shard.listener);
    }
    for _ in 0..10_000 {
        let attached: u64 = shards.iter().map(|s| s.driver.stats().attached).sum();
        if attached == 0 {
            break;
        }
        shards.iter_mut().for_each(|shard| shard.turn(wakers));
        net.advance_to(net.now() + 10_000);
    }
    for shard in shards {
        let stats = shard.driver.stats();
        let left = (stats.attached, stats.in_flight, stats.leases_out);
        assert_eq!(left, (0, 0, 0), "{stats:?} {:#?}", net.history());
        assert!(shard.woken > 0, "the other shard's wakes arrive");
    }
    assert_eq!(net.descriptors(), 0);
}

/// What a driver's owner does: echo.
struct Shard {
    driver: SimDriver,
    listener: Token,
    sockets: Vec<(Token, VecDeque<Segment>)>,
    woken: u64,
}

impl Shard {
    fn open(net: &SimNet) -> Self {
        let config = SimConfig {
            recv_buffers: 8,
            recv_buffer_size: 512,
            max_leases_per_socket: 2,
            ..SimConfig::default()
        };
        let mut driver = SimDriver::open(net, config).expect("possible sizes");
        let options = ListenOptions::new(([10, 0, 0, 1], 80).into());
        let listener = net.listen(&options).expect("a shared port");
        let listener = driver.listen(listener).expect("room for a listener");
        Self {
            driver,
            listener,
            sockets: Vec::new(),
            woken: 0,
        }
    }

    fn turn(&mut self, wakers: &[SimWaker]) {
        let mut events = Vec::new();
        self.driver
            .wait(None, &mut events)
            .expect("the driver goes on");
        for event in events {
            match event {
                Event::Accepted { socket, .. } => {
                    let token = self.driver.adopt(socket).expect("room for a socket");
                    self.driver.recv_start(token);
                    self.sockets.push((token, VecDeque::new()));
                    for waker in wakers {
                        self.driver.wake(waker);
                    }
                }
                Event::Received { token, lease } => {
                    let segment = Segment::Frame(Frame::from(lease.to_vec()));
                    if let Some(queue) = self.queue(token) {
                        queue.push_back(segment);
                    }
                }
                Event::Sent { token, outcome } => {
                    if outcome.is_err() {
                        self.forget(token);
                    }
                }
                Event::RecvEnded { token, .. } => self.forget(token),
                Event::Woken => self.woken += 1,
                Event::Closed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        for (token, queue) in &mut self.sockets {
            self.driver.send(*token, queue);
        }
    }

    fn queue(&mut self, token: Token) -> Option<&mut VecDeque<Segment>> {
        let socket = self.sockets.iter_mut().find(|(other, _)| *other == token);
        socket.map(|(_, queue)| queue)
    }

    fn forget(&mut self, token: Token) {
        self.sockets.retain(|(other, _)| *other != token);
        self.driver.close(token);
    }
}

/// Sends a stream and reads it back.
struct Client {
    peer: SimPeer,
    bytes: Vec<u8>,
    sent: usize,
    received: usize,
    over: bool,
}

impl Client {
    fn open(net: &SimNet, index: usize) -> Self {
        let addr = ([10, 0, 0, 1], 80).into();
        let bytes = (0..BYTES).map(|at| (at * 7 + at / 251 + index).to_le_bytes()[0]);
        Self {
            peer: net.connect(None, addr).expect("our address"),
            bytes: bytes.collect(),
            sent: 0,
            received: 0,
            over: false,
        }
    }

    fn echoed(&self) -> bool {
        self.received == self.bytes.len()
    }

    fn act(&mut self) {
        if self.over {
            return;
        }
        let piece = self.bytes.len().min(self.sent + 997);
        match self.peer.try_write(&self.bytes[self.sent..piece]) {
            Ok(sent) => self.sent += sent,
            Err(error) => self.over |= error.kind() != ErrorKind::WouldBlock,
        }
        let mut into = [0; 700];
        match self.peer.try_read(&mut into) {
            Ok(0) => self.over = true,
            Ok(len) => {
                let expected = &self.bytes[self.received..];
                assert!(
                    expected.starts_with(&into[..len]),
                    "the stream is broken at {}",
                    self.received
                );
                self.received += len;
            }
            Err(error) => self.over |= error.kind() != ErrorKind::WouldBlock,
        }
        self.over |= self.echoed() || self.peer.is_gone();
    }
}
