//! Messages and the other events of a connection, and the pool that split
//! messages are assembled in.

use std::ops::Range;

use crate::close::{CloseCode, CloseReason};
use crate::connection::{Assembly, Kept};
use crate::error::ProtocolError;

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text, valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// A message, borrowed from the input in which it lay whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// What one call of [`Connection::receive`](crate::Connection::receive) did.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the input that were used; at most its length. Without an event
    /// it is all of them.
    pub consumed: usize,
    /// What they amounted to.
    pub event: Option<Event>,
}

/// Something that the peer did.
#[derive(Debug)]
pub enum Event {
    /// A complete message: unmasked and, if text, valid UTF-8.
    Message {
        /// What it carries.
        kind: Kind,
        /// Its bytes.
        payload: Payload,
    },
    /// A ping; its pong is already in the output (unless this endpoint has sent
    /// its Close frame, after which nothing may follow).
    Ping(Payload),
    /// A pong, asked for or not.
    Pong(Payload),
    /// The peer's Close frame; its echo is in the output unless this endpoint
    /// had sent its own Close frame. Nothing that follows is read.
    Closed {
        /// The peer's code, [`CloseCode::NO_STATUS`] if it gave none.
        code: CloseCode,
        /// The peer's reason, empty if it gave none.
        reason: CloseReason,
        /// Whether it came between messages; `false` if the peer left a
        /// fragmented message unfinished.
        clean: bool,
    },
    /// The peer violated the protocol or a limit. The Close frame that says so
    /// is in the output (unless one was sent before). Nothing that follows is read.
    Failed(ProtocolError),
}

/// The bytes of a message, ping or pong.
#[derive(Debug)]
pub enum Payload {
    /// A range of the `input` given to the very call that returned the event.
    Input(Range<usize>),
    /// Bytes that came in more than one piece, in a buffer of the pool. Give
    /// it back with [`Payload::recycle`].
    Assembled(Vec<u8>),
}

impl Payload {
    /// The bytes; `input` is the buffer that was given to the call that
    /// returned this payload.
    #[inline]
    pub fn bytes<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Input(range) => &input[range.clone()],
            Self::Assembled(bytes) => bytes,
        }
    }

    /// The number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Input(range) => range.len(),
            Self::Assembled(bytes) => bytes.len(),
        }
    }

    /// Whether there are no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the buffer, if there is one, to the pool.
    #[inline]
    pub fn recycle(self, pool: &mut MessagePool) {
        if let Self::Assembled(bytes) = self {
            pool.give_back(bytes);
        }
    }
}

/// Buffers for messages that must be assembled, shared by the connections of a
/// shard.
///
/// The free list is bounded twice: by [`MAX_BUFFERS`](Self::MAX_BUFFERS) and by
/// [`MAX_RETAINED`](Self::MAX_RETAINED) bytes of capacity. What exceeds a bound
/// is freed. The pool bounds what lies idle, not what is in use: that is the
/// number of connections times [`Limits::max_message`](crate::Limits).
#[derive(Debug, Default)]
pub struct MessagePool {
    buffers: Vec<Vec<u8>>,
    /// The sum of the capacities in `buffers`; at most `MAX_RETAINED`.
    retained: usize,
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is reused")]
    assemblies: Vec<Box<Assembly>>,
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is reused")]
    kepts: Vec<Box<Kept>>,
}

impl MessagePool {
    /// The most buffers kept: more messages than this are seldom half received
    /// at once by one shard, since a turn usually completes them.
    pub const MAX_BUFFERS: usize = 64;
    /// The most bytes kept, over all buffers.
    pub const MAX_RETAINED: usize = 4 << 20;

    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a buffer back, or frees it if the pool is full.
    pub fn give_back(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity == 0
            || self.buffers.len() >= Self::MAX_BUFFERS
            || capacity > Self::MAX_RETAINED - self.retained
        {
            return;
        }
        buffer.clear();
        self.retained += capacity;
        self.buffers.push(buffer);
    }

    /// An empty buffer, used before if possible.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.retained -= buffer.capacity();
        buffer
    }

    /// A state for a message of this kind, with a buffer.
    pub(crate) fn assembly(&mut self, kind: Kind) -> Box<Assembly> {
        let assembly = Assembly::new(kind, self.take());
        match self.assemblies.pop() {
            Some(mut spare) => {
                *spare = assembly;
                spare
            }
            None => Box::new(assembly),
        }
    }

    /// Room for what few connections have at a time, with nothing in it.
    pub(crate) fn kept(&mut self) -> Box<Kept> {
        self.kepts.pop().unwrap_or_default()
    }

    /// Takes such room back; there is nothing in it.
    pub(crate) fn give_back_kept(&mut self, kept: Box<Kept>) {
        if self.kepts.len() < Self::MAX_BUFFERS {
            self.kepts.push(kept);
        }
    }

    /// Takes the state of a message back and returns its buffer.
    pub(crate) fn disassemble(&mut self, mut assembly: Box<Assembly>) -> Vec<u8> {
        let buffer = assembly.take_buffer();
        // Of a message that was given up; an inflater is larger than all else.
        assembly.inflater = None;
        if self.assemblies.len() < Self::MAX_BUFFERS {
            self.assemblies.push(assembly);
        }
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, MessagePool};
    use crate::deflate::Inflater;

    #[test]
    fn what_is_kept_of_a_message_that_was_given_up_holds_no_inflater() {
        let mut pool = MessagePool::new();
        let mut message = pool.assembly(Kind::Binary);
        message.inflater = Some(Box::new(Inflater::new()));
        pool.disassemble(message);
        assert!(pool.assemblies[0].inflater.is_none());
    }

    #[test]
    fn the_pool_is_bounded_in_count_and_bytes() {
        let mut pool = MessagePool::new();
        for _ in 0..1000 {
            pool.give_back(Vec::with_capacity(16));
        }
        assert_eq!(pool.buffers.len(), MessagePool::MAX_BUFFERS);

        let mut pool = MessagePool::new();
        for _ in 0..10 {
            pool.give_back(Vec::with_capacity(1 << 20));
        }
        assert!(pool.retained <= MessagePool::MAX_RETAINED);
        assert_eq!(pool.buffers.len(), 4);
        pool.give_back(Vec::with_capacity(MessagePool::MAX_RETAINED + 1));
        assert_eq!(pool.buffers.len(), 4);

        while !pool.buffers.is_empty() {
            assert!(pool.take().is_empty());
        }
        assert_eq!(pool.retained, 0);
        assert_eq!(pool.take().capacity(), 0);
    }
}
