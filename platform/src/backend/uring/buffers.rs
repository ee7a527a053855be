//! The ring of receive buffers lent to the kernel (`IORING_REGISTER_PBUF_RING`,
//! Linux 5.19).

use std::alloc::Layout;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;

use crate::buffer::{Growth, Lease, RecvPool, Returned};
use crate::clock::Nanos;

/// The one buffer group of a driver.
pub(super) const GROUP: u16 = 0;

/// `IOU_PBUF_RING_INC` (Linux 6.12), in the type the registration takes.
const INCREMENTAL: u16 = 2;

const _: () = assert!(io_uring::types::IOU_PBUF_RING_INC == INCREMENTAL as u32);

/// Entries are 16 bytes; the ring must be page aligned.
const PAGE: usize = 4096;

/// An entry of the ring shared with the kernel: `struct io_uring_buf`. The
/// `tail` of the whole ring lies in the last two bytes of its first entry.
#[repr(C)]
struct Posted {
    addr: u64,
    len: u32,
    buffer: u16,
    tail: u16,
}

const _: () = assert!(size_of::<Posted>() == 16);

/// A pool and the ring that lends it to the kernel.
pub(super) struct BufferRing {
    pool: Rc<RecvPool>,
    entries: NonNull<Posted>,
    layout: Layout,
    mask: u16,
    tail: u16,
    incremental: bool,
    /// Bytes of each buffer the kernel has filled (incremental mode).
    filled: Box<[u32]>,
    /// Buffers with the kernel.
    posted: u16,
    scratch: Vec<Returned>,
    growth: Growth,
}

/// How many buffers of which size, and for how long too many are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolSize {
    pub(super) count: u16,
    pub(super) most: u16,
    pub(super) size: usize,
    pub(super) quiet: Nanos,
}

