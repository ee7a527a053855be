//! The segments of one send, and how far it has come.

use std::collections::VecDeque;

use crate::buffer::Segment;

/// Segments of one operation at most. A turn coalesces small messages into one
/// chunk, so more than a few segments means shared frames; 64 of them amortise
/// the operation, and their addresses still fit a kilobyte.
pub(super) const MAX_SEGMENTS: usize = 64;

/// Bytes of one operation at most, unless its first segment is larger: what
/// one slow peer may keep from being counted as sent. A megabyte is beyond what
/// a socket's send buffer takes at once.
const MAX_BYTES: usize = 1 << 20;

/// The front of a queue on its way to the kernel.
#[derive(Debug, Default)]
pub(super) struct Batch {
    segments: Vec<Segment>,
    total: usize,
    done: usize,
}

impl Batch {
    /// Moves the front of `queue` here, as much as one operation takes.
    pub(super) fn fill(&mut self, queue: &mut VecDeque<Segment>) {
        self.total = 0;
        self.done = 0;
        while let Some(next) = queue.front() {
            let len = next.bytes().len();
            let full = self.segments.len() >= MAX_SEGMENTS || self.total + len > MAX_BYTES;
            if full && !self.segments.is_empty() {
                return;
            }
            self.total += len;
            self.segments.extend(queue.pop_front());
        }
    }

    /// All bytes.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Bytes the kernel has not taken.
    pub(super) fn left(&self) -> usize {
        self.total - self.done
    }

    /// The kernel took so many more bytes.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.done = self.total.min(self.done + bytes);
    }

    /// What is left to send: the first segment with bytes left, how many of its
    /// bytes are done, and the segments after it.
    pub(super) fn rest(&self) -> (&[Segment], usize) {
        let mut skip = self.done;
        for (index, segment) in self.segments.iter().enumerate() {
            let len = segment.bytes().len();
            if skip < len {
                return (&self.segments[index..], skip);
            }
            skip -= len;
        }
        (&[], 0)
    }

    /// The bytes left to send, a slice per segment.
    pub(super) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (rest, skip) = self.rest();
        let skips = std::iter::once(skip).chain(std::iter::repeat(0));
        rest.iter()
            .zip(skips)
            .map(|(segment, skip)| &segment.bytes()[skip..])
    }

    /// Drops the segments: chunks go back to their pool.
    pub(super) fn clear(&mut self) {
        self.segments.clear();
    }

    /// Segments there is room for without allocating.
    pub(super) fn capacity(&self) -> usize {
        self.segments.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Frame;

    fn filled(sizes: &[usize]) -> (Batch, usize) {
        let mut queue = sizes
            .iter()
            .map(|&size| Segment::Frame(Frame::from(vec![7; size])))
            .collect();
        let mut batch = Batch::default();
        batch.fill(&mut queue);
        (batch, queue.len())
    }

    #[test]
    fn a_batch_takes_a_bounded_front_of_the_queue() {
        let (many, left) = filled(&[10; 100]);
        assert_eq!((many.segments.len(), many.total(), left), (64, 640, 36));
        let (large, left) = filled(&[MAX_BYTES - 1, 2, 3]);
        assert_eq!((large.segments.len(), left), (1, 2));
        let (huge, left) = filled(&[3 * MAX_BYTES, 1]);
        assert_eq!((huge.total(), left), (3 * MAX_BYTES, 1));
    }

    #[test]
    fn the_rest_begins_where_the_kernel_stopped() {
        let (mut batch, _) = filled(&[4, 0, 6]);
        batch.advance(5);
        let (rest, skip) = batch.rest();
        assert_eq!((rest.len(), skip, batch.left()), (1, 1, 5));
        assert_eq!(batch.slices().map(<[u8]>::len).collect::<Vec<_>>(), [5]);
        batch.advance(5);
        assert_eq!((batch.left(), batch.slices().count()), (0, 0));
    }
}
