//! Receive leases: bytes the kernel wrote, lent until dropped.
//!
//! A [`RecvPool`] owns memory cut into equal buffers, from a first stretch of
//! them to as many as it may have. The backend lends a buffer to the kernel, the kernel fills a part of it, and the
//! backend hands that part out as a [`Lease`]. In incremental mode
//! (`IOU_PBUF_RING_INC`, Linux 6.12) the kernel fills one buffer bit by bit for
//! several sockets, so a buffer may have many leases; it goes back to the
//! kernel when the kernel has left it and its last lease is dropped.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::rc::Rc;

use super::slabs::Slabs;

/// The buffers one driver receives into.
pub struct RecvPool {
    slabs: Slabs,
    size: usize,
    /// Of as many buffers as there may be.
    states: Box<[BufferState]>,
    returned: RefCell<Vec<Returned>>,
    out: Cell<usize>,
}

#[derive(Debug, Default)]
struct BufferState {
    /// Leases out on this buffer.
    leases: Cell<u32>,
    /// Whether the kernel may write to it.
    kernel: Cell<bool>,
}

/// A lease was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The slot of the socket that had received the bytes.
    pub owner: u32,
    /// The buffer, when this was its last lease and the kernel has left it.
    pub buffer: Option<u16>,
}

impl RecvPool {
    /// Allocates `count` buffers of `size` bytes, page aligned, of a pool that
    /// may grow to `most`. A `most` below `count` means `count`.
    ///
    /// # Panics
    /// When `count` or `size` is zero or their product overflows: the
    /// configuration is checked before.
    #[must_use]
    pub fn new(count: u16, most: u16, size: usize) -> Rc<Self> {
        let most = most.max(count);
        Rc::new(Self {
            slabs: Slabs::new(count, size),
            size,
            states: (0..most).map(|_| BufferState::default()).collect(),
            returned: RefCell::default(),
            out: Cell::new(0),
        })
    }

    /// Doubles the pool, as far as it may grow; the new buffers.
    pub fn grow(&self) -> Range<u16> {
        let count = self.count();
        let more = count.min(self.most() - count);
        if more > 0 {
            self.slabs.add(more);
        }
        count..count + more
    }

    /// Takes back what the last [`grow`](Self::grow) added, unless that would
    /// be the first buffers or one of them is lent or leased. Whether it did.
    ///
    /// # Safety
    /// The kernel does not know these buffers any more.
    pub unsafe fn shrink(&self) -> bool {
        let Some(left) = self.slabs.without_last() else {
            return false;
        };
        let gone = &self.states[usize::from(left)..usize::from(self.count())];
        if gone
            .iter()
            .any(|state| state.kernel.get() || state.leases.get() > 0)
        {
            return false;
        }
        // SAFETY: the caller's promise; no lease is on them, and a new one
        // needs a buffer to be lent, which `address` refuses.
        unsafe { self.slabs.remove_last() };
        true
    }

    /// Bytes of one buffer.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many buffers there are.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.slabs.count()
    }

    /// How many there may be.
    #[must_use]
    pub fn most(&self) -> u16 {
        u16::try_from(self.states.len()).unwrap_or(u16::MAX)
    }

    /// Whether there are more than at first.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.after_shrinking().is_some()
    }

    /// How many [`shrink`](Self::shrink) would leave; `None`: it can not.
    #[must_use]
    pub fn after_shrinking(&self) -> Option<u16> {
        self.slabs.without_last()
    }

    /// Leases out.
    #[must_use]
    pub fn out(&self) -> usize {
        self.out.get()
    }

    /// Lends a whole buffer to the kernel; its address.
    ///
    /// The caller keeps the pool alive until the kernel has left the buffer.
    pub fn lend(&self, buffer: u16) -> NonNull<u8> {
        let state = &self.states[usize::from(buffer)];
        debug_assert!(!state.kernel.get(), "buffer {buffer} is lent already");
        debug_assert_eq!(state.leases.get(), 0, "buffer {buffer} is leased");
        state.kernel.set(true);
        self.slabs.address(buffer, 0)
    }

    /// The kernel has left the buffer without leaving bytes for a lease.
    /// Returns whether the buffer is free now.
    pub fn reclaim(&self, buffer: u16) -> bool {
        let state = &self.states[usize::from(buffer)];
        state.kernel.set(false);
        state.leases.get() == 0
    }

    /// Hands out `start..start + len` of `buffer`, which the kernel has filled
    /// for the socket in slot `owner`. `more` says that the kernel goes on
    /// filling the rest of the buffer.
    ///
    /// # Safety
    /// The kernel holds the buffer, has finished writing that range, will not
    /// touch it again before the buffer is lent anew, and no other lease
    /// overlaps it.
    pub unsafe fn lease(
        self: &Rc<Self>,
        owner: u32,
        buffer: u16,
        start: usize,
        len: usize,
        more: bool,
    ) -> Lease {
        let state = &self.states[usize::from(buffer)];
        debug_assert!(state.kernel.get(), "buffer {buffer} is not with the kernel");
        assert!(start + len <= self.size, "a lease stays within its buffer");
        state.leases.set(state.leases.get() + 1);
        state.kernel.set(more);
        self.out.set(self.out.get() + 1);
        Lease {
            bytes: self.slabs.address(buffer, start),
            len,
            owner,
            buffer,
            pool: Rc::clone(self),
        }
    }

    /// Moves the leases dropped since the last call to `into`.
    pub fn take_returned(&self, into: &mut Vec<Returned>) {
        into.append(&mut self.returned.borrow_mut());
    }

    /// Whether a lease was dropped since [`take_returned`](Self::take_returned).
    #[must_use]
    pub fn has_returned(&self) -> bool {
        !self.returned.borrow().is_empty()
    }
}

