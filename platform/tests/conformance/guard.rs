//! An allocator that notices what the kernel does to freed memory.
//!
//! AddressSanitizer does not see the kernel's writes, and a kernel write to
//! unmapped memory harms nobody: the operation fails with `EFAULT` and goes
//! unnoticed. So what has a page or more, or is page aligned (receive buffers,
//! rings, send chunks, frames), lies between two pages that may not be touched,
//! and what is freed stays mapped for a while, filled with a pattern. A write
//! by anybody breaks the pattern, and [`check`] ends the process. After a check
//! that memory may not be touched at all.

mod pages;
mod tests;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

#[global_allocator]
static GUARDED: Guarded = Guarded;

const PAGE: usize = 4096;

/// What freed memory is filled with: as a length or an address it is absurd.
const FREED: u8 = 0xde;

/// Freed memory that stays mapped: as many pieces, and as many bytes. What
/// came first goes first, checked.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 64 << 20;

struct Guarded;

/// The pages of one allocation, between its guards.
#[derive(Clone, Copy)]
struct Body {
    /// An address, not a pointer: this is also memory nobody may touch.
    at: usize,
    len: usize,
    sealed: bool,
}

struct Quarantine {
    ring: [Option<Body>; KEPT],
    next: usize,
    bytes: usize,
}

static QUARANTINE: Mutex<Quarantine> = Mutex::new(Quarantine {
    ring: [None; KEPT],
    next: 0,
    bytes: 0,
});

/// Ends the process if anybody wrote to memory after it was freed. From now on
/// touching that memory ends it, too.
pub(crate) fn check() {
    let mut quarantine = QUARANTINE.lock().unwrap_or_else(PoisonError::into_inner);
    for body in quarantine.ring.iter_mut().flatten() {
        body.verify();
        if !body.sealed {
            body.forbid();
            body.sealed = true;
        }
    }
}

fn guarded(layout: Layout) -> bool {
    layout.align() <= PAGE && (layout.size() >= PAGE || layout.align() == PAGE)
}

// SAFETY: what is not guarded goes to the system's allocator and back; what is
// guarded is a fresh mapping of its own, large enough and aligned, until it is
// freed. Which of the two follows from the layout alone.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if guarded(layout) {
            return Body::map(layout).map_or(std::ptr::null_mut(), |at| at.as_ptr());
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if guarded(layout) {
            // SAFETY: the caller's promise; a fresh mapping is zeroed.
            return unsafe { self.alloc(layout) };
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if guarded(layout) {
            Body::of(at, layout).retire();
        } else {
            // SAFETY: the caller's promise, and the layout says whose it is.
            unsafe { System.dealloc(at, layout) }
        }
    }
}

impl Body {
    /// Pages for `layout` between two guards. The end of what is asked for is
    /// as near to the second guard as its alignment allows.
    fn map(layout: Layout) -> Option<NonNull<u8>> {
        let len = layout.size().next_multiple_of(PAGE);
        let whole = pages::reserve(len + 2 * PAGE)?;
        // SAFETY: the first guard is a page of the mapping.
        let body = unsafe { whole.add(PAGE) };
        pages::allow(body, len)?;
        let offset = (len - layout.size()) & !(layout.align() - 1);
        // SAFETY: the offset is less than the length.
        Some(unsafe { body.add(offset) })
    }

    /// The pages of what `map` returned: it starts in the first one.
    fn of(at: *mut u8, layout: Layout) -> Self {
        Self {
            at: at.expose_provenance() & !(PAGE - 1),
            len: layout.size().next_multiple_of(PAGE),
            sealed: false,
        }
    }

    fn start(self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.at)
    }

    /// Fills it, keeps it, and gives up what was kept too long.
    fn retire(self) {
        // SAFETY: its owner has just given it up, nobody else has it.
        unsafe { self.start().write_bytes(FREED, self.len) };
        let mut quarantine = QUARANTINE.lock().unwrap_or_else(PoisonError::into_inner);
        let next = quarantine.next;
        let earlier = quarantine.ring[next].replace(self);
        quarantine.next = (next + 1) % KEPT;
        quarantine.bytes += self.len;
        if let Some(earlier) = earlier {
            quarantine.bytes -= earlier.len;
            earlier.unmap();
        }
        let mut oldest = quarantine.next;
        while quarantine.bytes > KEPT_BYTES {
            if let Some(body) = quarantine.ring[oldest].take() {
                quarantine.bytes -= body.len;
                body.unmap();
            }
            oldest = (oldest + 1) % KEPT;
        }
    }

    /// Ends the process if it was written to since it was freed.
    fn verify(self) {
        if self.sealed {
            return;
        }
        // SAFETY: still mapped and readable, and nobody has it.
        let bytes = unsafe { std::slice::from_raw_parts(self.start(), self.len) };
        // Each is as the one before it.
        if bytes[0] != FREED || bytes[1..] != bytes[..self.len - 1] {
            // Nothing here may allocate. Those who can not read it see the end.
            let _unread =
                std::io::stderr().write_all(b"memory was written to after it was freed\n");
            std::process::abort();
        }
    }

    fn forbid(self) {
        // SAFETY: these are pages of a mapping whose owner has given it up.
        unsafe { pages::forbid(self.start(), self.len) };
    }

    fn unmap(self) {
        self.verify();
        // SAFETY: with its guards this is the whole mapping that `map` made;
        // its owner has given it up and the quarantine, too.
        let whole = unsafe { self.start().sub(PAGE) };
        // SAFETY: as above.
        unsafe { pages::release(whole, self.len + 2 * PAGE) };
    }
}
