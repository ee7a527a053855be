//! What waits to be sent to one connection.

use std::collections::VecDeque;

use hioload_platform::{ChunkPool, Frame, Segment};
use hioload_protocol::frame::MAX_HEADER;
use hioload_protocol::{Output, mask};

/// Frames up to this many bytes that are not alone are copied into the
/// connection's chunk, so that many small ones leave as few segments; larger
/// ones go by reference.
/// A copy of this size costs less than one more segment of a vectored send.
const COPY_LIMIT: usize = 1 << 10;

/// The largest chunk: bytes beyond it go into further chunks, so that one
/// send, and what its completion tells about the peer's progress, stays small.
const CHUNK_LIMIT: usize = 64 << 10;

/// Empty queues kept for the next connections that send.
const SPARE_QUEUES: usize = 1024;

/// Those have room for so many segments at most: a peer that was far behind
/// leaves a queue of tens of kilobytes.
const SPARE_SEGMENTS: usize = 16;

/// What waits for a connection; nothing is allocated while it is idle.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Option<Box<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    segments: VecDeque<Segment>,
    /// Bytes queued and bytes with the driver.
    pending: usize,
}

/// What all outboxes of a shard share.
#[derive(Debug, Default)]
pub(crate) struct OutboxPool {
    chunks: ChunkPool,
    #[expect(clippy::vec_box, reason = "the boxes themselves move between outboxes")]
    queues: Vec<Box<Queue>>,
    /// Bytes pending in all outboxes.
    pending: usize,
}

impl OutboxPool {
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Chunks that outboxes and the driver hold.
    pub(crate) fn chunks_out(&self) -> usize {
        self.chunks.out()
    }

    pub(crate) fn chunks(&self) -> &ChunkPool {
        &self.chunks
    }
}

