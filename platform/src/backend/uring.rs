//! io_uring (Linux 6.1 and later).
//!
//! One ring per driver, set up for its one thread (`SINGLE_ISSUER`,
//! `DEFER_TASKRUN`): one entry into the kernel submits everything a turn has
//! queued and collects what completed. Accepting, receiving and polling are
//! multishot, receives share one ring of provided buffers.
//!
//! Beyond what [`Driver`] promises:
//!
//! - the terminal events of a send and a connect that `close` cuts short
//!   (`ECANCELED`) come before [`Event::Closed`]; so do sockets a listener had
//!   accepted already. Received bytes and the end of a receive stream do not
//!   come after `close`;
//! - a timeout is never early and late by the kernel's high-resolution timer
//!   (some tens of microseconds).
//!
//! Non-goals: no fixed files (the table is capped by the same descriptor limit
//! and sockets could not be handed over), no kernel polling thread, no bundles
//! (they reordered data from 6.13.11 to at least 6.14.11).

mod accept;
mod buffers;
mod close;
mod complete;
mod config;
mod connect;
mod hangup;
pub(crate) mod probe;
mod recv;
mod ring;
mod send;
mod table;
mod tag;
mod teardown;
mod turn;
mod wake;
mod watch;
mod zero_copy;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;

pub use config::{RecvMode, UringConfig};
pub use wake::UringWaker;

use buffers::BufferRing;
use connect::ConnectOp;
use hangup::Hangups;
use probe::Features;
use ring::Ring;
use send::SpareOps;
use table::{Flags, Role, Table};
use wake::Messages;
use zero_copy::ZeroCopy;

use crate::buffer::Segment;
use crate::clock::{Clock, Nanos};
use crate::driver::{Connect, Driver, DriverStats, Event, Token};
use crate::error::DriverError;
use crate::socket::{Listener, Socket};
use crate::source::Source;

/// The name errors and reports use.
pub(crate) const NAME: &str = "io_uring";

/// A driver on one io_uring. Not `Send`: it lives on the thread that opens it.
pub struct UringDriver {
    ring: Ring,
    /// Freed only once the kernel has let go of it; else leaked.
    buffers: ManuallyDrop<BufferRing>,
    clock: Clock,
    config: UringConfig,
    features: Features,
    table: Table,
    /// Addresses and timeouts of connects in flight.
    connects: HashMap<Token, Box<ConnectOp>>,
    spare: SpareOps,
    zero_copy: ZeroCopy,
    messages: Messages,
    waker: UringWaker,
    /// What the read armed on the eventfd writes.
    doorbell: Box<[u8; 8]>,
    armed_doorbell: bool,
    /// Whether this turn has its [`Event::Woken`].
    woken: bool,
    /// Dropping: nothing is armed any more.
    ending: bool,
    /// Slots whose receive waits for a buffer.
    stalled: Vec<u32>,
    /// Slots that hold their share of the pool or more.
    share: Vec<u32>,
    /// Slots that fell below their share again.
    resumed: Vec<u32>,
    /// Slots of listeners that wait for descriptors, and until when.
    paused: Vec<u32>,
    accept_retry: Option<Nanos>,
    /// Slots whose cancel missed something, and when to repeat it.
    cancels: Vec<u32>,
    cancel_retry: Option<Nanos>,
    hangups: Hangups,
    stats: DriverStats,
}

