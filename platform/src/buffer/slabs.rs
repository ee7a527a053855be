//! The memory of a receive pool: stretches that come and go as it grows and
//! shrinks. Each is as large as all before it.

use std::alloc::Layout;
use std::cell::RefCell;
use std::ptr::NonNull;

/// Equal buffers in a few stretches of memory. The first ones never move.
#[derive(Debug)]
pub(super) struct Slabs {
    slabs: RefCell<Vec<Slab>>,
    size: usize,
}

#[derive(Debug)]
struct Slab {
    /// Its first buffer.
    first: u16,
    count: u16,
    base: NonNull<u8>,
    layout: Layout,
}

impl Slabs {
    /// One stretch of `count` buffers of `size` bytes, page aligned.
    ///
    /// # Panics
    /// When `count` or `size` is zero or their product overflows: the
    /// configuration is checked before.
    pub(super) fn new(count: u16, size: usize) -> Self {
        let slabs = Self {
            slabs: RefCell::default(),
            size,
        };
        slabs.add(count);
        slabs
    }

    /// Adds a stretch of `count` buffers.
    pub(super) fn add(&self, count: u16) {
        let first = self.count();
        let bytes = usize::from(count).checked_mul(self.size);
        let bytes = bytes.filter(|&bytes| bytes > 0).expect("a pool has bytes");
        let layout = Layout::from_size_align(bytes, 4096).expect("a pool fits the address space");
        // SAFETY: the layout has a non-zero size.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        let base = NonNull::new(memory).unwrap_or_else(|| std::alloc::handle_alloc_error(layout));
        self.slabs.borrow_mut().push(Slab {
            first,
            count,
            base,
            layout,
        });
    }

    /// All buffers.
    pub(super) fn count(&self) -> u16 {
        let slabs = self.slabs.borrow();
        slabs.last().map_or(0, |slab| slab.first + slab.count)
    }

    /// Buffers without the last stretch; `None` when that is the only one.
    pub(super) fn without_last(&self) -> Option<u16> {
        let slabs = self.slabs.borrow();
        let last = slabs.last().filter(|_| slabs.len() > 1)?;
        Some(last.first)
    }

    /// Frees the last stretch.
    ///
    /// # Safety
    /// Nobody uses any of its buffers, nor their addresses, from here on.
    pub(super) unsafe fn remove_last(&self) {
        self.slabs.borrow_mut().pop();
    }

    /// The address of a byte.
    ///
    /// # Panics
    /// When there is no such buffer, or it is smaller.
    pub(super) fn address(&self, buffer: u16, start: usize) -> NonNull<u8> {
        assert!(start <= self.size, "a buffer has {} bytes", self.size);
        let slabs = self.slabs.borrow();
        let slab = slabs.iter().rev().find(|slab| slab.first <= buffer);
        let slab = slab.filter(|slab| buffer - slab.first < slab.count);
        let slab = slab.expect("the pool has this buffer");
        let offset = usize::from(buffer - slab.first) * self.size + start;
        // SAFETY: the buffer is one of the slab's and `start` at most its size,
        // so the offset stays within the allocation.
        unsafe { slab.base.add(offset) }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: `base` came from `alloc_zeroed` with this layout. Whoever
        // removed the slab, or dropped the pool, promised that it is unused.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_do_not_overlap_and_keep_their_place() {
        let slabs = Slabs::new(3, 100);
        let before = slabs.address(2, 0);
        slabs.add(3);
        slabs.add(2);
        assert_eq!(slabs.count(), 8);
        assert_eq!(slabs.address(2, 0), before);
        let mut starts: Vec<_> = (0..8)
            .map(|buffer| slabs.address(buffer, 0).addr().get())
            .collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 100));
        assert_eq!(slabs.without_last(), Some(6));
        // SAFETY: nobody uses any buffer.
        unsafe { slabs.remove_last() };
        assert_eq!((slabs.count(), slabs.without_last()), (6, Some(3)));
    }

    #[test]
    #[should_panic(expected = "the pool has this buffer")]
    fn a_buffer_beyond_the_last_is_refused() {
        Slabs::new(3, 100).address(3, 0);
    }
}