impl BufferRing {
    /// Registers a ring with room for the most buffers, and lends the first.
    pub(super) fn register(
        io: &IoUring,
        sizes: PoolSize,
        incremental: bool,
        now: Nanos,
    ) -> io::Result<Self> {
        let pool = RecvPool::new(sizes.count, sizes.most, sizes.size);
        let most = pool.most();
        let slots = most.next_power_of_two();
        let layout = Layout::array::<Posted>(usize::from(slots))
            .and_then(|layout| layout.align_to(PAGE))
            .map_err(io::Error::other)?;
        // SAFETY: there is at least one entry, so the size is not zero.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast::<Posted>()) else {
            std::alloc::handle_alloc_error(layout);
        };
        let mut ring = Self {
            pool,
            entries,
            layout,
            mask: slots - 1,
            tail: 0,
            incremental,
            filled: vec![0; usize::from(most)].into(),
            posted: 0,
            scratch: Vec::new(),
            growth: Growth::new(sizes.quiet, now),
        };
        ring.hand_over(io)?;
        Ok(ring)
    }

    /// Registers the ring, empty, and lends all buffers.
    fn hand_over(&mut self, io: &IoUring) -> io::Result<()> {
        self.tail = 0;
        self.posted = 0;
        self.publish();
        let flags = if self.incremental { INCREMENTAL } else { 0 };
        let addr = self.entries.as_ptr().expose_provenance() as u64;
        // At most 2^15, so there is one more.
        let slots = self.mask + 1;
        // SAFETY: `entries` has `slots` entries and is freed only by `Drop`,
        // before which the ring is unregistered or gone.
        unsafe {
            io.submitter()
                .register_buf_ring_with_flags(addr, slots, GROUP, flags)
        }?;
        for buffer in 0..self.pool.count() {
            self.lend(buffer);
        }
        self.publish();
        Ok(())
    }

    /// Makes the pool larger, if it may be.
    pub(super) fn grow(&mut self, now: Nanos) -> bool {
        let new = self.pool.grow();
        if new.is_empty() {
            return false;
        }
        for buffer in new {
            self.lend(buffer);
        }
        self.publish();
        self.growth.grew(now);
        true
    }

    /// When the pool may have become too large.
    pub(super) fn shrink_due(&self) -> Option<Nanos> {
        self.pool.has_grown().then(|| self.growth.due())
    }

    /// Makes the pool smaller if it is too large and all of it is at rest:
    /// nothing leased, nothing in a completion not yet read. The kernel gives
    /// single buffers back only full, so it loses the ring and gets it anew;
    /// armed receives find it by its number when there are bytes for them.
    ///
    /// # Errors
    /// The kernel does not take the ring back: nobody can receive any more.
    pub(super) fn shrink(&mut self, io: &IoUring, all_read: bool, now: Nanos) -> io::Result<()> {
        if !self.growth.too_large(self.pool.count(), now) {
            return Ok(());
        }
        if !all_read || self.in_use() > 0 || self.pool.out() > 0 {
            self.growth.postpone(now);
            return Ok(());
        }
        self.unregister(io)?;
        for buffer in 0..self.pool.count() {
            self.pool.reclaim(buffer);
        }
        self.filled.fill(0);
        // SAFETY: the kernel has just let go of all buffers.
        if unsafe { self.pool.shrink() } {
            self.growth.shrank(now);
        }
        self.hand_over(io)
    }

    /// Buffers the kernel has left and not got back.
    pub(super) fn in_use(&self) -> u16 {
        self.pool.count() - self.posted
    }

    pub(super) fn growth(&self) -> &Growth {
        &self.growth
    }

    /// Takes the ring away from the kernel. No receive may be in flight.
    pub(super) fn unregister(&self, io: &IoUring) -> io::Result<()> {
        io.submitter().unregister_buf_ring(GROUP)
    }

    pub(super) fn incremental(&self) -> bool {
        self.incremental
    }

    pub(super) fn pool(&self) -> &RecvPool {
        &self.pool
    }

    /// Whether the kernel has a buffer to fill.
    pub(super) fn stocked(&self) -> bool {
        self.posted > 0
    }

    /// A receive filled `len` bytes of `buffer` for the socket in `owner`.
    ///
    /// In incremental mode where the bytes start, and whether the kernel goes
    /// on with the buffer, follows from counting: buffers fill up front to
    /// back, and the kernel leaves one exactly when it is full. The flag that
    /// says the same (`IORING_CQE_F_BUF_MORE`) is missing from zero-length
    /// completions before the fix of March 2026 (liburing issues 1545, 1553),
    /// though the kernel goes on with the buffer.
    ///
    /// # Safety
    /// A completion just read carries exactly this.
    pub(super) unsafe fn take(&mut self, owner: u32, buffer: u16, len: usize) -> Lease {
        let filled = &mut self.filled[usize::from(buffer)];
        let start = *filled as usize;
        let end = start + len;
        let more = self.incremental && end < self.pool.size();
        if more {
            // A buffer has at most 1 GiB, so this does not truncate.
            *filled = u32::try_from(end).unwrap_or(u32::MAX);
        } else {
            *filled = 0;
            self.posted -= 1;
        }
        // SAFETY: the kernel said it wrote `len` bytes after what it had
        // written before, and never writes the same bytes twice before the
        // buffer is lent again.
        unsafe { self.pool.lease(owner, buffer, start, len, more) }
    }

    /// Whether `len` more bytes fit what `buffer` holds already.
    pub(super) fn fits(&self, buffer: u16, len: usize) -> bool {
        self.filled[usize::from(buffer)] as usize + len <= self.pool.size()
    }

    /// A completion carried a buffer but no bytes: a plain buffer is used up
    /// all the same, an incremental one stays with the kernel.
    pub(super) fn take_empty(&mut self, buffer: u16) {
        if self.incremental {
            return;
        }
        self.posted -= 1;
        if self.pool.reclaim(buffer) {
            self.lend(buffer);
            self.publish();
        }
    }

    /// Lends again what dropped leases gave back, and tells `each` the owners.
    pub(super) fn restock(&mut self, mut each: impl FnMut(u32)) {
        if !self.pool.has_returned() {
            return;
        }
        self.growth.note(self.in_use());
        let mut returned = std::mem::take(&mut self.scratch);
        self.pool.take_returned(&mut returned);
        for lease in returned.drain(..) {
            each(lease.owner);
            if let Some(buffer) = lease.buffer {
                self.lend(buffer);
            }
        }
        self.scratch = returned;
        self.publish();
    }

    /// Puts a buffer at the tail, not yet visible to the kernel.
    fn lend(&mut self, buffer: u16) {
        let addr = self.pool.lend(buffer).as_ptr().expose_provenance() as u64;
        let slot = usize::from(self.tail & self.mask);
        // SAFETY: the mask keeps `slot` within the allocation.
        let entry = unsafe { self.entries.add(slot) }.as_ptr();
        // SAFETY: slots from the tail on belong to us until the tail is
        // published, and there are at least as many slots as buffers.
        unsafe { (*entry).addr = addr };
        let len = u32::try_from(self.pool.size()).unwrap_or(u32::MAX);
        // SAFETY: as above.
        unsafe { (*entry).len = len };
        // SAFETY: as above. The tail field next to it is left alone.
        unsafe { (*entry).buffer = buffer };
        self.tail = self.tail.wrapping_add(1);
        self.posted += 1;
    }

    fn publish(&mut self) {
        // SAFETY: the first entry exists; the address of a field is taken
        // without reading it.
        let tail = unsafe { &raw mut (*self.entries.as_ptr()).tail };
        // SAFETY: aligned, alive as long as `self`, and accessed only
        // atomically here and by the kernel.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        // The kernel reads the tail with acquire: it sees the entries.
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: `entries` came from `alloc_zeroed` with this layout, and the
        // driver drops this only after the kernel has let go of the ring.
        unsafe { std::alloc::dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}
