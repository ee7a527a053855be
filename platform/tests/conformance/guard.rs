//! An allocator that notices what the kernel does to freed memory.
//!
//! AddressSanitizer does not see the kernel's writes, and a kernel write to
//! unmapped memory harms nobody: the operation fails with `EFAULT` and goes
//! unnoticed. So what has a page or more, or is page aligned (receive buffers,
//! rings, send chunks, frames), lies between two pages that may not be touched,
//! and what is freed stays mapped for a while, filled with a pattern. A write
//! by anybody breaks the pattern, and [`check`] ends the process. After a check
//! that memory may not be touched at all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use nix::libc;

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
        // SAFETY: a new anonymous mapping; nothing is replaced.
        let whole = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len + 2 * PAGE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if whole == libc::MAP_FAILED {
            return None;
        }
        let whole = whole.cast::<u8>();
        // SAFETY: the first guard is a page of the mapping.
        let body = unsafe { whole.add(PAGE) };
        // SAFETY: these pages are within the mapping just made.
        let code = unsafe { libc::mprotect(body.cast(), len, libc::PROT_READ | libc::PROT_WRITE) };
        if code != 0 {
            return None;
        }
        let offset = (len - layout.size()) & !(layout.align() - 1);
        // SAFETY: the offset is less than the length.
        NonNull::new(unsafe { body.add(offset) })
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
        let start = self.start();
        // SAFETY: still mapped and readable, and at least a page.
        let first = unsafe { start.read_volatile() };
        // SAFETY: one byte further there are still `len - 1`.
        let second = unsafe { start.add(1) };
        // SAFETY: both stretches are within the pages.
        let differs = unsafe { libc::memcmp(start.cast(), second.cast(), self.len - 1) };
        if first != FREED || differs != 0 {
            let text = "memory was written to after it was freed\n";
            // SAFETY: the text is as long as it says. Nothing here may
            // allocate.
            unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
            std::process::abort();
        }
    }

    fn forbid(self) {
        // SAFETY: these are pages of a mapping whose owner has given it up.
        let code = unsafe { libc::mprotect(self.start().cast(), self.len, libc::PROT_NONE) };
        assert_eq!(code, 0, "own pages can be protected");
    }

    fn unmap(self) {
        self.verify();
        // SAFETY: with its guards this is the whole mapping that `map` made;
        // its owner has given it up and the quarantine, too.
        let whole = unsafe { self.start().sub(PAGE) };
        // SAFETY: as above.
        unsafe { libc::munmap(whole.cast(), self.len + 2 * PAGE) };
    }
}

/// The allocator itself: each offence in a process of its own.
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;

    use io_uring::{IoUring, opcode, types};
    use nix::libc;

    use super::check;
    use crate::rig::child;

    const LEN: usize = 10_000;

    /// The signal that ends a process which runs `offence`, and its last words.
    fn fate(name: &str, offence: fn()) -> Option<(Option<i32>, String)> {
        let path = format!("{}::{name}", module_path!());
        match child(&path) {
            None => {
                offence();
                None
            }
            Some(output) => Some((
                output.status.signal(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )),
        }
    }

    fn caught(fate: Option<(Option<i32>, String)>) {
        if let Some((signal, text)) = fate {
            assert_eq!(signal, Some(libc::SIGABRT), "{text}");
            assert!(text.contains("after it was freed"), "{text}");
        }
    }

    fn killed(fate: Option<(Option<i32>, String)>) {
        if let Some((signal, text)) = fate {
            assert_eq!(signal, Some(libc::SIGSEGV), "{text}");
        }
    }

    fn freed() -> *mut u8 {
        let mut bytes = vec![1u8; LEN];
        bytes.as_mut_ptr()
    }

    #[test]
    fn a_write_after_free_is_caught() {
        caught(fate("a_write_after_free_is_caught", || {
            let at = freed();
            check_nothing_yet();
            // SAFETY: none, and the allocator keeps it mapped: the offence.
            unsafe { at.wrapping_add(LEN / 2).write_volatile(0) };
            check();
        }));
    }

    #[test]
    fn a_kernel_write_after_free_is_caught() {
        caught(fate("a_kernel_write_after_free_is_caught", || {
            let mut ring = IoUring::new(8).expect("io_uring is available");
            let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
            let at = {
                let mut bytes = vec![1u8; LEN];
                let at = bytes.as_mut_ptr();
                let fd = types::Fd(ours.as_raw_fd());
                let len = u32::try_from(LEN).expect("a small length");
                let receive = opcode::Recv::new(fd, at, len).build();
                // SAFETY: none: the buffer does not outlive the receive, which
                // is the offence.
                unsafe { ring.submission().push(&receive) }.expect("an empty ring");
                ring.submit().expect("the ring works");
                at
            };
            check_nothing_yet();
            theirs.write_all(b"late").expect("the socket buffers");
            ring.submit_and_wait(1).expect("the ring works");
            let received = ring.completion().next().map(|entry| entry.result());
            assert_eq!(received, Some(4), "the kernel wrote to {at:?}");
            check();
        }));
    }

    #[test]
    fn an_overrun_kills() {
        killed(fate("an_overrun_kills", || {
            let mut bytes = vec![1u8; LEN];
            let end = bytes.as_mut_ptr_range().end;
            // SAFETY: none: one past the end, the offence.
            unsafe { end.write_volatile(0) };
        }));
    }

    #[test]
    fn a_read_after_the_check_kills() {
        killed(fate("a_read_after_the_check_kills", || {
            let at = freed();
            check();
            // SAFETY: none: freed long ago, the offence.
            unsafe { at.read_volatile() };
        }));
    }

    /// What was freed before the offence is as it was left: so the offence is
    /// what the later check finds. Not `check`, which would seal it.
    fn check_nothing_yet() {
        let quarantine = super::QUARANTINE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for body in quarantine.ring.iter().flatten() {
            body.verify();
        }
    }
}
