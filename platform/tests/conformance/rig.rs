//! What every test stands on: a driver, its events, and plain sockets as peers.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hioload_platform::{
    Driver, DriverError, Event, Frame, ListenOptions, Listener, RecvEnd, Segment, Socket, Token,
};

/// A test that waits longer than this has failed: nothing here takes more than
/// a fraction of a second on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The sizes a test asks for. Those a backend has no such thing for it ignores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) buffers: u16,
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
    type Driver: Driver<Socket = Socket, Listener = Listener, Source = OwnedFd>;

    fn open(sizes: &Sizes) -> Result<Self::Driver, DriverError>;
}

/// A driver and the events nobody has asked for yet.
pub(crate) struct Rig<D: Driver> {
    pub(crate) driver: D,
    pub(crate) log: VecDeque<Event<D::Socket>>,
}

pub(crate) type RigOf<F> = Rig<<F as Fixture>::Driver>;

impl<D> Rig<D>
where
    D: Driver<Socket = Socket, Listener = Listener, Source = OwnedFd>,
{
    pub(crate) fn open<F: Fixture<Driver = D>>(sizes: Sizes) -> Self {
        let driver = F::open(&sizes).expect("the driver opens");
        Self {
            driver,
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
            events.len() <= D::BATCH,
            "a wait appends at most BATCH events"
        );
        self.log.extend(events);
    }

    /// Waits for the first event `wanted` picks and takes it out of the log.
    pub(crate) fn expect(
        &mut self,
        what: &str,
        wanted: impl Fn(&Event<Socket>) -> bool,
    ) -> Event<Socket> {
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
        filter: impl Fn(&Event<Socket>) -> bool,
    ) {
        let start = Instant::now();
        while let Some(left) = span.checked_sub(start.elapsed()) {
            self.pump(left);
            assert!(!self.log.iter().any(&filter), "{what}: {:?}", self.log);
        }
    }

    pub(crate) fn listen(&mut self) -> (Token, SocketAddr) {
        let listener = bind();
        let addr = listener
            .local_addr()
            .expect("a bound listener has an address");
        (
            self.driver.listen(listener).expect("room for a listener"),
            addr,
        )
    }

    /// The next socket a listener accepts.
    pub(crate) fn accepted(&mut self, listener: Token) -> Socket {
        let wanted = |event: &Event<_>| matches!(event, Event::Accepted { listener: l, .. } if *l == listener);
        match self.expect("accepted socket", wanted) {
            Event::Accepted { socket, .. } => socket,
            other => unreachable!("{other:?} is not an accepted socket"),
        }
    }

    /// An adopted socket and its peer, connected past the driver.
    pub(crate) fn pair(&mut self) -> (Token, TcpStream) {
        let (socket, peer) = socket_pair();
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

pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

pub(crate) fn bind() -> Listener {
    Listener::bind(&ListenOptions::new(loopback(0))).expect("loopback can be bound")
}

/// Two ends of one TCP connection.
pub(crate) fn socket_pair() -> (Socket, TcpStream) {
    let listener = std::net::TcpListener::bind(loopback(0)).expect("loopback can be bound");
    let addr = listener
        .local_addr()
        .expect("a bound listener has an address");
    let peer = TcpStream::connect(addr).expect("the backlog has room");
    let (stream, _) = listener.accept().expect("a connection waits");
    peer.set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    peer.set_nodelay(true).expect("TCP_NODELAY can be set");
    stream.set_nodelay(true).expect("TCP_NODELAY can be set");
    (Socket::from(stream), peer)
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

/// Closes a socket with a reset instead of an orderly end.
pub(crate) fn reset(peer: TcpStream) {
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("SO_LINGER can be set");
    drop(peer);
}

/// A listener whose backlog is full: connecting to it gets no answer.
pub(crate) struct FullListener {
    pub(crate) addr: SocketAddr,
    _listener: Socket2,
    _waiting: Vec<Socket2>,
}

type Socket2 = socket2::Socket;

pub(crate) fn full_listener() -> FullListener {
    let socket =
        || Socket2::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a TCP socket");
    let listener = socket();
    listener
        .bind(&loopback(0).into())
        .expect("loopback can be bound");
    listener.listen(0).expect("a socket may listen");
    let addr = listener
        .local_addr()
        .expect("a bound listener has an address");
    let addr = addr.as_socket().expect("an IPv4 address");
    let mut waiting = Vec::new();
    // One more than the backlog fills it; the rest make sure.
    for _ in 0..4 {
        let client = socket();
        client
            .set_nonblocking(true)
            .expect("a socket may be non-blocking");
        // EINPROGRESS, or connected at once.
        let _ = client.connect(&addr.into());
        waiting.push(client);
    }
    FullListener {
        addr,
        _listener: listener,
        _waiting: waiting,
    }
}

/// Keeps tests that take thousands of descriptors from running together.
pub(crate) fn heavy() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test in a process of its own: this binary again, for that one test.
pub(crate) fn alone(path: &str, test: fn()) {
    const CHILD: &str = "CONFORMANCE_TEST_ALONE";
    if std::env::var_os(CHILD).is_some() {
        return test();
    }
    let (_crate, name) = path.split_once("::").expect("a module path");
    let binary = std::env::current_exe().expect("this test has a binary");
    let output = Command::new(binary)
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("the test binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "alone it failed:\n{text}\n{errors}"
    );
    assert!(text.contains("1 passed"), "it did run: {text}");
}
