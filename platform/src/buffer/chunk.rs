//! Send chunks: pooled memory that a connection owns only while it has
//! something to send.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Sizes the pool keeps, in bytes. The smallest holds a burst of small
/// messages (16 echoes of 20 bytes), the largest a 64 KiB message with its
/// header; what is larger is allocated to measure and freed.
const CLASSES: [usize; 3] = [1 << 10, 8 << 10, (64 << 10) + 64];

/// Free memory kept per class, in bytes: a burst of some thousand connections
/// in one turn is served from the pool, an idle shard keeps little.
const RETAIN: usize = 4 << 20;

/// One shelf per class, and one for what is larger and never kept.
const SHELVES: usize = CLASSES.len() + 1;

/// A per-shard pool of send chunks. Clones share the pool.
#[derive(Clone, Debug, Default)]
pub struct ChunkPool(Rc<[Shelf; SHELVES]>);

#[derive(Debug, Default)]
struct Shelf {
    free: RefCell<Vec<Vec<u8>>>,
    out: Cell<usize>,
    out_bytes: Cell<usize>,
    peak: Cell<usize>,
    allocated: Cell<u64>,
    freed: Cell<u64>,
}

/// What a [`ChunkPool`] holds of one size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkStats {
    /// Bytes of a chunk; 0: larger than any class, each as large as it must be.
    pub size: usize,
    /// Chunks in use.
    pub out: usize,
    /// Their capacity in bytes.
    pub out_bytes: usize,
    /// The most chunks in use at once.
    pub peak: usize,
    /// Chunks ready to be used again.
    pub free: usize,
    /// Chunks allocated because none was free.
    pub allocated: u64,
    /// Chunks freed because enough were.
    pub freed: u64,
}

impl ChunkPool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty chunk with room for at least `room` bytes.
    #[must_use]
    pub fn take(&self, room: usize) -> Chunk {
        let class = CLASSES.iter().position(|&size| size >= room);
        let class = class.unwrap_or(CLASSES.len());
        let shelf = &self.0[class];
        let pooled = shelf.free.borrow_mut().pop();
        let bytes = pooled.unwrap_or_else(|| {
            shelf.allocated.set(shelf.allocated.get() + 1);
            Vec::with_capacity(CLASSES.get(class).copied().unwrap_or(room))
        });
        let out = shelf.out.get() + 1;
        shelf.out.set(out);
        shelf.peak.set(shelf.peak.get().max(out));
        shelf
            .out_bytes
            .set(shelf.out_bytes.get() + bytes.capacity());
        Chunk {
            bytes,
            class,
            home: self.clone(),
        }
    }

    /// What the pool holds now, by size.
    #[must_use]
    pub fn stats(&self) -> [ChunkStats; SHELVES] {
        std::array::from_fn(|class| {
            let shelf = &self.0[class];
            ChunkStats {
                size: CLASSES.get(class).copied().unwrap_or(0),
                out: shelf.out.get(),
                out_bytes: shelf.out_bytes.get(),
                peak: shelf.peak.get(),
                free: shelf.free.borrow().len(),
                allocated: shelf.allocated.get(),
                freed: shelf.freed.get(),
            }
        })
    }

    /// Chunks in use, of all sizes.
    #[must_use]
    pub fn out(&self) -> usize {
        self.0.iter().map(|shelf| shelf.out.get()).sum()
    }

    fn give_back(&self, class: usize, mut bytes: Vec<u8>) {
        let shelf = &self.0[class];
        shelf.out.set(shelf.out.get() - 1);
        shelf
            .out_bytes
            .set(shelf.out_bytes.get() - bytes.capacity());
        let mut free = shelf.free.borrow_mut();
        let kept = CLASSES.get(class);
        if kept.is_some_and(|size| (free.len() + 1) * size <= RETAIN) {
            bytes.clear();
            free.push(bytes);
        } else {
            shelf.freed.set(shelf.freed.get() + 1);
        }
    }
}

/// Bytes to send, appended until the chunk is full; it never grows, so its
/// address is stable while the kernel reads it. Dropping it gives the memory
/// back to its pool.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    class: usize,
    home: ChunkPool,
}

impl Chunk {
    /// What was appended.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was appended, to mask or patch in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Bytes that can still be appended.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Appends as much of `bytes` as there is room for; returns how much.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.bytes.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// Appends both, one behind the other, if there is room for both; whether
    /// there was.
    #[inline]
    pub fn append_both(&mut self, header: &[u8], payload: &[u8]) -> bool {
        let fit = header.len() + payload.len() <= self.room();
        if fit {
            extend(&mut self.bytes, header);
            extend(&mut self.bytes, payload);
        }
        fit
    }

