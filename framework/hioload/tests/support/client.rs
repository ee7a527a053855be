//! A blocking WebSocket client on the protocol crate's client role, which can
//! also misbehave.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use hioload_protocol::frame::{MAX_HEADER, OpCode, encode_header};
use hioload_protocol::handshake::{ClientRequest, HandshakeLimits, Parsed, parse_response};
use hioload_protocol::{
    CloseCode, Connection, DeflateConfig, Event, Kind, Limits, MaskKeys, MessagePool, Output,
    Resources, Role,
};

use super::wait::PATIENCE;

/// What came from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Closed(u16, String),
    /// The server ended its sending direction.
    Eof,
    /// The connection was reset.
    Reset,
}

pub(crate) struct Client {
    stream: TcpStream,
    connection: Connection,
    resources: Resources,
    buffer: Vec<u8>,
    /// Received bytes in `buffer` that are not understood yet.
    unread: Range<usize>,
    /// Whether pings and closes are answered.
    answers: bool,
}

/// Where a connection comes from, and how much it takes unread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dial {
    pub(crate) source: Option<IpAddr>,
    /// `SO_RCVBUF` in bytes: a small one makes a slow reader slow at once.
    pub(crate) receive_buffer: Option<usize>,
}

impl Dial {
    pub(crate) fn tcp(self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(addr),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(source) = self.source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.connect_timeout(&addr.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

/// A TCP connection with timeouts.
pub(crate) fn dial(addr: SocketAddr) -> TcpStream {
    Dial::default().tcp(addr).expect("the server accepts")
}

/// Ends a connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("SO_LINGER");
    drop(stream);
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr, target: &str) -> Self {
        Self::over(dial(addr), target)
    }

    /// A client whose kernel takes little while it does not read.
    pub(crate) fn connect_narrow(addr: SocketAddr, target: &str) -> Self {
        let dial = Dial {
            receive_buffer: Some(4096),
            ..Dial::default()
        };
        Self::over(dial.tcp(addr).expect("the server accepts"), target)
    }

    /// Shakes hands over a connection.
    pub(crate) fn over(mut stream: TcpStream, target: &str) -> Self {
        let mut request = Vec::new();
        let host = "localhost";
        let asked = ClientRequest {
            host,
            target,
            protocols: &[],
            headers: &[],
            origin: None,
            deflate: None,
        };
        let expected = asked.write([7; 16], &mut request);
        stream
            .write_all(&request)
            .expect("the server takes the handshake");
        let mut buffer = vec![0; 64 << 10];
        let mut filled = 0;
        let head_len = loop {
            let read = stream
                .read(&mut buffer[filled..])
                .expect("the server answers");
            filled += read;
            assert_ne!(
                read,
                0,
                "closed in the handshake: {:?}",
                text(&buffer[..filled])
            );
            let limits = HandshakeLimits::default();
            match parse_response(&buffer[..filled], &expected, &limits) {
                Ok(Parsed::Partial) => {}
                Ok(Parsed::Complete { head_len, .. }) => break head_len,
                Err(error) => panic!("{error}: {:?}", text(&buffer[..filled])),
            }
        };
        Self {
            stream,
            connection: Connection::new(Role::Client),
            resources: resources(),
            buffer,
            unread: head_len..filled,
            answers: true,
        }
    }

    /// From now on neither pings nor closes are answered.
    pub(crate) fn mute(&mut self) {
        self.answers = false;
    }

    pub(crate) fn text(&mut self, text: &str) {
        let mut out = Vec::new();
        self.connection
            .send(Kind::Text, text.as_bytes(), &mut self.resources, &mut out)
            .expect("open");
        self.raw(&out);
    }

    pub(crate) fn binary(&mut self, payload: &[u8]) {
        let mut out = Vec::new();
        self.connection
            .send(Kind::Binary, payload, &mut self.resources, &mut out)
            .expect("open");
        self.raw(&out);
    }

    pub(crate) fn ping(&mut self, payload: &[u8]) {
        let mut out = Vec::new();
        self.connection
            .ping(payload, &mut self.resources, &mut out)
            .expect("open");
        self.raw(&out);
    }

    /// Sends the Close frame.
    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        let mut out = Vec::new();
        self.connection
            .close(CloseCode(code), reason, &mut self.resources, &mut out);
        self.raw(&out);
    }

