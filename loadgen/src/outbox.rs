//! Bytes on their way to one server connection.

use std::collections::VecDeque;

use hioload::client::{TlsPool, TlsWire};
use hioload_platform::{Chunk, ChunkPool, Driver, Segment, Token};
use hioload_protocol::{Output, mask};

/// The largest chunk, the largest class of the pool: a longer message is cut
/// into several segments, so that its memory is pooled as well.
const MAX_CHUNK: usize = (64 << 10) + 64;

/// Queued bytes above which a connection takes no further message, unless it
/// has none: about what a socket's send buffer holds, so that a server which
/// stops reading is noticed, and little more memory than that is used.
const FULL: usize = 256 << 10;

/// Encoded frames that the driver has not taken yet.
///
/// Frames of one turn are coalesced by copy into chunks, so that a turn costs
/// one send per connection however many messages it produced.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Segment>,
    bytes: usize,
    pool: ChunkPool,
}

impl Outbox {
    /// An empty outbox that takes its memory from `pool`.
    pub(crate) fn new(pool: ChunkPool) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            pool,
        }
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether it takes no further message until the driver has taken some,
    /// with so many bytes further on.
    pub(crate) fn is_full_with(&self, sealed: usize) -> bool {
        self.bytes + sealed >= FULL
    }

    /// Moves everything to a TLS session, as plaintext.
    pub(crate) fn seal_into(&mut self, tls: &mut TlsWire, pool: &mut TlsPool) {
        for segment in self.queue.drain(..) {
            tls.write(segment.bytes(), pool);
        }
        self.bytes = 0;
    }

    /// Appends bytes; `ahead` tells how many will follow in the same frame.
    fn push(&mut self, bytes: &[u8], ahead: usize, key: Option<[u8; 4]>) {
        let mut at = 0;
        while at < bytes.len() {
            let chunk = self.tail(bytes.len() - at + ahead);
            let start = chunk.bytes().len();
            let taken = chunk.append(&bytes[at..]);
            if let Some(key) = key {
                mask::apply(&mut chunk.bytes_mut()[start..], key, at);
            }
            at += taken;
        }
        self.bytes += bytes.len();
    }

    /// A chunk with room: the last one, or a new one of the size of what is to
    /// come or of what is queued already, so that bursts grow the chunks.
    fn tail(&mut self, room: usize) -> &mut Chunk {
        let full = !matches!(self.queue.back(), Some(Segment::Chunk(chunk)) if chunk.room() > 0);
        if full {
            let chunk = self.pool.take(room.max(self.bytes).min(MAX_CHUNK));
            self.queue.push_back(Segment::Chunk(chunk));
        }
        match self.queue.back_mut() {
            Some(Segment::Chunk(chunk)) => chunk,
            _ => unreachable!("the last segment is a chunk with room"),
        }
    }

    /// Appends bytes that are not a frame.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.push(bytes, 0, None);
    }

    /// Hands what is queued to the driver, unless a send is in flight.
    pub(crate) fn flush<D: Driver>(&mut self, driver: &mut D, token: Token) {
        if self.queue.is_empty() || driver.send_in_flight(token) {
            return;
        }
        driver.send(token, &mut self.queue);
        self.bytes = self.queue.iter().map(|segment| segment.bytes().len()).sum();
    }

    /// Throws everything away.
    pub(crate) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.bytes = 0;
    }
}

impl Output for Outbox {
    fn frame(&mut self, header: &[u8], payload: &[u8], mask: Option<[u8; 4]>) {
        self.push(header, payload.len(), None);
        self.push(payload, 0, mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(outbox: &Outbox) -> Vec<u8> {
        outbox
            .queue
            .iter()
            .flat_map(|segment| segment.bytes().to_vec())
            .collect()
    }

    #[test]
    fn frames_are_coalesced_into_one_segment() {
        let mut outbox = Outbox::new(ChunkPool::new());
        for _ in 0..10 {
            outbox.frame(b"head", b"payload", None);
        }
        assert_eq!(outbox.queue.len(), 1);
        assert_eq!(bytes(&outbox), b"headpayload".repeat(10));
        assert_eq!(outbox.bytes, 110);
    }

    #[test]
    fn a_frame_across_chunks_is_masked_as_one() {
        let payload: Vec<u8> = (0..200_000_u32)
            .map(|index| index.to_le_bytes()[0])
            .collect();
        let key = [1, 2, 3, 4];
        for before in 0..4 {
            let (mut outbox, mut expected) = (Outbox::new(ChunkPool::new()), Vec::new());
            outbox.raw(&vec![0; before]);
            expected.extend(vec![0; before]);
            outbox.frame(b"head", &payload, Some(key));
            expected.frame(b"head", &payload, Some(key));
            assert!(outbox.queue.len() > 2);
            assert_eq!(bytes(&outbox), expected);
        }
    }

    #[test]
    fn it_is_full_at_its_bound_and_empty_after_clear() {
        let mut outbox = Outbox::new(ChunkPool::new());
        assert!(outbox.is_empty() && !outbox.is_full_with(0));
        outbox.frame(b"", &vec![0; FULL - 1], None);
        assert!(!outbox.is_full_with(0));
        outbox.frame(b"", b"x", None);
        assert!(outbox.is_full_with(0));
        outbox.clear();
        assert!(outbox.is_empty());
    }
}
