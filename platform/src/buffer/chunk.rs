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

/// A per-shard pool of send chunks. Clones share the pool.
#[derive(Clone, Debug, Default)]
pub struct ChunkPool(Rc<Shelves>);

#[derive(Debug, Default)]
struct Shelves {
    free: [RefCell<Vec<Vec<u8>>>; CLASSES.len()],
    out: Cell<usize>,
    out_bytes: Cell<usize>,
    allocated: Cell<u64>,
}

/// What a [`ChunkPool`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkStats {
    /// Chunks in use.
    pub out: usize,
    /// Their capacity in bytes.
    pub out_bytes: usize,
    /// Chunks ready to be used again.
    pub free: usize,
    /// Chunks ever allocated.
    pub allocated: u64,
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
        let shelves = &self.0;
        let class = CLASSES.iter().position(|&size| size >= room);
        let pooled = class.and_then(|class| shelves.free[class].borrow_mut().pop());
        let bytes = pooled.unwrap_or_else(|| {
            shelves.allocated.set(shelves.allocated.get() + 1);
            Vec::with_capacity(class.map_or(room, |class| CLASSES[class]))
        });
        shelves.out.set(shelves.out.get() + 1);
        shelves
            .out_bytes
            .set(shelves.out_bytes.get() + bytes.capacity());
        Chunk {
            bytes,
            home: self.clone(),
        }
    }

    /// What the pool holds now.
    #[must_use]
    pub fn stats(&self) -> ChunkStats {
        ChunkStats {
            out: self.0.out.get(),
            out_bytes: self.0.out_bytes.get(),
            free: self.0.free.iter().map(|shelf| shelf.borrow().len()).sum(),
            allocated: self.0.allocated.get(),
        }
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        let shelves = &self.0;
        shelves.out.set(shelves.out.get() - 1);
        shelves
            .out_bytes
            .set(shelves.out_bytes.get() - bytes.capacity());
        let Some(class) = CLASSES.iter().position(|&size| size == bytes.capacity()) else {
            return;
        };
        let mut shelf = shelves.free[class].borrow_mut();
        if (shelf.len() + 1) * CLASSES[class] <= RETAIN {
            bytes.clear();
            shelf.push(bytes);
        }
    }
}

/// Bytes to send, appended until the chunk is full; it never grows, so its
/// address is stable while the kernel reads it. Dropping it gives the memory
/// back to its pool.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
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
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Appends as much of `bytes` as there is room for; returns how much.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.bytes.extend_from_slice(&bytes[..taken]);
        taken
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

impl Drop for Chunk {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
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
            pool.stats(),
            ChunkStats {
                out: 1,
                out_bytes: 1024,
                free: 0,
                allocated: 1
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
        assert_eq!(pool.stats().free, RETAIN / 1024);
        let huge = pool.take(1 << 20);
        assert!(huge.room() >= 1 << 20);
        drop(huge);
        assert_eq!(pool.stats().out, 0);
        assert_eq!(pool.stats().free, RETAIN / 1024);
    }
}