impl UringDriver {
    /// Sets a ring up on the calling thread, which owns the driver from then
    /// on.
    ///
    /// # Errors
    /// [`DriverError::Unavailable`] says which of seccomp, sysctl, memlock or
    /// kernel age forbids io_uring and what to do about it;
    /// [`DriverError::System`] for impossible sizes or a lack of descriptors.
    pub fn open(config: UringConfig) -> Result<Self, DriverError> {
        config.check()?;
        let features = probe::features()?;
        let ring = Ring::open(&config).map_err(|error| probe::refusal(&error))?;
        let clock = Clock::new();
        let buffers = lend_buffers(&ring, &config, features, clock.now())?;
        let waker = UringWaker::new(&ring)?;
        let threshold = config.zero_copy_threshold.filter(|_| features.send_zc);
        let mut driver = Self {
            ring,
            buffers: ManuallyDrop::new(buffers),
            clock,
            table: Table::new(config.max_sockets),
            config,
            features,
            connects: HashMap::new(),
            spare: SpareOps::default(),
            zero_copy: ZeroCopy::new(threshold),
            messages: Messages::default(),
            waker,
            doorbell: Box::default(),
            armed_doorbell: true,
            woken: false,
            ending: false,
            stalled: Vec::new(),
            share: Vec::new(),
            resumed: Vec::new(),
            paused: Vec::new(),
            accept_retry: None,
            cancels: Vec::new(),
            cancel_retry: None,
            hangups: Hangups::default(),
            stats: DriverStats::default(),
        };
        driver.arm_doorbell();
        Ok(driver)
    }

    /// Whether receives fill shared buffers bit by bit.
    #[must_use]
    pub fn incremental(&self) -> bool {
        self.buffers.incremental()
    }
}

fn lend_buffers(
    ring: &Ring,
    config: &UringConfig,
    features: Features,
    now: Nanos,
) -> Result<BufferRing, DriverError> {
    let (incremental, pool) = match config.recv_mode {
        RecvMode::Incremental => (true, config.pool()),
        RecvMode::Plain => (false, config.pool()),
        RecvMode::Auto if features.incremental => (true, config.pool()),
        RecvMode::Auto => (false, config.plain_fallback()),
    };
    BufferRing::register(ring.io(), pool, incremental, now)
        .map_err(|error| DriverError::system("registering the ring of receive buffers", error))
}

impl Driver for UringDriver {
    type Socket = Socket;
    type Listener = Listener;
    type Waker = UringWaker;

    fn now(&self) -> Nanos {
        self.clock.now()
    }

    fn listen(&mut self, listener: Listener) -> Result<Token, DriverError> {
        let token = self.table.attach(Role::Listener, listener.into())?;
        self.arm_accept(token);
        Ok(token)
    }

    fn adopt(&mut self, socket: Socket) -> Result<Token, DriverError> {
        self.table.attach(Role::Stream, socket.into())
    }

    fn connect(&mut self, target: &Connect) -> Result<Token, DriverError> {
        self.start_connect(target)
    }

    fn watch(&mut self, source: Source) -> Result<Token, DriverError> {
        let source = source.of_the_system()?;
        let token = self.table.attach(Role::Source, source)?;
        self.arm_poll(token);
        Ok(token)
    }

    fn peer_addr(&self, token: Token) -> Option<SocketAddr> {
        let fd = self.table.get(token)?.fd.as_ref()?;
        socket2::SockRef::from(fd).peer_addr().ok()?.as_socket()
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
            .is_some_and(|entry| entry.has(Flags::SENDING))
    }

    fn shutdown(&mut self, token: Token) {
        self.shut(token);
    }

    fn close(&mut self, token: Token) {
        self.start_close(token);
    }

    fn waker(&self) -> UringWaker {
        self.waker.clone()
    }

    fn wake(&mut self, peer: &UringWaker) {
        self.wake_peer(peer);
    }

    fn wait(
        &mut self,
        deadline: Option<Nanos>,
        events: &mut Vec<Event<Socket>>,
    ) -> Result<(), DriverError> {
        self.turn(deadline, events)
    }

    fn stats(&self) -> DriverStats {
        DriverStats {
            attached: self.table.occupied() as u64,
            in_flight: self.ring.in_flight,
            enters: self.ring.enters,
            completions: self.ring.completions,
            cq_overflows: self.ring.overflows,
            ..self.stats
        }
        .with_pool(
            self.buffers.pool(),
            self.buffers.growth(),
            self.buffers.in_use(),
        )
    }
}

impl fmt::Debug for UringDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringDriver")
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
