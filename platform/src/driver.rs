//! The platform trait: [`Driver`], its events and its invariants.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use crate::buffer::{Growth, Lease, RecvPool, Segment};
use crate::clock::Nanos;
use crate::error::DriverError;
use crate::source::Source;
use crate::wake::Wake;

/// A completion-based network driver, owned by one thread.
///
/// Requests are queued by the methods and handed to the kernel by the next
/// [`wait`](Driver::wait), all of them in one kernel entry; what became of
/// them comes back as [`Event`]s. No method blocks except `wait`.
///
/// Every backend honours all of these:
///
/// - **D1 ownership.** Memory handed to an operation belongs to the driver
///   until that operation's terminal event. Dropping whoever waits orphans the
///   operation, it does not free the memory; dropping the driver cancels
///   everything and awaits every terminal event before it frees memory.
/// - **D2 accept is a stream.** After [`listen`](Driver::listen) a listener
///   yields [`Event::Accepted`] until it is closed. Errors that concern one
///   socket (`ECONNABORTED`) do not stop it; a full descriptor table (`EMFILE`,
///   `ENFILE`) pauses it and it resumes by itself, counted in [`DriverStats`]
///   and logged once per pause.
/// - **D3 receive is a stream.** After [`recv_start`](Driver::recv_start)
///   events carry leases on pool buffers until [`Event::RecvEnded`]. An empty
///   pool is backpressure: the stream stalls and resumes when leases return,
///   never on a timer, never as a peer error, and one socket holds at most
///   `max_leases_per_socket` of the pool. [`recv_pause`](Driver::recv_pause)
///   stops the stream without ending it; data the kernel had already delivered
///   may still arrive after it. Leases must not outlive the turn that received
///   them.
/// - **D4 one send in flight per socket**, of a list of segments. Short sends
///   are continued by the driver; [`Event::Sent`] is the terminal event of the
///   whole list, or of its failure.
/// - **D5 close is a protocol.** [`close`](Driver::close) cancels, waits for
///   every terminal event of that socket, closes the descriptor, then emits
///   [`Event::Closed`] exactly once and last. The slot is not given out again
///   before the next wait. A listener accepts first what waits at it, as far as
///   the system lets it (not on Windows): the kernel would reset it. What
///   connects after that and before the descriptor is closed is reset.
/// - **D6 tokens carry a generation.** An event of an earlier generation is
///   dropped and counted; a request with a stale token does nothing.
/// - **D7 wake is cross-thread, cheap and coalesced.** Any number of wakes
///   before a turn cost one [`Event::Woken`]. Drivers wake each other with
///   [`wake`](Driver::wake) (io_uring: `MSG_RING`), other threads use
///   [`Wake::wake`]. A driver is created on the thread that owns it.
/// - **D8 time comes from the driver.** A `wait` that times out never returns
///   before its deadline and at most the backend's resolution after it, the
///   scheduler permitting.
/// - **D9 features are probed at start**, reported and logged once.
/// - **D10 the rest of a socket's life**: [`connect`](Driver::connect) with a
///   source address and a timeout; [`adopt`](Driver::adopt) of a socket made
///   elsewhere (accepting yields sockets that are not yet attached to any
///   driver, so that they can be given to another thread);
///   [`watch`](Driver::watch) of a foreign event source.
pub trait Driver: Sized {
    /// A connected stream not attached to any driver.
    type Socket: Send + fmt::Debug + 'static;
    /// A bound, listening socket not attached to any driver.
    type Listener: Send + 'static;
    /// Wakes this driver from any thread.
    type Waker: Wake;

    /// Monotonic nanoseconds since an arbitrary start.
    fn now(&self) -> Nanos;

    /// Attaches a listener and starts to accept. Closing its token stops it.
    ///
    /// # Errors
    /// When the table of attached sockets is full.
    fn listen(&mut self, listener: Self::Listener) -> Result<Token, DriverError>;

