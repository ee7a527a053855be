//! What is kept of a message or control frame that has not arrived whole.

use crate::deflate::Inflater;
use crate::error::ProtocolError;
use crate::frame::MAX_CONTROL;
use crate::limits::Limits;
use crate::message::Kind;
use crate::utf8::{InvalidUtf8, Utf8};

/// A data message in the making: the unmasked, inflated, validated bytes so far.
#[derive(Debug)]
pub(crate) struct Assembly {
    buffer: Vec<u8>,
    utf8: Utf8,
    /// Frames so far, at least the first.
    fragments: u32,
    kind: Kind,
    /// The bytes so far of a compressed message, as they arrived.
    pub(super) wire: usize,
    /// Inflates it, if it is compressed; from its first byte to its last.
    pub(crate) inflater: Option<Box<Inflater>>,
}

impl Assembly {
    /// A message of which nothing has arrived; `buffer` is empty.
    pub(crate) fn new(kind: Kind, buffer: Vec<u8>) -> Self {
        debug_assert!(buffer.is_empty());
        Self {
            buffer,
            utf8: Utf8::new(),
            fragments: 1,
            kind,
            wire: 0,
            inflater: None,
        }
    }

    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Admits a continuation that announces `len` bytes, or says which limit
    /// it breaks.
    pub(super) fn admit(&mut self, len: u64, limits: &Limits) -> Result<(), ProtocolError> {
        let limit = limits.max_message;
        let compressed = self.inflater.is_some();
        let most = wire_limit(limit, compressed);
        if len > most as u64 {
            return Err(ProtocolError::FrameTooLarge { len, limit });
        }
        let so_far = if compressed {
            self.wire
        } else {
            self.buffer.len()
        };
        if len > most.saturating_sub(so_far) as u64 {
            return Err(ProtocolError::MessageTooLarge { limit });
        }
        if self.fragments >= limits.max_fragments {
            return Err(ProtocolError::TooManyFragments {
                limit: limits.max_fragments,
            });
        }
        self.fragments += 1;
        Ok(())
    }

    /// Appends unmasked bytes. `outstanding` is the most that may still follow:
    /// what the last frame announced, or what the limit leaves.
    pub(super) fn append(&mut self, bytes: &[u8], outstanding: usize) -> Result<(), InvalidUtf8> {
        if self.kind == Kind::Text {
            self.utf8.feed(bytes)?;
        }
        self.reserve(bytes.len(), outstanding);
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes room for `more` bytes.
    ///
    /// An announced length costs the peer nothing, so memory follows what has
    /// really arrived: it grows to twice that, which keeps copying linear, or
    /// to the end of the message where that is nearer.
    fn reserve(&mut self, more: usize, outstanding: usize) {
        let arrived = self.buffer.len() + more;
        if arrived > self.buffer.capacity() {
            let target = arrived + outstanding.min(arrived);
            self.buffer.reserve_exact(target - self.buffer.len());
        }
    }

    /// The message has ended; text must not end inside a code point.
    pub(super) fn finish(&self) -> Result<(), InvalidUtf8> {
        self.utf8.finish()
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }
}

/// The most bytes that a message of at most `limit` takes on the wire.
///
/// Compression enlarges what it cannot shrink: zlib with the least memory makes
/// a block of every 127 bytes, each 5 bytes longer than its content.
pub(super) fn wire_limit(limit: usize, compressed: bool) -> usize {
    if compressed {
        limit.saturating_add(limit / 16 + 64)
    } else {
        limit
    }
}

/// A control frame's unmasked bytes so far.
#[derive(Debug)]
pub(super) struct Control {
    len: u8,
    bytes: [u8; MAX_CONTROL],
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            len: 0,
            bytes: [0; MAX_CONTROL],
        }
    }

    /// Appends bytes; the frame's announced length, at most 125, was checked.
    pub(super) fn append(&mut self, more: &[u8]) {
        let at = usize::from(self.len);
        self.bytes[at..at + more.len()].copy_from_slice(more);
        #[expect(clippy::cast_possible_truncation, reason = "at most 125")]
        {
            self.len += more.len() as u8;
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_what_arrived_not_what_was_announced() {
        let mut assembly = Assembly::new(Kind::Binary, Vec::new());
        let announced = 1 << 30;
        let mut arrived = 0;
        for piece in [1usize, 10, 100, 1000, 3, 5000] {
            arrived += piece;
            assembly
                .append(&vec![0; piece], announced - arrived)
                .unwrap();
            assert!(
                assembly.buffer.capacity() <= 2 * arrived,
                "{arrived} arrived"
            );
        }
    }

    #[test]
    fn memory_does_not_exceed_the_announced_length() {
        let mut assembly = Assembly::new(Kind::Binary, Vec::new());
        for left in (0..1000usize).rev() {
            assembly.append(&[0], left).unwrap();
            assert!(assembly.buffer.capacity() <= 1000);
        }
    }
}