impl Outbox {
    /// Bytes queued and bytes the driver has not reported as sent.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.pending)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending() == 0
    }

    /// The segments the driver has not taken, if there are any.
    pub(crate) fn queue(&mut self) -> Option<&mut VecDeque<Segment>> {
        let segments = &mut self.0.as_mut()?.segments;
        (!segments.is_empty()).then_some(segments)
    }

    /// Appends bytes, copied into chunks.
    pub(crate) fn append(&mut self, mut bytes: &[u8], pool: &mut OutboxPool) {
        let queue = self.queued(bytes.len(), pool);
        let mut last_size = 0;
        if let Some(Segment::Chunk(chunk)) = queue.segments.back_mut() {
            last_size = chunk.bytes().len();
            let taken = chunk.append(bytes);
            bytes = &bytes[taken..];
        }
        while !bytes.is_empty() {
            // A burst doubles: many small frames of one turn need few chunks.
            let room = bytes.len().max(2 * last_size).min(CHUNK_LIMIT);
            let mut chunk = pool.chunks.take(room);
            let taken = chunk.append(bytes);
            last_size = taken;
            bytes = &bytes[taken..];
            queue.segments.push_back(Segment::Chunk(chunk));
        }
    }

    /// Appends a header and what it belongs to.
    #[inline]
    fn append_both(&mut self, header: &[u8], payload: &[u8], pool: &mut OutboxPool) {
        let len = header.len() + payload.len();
        if let Some(queue) = self.0.as_mut()
            && let Some(Segment::Chunk(chunk)) = queue.segments.back_mut()
            && chunk.append_both(header, payload)
        {
            queue.pending += len;
            pool.pending += len;
        } else {
            self.begin_both(header, payload, pool);
        }
    }

    /// Both in one new chunk, if nothing was begun before and they fit.
    #[inline(never)]
    fn begin_both(&mut self, header: &[u8], payload: &[u8], pool: &mut OutboxPool) {
        let len = header.len() + payload.len();
        let queue = self.queued(0, pool);
        if queue.segments.is_empty() {
            let mut chunk = pool.chunks.take(len.min(CHUNK_LIMIT + MAX_HEADER));
            if chunk.append_both(header, payload) {
                queue.pending += len;
                pool.pending += len;
                queue.segments.push_back(Segment::Chunk(chunk));
                return;
            }
            queue.segments.push_back(Segment::Chunk(chunk));
        }
        self.append(header, pool);
        self.append(payload, pool);
    }

    /// Appends an encoded frame: by reference if it is large or alone, for then
    /// its bytes are in a cache already and no others are touched; else by copy.
    pub(crate) fn append_frame(&mut self, frame: &Frame, pool: &mut OutboxPool) {
        let len = frame.bytes().len();
        if len <= COPY_LIMIT && self.queue().is_some() {
            return self.append(frame.bytes(), pool);
        }
        let queue = self.queued(len, pool);
        queue.segments.push_back(Segment::Frame(frame.clone()));
    }

    /// As [`append_frame`](Self::append_frame), without its first `skipped`
    /// bytes.
    pub(crate) fn append_tail(&mut self, frame: &Frame, skipped: usize, pool: &mut OutboxPool) {
        self.append_frame(&frame.tail(skipped), pool);
    }

    /// The driver sent `bytes`; a queue of which all is sent goes back to the
    /// pool.
    pub(crate) fn sent(&mut self, bytes: usize, pool: &mut OutboxPool) {
        debug_assert!(bytes <= self.pending(), "sent more than was queued");
        pool.pending -= bytes;
        let Some(queue) = self.0.as_mut() else {
            return;
        };
        queue.pending -= bytes;
        if queue.pending == 0
            && let Some(queue) = self.0.take()
            && pool.queues.len() < SPARE_QUEUES
            && queue.segments.capacity() <= SPARE_SEGMENTS
        {
            pool.queues.push(queue);
        }
    }

    /// Appends what `write` puts into `size` bytes of a chunk; it says how much
    /// of them it used. A chunk taken for it has `room` bytes, or `size`.
    pub(crate) fn append_with<E>(
        &mut self,
        size: usize,
        room: usize,
        pool: &mut OutboxPool,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let segments = &mut self.queued(0, pool).segments;
        let written = match segments.back_mut() {
            Some(Segment::Chunk(chunk)) if chunk.room() >= size => {
                chunk.append_with(size, write)?
            }
            _ => {
                let mut chunk = pool.chunks.take(size.max(room));
                let written = chunk.append_with(size, write)?;
                segments.push_back(Segment::Chunk(chunk));
                written
            }
        };
        self.queued(written, pool);
        Ok(written)
    }

    /// Takes `bytes` from the front, of which a part of the first segment
    /// (`taken`) was taken before. For who sends them in another form.
    pub(crate) fn consume(&mut self, bytes: usize, taken: &mut usize, pool: &mut OutboxPool) {
        *taken += bytes;
        if let Some(segments) = self.queue() {
            while let Some(front) = segments.front().map(|segment| segment.bytes().len())
                && front <= *taken
            {
                *taken -= front;
                segments.pop_front();
            }
        }
        self.sent(bytes, pool);
    }

    /// Nothing is pending any more: the connection is gone.
    pub(crate) fn clear(&mut self, pool: &mut OutboxPool) {
        if let Some(segments) = self.queue() {
            segments.clear();
        }
        self.sent(self.pending(), pool);
    }

    /// Appends the frames of a protocol connection.
    pub(crate) fn writer<'a>(&'a mut self, pool: &'a mut OutboxPool) -> OutboxWriter<'a> {
        OutboxWriter { outbox: self, pool }
    }

    /// The queue, to which so many bytes come.
    #[inline]
    fn queued(&mut self, bytes: usize, pool: &mut OutboxPool) -> &mut Queue {
        let queue = self
            .0
            .get_or_insert_with(|| pool.queues.pop().unwrap_or_default());
        queue.pending += bytes;
        pool.pending += bytes;
        queue
    }
}

/// Lets the protocol write frames into an outbox.
pub(crate) struct OutboxWriter<'a> {
    outbox: &'a mut Outbox,
    pool: &'a mut OutboxPool,
}