    /// Attaches a connected socket. Nothing is received before
    /// [`recv_start`](Driver::recv_start).
    ///
    /// # Errors
    /// When the table of attached sockets is full; the socket is closed.
    fn adopt(&mut self, socket: Self::Socket) -> Result<Token, DriverError>;

    /// Starts to connect; [`Event::Connected`] tells the outcome. After a
    /// failure the token must still be closed.
    ///
    /// # Errors
    /// When no socket can be made or bound to the source address.
    fn connect(&mut self, target: &Connect) -> Result<Token, DriverError>;

    /// Reports [`Event::Ready`] whenever `source` becomes readable, until the
    /// token is closed. The source stays open until then.
    ///
    /// # Errors
    /// When the table of attached sockets is full, and
    /// [`DriverError::Foreign`].
    fn watch(&mut self, source: Source) -> Result<Token, DriverError>;

    /// The address of the other side, while attached and connected.
    fn peer_addr(&self, token: Token) -> Option<SocketAddr>;

    /// Starts or resumes the receive stream. Does nothing when it runs.
    fn recv_start(&mut self, token: Token);

    /// Stops the receive stream until [`recv_start`](Driver::recv_start).
    fn recv_pause(&mut self, token: Token);

    /// Sends from the front of `queue`, as many segments as one operation
    /// takes; what does not fit stays in the queue, to be sent after
    /// [`Event::Sent`]. Does nothing when a send is in flight
    /// (see [`send_in_flight`](Driver::send_in_flight)) or the queue is empty.
    fn send(&mut self, token: Token, queue: &mut VecDeque<Segment>);

    /// Whether an [`Event::Sent`] is outstanding.
    fn send_in_flight(&self, token: Token) -> bool;

    /// Ends the sending direction (FIN) once no send is in flight. Receiving
    /// goes on. Call it after the last [`Event::Sent`].
    fn shutdown(&mut self, token: Token);

    /// Cancels everything, closes, and reports [`Event::Closed`] last.
    /// Idempotent.
    fn close(&mut self, token: Token);

    /// The handle that wakes this driver from other threads.
    fn waker(&self) -> Self::Waker;

    /// Wakes another driver of the same backend, from this driver's thread.
    /// Queued like any request: it leaves with the next [`wait`](Driver::wait).
    fn wake(&mut self, peer: &Self::Waker);

    /// Hands everything queued to the kernel and waits for at least one event
    /// or the deadline (`None`: for ever). Appends at most
    /// [`Driver::BATCH`] events; a backlog makes the next call return at once.
    ///
    /// # Errors
    /// Only when the driver can not go on at all.
    fn wait(
        &mut self,
        deadline: Option<Nanos>,
        events: &mut Vec<Event<Self::Socket>>,
    ) -> Result<(), DriverError>;

    /// The most events one [`wait`](Driver::wait) appends: bounds a turn.
    const BATCH: usize = 1024;

    /// Counters since the start.
    fn stats(&self) -> DriverStats;
}

/// Names an attached socket: a dense slot, reused, and its generation.
///
/// Slots are small integers, so that a table indexed by them stays dense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    slot: u32,
    /// One more than the generation.
    life: NonZeroU32,
}

// Tables hold an `Option` per slot or timer.
const _: () = assert!(size_of::<Option<Token>>() == 8);

impl Token {
    /// Generations count modulo this: 28 bits, so that a token and an operation
    /// kind fit one 64-bit completion tag.
    pub const GENERATIONS: u32 = 1 << 28;

    /// A token for `slot` in its `generation`-th life.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self {
            slot,
            life: NonZeroU32::MIN.saturating_add(generation % Self::GENERATIONS),
        }
    }

    /// The index of the slot.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// The index of the slot, to index a table with.
    #[must_use]
    pub const fn index(self) -> usize {
        self.slot as usize
    }

    /// Which life of the slot this is.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.life.get() - 1
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.slot, self.generation())
    }
}

