//! `mmap`.

use std::ptr::{self, NonNull};

use nix::libc;

/// A new mapping that may not be touched.
pub(in crate::guard) fn reserve(len: usize) -> Option<NonNull<u8>> {
    // SAFETY: a new anonymous mapping; nothing is replaced.
    let whole = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if whole == libc::MAP_FAILED {
        return None;
    }
    NonNull::new(whole.cast())
}

/// Lets zeroed pages of such a mapping be touched.
pub(in crate::guard) fn allow(at: NonNull<u8>, len: usize) -> Option<()> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: more access harms nobody, and pages that are not mapped are
    // refused.
    let code = unsafe { libc::mprotect(at.as_ptr().cast(), len, access) };
    (code == 0).then_some(())
}

/// Forbids to touch pages.
///
/// # Safety
/// They are of such a mapping, and nobody uses them.
pub(in crate::guard) unsafe fn forbid(at: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    let code = unsafe { libc::mprotect(at.cast(), len, libc::PROT_NONE) };
    assert_eq!(code, 0, "own pages can be protected");
}

/// Gives a mapping back.
///
/// # Safety
/// It is a whole one, and nobody uses it.
pub(in crate::guard) unsafe fn release(at: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(at.cast(), len) };
}
