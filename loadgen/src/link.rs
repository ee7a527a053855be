//! One connection to the server.

use hioload_platform::{ChunkPool, Token};
use hioload_protocol::handshake::{
    ClientRequest, ExpectedAccept, HandshakeLimits, Parsed, Response, ResponseError, parse_response,
};
use hioload_protocol::{Connection, Received, Resources, Role};

use hioload::client::TlsWire;

use crate::opens::Steps;
use crate::outbox::Outbox;

/// One connection: its socket, its protocol state and what it has to send.
#[derive(Debug)]
pub(crate) struct Link {
    /// The socket, from `connect` until its last event.
    pub(crate) token: Option<Token>,
    /// How far it is.
    pub(crate) stage: Stage,
    /// The protocol state.
    pub(crate) ws: Connection,
    /// What reads instead, when the client's own frames come back: they are
    /// masked, as only a server takes them.
    pub(crate) mirror: Option<Box<Connection>>,
    /// What it has to send.
    pub(crate) outbox: Outbox,
    /// What carries it, when that is not TCP as it is.
    pub(crate) tls: Option<Box<TlsWire>>,
    /// When it came how far.
    pub(crate) steps: Steps,
    /// Whether it is listed to be flushed at the end of the turn.
    pub(crate) dirty: bool,
}

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Not begun.
    Idle,
    /// TCP is connecting.
    Connecting,
    /// The handshake is under way.
    Shaking(Box<Shake>),
    /// Messages flow.
    Open,
    /// A Close frame was sent or received; waits for the end of the stream.
    Closing,
    /// The socket is being closed, or is.
    Gone,
}

/// A handshake under way.
#[derive(Debug)]
pub(crate) struct Shake {
    expected: ExpectedAccept,
    received: Vec<u8>,
}

/// What the bytes of a handshake amount to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// More are needed.
    Partial,
    /// The upgrade was granted; frames that came along with the answer.
    Granted(Response, Vec<u8>),
    /// It was not.
    Refused(ResponseError),
}

impl Link {
    /// A connection not begun; a `raw` one gets back its own frames.
    pub(crate) fn new(pool: ChunkPool, raw: bool) -> Self {
        Self {
            token: None,
            stage: Stage::Idle,
            ws: Connection::new(Role::Client),
            mirror: raw.then(|| Box::new(Connection::new(Role::Server))),
            outbox: Outbox::new(pool),
            tls: None,
            steps: Steps::default(),
            dirty: false,
        }
    }

    /// What reads the bytes that arrive.
    pub(crate) fn receive(&mut self, input: &mut [u8], resources: &mut Resources) -> Received {
        let reader = self.mirror.as_deref_mut().unwrap_or(&mut self.ws);
        reader.receive(input, resources, &mut self.outbox)
    }

    /// Whether something is queued.
    pub(crate) fn has_more(&self) -> bool {
        !self.outbox.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.pending() > 0)
    }

    /// Whether messages can be sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Whether it was begun and is not open yet.
    pub(crate) fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Connecting | Stage::Shaking(_))
    }

    /// Whether a Close frame was sent or received, and the socket is not closed.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing)
    }

    /// Queues the request for an upgrade.
    pub(crate) fn request(&mut self, request: &ClientRequest<'_>, nonce: [u8; 16]) {
        let mut head = Vec::with_capacity(512);
        let expected = request.write(nonce, &mut head);
        self.outbox.raw(&head);
        self.stage = Stage::Shaking(Box::new(Shake {
            expected,
            received: Vec::new(),
        }));
    }
}

impl Shake {
    /// Takes bytes of the answer; at most the limit of a head is kept.
    pub(crate) fn receive(&mut self, bytes: &[u8], limits: &HandshakeLimits) -> Answer {
        self.received.extend_from_slice(bytes);
        match parse_response(&self.received, &self.expected, limits) {
            Ok(Parsed::Partial) => Answer::Partial,
            Ok(Parsed::Complete { head_len, value }) => {
                Answer::Granted(value, self.received.split_off(head_len))
            }
            Err(error) => Answer::Refused(error),
        }
    }
}