    /// Sends bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.try_raw(bytes).expect("the server takes what is sent");
    }

    pub(crate) fn try_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Encodes a message, cut where `cuts` says (ascending offsets), and
    /// between two fragments maybe a ping.
    pub(crate) fn encode(
        &mut self,
        kind: Kind,
        payload: &[u8],
        cuts: &[usize],
        ping: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) {
        let mut from = 0;
        for (index, to) in cuts.iter().copied().chain([payload.len()]).enumerate() {
            if let Some(ping) = ping.filter(|_| index == 1) {
                self.connection
                    .ping(ping, &mut self.resources, out)
                    .expect("open");
            }
            let (piece, first, last) = (&payload[from..to], index == 0, index == cuts.len());
            self.connection
                .send_fragment(kind, piece, first, last, &mut self.resources, out)
                .expect("open");
            from = to;
        }
    }

    /// The next thing from the server.
    pub(crate) fn next(&mut self) -> Seen {
        self.poll(PATIENCE).expect("the server sends something")
    }

    /// The next thing from the server, if it comes in time.
    pub(crate) fn poll(&mut self, patience: Duration) -> Option<Seen> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(seen) = self.understand() {
                return Some(seen);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream
                .set_read_timeout(Some(left))
                .expect("a timeout above zero");
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Some(Seen::Eof),
                Ok(read) => self.unread = 0..read,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return None,
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset => return Some(Seen::Reset),
                    _ => panic!("{error}"),
                },
            }
        }
    }

    /// The next message or end: pings are answered and passed over.
    pub(crate) fn message(&mut self) -> Seen {
        loop {
            match self.next() {
                Seen::Ping(_) | Seen::Pong(_) => {}
                seen => return seen,
            }
        }
    }

    pub(crate) fn expect_text(&mut self) -> String {
        match self.message() {
            Seen::Text(text) => text,
            seen => panic!("{seen:?} instead of a text message"),
        }
    }

    pub(crate) fn expect_binary(&mut self) -> Vec<u8> {
        match self.message() {
            Seen::Binary(bytes) => bytes,
            seen => panic!("{seen:?} instead of a binary message"),
        }
    }

    /// The code of the server's Close frame; whatever comes before is dropped.
    pub(crate) fn expect_close(&mut self) -> u16 {
        loop {
            match self.message() {
                Seen::Closed(code, _) => return code,
                Seen::Text(_) | Seen::Binary(_) => {}
                seen => panic!("{seen:?} instead of a Close frame"),
            }
        }
    }

    /// The server's next frame is a Close with this code, and then it ends the
    /// connection.
    pub(crate) fn expect_end(&mut self, code: u16) {
        match self.message() {
            Seen::Closed(seen, reason) => assert_eq!(seen, code, "{reason}"),
            seen => panic!("{seen:?} instead of a Close frame with {code}"),
        }
        assert_eq!(self.message(), Seen::Eof);
    }

    /// Closes and waits for the server's end of it.
    pub(crate) fn close_and_wait(mut self) {
        self.close(1000, "done");
        assert_eq!(self.expect_close(), 1000);
        assert_eq!(self.message(), Seen::Eof);
    }

    /// A message comes back as it went: the connection works.
    pub(crate) fn check_echo(&mut self, text: &str) {
        self.text(text);
        assert_eq!(self.expect_text(), text);
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// A second handle to the connection, to write from another thread.
    pub(crate) fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor")
    }

    /// Ends the sending direction.
    pub(crate) fn finish(&self) {
        // The server may have reset the connection already.
        let _gone = self.stream.shutdown(Shutdown::Write);
    }

    pub(crate) fn reset(self) {
        reset(self.stream);
    }

    fn understand(&mut self) -> Option<Seen> {
        let mut out = Vec::new();
        let mut seen = None;
        while seen.is_none() && !self.unread.is_empty() {
            let input = &mut self.buffer[self.unread.clone()];
            let received = self
                .connection
                .receive(input, &mut self.resources, &mut out);
            seen = received
                .event
                .map(|event| own(event, input, &mut self.resources.pool));
            self.unread.start += received.consumed;
        }
        if self.answers && !out.is_empty() {
            // A server that is gone already needs no answer.
            let _gone = self.stream.write_all(&out);
        }
        seen
    }
}

fn resources() -> Resources {
    let limits = Limits {
        max_message: 64 << 20,
        ..Limits::default()
    };
    Resources::new(limits, MaskKeys::from_seed(11), DeflateConfig::default())
}

fn own(event: Event, input: &[u8], pool: &mut MessagePool) -> Seen {
    let (payload, seen): (_, fn(Vec<u8>) -> Seen) = match event {
        Event::Message {
            kind: Kind::Text,
            payload,
        } => (payload, |bytes| {
            Seen::Text(String::from_utf8(bytes).expect("UTF-8"))
        }),
        Event::Message {
            kind: Kind::Binary,
            payload,
        } => (payload, Seen::Binary),
        Event::Ping(payload) => (payload, Seen::Ping),
        Event::Pong(payload) => (payload, Seen::Pong),
        Event::Closed { code, reason, .. } => {
            return Seen::Closed(code.0, reason.as_str().to_owned());
        }
        Event::Failed(error) => panic!("the server violates the protocol: {error}"),
    };
    let bytes = payload.bytes(input).to_vec();
    payload.recycle(pool);
    seen(bytes)
}

/// A masked frame.
pub(crate) fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let key = [0x12, 0x34, 0x56, 0x78];
    let mut header = [0; MAX_HEADER];
    let used = encode_header(&mut header, fin, opcode, payload.len() as u64, Some(key));
    let mut out = Vec::new();
    out.frame(&header[..used], payload, Some(key));
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