impl Output for OutboxWriter<'_> {
    #[inline]
    fn frame(&mut self, header: &[u8], payload: &[u8], key: Option<[u8; 4]>) {
        match key {
            None => self.outbox.append_both(header, payload, self.pool),
            Some(key) => {
                let mut masked = payload.to_vec();
                mask::apply(&mut masked, key, 0);
                self.outbox.append_both(header, &masked, self.pool);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(outbox: &mut Outbox) -> Vec<u8> {
        let queue = outbox.queue().expect("something is queued");
        queue
            .iter()
            .flat_map(|segment| segment.bytes().to_vec())
            .collect()
    }

    #[test]
    fn small_frames_of_a_turn_share_a_chunk() {
        let mut pool = OutboxPool::default();
        let mut outbox = Outbox::default();
        for n in 0..16u8 {
            outbox.writer(&mut pool).frame(&[0x82, 1], &[n], None);
        }
        assert_eq!(outbox.queue().unwrap().len(), 1);
        assert_eq!((outbox.pending(), pool.pending()), (48, 48));
    }

    #[test]
    fn a_small_frame_is_copied_unless_it_is_alone() {
        let mut pool = OutboxPool::default();
        let mut outbox = Outbox::default();
        for n in 0..16 {
            outbox.append_frame(&Frame::from(vec![n; 100]), &mut pool);
        }
        let queue = outbox.queue().unwrap();
        assert!(matches!(queue.front(), Some(Segment::Frame(_))));
        assert!(queue.len() <= 4, "{} segments", queue.len());
        let whole: Vec<u8> = (0..16).flat_map(|n| [n; 100]).collect();
        assert_eq!(content(&mut outbox), whole);
        outbox.clear(&mut pool);
        assert_eq!(pool.chunks_out(), 0);
    }

    #[test]
    fn large_messages_are_cut_into_chunks_and_keep_their_bytes() {
        let mut pool = OutboxPool::default();
        let mut outbox = Outbox::default();
        let message: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
        outbox.append(&[1, 2, 3], &mut pool);
        outbox.append(&message, &mut pool);
        assert_eq!(content(&mut outbox)[3..], message);
        assert!(outbox.queue().unwrap().len() <= 6);
    }

    #[test]
    fn a_message_and_its_header_are_one_segment_up_to_the_largest_chunk() {
        let mut pool = OutboxPool::default();
        for (len, segments) in [(0, 1), (20, 1), (5000, 1), (64 << 10, 1), (65 << 10, 2)] {
            let mut outbox = Outbox::default();
            let message = vec![7; len];
            outbox.writer(&mut pool).frame(&[1; 10], &message, None);
            assert_eq!(content(&mut outbox), [&[1; 10][..], &message].concat());
            assert_eq!(outbox.queue().unwrap().len(), segments, "{len}");
            assert_eq!(outbox.pending(), len + 10);
            outbox.clear(&mut pool);
        }
    }

    #[test]
    fn an_idle_outbox_owns_nothing() {
        let mut pool = OutboxPool::default();
        let mut outbox = Outbox::default();
        outbox.append_frame(&Frame::from(vec![9; 5000]), &mut pool);
        let queue = outbox.queue().unwrap();
        assert!(matches!(queue.pop_front(), Some(Segment::Frame(_))));
        outbox.sent(5000, &mut pool);
        assert!(outbox.0.is_none() && outbox.is_empty());
        assert_eq!((pool.queues.len(), pool.pending()), (1, 0));
    }

    #[test]
    fn a_queue_that_grew_is_not_kept() {
        let mut pool = OutboxPool::default();
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            outbox.append_frame(&Frame::from(vec![9; 5000]), &mut pool);
        }
        outbox.clear(&mut pool);
        assert!(outbox.0.is_none() && pool.queues.is_empty());
    }

    #[test]
    fn clearing_counts_what_the_driver_holds() {
        let mut pool = OutboxPool::default();
        let mut outbox = Outbox::default();
        outbox.append(&[0; 100], &mut pool);
        outbox.queue().unwrap().clear();
        outbox.append(&[0; 50], &mut pool);
        assert_eq!(outbox.pending(), 150);
        outbox.clear(&mut pool);
        assert_eq!((outbox.pending(), pool.pending()), (0, 0));
        assert!(outbox.0.is_none());
    }

    #[test]
    fn a_part_of_a_segment_can_be_taken() {
        let mut pool = OutboxPool::default();
        let mut outbox = Outbox::default();
        outbox.append(&[1; 100], &mut pool);
        outbox.append_frame(&Frame::from(vec![2; 2000]), &mut pool);
        let mut taken = 0;
        outbox.consume(40, &mut taken, &mut pool);
        assert_eq!((taken, outbox.pending()), (40, 2060));
        outbox.consume(60 + 1999, &mut taken, &mut pool);
        assert_eq!((taken, outbox.queue().unwrap().len()), (1999, 1));
        outbox.consume(1, &mut taken, &mut pool);
        assert_eq!((taken, outbox.pending(), pool.pending()), (0, 0, 0));
        assert!(outbox.0.is_none());
    }
}
