//! What a driver asks of the simulated kernel, and what it hears back.

use std::io;

use super::world::{DriverId, EndId, ListenId, SourceId};
use crate::clock::Nanos;
use crate::driver::Token;

/// What a completion completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// Multishot accept of a listener.
    Accept,
    /// Multishot receive of a socket.
    Recv,
    /// Send of a socket.
    Send,
    /// Connect of a socket.
    Connect,
    /// Multishot poll of a source.
    Poll,
    /// Cancels one operation of a socket.
    Cancel,
    /// Close of a descriptor.
    Close,
    /// A wake: no operation of ours.
    Rung,
}

impl Kind {
    /// Operations that hold on to a descriptor until their terminal completion.
    pub(super) const HELD: [Self; 5] = [
        Self::Accept,
        Self::Recv,
        Self::Send,
        Self::Connect,
        Self::Poll,
    ];
}

/// Names an operation of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) token: Token,
}

impl Tag {
    pub(super) const fn new(kind: Kind, token: Token) -> Self {
        Self { kind, token }
    }

    /// The tag of every wake: it belongs to no slot.
    pub(super) const RUNG: Self = Self::new(Kind::Rung, Token::new(u32::MAX, 0));
}

/// A descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Descriptor {
    End(EndId),
    Listener(ListenId),
    Source(SourceId),
}

/// Something a driver asks for.
#[derive(Debug)]
pub(super) enum Request {
    Accept {
        listener: ListenId,
        tag: Tag,
    },
    Recv {
        end: EndId,
        tag: Tag,
    },
    /// The bytes are those of the segments the driver holds meanwhile.
    Send {
        end: EndId,
        tag: Tag,
        bytes: Vec<u8>,
    },
    Connect {
        end: EndId,
        tag: Tag,
        timeout: Nanos,
    },
    Poll {
        source: SourceId,
        tag: Tag,
    },
    Cancel {
        target: Tag,
        tag: Tag,
    },
    Close {
        descriptor: Descriptor,
        tag: Tag,
    },
    /// Lends a receive buffer.
    Post(u16),
    /// Wakes another driver.
    Ring(DriverId),
}

/// How an operation ended, or how it goes on.
#[derive(Clone, Debug)]
pub(super) struct Completion {
    pub(super) tag: Tag,
    pub(super) outcome: Result<usize, Failure>,
    /// Whether the operation will complete again.
    pub(super) more: bool,
    pub(super) payload: Payload,
}

impl Completion {
    /// The last completion of an operation.
    pub(super) fn last(tag: Tag, outcome: Result<usize, Failure>) -> Self {
        Self {
            tag,
            outcome,
            more: false,
            payload: Payload::None,
        }
    }
}

/// What a completion carries.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    None,
    /// Bytes for a buffer the driver has lent.
    Buffer {
        buffer: u16,
        bytes: Vec<u8>,
    },
    /// A connection.
    Accepted(EndId),
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Failure {
    Cancelled,
    NotFound,
    NoBuffers,
    NoDescriptors,
    Aborted,
    Reset,
    BrokenPipe,
    TimedOut,
    Refused,
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure {
            Failure::Cancelled => return Self::other("cancelled by the close of its socket"),
            Failure::NotFound => io::ErrorKind::NotFound,
            Failure::NoBuffers => return Self::other("no receive buffer is free"),
            Failure::NoDescriptors => return Self::other("too many open descriptors"),
            Failure::Aborted => io::ErrorKind::ConnectionAborted,
            Failure::Reset => io::ErrorKind::ConnectionReset,
            Failure::BrokenPipe => io::ErrorKind::BrokenPipe,
            Failure::TimedOut => io::ErrorKind::TimedOut,
            Failure::Refused => io::ErrorKind::ConnectionRefused,
        };
        kind.into()
    }
}
