//! The receive pool, filled bit by bit in user space.

use std::io;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::rc::Rc;

use super::config::CompioConfig;
use crate::buffer::{Growth, Lease, RecvPool, Returned};
use crate::clock::Nanos;

/// A buffer with less room than a quarter of it is left: a receive that stops
/// for lack of room costs another system call. More than this is always enough.
const ENOUGH: usize = 16 << 10;

/// What a receive brought.
#[derive(Debug)]
pub(super) enum Filled {
    /// No buffer is free.
    Exhausted,
    /// The peer ended its direction.
    Eof,
    /// Bytes, and whether they filled the room there was.
    Bytes {
        lease: Lease,
        full: bool,
    },
    Failed(io::Error),
}

/// The pool, and the buffer that is being filled.
#[derive(Debug)]
pub(super) struct Buffers {
    pool: Rc<RecvPool>,
    /// Free buffers, the last used on top: it is the one in cache.
    free: Vec<u16>,
    current: Option<Current>,
    returned: Vec<Returned>,
    growth: Growth,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    buffer: u16,
    /// Its first byte.
    base: NonNull<u8>,
    filled: usize,
}

impl Buffers {
    pub(super) fn new(config: &CompioConfig, now: Nanos) -> Self {
        let (count, most) = (config.recv_buffers, config.recv_buffers_max);
        Self {
            pool: RecvPool::new(count, most, config.recv_buffer_size),
            free: (0..count).rev().collect(),
            current: None,
            returned: Vec::new(),
            growth: Growth::new(config.recv_shrink_after, now),
        }
    }

    /// Makes the pool larger, if it may be.
    pub(super) fn grow(&mut self, now: Nanos) -> bool {
        let new = self.pool.grow();
        let grew = !new.is_empty();
        self.free.extend(new.rev());
        if grew {
            self.growth.grew(now);
        }
        grew
    }

    /// When the pool may have become too large.
    pub(super) fn shrink_due(&self) -> Option<Nanos> {
        self.pool.has_grown().then(|| self.growth.due())
    }

    /// Makes the pool smaller if it is too large and nothing of it is leased.
    pub(super) fn shrink(&mut self, now: Nanos) {
        if !self.growth.too_large(self.pool.count(), now) {
            return;
        }
        if self.pool.out() > 0 || self.pool.has_returned() {
            self.growth.postpone(now);
            return;
        }
        if let Some(current) = self.current.take() {
            self.pool.reclaim(current.buffer);
        }
        // SAFETY: no buffer is lent, and only this pool's driver knows any.
        if unsafe { self.pool.shrink() } {
            self.growth.shrank(now);
        }
        self.free = (0..self.pool.count()).rev().collect();
    }

    /// Buffers that are not free.
    pub(super) fn in_use(&self) -> u16 {
        // There are fewer free ones than buffers, of which there are 2^16.
        let free = u16::try_from(self.free.len()).unwrap_or(u16::MAX);
        self.pool.count() - free
    }

    pub(super) fn growth(&self) -> &Growth {
        &self.growth
    }

    pub(super) fn pool(&self) -> &RecvPool {
        &self.pool
    }

    /// Whether a receive finds room.
    pub(super) fn stocked(&self) -> bool {
        self.current.is_some_and(|current| self.roomy(current)) || !self.free.is_empty()
    }

    fn roomy(&self, current: Current) -> bool {
        let size = self.pool.size();
        size - current.filled >= (size / 4).clamp(1, ENOUGH)
    }

    /// Takes back the leases dropped since; `owner` hears of each.
    pub(super) fn restock(&mut self, mut owner: impl FnMut(u32)) {
        if self.pool.has_returned() {
            self.growth.note(self.in_use());
            self.pool.take_returned(&mut self.returned);
            for returned in self.returned.drain(..) {
                owner(returned.owner);
                self.free.extend(returned.buffer);
            }
        }
        if self.pool.out() == 0
            && let Some(current) = &mut self.current
            && current.filled > 0
        {
            // Nobody holds a part of it: from the start again, while it is hot.
            self.pool.reclaim(current.buffer);
            current.base = self.pool.lend(current.buffer);
            current.filled = 0;
        }
    }

