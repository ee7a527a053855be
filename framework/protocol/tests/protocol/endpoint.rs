//! One side of a connection with everything it needs, for the tests.

use hioload_protocol::frame::{MAX_HEADER, OpCode, encode_header};
use hioload_protocol::{
    CloseCode, Connection, DeflateConfig, DeflateParams, Event, Kind, Limits, MaskKeys, Output,
    ProtocolError, Resources, Role,
};

/// An event with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Closed(CloseCode, String, bool),
    Failed(ProtocolError),
}

pub(crate) struct Endpoint {
    pub(crate) connection: Connection,
    pub(crate) resources: Resources,
    pub(crate) out: Vec<u8>,
}

impl Endpoint {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            connection: Connection::new(role),
            resources: resources(DeflateConfig::default()),
            out: Vec::new(),
        }
    }

    /// With permessage-deflate.
    pub(crate) fn deflating(role: Role, agreed: DeflateParams, config: DeflateConfig) -> Self {
        Self {
            connection: Connection::with_deflate(role, agreed),
            resources: resources(config),
            out: Vec::new(),
        }
    }

    pub(crate) fn server() -> Self {
        Self::new(Role::Server)
    }

    pub(crate) fn client() -> Self {
        Self::new(Role::Client)
    }

    pub(crate) fn with_limits(mut self, limits: Limits) -> Self {
        self.resources.limits = limits;
        self
    }

    /// Receives `bytes` as one read.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Seen> {
        let mut buffer = bytes.to_vec();
        let mut input = &mut buffer[..];
        let mut seen = Vec::new();
        loop {
            let received = self
                .connection
                .receive(input, &mut self.resources, &mut self.out);
            assert!(received.consumed <= input.len());
            let Some(event) = received.event else {
                assert_eq!(
                    received.consumed,
                    input.len(),
                    "without an event all is consumed"
                );
                return seen;
            };
            seen.push(self.own(event, input));
            input = &mut input[received.consumed..];
        }
    }

    /// Receives `bytes` as reads whose sizes repeat `sizes`.
    pub(crate) fn read_in_pieces(&mut self, bytes: &[u8], sizes: &[usize]) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut rest = bytes;
        for &size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(size.clamp(1, rest.len()));
            seen.extend(self.read(piece));
            rest = after;
        }
        seen
    }

    fn own(&mut self, event: Event, input: &[u8]) -> Seen {
        let (payload, make): (_, fn(Vec<u8>) -> Seen) = match event {
            Event::Message {
                kind: Kind::Text,
                payload,
            } => (payload, |b| {
                Seen::Text(String::from_utf8(b).expect("text is valid UTF-8"))
            }),
            Event::Message {
                kind: Kind::Binary,
                payload,
            } => (payload, Seen::Binary),
            Event::Ping(payload) => (payload, Seen::Ping),
            Event::Pong(payload) => (payload, Seen::Pong),
            Event::Closed {
                code,
                reason,
                clean,
            } => {
                return Seen::Closed(code, reason.as_str().to_owned(), clean);
            }
            Event::Failed(error) => return Seen::Failed(error),
        };
        let bytes = payload.bytes(input).to_vec();
        assert_eq!(payload.len(), bytes.len());
        payload.recycle(&mut self.resources.pool);
        make(bytes)
    }

    /// Sends a message and returns its bytes on the wire.
    pub(crate) fn sent(&mut self, kind: Kind, payload: &[u8]) -> Vec<u8> {
        self.connection
            .send(kind, payload, &mut self.resources, &mut self.out)
            .expect("open");
        self.take_out()
    }

    pub(crate) fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

fn resources(deflate: DeflateConfig) -> Resources {
    Resources::new(Limits::default(), MaskKeys::from_seed(42), deflate)
}

/// A frame as a client sends it, masked.
pub(crate) fn masked(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    encode(fin, opcode, payload, Some([0x11, 0x22, 0x33, 0x44]))
}

/// A frame as a server sends it.
pub(crate) fn unmasked(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    encode(fin, opcode, payload, None)
}

fn encode(fin: bool, opcode: OpCode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let header = header(fin, opcode, payload.len() as u64, mask);
    let mut frame = Vec::new();
    frame.frame(&header, payload, mask);
    frame
}

/// A header alone, which may announce any length.
pub(crate) fn header(fin: bool, opcode: OpCode, len: u64, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = [0; MAX_HEADER];
    let used = encode_header(&mut out, fin, opcode, len, mask);
    out[..used].to_vec()
}

/// The unmasked Close frame with this code and text.
pub(crate) fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    unmasked(true, OpCode::Close, &payload)
}
