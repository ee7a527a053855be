//! What a client makes of the bytes: the opening handshake, then messages.

use std::io;

use hioload_protocol::handshake::{
    ClientRequest, ExpectedAccept, HandshakeLimits, Parsed, parse_response,
};
use hioload_protocol::{CloseCode, Connection, DeflateConfig, Event, Kind, Resources, Role};

use super::{End, Seen};

/// Where a connection is.
#[derive(Debug)]
pub(super) enum Stage {
    /// The request is on its way. What is said meanwhile is kept.
    Asking(Box<Asking>),
    Talking(Box<Connection>),
}

#[derive(Debug)]
pub(super) struct Asking {
    expected: ExpectedAccept,
    head: Vec<u8>,
    unsaid: Vec<Speech>,
}

/// Something to say.
#[derive(Debug)]
pub(super) enum Speech {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Close(CloseCode, String),
}

/// Whether anything was done.
#[derive(Debug, Default)]
pub(super) struct Progress(bool);

impl Progress {
    pub(super) fn note(&mut self) {
        self.0 = true;
    }

    pub(super) fn made(&self) -> bool {
        self.0
    }

    /// What came of an attempt; `None` if it has to wait.
    pub(super) fn of<T: Moves>(&mut self, outcome: io::Result<T>) -> Result<Option<T>, End> {
        match outcome {
            Ok(done) => {
                self.0 |= T::MOVES;
                Ok(Some(done))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(End::Failed(error.kind())),
        }
    }
}

/// Whether an outcome means that something was done.
pub(super) trait Moves {
    const MOVES: bool;
}

impl Moves for () {
    const MOVES: bool = false;
}

impl Moves for usize {
    const MOVES: bool = true;
}

impl Stage {
    /// Asks for a WebSocket.
    pub(super) fn ask(
        path: &str,
        deflate: Option<&DeflateConfig>,
        resources: &mut Resources,
        out: &mut Vec<u8>,
    ) -> Self {
        let request = ClientRequest {
            host: "simulation",
            target: path,
            protocols: &[],
            headers: &[],
            origin: None,
            deflate,
        };
        Self::Asking(Box::new(Asking {
            expected: request.write(resources.masks.nonce(), out),
            head: Vec::new(),
            unsaid: Vec::new(),
        }))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Talking(connection) if connection.is_open())
    }

    /// Whether something waits for the WebSocket to be open.
    pub(super) fn has_unsaid(&self) -> bool {
        matches!(self, Self::Asking(asking) if !asking.unsaid.is_empty())
    }

    /// Says something, now or once the WebSocket is open.
    pub(super) fn say(&mut self, what: Speech, resources: &mut Resources, out: &mut Vec<u8>) {
        match self {
            Self::Asking(asking) => asking.unsaid.push(what),
            Self::Talking(connection) => speak(connection, &what, resources, out),
        }
    }

    /// Takes bytes from the server.
    pub(super) fn hear(
        &mut self,
        mut bytes: Vec<u8>,
        resources: &mut Resources,
        out: &mut Vec<u8>,
        seen: &mut Vec<Seen>,
    ) -> Result<(), End> {
        if let Self::Asking(asking) = self {
            asking.head.append(&mut bytes);
            let Some((mut connection, rest)) = asking.granted()? else {
                return Ok(());
            };
            seen.push(Seen::Open);
            for what in &asking.unsaid {
                speak(&mut connection, what, resources, out);
            }
            bytes = rest;
            *self = Self::Talking(Box::new(connection));
        }
        match self {
            Self::Asking(_) => Ok(()),
            Self::Talking(connection) => converse(connection, bytes, resources, out, seen),
        }
    }
}

impl Asking {
    /// Once the response is complete: the connection and what follows it.
    fn granted(&mut self) -> Result<Option<(Connection, Vec<u8>)>, End> {
        let parsed = parse_response(&self.head, &self.expected, &HandshakeLimits::default());
        match parsed.map_err(|error| End::Wrong(error.to_string()))? {
            Parsed::Partial => Ok(None),
            Parsed::Complete { head_len, value } => {
                let connection = match value.deflate {
                    Some(agreed) => Connection::with_deflate(Role::Client, agreed),
                    None => Connection::new(Role::Client),
                };
                Ok(Some((connection, self.head.split_off(head_len))))
            }
        }
    }
}

/// Dropped after the Close frame, as who says it was told.
fn speak(connection: &mut Connection, what: &Speech, resources: &mut Resources, out: &mut Vec<u8>) {
    if connection.close_sent() {
        return;
    }
    let said = match what {
        Speech::Message(kind, payload) => connection.send(*kind, payload, resources, out),
        Speech::Ping(payload) => connection.ping(payload, resources, out),
        Speech::Close(code, reason) => {
            connection.close(*code, reason, resources, out);
            Ok(())
        }
    };
    debug_assert!(said.is_ok(), "no Close frame was sent");
}

/// What the server says on an open WebSocket; answers go to `out`.
fn converse(
    connection: &mut Connection,
    mut input: Vec<u8>,
    resources: &mut Resources,
    out: &mut Vec<u8>,
    seen: &mut Vec<Seen>,
) -> Result<(), End> {
    let mut at = 0;
    while at < input.len() && !connection.is_closed() {
        let rest = &mut input[at..];
        let received = connection.receive(rest, resources, out);
        let what = match received.event {
            None => break,
            Some(Event::Message { kind, payload }) => {
                let bytes = payload.bytes(rest).to_vec();
                payload.recycle(&mut resources.pool);
                match kind {
                    Kind::Text => match String::from_utf8(bytes) {
                        Ok(text) => Seen::Text(text),
                        Err(error) => return Err(End::Wrong(error.to_string())),
                    },
                    Kind::Binary => Seen::Binary(bytes),
                }
            }
            Some(Event::Ping(payload)) => Seen::Ping(payload.bytes(rest).to_vec()),
            Some(Event::Pong(payload)) => Seen::Pong(payload.bytes(rest).to_vec()),
            Some(Event::Closed { code, reason, .. }) => {
                Seen::Closed(code.0, reason.as_str().to_owned())
            }
            Some(Event::Failed(error)) => return Err(End::Wrong(error.to_string())),
        };
        seen.push(what);
        at += received.consumed;
    }
    Ok(())
}
