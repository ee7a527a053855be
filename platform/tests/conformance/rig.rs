//! What every test stands on: a driver, its events, and a network with peers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hioload_platform::{Driver, DriverError, Event, Frame, Nanos, RecvEnd, Segment, Token};

use crate::net::Net;

/// A test that waits longer than this has failed: nothing here takes more than
/// a fraction of a second on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The sizes a test asks for. Those a backend has no such thing for it ignores.
#[cfg_attr(windows, expect(dead_code, reason = "only io_uring has some of them"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) buffers: u16,
    /// What the pool may grow to; less than `buffers`: it does not.
    pub(crate) buffers_max: u16,
    pub(crate) shrink_after: Nanos,
    pub(crate) buffer_size: usize,
    pub(crate) leases_per_socket: u32,
    pub(crate) sockets: u32,
    pub(crate) requests: u32,
    pub(crate) completions: u32,
    pub(crate) zero_copy: Option<usize>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            buffers: 16,
            buffers_max: 0,
            shrink_after: 10_000_000_000,
            buffer_size: 4096,
            leases_per_socket: 8,
            sockets: 1 << 16,
            requests: 256,
            completions: 2048,
            zero_copy: None,
        }
    }
}

/// A backend under test.
pub(crate) trait Fixture {
    type Net: Net;
    type Driver: Driver<Socket = SocketOf<Self>, Listener = <Self::Net as Net>::Listener>;

    /// How late a wait may end: generous, since machines are busy.
    const LATENESS: Nanos = 2_000_000_000;

    /// Whether completions pass through a queue of limited size.
    const COMPLETION_QUEUE: bool = true;

    /// Whether the driver's time is the machine's.
    const REAL_TIME: bool = true;

    fn open(net: &Self::Net, sizes: &Sizes) -> Result<Self::Driver, DriverError>;
}

pub(crate) type SocketOf<F> = <<F as Fixture>::Net as Net>::Socket;
pub(crate) type PeerOf<F> = <<F as Fixture>::Net as Net>::Peer;
pub(crate) type EventOf<F> = Event<SocketOf<F>>;

/// A driver on its network, and the events nobody has asked for yet.
pub(crate) struct Rig<F: Fixture> {
    pub(crate) net: F::Net,
    pub(crate) driver: F::Driver,
    pub(crate) log: VecDeque<EventOf<F>>,
}

impl<F: Fixture> Rig<F> {
    pub(crate) fn open(sizes: Sizes) -> Self {
        Self::join(&F::Net::new(), sizes)
    }

    /// A driver on a network that others are on.
    pub(crate) fn join(net: &F::Net, sizes: Sizes) -> Self {
        Self {
            net: net.clone(),
            driver: F::open(net, &sizes).expect("the driver opens"),
            log: VecDeque::new(),
        }
    }

    /// One wait of at most `limit`.
    pub(crate) fn pump(&mut self, limit: Duration) {
        let deadline = self.driver.now() + u64::try_from(limit.as_nanos()).expect("a short limit");
        let mut events = Vec::new();
        self.driver
            .wait(Some(deadline), &mut events)
            .expect("the driver goes on");
        assert!(
            events.len() <= F::Driver::BATCH,
            "a wait appends at most BATCH events"
        );
        self.log.extend(events);
    }

    /// Waits for the first event `wanted` picks and takes it out of the log.
    pub(crate) fn expect(
        &mut self,
        what: &str,
        wanted: impl Fn(&EventOf<F>) -> bool,
    ) -> EventOf<F> {
        let start = Instant::now();
        loop {
            if let Some(index) = self.log.iter().position(&wanted) {
                return self.log.remove(index).expect("the index was just found");
            }
            assert!(
                start.elapsed() < PATIENCE,
                "no {what}; events: {:?}; {:?}",
                self.log,
                self.driver.stats()
            );
            self.pump(Duration::from_millis(100));
        }
    }