impl fmt::Debug for RecvPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvPool")
            .field("count", &self.count())
            .field("most", &self.most())
            .field("size", &self.size)
            .field("out", &self.out.get())
            .finish_non_exhaustive()
    }
}

/// Received bytes, readable and writable in place until dropped.
pub struct Lease {
    bytes: NonNull<u8>,
    len: usize,
    owner: u32,
    buffer: u16,
    pool: Rc<RecvPool>,
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `RecvPool::lease` promised that the range is within the
        // allocation, initialised and no longer written by the kernel; the
        // lease keeps the pool alive.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and leases do not overlap, so `&mut self`
        // makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr(), self.len) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let state = &self.pool.states[usize::from(self.buffer)];
        let left = state.leases.get() - 1;
        state.leases.set(left);
        self.pool.out.set(self.pool.out.get() - 1);
        let free = left == 0 && !state.kernel.get();
        self.pool.returned.borrow_mut().push(Returned {
            owner: self.owner,
            buffer: free.then_some(self.buffer),
        });
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes of buffer {})", self.len, self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returned(pool: &RecvPool) -> Vec<Returned> {
        let mut list = Vec::new();
        pool.take_returned(&mut list);
        list
    }

    #[test]
    fn a_buffer_returns_once_after_its_last_lease_and_the_kernel() {
        let pool = RecvPool::new(2, 2, 4096);
        pool.lend(1);
        // SAFETY: nothing but this test holds the buffer; the ranges differ.
        let first = unsafe { pool.lease(7, 1, 0, 10, true) };
        // SAFETY: as above.
        let mut second = unsafe { pool.lease(8, 1, 10, 20, false) };
        second[0] = 42;
        assert_eq!((first.len(), second.len(), second[0]), (10, 20, 42));
        assert_eq!(pool.out(), 2);
        drop(second);
        assert_eq!(
            returned(&pool),
            [Returned {
                owner: 8,
                buffer: None
            }]
        );
        drop(first);
        assert_eq!(
            returned(&pool),
            [Returned {
                owner: 7,
                buffer: Some(1)
            }]
        );
        assert_eq!(pool.out(), 0);
        pool.lend(1);
        assert!(pool.reclaim(1));
    }

    #[test]
    fn a_pool_doubles_to_its_bound_and_gives_back_what_nobody_uses() {
        let pool = RecvPool::new(2, 7, 4096);
        assert_eq!((pool.grow(), pool.grow(), pool.grow()), (2..4, 4..7, 7..7));
        pool.lend(5);
        // SAFETY: nothing but this test knows the buffers.
        assert!(!unsafe { pool.shrink() }, "one of them is lent");
        assert!(pool.reclaim(5));
        // SAFETY: as above.
        assert!(unsafe { pool.shrink() });
        assert_eq!((pool.count(), pool.most(), pool.has_grown()), (4, 7, true));
        // SAFETY: as above.
        assert!(unsafe { pool.shrink() });
        // SAFETY: as above.
        assert!(!unsafe { pool.shrink() }, "these are the first");
        assert_eq!((pool.count(), pool.has_grown()), (2, false));
        assert_eq!(pool.grow(), 2..4);
    }

    #[test]
    fn a_buffer_the_kernel_still_fills_does_not_return() {
        let pool = RecvPool::new(1, 1, 4096);
        pool.lend(0);
        // SAFETY: nothing but this test holds the buffer.
        drop(unsafe { pool.lease(3, 0, 0, 5, true) });
        assert_eq!(
            returned(&pool),
            [Returned {
                owner: 3,
                buffer: None
            }]
        );
        assert!(pool.reclaim(0));
    }
}
