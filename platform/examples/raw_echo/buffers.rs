//! Buffers that the kernel fills, each returned to it when it was sent to all
//! that get it.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;

/// The group of buffers that receives name.
pub(crate) const GROUP: u16 = 0;

/// Buffers begin at cache lines.
const LINE: usize = 64;

/// One entry of the ring of buffers; the first one's last field is the tail.
#[repr(C)]
struct Posted {
    addr: u64,
    len: u32,
    buffer: u16,
    tail: u16,
}

/// A page, so that entries and buffers are aligned as the kernel wants.
#[repr(C, align(4096))]
#[derive(Clone)]
struct Page([u8; 4096]);

/// Bytes that arrived.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) buffer: u16,
    pub(crate) len: u32,
}

pub(crate) struct Buffers {
    entries: Vec<Page>,
    memory: Vec<Page>,
    /// Bytes from one buffer to the next.
    stride: usize,
    count: u16,
    tail: u16,
    /// Sends that each buffer waits for.
    uses: Vec<u32>,
    /// Buffers the kernel has.
    posted: u16,
}

impl Buffers {
    /// `count` buffers of `size` bytes, registered with the ring. They must
    /// outlive it.
    pub(crate) fn register(io: &IoUring, size: usize, count: u16) -> io::Result<Self> {
        let stride = size.next_multiple_of(LINE);
        let pages = (stride * usize::from(count)).div_ceil(4096);
        let mut buffers = Self {
            entries: vec![
                Page([0; 4096]);
                (usize::from(count) * size_of::<Posted>()).div_ceil(4096)
            ],
            memory: vec![Page([0; 4096]); pages],
            stride,
            count,
            tail: 0,
            uses: vec![0; count.into()],
            posted: 0,
        };
        let addr = buffers.entries.as_mut_ptr().expose_provenance() as u64;
        // SAFETY: the entries live as long as the ring.
        unsafe {
            io.submitter()
                .register_buf_ring_with_flags(addr, count, GROUP, 0)?;
        }
        for buffer in 0..count {
            buffers.post(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The kernel filled a buffer, which `uses` sends will read.
    pub(crate) fn taken(&mut self, buffer: u16, uses: u32) {
        self.posted -= 1;
        self.uses[usize::from(buffer)] = uses;
        if uses == 0 {
            self.post(buffer);
        }
    }

    /// One of the sends that read the buffer is done, or will not be.
    pub(crate) fn release(&mut self, buffer: u16) {
        let uses = &mut self.uses[usize::from(buffer)];
        *uses -= 1;
        if *uses == 0 {
            self.post(buffer);
        }
    }

    /// Where the bytes of a buffer are.
    pub(crate) fn bytes(&self, buffer: u16) -> *const u8 {
        let base = self.memory.as_ptr().cast::<u8>();
        base.wrapping_add(usize::from(buffer) * self.stride)
    }

    /// Whether the kernel has a buffer to fill.
    pub(crate) fn any(&self) -> bool {
        self.posted > 0
    }

    /// Writes an entry, which the kernel sees after [`publish`](Self::publish).
    fn post(&mut self, buffer: u16) {
        let addr = self.bytes(buffer).expose_provenance() as u64;
        let slot = usize::from(self.tail % self.count);
        let first = self.entries.as_mut_ptr().cast::<Posted>();
        // SAFETY: there are `count` entries; this one is ours until the tail
        // is published.
        let entry = unsafe { first.add(slot) };
        // SAFETY: as above.
        unsafe { (*entry).addr = addr };
        // SAFETY: as above.
        unsafe { (*entry).len = u32::try_from(self.stride).unwrap_or(u32::MAX) };
        // SAFETY: as above; the tail next to it is left alone.
        unsafe { (*entry).buffer = buffer };
        self.tail = self.tail.wrapping_add(1);
        self.posted += 1;
    }

    /// Gives the kernel what was posted.
    pub(crate) fn publish(&mut self) {
        let first = self.entries.as_mut_ptr().cast::<Posted>();
        // SAFETY: the first entry exists; nothing is read.
        let tail = unsafe { &raw mut (*first).tail };
        // SAFETY: aligned, alive, and accessed only atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        tail.store(self.tail, Ordering::Release);
    }
}