    /// Lets `receive` write to a free stretch, for the socket in slot `owner`.
    pub(super) fn fill(
        &mut self,
        owner: u32,
        receive: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
    ) -> Filled {
        let Some(current) = self.make_room() else {
            return Filled::Exhausted;
        };
        let room = self.pool.size() - current.filled;
        // SAFETY: `filled` bytes of the buffer's `size` are behind this.
        let start = unsafe { current.base.add(current.filled) };
        // SAFETY: the buffer is lent to this driver, and the leases on it end
        // where this stretch begins, so that nobody else uses its bytes.
        let stretch = unsafe { std::slice::from_raw_parts_mut(start.as_ptr().cast(), room) };
        let len = match receive(stretch) {
            Ok(0) => return Filled::Eof,
            Ok(len) => len.min(room),
            Err(error) => return Filled::Failed(error),
        };
        // SAFETY: the buffer is lent, `receive` has written these bytes, and
        // `filled` moves past them, so nobody writes there before it is lent
        // anew and no lease overlaps.
        let lease = unsafe {
            self.pool
                .lease(owner, current.buffer, current.filled, len, true)
        };
        self.current = Some(Current {
            filled: current.filled + len,
            ..current
        });
        Filled::Bytes {
            lease,
            full: len == room,
        }
    }

    /// The buffer to fill on, or a new one.
    fn make_room(&mut self) -> Option<Current> {
        if let Some(current) = self.current {
            if self.roomy(current) {
                return Some(current);
            }
            self.current = None;
            if self.pool.reclaim(current.buffer) {
                self.free.push(current.buffer);
            }
        }
        let buffer = self.free.pop()?;
        self.current = Some(Current {
            buffer,
            base: self.pool.lend(buffer),
            filled: 0,
        });
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers(count: u16, most: u16) -> Buffers {
        let config = CompioConfig {
            recv_buffers: count,
            recv_buffers_max: most,
            recv_buffer_size: 1000,
            recv_shrink_after: 100,
            ..CompioConfig::default()
        };
        Buffers::new(&config, 0)
    }

    fn receive(buffers: &mut Buffers, len: usize) -> Filled {
        buffers.fill(0, |room| {
            let len = len.min(room.len());
            room[..len].fill(MaybeUninit::new(7));
            Ok(len)
        })
    }

    fn lease(buffers: &mut Buffers, len: usize) -> Lease {
        match receive(buffers, len) {
            Filled::Bytes { lease, .. } => lease,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_buffer_is_filled_until_little_room_is_left() {
        let mut buffers = buffers(2, 2);
        let held: Vec<_> = (0..8).map(|_| lease(&mut buffers, 200)).collect();
        assert!(!buffers.stocked(), "200 of 1000 bytes are too little");
        assert!(matches!(receive(&mut buffers, 1), Filled::Exhausted));
        drop(held);
        let mut owners = 0;
        buffers.restock(|_| owners += 1);
        assert_eq!(owners, 8);
        assert!(buffers.stocked());
        assert_eq!(buffers.free.len(), 2);
    }

    #[test]
    fn a_buffer_nobody_holds_is_filled_from_its_start() {
        let mut buffers = buffers(1, 1);
        for _ in 0..10 {
            let full = lease(&mut buffers, 1000);
            assert_eq!(full.len(), 1000);
            drop(full);
            buffers.restock(|_| ());
        }
    }

    #[test]
    fn a_dry_pool_grows_and_a_quiet_one_shrinks_when_nothing_is_leased() {
        let mut buffers = buffers(1, 4);
        let mut held = vec![lease(&mut buffers, 1000)];
        assert!(matches!(receive(&mut buffers, 1), Filled::Exhausted));
        assert!(buffers.grow(50) && buffers.grow(50));
        held.extend((0..3).map(|_| lease(&mut buffers, 1000)));
        assert!(matches!(receive(&mut buffers, 1), Filled::Exhausted));
        assert!(!buffers.grow(50), "that is its bound");
        assert_eq!((buffers.pool().count(), buffers.in_use()), (4, 4));
        held.drain(1..);
        buffers.restock(|_| ());
        buffers.shrink(150);
        assert_eq!(buffers.pool().count(), 4, "four were in use");
        let due = buffers.shrink_due().expect("it has grown");
        buffers.shrink(due);
        assert_eq!(buffers.pool().count(), 4, "one is leased");
        held.clear();
        buffers.restock(|_| ());
        for left in [2, 1] {
            let due = buffers.shrink_due().expect("it has grown");
            buffers.shrink(due);
            assert_eq!(buffers.pool().count(), left);
        }
        assert_eq!(buffers.shrink_due(), None);
        assert_eq!(lease(&mut buffers, 7).len(), 7);
    }

    #[test]
    fn an_end_and_a_failure_take_no_room() {
        let mut buffers = buffers(1, 1);
        assert!(matches!(receive(&mut buffers, 0), Filled::Eof));
        let failed = buffers.fill(0, |_| Err(io::ErrorKind::ConnectionReset.into()));
        assert!(matches!(failed, Filled::Failed(_)));
        assert_eq!(lease(&mut buffers, 5000).len(), 1000);
        assert_eq!(buffers.pool().out(), 1 - 1, "the lease was dropped");
    }
}