/// What became of the requests.
#[derive(Debug)]
pub enum Event<S> {
    /// A listener accepted a socket, not yet attached to any driver.
    Accepted {
        /// The listener.
        listener: Token,
        /// The socket: [`Driver::adopt`] it here or on another thread.
        socket: S,
    },
    /// The outcome of [`Driver::connect`]; `TimedOut` when its timeout passed.
    Connected {
        /// The token `connect` returned.
        token: Token,
        /// Connected, or why not.
        outcome: io::Result<()>,
    },
    /// Bytes arrived. Dropping the lease gives the buffer back.
    Received {
        /// The socket.
        token: Token,
        /// The bytes, in a pool buffer; never empty.
        lease: Lease,
    },
    /// The receive stream ended: no more [`Event::Received`] for this token.
    RecvEnded {
        /// The socket.
        token: Token,
        /// Why.
        end: RecvEnd,
    },
    /// The whole list of a [`Driver::send`] was taken by the kernel, or failed.
    Sent {
        /// The socket.
        token: Token,
        /// Bytes taken. After an error no further send succeeds: close it.
        outcome: io::Result<usize>,
    },
    /// The socket is closed; its slot is free from the next wait on. Always the
    /// last event of a token.
    Closed {
        /// The socket.
        token: Token,
    },
    /// A watched source is readable.
    Ready {
        /// The source.
        token: Token,
    },
    /// Someone woke this driver, at least once.
    Woken,
}

/// Why a receive stream ended.
#[derive(Debug)]
pub enum RecvEnd {
    /// The peer ended its sending direction (FIN).
    Eof,
    /// The peer reset the connection, or the kernel gave it up
    /// (`ECONNRESET`, `EPIPE`, `ETIMEDOUT`, ...).
    Failed(io::Error),
}

/// What [`Driver::connect`] connects to.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// The server.
    pub addr: SocketAddr,
    /// The local address to connect from; port 0 lets the kernel choose at
    /// connect time, so that one address serves some 28,000 connections per
    /// target.
    pub source: Option<SocketAddr>,
    /// Nanoseconds until [`Event::Connected`] says `TimedOut`.
    pub timeout: Nanos,
}

/// Counters of one driver since its start. Gauges say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverStats {
    /// Attached sockets, listeners and sources (gauge).
    pub attached: u64,
    /// Operations the kernel has not finished (gauge).
    pub in_flight: u64,
    /// Kernel entries.
    pub enters: u64,
    /// Completions read.
    pub completions: u64,
    /// Completions of an earlier generation, dropped.
    pub stale: u64,
    /// Receives that found the pool empty.
    pub pool_exhausted: u64,
    /// Receives paused because one socket held its share of the pool.
    pub lease_capped: u64,
    /// Sends continued after the kernel took only part.
    pub short_sends: u64,
    /// Times a listener paused for lack of descriptors.
    pub accept_paused: u64,
    /// Accept errors that concerned one socket only.
    pub accept_errors: u64,
    /// Times the completion queue overflowed or was flushed by an extra entry.
    pub cq_overflows: u64,
    /// Leases out (gauge).
    pub leases_out: u64,
    /// Receive buffers the pool owns (gauge).
    pub recv_buffers: u64,
    /// Their bytes (gauge).
    pub recv_buffer_bytes: u64,
    /// Receive buffers that hold bytes somebody has or had in this turn
    /// (gauge).
    pub recv_in_use: u64,
    /// The most receive buffers in use at once.
    pub recv_peak: u64,
    /// Times the receive pool grew.
    pub recv_grown: u64,
    /// Times it shrank.
    pub recv_shrunk: u64,
    /// Zero-copy sends the kernel copied all the same.
    pub zc_copied: u64,
}

impl DriverStats {
    /// With what a receive pool says.
    pub(crate) fn with_pool(self, pool: &RecvPool, growth: &Growth, in_use: u16) -> Self {
        let buffers = u64::from(pool.count());
        Self {
            leases_out: pool.out() as u64,
            recv_buffers: buffers,
            recv_buffer_bytes: buffers * pool.size() as u64,
            recv_in_use: in_use.into(),
            recv_peak: growth.peak().max(in_use.into()),
            recv_grown: growth.grown(),
            recv_shrunk: growth.shrunk(),
            ..self
        }
    }
}