    /// Pumps until `done`.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(
                start.elapsed() < PATIENCE,
                "not {what}; events: {:?}; {:?}",
                self.log,
                self.driver.stats()
            );
            self.pump(Duration::from_millis(50));
        }
    }

    /// Asserts that nothing the filter picks happens within `span`.
    pub(crate) fn never(
        &mut self,
        what: &str,
        span: Duration,
        filter: impl Fn(&EventOf<F>) -> bool,
    ) {
        let end = self.driver.now() + u64::try_from(span.as_nanos()).expect("a short span");
        loop {
            let left = end.saturating_sub(self.driver.now());
            self.pump(Duration::from_nanos(left));
            assert!(!self.log.iter().any(&filter), "{what}: {:?}", self.log);
            if left == 0 {
                return;
            }
        }
    }

    pub(crate) fn listen(&mut self) -> (Token, SocketAddr) {
        let (listener, addr) = self.net.bind();
        (
            self.driver.listen(listener).expect("room for a listener"),
            addr,
        )
    }

    /// The next socket a listener accepts.
    pub(crate) fn accepted(&mut self, listener: Token) -> SocketOf<F> {
        let wanted = |event: &Event<_>| matches!(event, Event::Accepted { listener: l, .. } if *l == listener);
        match self.expect("accepted socket", wanted) {
            Event::Accepted { socket, .. } => socket,
            other => unreachable!("{other:?} is not an accepted socket"),
        }
    }

    /// An adopted socket and its peer, connected past the driver.
    pub(crate) fn pair(&mut self) -> (Token, PeerOf<F>) {
        let (socket, peer) = self.net.pair();
        (self.driver.adopt(socket).expect("room for a socket"), peer)
    }

    /// Receives exactly `len` bytes, dropping each lease at once.
    pub(crate) fn receive(&mut self, token: Token, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let wanted =
                |event: &Event<_>| matches!(event, Event::Received { token: t, .. } if *t == token);
            if let Event::Received { lease, .. } = self.expect("received bytes", wanted) {
                assert!(!lease.is_empty(), "a lease is never empty");
                bytes.extend_from_slice(&lease);
            }
        }
        assert_eq!(bytes.len(), len, "no more bytes than were sent");
        bytes
    }

    /// The end of a receive stream.
    pub(crate) fn end(&mut self, token: Token) -> RecvEnd {
        let wanted =
            |event: &Event<_>| matches!(event, Event::RecvEnded { token: t, .. } if *t == token);
        match self.expect("end of the receive stream", wanted) {
            Event::RecvEnded { end, .. } => end,
            other => unreachable!("{other:?} is not the end of a stream"),
        }
    }

    /// The outcome of the send in flight.
    pub(crate) fn sent(&mut self, token: Token) -> std::io::Result<usize> {
        let wanted =
            |event: &Event<_>| matches!(event, Event::Sent { token: t, .. } if *t == token);
        match self.expect("outcome of a send", wanted) {
            Event::Sent { outcome, .. } => outcome,
            other => unreachable!("{other:?} is not the outcome of a send"),
        }
    }

    pub(crate) fn connected(&mut self, token: Token) -> std::io::Result<()> {
        let wanted =
            |event: &Event<_>| matches!(event, Event::Connected { token: t, .. } if *t == token);
        match self.expect("outcome of a connect", wanted) {
            Event::Connected { outcome, .. } => outcome,
            other => unreachable!("{other:?} is not the outcome of a connect"),
        }
    }

    pub(crate) fn closed(&mut self, token: Token) {
        self.expect(
            "close",
            |event| matches!(event, Event::Closed { token: t } if *t == token),
        );
        assert!(
            !self.log.iter().any(|event| about(event) == Some(token)),
            "the close is the last event: {:?}",
            self.log
        );
    }

    pub(crate) fn close(&mut self, token: Token) {
        self.driver.close(token);
        self.closed(token);
    }

    pub(crate) fn send(&mut self, token: Token, bytes: &[u8]) {
        let mut queue = queue_of(&[bytes]);
        self.driver.send(token, &mut queue);
        assert!(queue.is_empty(), "one segment fits");
    }
}

/// Whom an event is about.
pub(crate) fn about<S>(event: &Event<S>) -> Option<Token> {
    match event {
        Event::Accepted {
            listener: token, ..
        }
        | Event::Connected { token, .. }
        | Event::Received { token, .. }
        | Event::RecvEnded { token, .. }
        | Event::Sent { token, .. }
        | Event::Closed { token }
        | Event::Ready { token } => Some(*token),
        Event::Woken => None,
    }
}

pub(crate) fn queue_of(pieces: &[&[u8]]) -> VecDeque<Segment> {
    pieces
        .iter()
        .map(|piece| Segment::Frame(Frame::from(piece.to_vec())))
        .collect()
}

/// Bytes in which every position is recognisable.
pub(crate) fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .collect()
}

/// Keeps tests that take thousands of descriptors from running together.
pub(crate) fn heavy() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