    /// Appends what `write` puts into a stretch of `room` zeroes; it says how
    /// much of the stretch it used, or why nothing.
    ///
    /// # Errors
    /// Whatever `write` returns; nothing is appended then.
    ///
    /// # Panics
    /// When `room` is more than [`room`](Self::room): the chunk must not move.
    pub fn append_with<E>(
        &mut self,
        room: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        assert!(room <= self.room(), "a chunk never grows");
        let before = self.bytes.len();
        self.bytes.resize(before + room, 0);
        let written = write(&mut self.bytes[before..]);
        let kept = *written.as_ref().unwrap_or(&0);
        self.bytes.truncate(before + kept.min(room));
        written
    }
}

/// Appends `more`. Of a few bytes it appends the first and then, over their
/// end, the last ones, as words: a call of `memcpy` takes longer.
#[inline]
fn extend(bytes: &mut Vec<u8>, more: &[u8]) {
    let len = more.len();
    if let (Some(first), Some(last)) = (more.first_chunk::<16>(), more.last_chunk::<16>())
        && len <= 32
    {
        bytes.extend_from_slice(first);
        bytes.truncate(bytes.len() - (32 - len));
        bytes.extend_from_slice(last);
    } else {
        bytes.extend_from_slice(more);
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.home
            .give_back(self.class, std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_comes_back_and_serves_again() {
        let pool = ChunkPool::new();
        let mut chunk = pool.take(10);
        assert_eq!(chunk.append(b"hello"), 5);
        let address = chunk.bytes().as_ptr();
        drop(chunk);
        let again = pool.take(900);
        assert!(again.bytes().is_empty());
        assert_eq!(again.bytes.as_ptr(), address);
        assert_eq!(
            pool.stats()[0],
            ChunkStats {
                size: 1024,
                out: 1,
                out_bytes: 1024,
                peak: 1,
                free: 0,
                allocated: 1,
                freed: 0,
            }
        );
    }

    #[test]
    fn a_full_chunk_takes_only_what_fits() {
        let pool = ChunkPool::new();
        let mut chunk = pool.take(1024);
        assert_eq!(chunk.append(&[7; 2000]), 1024);
        assert_eq!(chunk.room(), 0);
        assert_eq!(chunk.append(&[7; 1]), 0);
    }

    #[test]
    fn both_parts_are_appended_or_neither() {
        let source: Vec<u8> = (0..=255).collect();
        for header in 0..=14 {
            for payload in 0..=200 {
                let parts = (&source[..header], &source[header..header + payload]);
                let mut chunk = ChunkPool::new().take(header + payload + 5);
                chunk.append(b"start");
                assert!(chunk.append_both(parts.0, parts.1));
                assert_eq!(chunk.bytes()[..5], *b"start");
                assert_eq!(chunk.bytes()[5..], source[..header + payload]);
                let room = chunk.room();
                chunk.append(&vec![0; room - (header + payload).min(room)]);
                let before = chunk.bytes().to_vec();
                if header + payload > 0 {
                    chunk.append(&[0]);
                    assert!(!chunk.append_both(parts.0, parts.1));
                    assert_eq!(chunk.bytes()[..before.len()], before);
                }
            }
        }
    }

    #[test]
    fn writing_in_place_keeps_what_was_written_and_the_address() {
        let pool = ChunkPool::new();
        let mut chunk = pool.take(1024);
        chunk.append(b"head");
        let address = chunk.bytes().as_ptr();
        let wrote = chunk.append_with(1000, |space| {
            space[..4].copy_from_slice(b"body");
            Ok::<_, ()>(4)
        });
        assert_eq!((wrote, chunk.bytes()), (Ok(4), &b"headbody"[..]));
        assert_eq!(chunk.append_with(10, |_| Err("no")), Err("no"));
        assert_eq!((chunk.bytes(), chunk.room()), (&b"headbody"[..], 1016));
        assert_eq!(chunk.bytes().as_ptr(), address);
    }

    #[test]
    fn the_pool_keeps_a_bounded_amount() {
        let pool = ChunkPool::new();
        let chunks: Vec<_> = (0..10_000).map(|_| pool.take(1000)).collect();
        drop(chunks);
        let [small, ..] = pool.stats();
        assert_eq!((small.free, small.peak), (RETAIN / 1024, 10_000));
        assert_eq!(small.freed, 10_000 - (RETAIN / 1024) as u64);
        let huge = pool.take(1 << 20);
        assert!(huge.room() >= 1 << 20);
        drop(huge);
        assert_eq!(pool.out(), 0);
        let [.., larger] = pool.stats();
        assert_eq!((larger.size, larger.free, larger.freed), (0, 0, 1));
    }
}
