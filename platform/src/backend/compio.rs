//! IOCP on Windows and epoll on Linux, through `compio-driver`.
//!
//! The driver of Windows, and of Linux where io_uring is forbidden: Docker's
//! default seccomp profile does that.
//!
//! Sockets are non-blocking, and what can be done at once is: a send goes to
//! the socket when it is asked for, and only what the socket does not take
//! becomes an operation. A receive waits for readiness without a buffer
//! (`epoll` on Linux, a receive of no bytes on Windows), so that an idle socket
//! holds none.
//!
//! Beyond what [`Driver`] promises:
//!
//! - the terminal events of a send and a connect that `close` cuts short come
//!   before [`Event::Closed`]; so do sockets a listener had accepted already.
//!   Received bytes and the end of a receive stream do not come after `close`;
//! - a source that stays readable is reported at every wait;
//! - a timeout is never early. On Linux it is late by the kernel's
//!   high-resolution timer (some tens of microseconds), on Windows it is
//!   rounded up to a millisecond.
//!
//! Non-goals: as fast as io_uring. A receive costs up to four system calls.

mod accept;
mod buffers;
mod close;
mod config;
mod connect;
mod finished;
mod recv;
mod send;
mod system;
mod table;
mod turn;
mod wake;
mod watch;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use compio_driver::{AsRawFd, Key, Proactor, SharedFd};
use socket2::SockRef;

pub use config::CompioConfig;
pub use wake::CompioWaker;

use buffers::Buffers;
use connect::Connecting;
use finished::{Finished, Tag};
use system::{AcceptOp, Owned};
use table::{Flags, Role, Table};

use super::batch::Batch;
use crate::buffer::Segment;
use crate::clock::{Clock, Nanos};
use crate::driver::{Connect, Driver, DriverStats, Event, Token};
use crate::error::DriverError;
use crate::socket::{Listener, Socket};
use crate::source::Source;

/// The name errors and reports use.
pub(crate) const NAME: &str = system::NAME;

/// A driver on one completion port or epoll instance. Not `Send`: it lives on
/// the thread that opens it.
pub struct CompioDriver {
    proactor: Proactor,
    buffers: Buffers,
    clock: Clock,
    config: CompioConfig,
    table: Table,
    /// The accepts of each listener, in places of their own.
    accepts: HashMap<Token, Vec<Option<Key<AcceptOp>>>>,
    connects: HashMap<Token, Connecting>,
    connect_deadlines: BTreeSet<(Nanos, Token)>,
    spare: Vec<Batch>,
    waker: CompioWaker,
    finished: Finished,
    /// Operations that are over and not yet served.
    finished_tags: VecDeque<Tag>,
    /// Events not yet delivered. Bounded: a socket has at most its outcomes of
    /// a send and a connect, its end and its close here, a source one.
    backlog: VecDeque<Event<Socket>>,
    /// Slots to receive from.
    due: VecDeque<u32>,
    /// Slots of listeners to accept from.
    due_listeners: VecDeque<u32>,
    /// Slots whose receive waits for a buffer.
    stalled: Vec<u32>,
    /// Slots of listeners that wait for descriptors, and until when.
    paused: Vec<u32>,
    accept_retry: Option<Nanos>,
    /// Slots of sources to watch again.
    watches: Vec<u32>,
    in_flight: u64,
    stats: DriverStats,
}

impl CompioDriver {
    /// Opens a driver on the calling thread, which owns it from then on.
    ///
    /// # Errors
    /// [`DriverError::System`] for impossible sizes or a lack of descriptors.
    pub fn open(config: CompioConfig) -> Result<Self, DriverError> {
        config.check()?;
        let proactor = Proactor::new().map_err(|error| DriverError::system(NAME, error))?;
        let waker = CompioWaker::new(proactor.waker());
        let clock = Clock::new();
        Ok(Self {
            proactor,
            buffers: Buffers::new(&config, clock.now()),
            clock,
            table: Table::new(config.max_sockets),
            config,
            accepts: HashMap::new(),
            connects: HashMap::new(),
            connect_deadlines: BTreeSet::new(),
            spare: Vec::new(),
            waker,
            finished: Finished::default(),
            finished_tags: VecDeque::new(),
            backlog: VecDeque::new(),
            due: VecDeque::new(),
            due_listeners: VecDeque::new(),
            stalled: Vec::new(),
            paused: Vec::new(),
            accept_retry: None,
            watches: Vec::new(),
            in_flight: 0,
            stats: DriverStats::default(),
        })
    }

    fn attach(&mut self, role: Role, fd: Owned) -> Result<Token, DriverError> {
        self.table.check_room()?;
        if role != Role::Source {
            SockRef::from(&fd)
                .set_nonblocking(true)
                .map_err(|error| DriverError::system("making a socket non-blocking", error))?;
        }
        let fd = SharedFd::new(fd);
        self.proactor
            .attach(fd.as_raw_fd())
            .map_err(|error| DriverError::system("attaching a socket", error))?;
        self.insert(role, fd)
    }

    fn insert(&mut self, role: Role, fd: SharedFd<Owned>) -> Result<Token, DriverError> {
        self.table.insert(|entry| {
            entry.fd = Some(fd);
            entry.role = role;
        })
    }
}

impl Driver for CompioDriver {
    type Socket = Socket;
    type Listener = Listener;
    type Waker = CompioWaker;

    fn now(&self) -> Nanos {
        self.clock.now()
    }

    fn listen(&mut self, listener: Listener) -> Result<Token, DriverError> {
        let token = self.attach(Role::Listener, listener.into())?;
        self.list_listener(token.slot());
        Ok(token)
    }

    fn adopt(&mut self, socket: Socket) -> Result<Token, DriverError> {
        self.attach(Role::Stream, socket.into())
    }

    fn connect(&mut self, target: &Connect) -> Result<Token, DriverError> {
        self.start_connect(target)
    }

    fn watch(&mut self, source: Source) -> Result<Token, DriverError> {
        let source = source.of_the_system()?;
        let token = self.attach(Role::Source, source)?;
        self.arm_watch(token);
        Ok(token)
    }

    fn peer_addr(&self, token: Token) -> Option<SocketAddr> {
        let fd = self.table.get(token)?.fd.as_ref()?;
        SockRef::from(&**fd).peer_addr().ok()?.as_socket()
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

    fn waker(&self) -> CompioWaker {
        self.waker.clone()
    }

    fn wake(&mut self, peer: &CompioWaker) {
        crate::wake::Wake::wake(peer);
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
            in_flight: self.in_flight,
            ..self.stats
        }
        .with_pool(
            self.buffers.pool(),
            self.buffers.growth(),
            self.buffers.in_use(),
        )
    }
}

/// How long operations may take to end when the driver is dropped.
const PATIENCE: Nanos = 1_000_000_000;

/// The longest single poll meanwhile.
const STEP: Duration = Duration::from_millis(10);

impl Drop for CompioDriver {
    /// Everything is cancelled and awaited. The memory of an operation that
    /// never ends is leaked: the system still holds its reference.
    fn drop(&mut self) {
        for token in self.table.tokens() {
            self.start_close(token);
        }
        let deadline = self.clock.now().saturating_add(PATIENCE);
        let mut events = Vec::new();
        loop {
            self.serve(&mut events, usize::MAX);
            events.clear();
            if self.in_flight == 0 {
                return;
            }
            let late = self.clock.now() >= deadline;
            if late || self.poll(Some(STEP)).is_err() {
                tracing::warn!(left = self.in_flight, "operations never ended");
                return;
            }
        }
    }
}

impl fmt::Debug for CompioDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompioDriver")
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
