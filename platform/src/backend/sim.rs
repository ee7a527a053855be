//! A deterministic network, clock and scheduler, driven by one seed.
//!
//! [`SimNet`] is the network with its clock and its [`Faults`]; [`SimDriver`]
//! is a driver on it, [`SimPeer`] a connection of a simulated client. The
//! network completes operations as io_uring does, in its own time and order,
//! and the driver is a state machine like that of any backend: what it does
//! wrong is found by what its peers see, or by the simulated kernel, which
//! checks what a driver owes it.
//!
//! Beyond what [`Driver`] promises: a timeout is exact, and what `close` cuts
//! short is reported as io_uring's backend does.
//!
//! Non-goals: no packet loss below TCP, no congestion control, no bandwidth.

mod accept;
mod agenda;
mod buffers;
mod close;
mod complete;
mod config;
mod connect;
mod endpoint;
mod faults;
mod kernel;
mod listen;
mod net;
mod op;
mod peer;
mod random;
mod recv;
mod send;
mod socket;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod trace;
mod turn;
mod wake;
mod world;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;

pub use config::SimConfig;
pub use faults::{Fault, FaultCounts, Faults};
pub use net::SimNet;
pub use peer::SimPeer;
pub use random::SimRandom;
pub use socket::{SimListener, SimSocket};
pub use source::{SimSignal, SimSource};
pub use wake::SimWaker;

use buffers::Buffers;
use kernel::Kernel;
use op::{Completion, Descriptor, Request};
use table::{Role, Table};
use world::DriverId;

use crate::buffer::Segment;
use crate::clock::Nanos;
use crate::driver::{Connect, Driver, DriverStats, Event, Token};
use crate::error::DriverError;
use crate::source::Source;

/// A driver on a simulated network.
pub struct SimDriver {
    net: SimNet,
    id: DriverId,
    config: SimConfig,
    /// What the next entry hands to the kernel.
    requests: Vec<Request>,
    /// What the last entry yielded; kept for its allocation.
    taken: Vec<Completion>,
    buffers: Buffers,
    table: Table,
    waker: SimWaker,
    /// Whether this turn has its [`Event::Woken`].
    woken: bool,
    /// Slots whose receive waits for a buffer.
    stalled: VecDeque<u32>,
    /// Slots that hold their share of the pool or more.
    share: BTreeSet<u32>,
    /// Slots that fell below their share again.
    resumed: BTreeSet<u32>,
    /// Slots of listeners that wait for descriptors, and until when.
    paused: BTreeSet<u32>,
    accept_retry: Option<Nanos>,
    stats: DriverStats,
}

impl SimDriver {
    /// A driver on `net`.
    ///
    /// # Errors
    /// [`DriverError::System`] for impossible sizes.
    pub fn open(net: &SimNet, config: SimConfig) -> Result<Self, DriverError> {
        config.check()?;
        let kernel = Kernel::new(config.completions, config.recv_buffer_size);
        let id = net.with(|world| {
            let id = DriverId(world.id());
            world.drivers.insert(id, kernel);
            id
        });
        let mut requests = Vec::new();
        let buffers = Buffers::new(&config, net.now(), &mut requests);
        Ok(Self {
            net: net.clone(),
            id,
            requests,
            taken: Vec::new(),
            buffers,
            table: Table::new(config.max_sockets),
            waker: SimWaker::new(net.clone(), id),
            config,
            woken: false,
            stalled: VecDeque::new(),
            share: BTreeSet::new(),
            resumed: BTreeSet::new(),
            paused: BTreeSet::new(),
            accept_retry: None,
            stats: DriverStats::default(),
        })
    }

    /// The network it is on.
    #[must_use]
    pub fn net(&self) -> &SimNet {
        &self.net
    }

    /// Receive buffers that are neither with the kernel nor leased, now that
    /// those given back are lent again: none, unless some were lost.
    #[must_use]
    pub fn lost_buffers(&mut self) -> usize {
        self.restock();
        let pool = self.buffers.pool();
        usize::from(pool.count()).saturating_sub(self.buffers.posted() + pool.out())
    }

    /// When a [`wait`](Driver::wait) with this deadline has something to do:
    /// now or later. `None`: not before something happens on the network.
    #[must_use]
    pub fn next_time(&self, deadline: Option<Nanos>) -> Option<Nanos> {
        let now = self.now();
        let busy = !self.requests.is_empty() || self.buffers.has_returned();
        if busy || self.may_unstall() || self.has_completions() {
            return Some(now);
        }
        let due = [deadline, self.accept_retry].into_iter().flatten().min();
        due.map(|due| due.max(now))
    }

    /// Whether a [`wait`](Driver::wait) with this deadline has something to do
    /// now.
    #[must_use]
    pub fn is_runnable(&self, deadline: Option<Nanos>) -> bool {
        self.next_time(deadline).is_some_and(|at| at <= self.now())
    }
}

impl Driver for SimDriver {
    type Socket = SimSocket;
    type Listener = SimListener;
    type Waker = SimWaker;

    fn now(&self) -> Nanos {
        self.net.now()
    }

    fn listen(&mut self, listener: SimListener) -> Result<Token, DriverError> {
        self.table.check_room()?;
        let id = listener.release().map(Descriptor::Listener);
        let token = self.table.attach(Role::Listener, id)?;
        self.arm_accept(token);
        Ok(token)
    }

    fn adopt(&mut self, socket: SimSocket) -> Result<Token, DriverError> {
        self.table.check_room()?;
        let end = socket.release().map(Descriptor::End);
        self.table.attach(Role::Stream, end)
    }

    fn connect(&mut self, target: &Connect) -> Result<Token, DriverError> {
        self.start_connect(target)
    }

    fn watch(&mut self, source: Source) -> Result<Token, DriverError> {
        let source = source.simulated()?;
        self.table.check_room()?;
        let id = source.release().map(Descriptor::Source);
        let token = self.table.attach(Role::Source, id)?;
        self.arm_poll(token);
        Ok(token)
    }

    fn peer_addr(&self, token: Token) -> Option<SocketAddr> {
        self.net.remote_addr(self.table.get(token)?.end()?)
    }

    fn recv_start(&mut self, token: Token) {
        self.start_recv(token);
    }

    fn recv_pause(&mut self, token: Token) {
        self.pause_recv(token);
    }

    fn send(&mut self, token: Token, queue: &mut VecDeque<Segment>) {
        self.start_send(token, queue);
    }

    fn send_in_flight(&self, token: Token) -> bool {
        self.table
            .get(token)
            .is_some_and(|entry| entry.op.is_some())
    }

    fn shutdown(&mut self, token: Token) {
        self.shut(token);
    }

    fn close(&mut self, token: Token) {
        self.start_close(token);
    }

    fn waker(&self) -> SimWaker {
        self.waker.clone()
    }

    fn wake(&mut self, peer: &SimWaker) {
        self.wake_peer(peer);
    }

    fn wait(
        &mut self,
        deadline: Option<Nanos>,
        events: &mut Vec<Event<SimSocket>>,
    ) -> Result<(), DriverError> {
        self.turn(deadline, events);
        Ok(())
    }

    fn stats(&self) -> DriverStats {
        DriverStats {
            attached: self.table.occupied() as u64,
            cq_overflows: self.overflows(),
            ..self.stats
        }
        .with_pool(
            self.buffers.pool(),
            self.buffers.growth(),
            self.buffers.in_use(),
        )
    }
}

impl fmt::Debug for SimDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDriver")
            .field("id", &self.id)
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
