//! Two drivers that echo, clients that check, one scheduler.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;

use super::super::{FaultCounts, Faults, SimConfig, SimDriver, SimNet, SimPeer, SimWaker};
use crate::buffer::{Frame, Segment};
use crate::clock::Nanos;
use crate::driver::{Driver, Event, Token};
use crate::socket::ListenOptions;

/// Clients in all, and at a time: later ones find the slots of earlier ones.
const CLIENTS: usize = 20;
const AT_A_TIME: usize = 6;
const BYTES: usize = 3_000;

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
    let inbox = |shard: &Shard| (shard.driver.waker(), Rc::clone(&shard.inbox));
    let inboxes: Vec<Inbox> = shards.iter().map(inbox).collect();
    let (mut clients, mut opened, mut echoed) = (Vec::new(), 0, 0);
    let start = net.now();
    while opened < CLIENTS || !clients.is_empty() {
        while clients.len() < AT_A_TIME && opened < CLIENTS {
            clients.push(Client::open(&net, opened));
            opened += 1;
        }
        step(&net, &mut shards, &inboxes, &mut clients);
        let over = clients.extract_if(.., |client: &mut Client| client.over);
        echoed += over.filter(Client::echoed).count();
        assert!(net.now() - start < PATIENCE, "{:#?}", net.history());
    }
    drain(&net, &mut shards, &inboxes);
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
fn step(net: &SimNet, shards: &mut [Shard], inboxes: &[Inbox], clients: &mut [Client]) {
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
        chosen => shards[runnable[chosen - 2]].turn(inboxes),
    }
}

/// Closes everything and checks that nothing is left.
fn drain(net: &SimNet, shards: &mut [Shard], inboxes: &[Inbox]) {
    for shard in &mut *shards {
        let sockets = std::mem::take(&mut shard.sockets);
        for token in sockets.into_iter().map(|(token, _)| token) {
            shard.driver.close(token);
        }
        shard.driver.close(shard.listener);
    }
    for _ in 0..10_000 {
        let idle = |shard: &Shard| shard.driver.stats().attached == 0 && shard.inbox.get() == 0;
        if shards.iter().all(idle) {
            break;
        }
        shards.iter_mut().for_each(|shard| shard.turn(inboxes));
        net.advance_to(net.now() + 10_000);
    }
    for shard in shards {
        let stats = shard.driver.stats();
        let left = (stats.attached, stats.in_flight, stats.leases_out);
        assert_eq!(left, (0, 0, 0), "{stats:?} {:#?}", net.history());
        let unread = shard.inbox.get();
        assert!(unread == 0 && shard.woken > 0, "{unread} never heard of");
    }
    assert_eq!(net.descriptors(), 0);
}

/// What a driver's owner does: echo.
struct Shard {
    driver: SimDriver,
    listener: Token,
    sockets: Vec<(Token, VecDeque<Segment>)>,
    /// What it was told, and what it has heard of it.
    inbox: Rc<Cell<u64>>,
    woken: u64,
}

/// Where to tell a shard something.
type Inbox = (SimWaker, Rc<Cell<u64>>);

impl Shard {
    fn open(net: &SimNet) -> Self {
        let config = SimConfig {
            recv_buffers: 8,
            recv_buffer_size: 512,
            max_leases_per_socket: 2,
            ..SimConfig::default()
        };
        let mut driver = SimDriver::open(net, config).expect("possible sizes");
        let options = ListenOptions {
            reuse_port: true,
            ..ListenOptions::new(([10, 0, 0, 1], 80).into())
        };
        let listener = net.listen(&options).expect("a shared port");
        let listener = driver.listen(listener).expect("room for a listener");
        Self {
            driver,
            listener,
            sockets: Vec::new(),
            inbox: Rc::default(),
            woken: 0,
        }
    }

    fn turn(&mut self, inboxes: &[Inbox]) {
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
                    for (waker, inbox) in inboxes {
                        inbox.set(inbox.get() + 1);
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
                Event::Woken => {
                    self.woken += self.inbox.take();
                }
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
