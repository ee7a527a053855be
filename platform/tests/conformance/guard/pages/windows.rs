//! `VirtualAlloc`.

use std::ptr::{self, NonNull};

use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_NOACCESS, PAGE_READWRITE, VirtualAlloc, VirtualFree,
    VirtualProtect,
};

/// Addresses that may not be touched.
pub(in crate::guard) fn reserve(len: usize) -> Option<NonNull<u8>> {
    // SAFETY: the system chooses addresses that nobody has.
    let whole = unsafe { VirtualAlloc(ptr::null(), len, MEM_RESERVE, PAGE_NOACCESS) };
    NonNull::new(whole.cast())
}

/// Puts zeroed memory at such addresses.
pub(in crate::guard) fn allow(at: NonNull<u8>, len: usize) -> Option<()> {
    // SAFETY: addresses that are not reserved are refused.
    let there = unsafe { VirtualAlloc(at.as_ptr().cast(), len, MEM_COMMIT, PAGE_READWRITE) };
    (!there.is_null()).then_some(())
}

/// Forbids to touch pages.
///
/// # Safety
/// They are of such memory, and nobody uses them.
pub(in crate::guard) unsafe fn forbid(at: *mut u8, len: usize) {
    let mut before = 0;
    // SAFETY: the caller's promise.
    let done = unsafe { VirtualProtect(at.cast(), len, PAGE_NOACCESS, &raw mut before) };
    assert_ne!(done, 0, "own pages can be protected");
}

/// Gives memory and addresses back.
///
/// # Safety
/// It is all that was reserved at once, and nobody uses it.
pub(in crate::guard) unsafe fn release(at: *mut u8, _len: usize) {
    // SAFETY: the caller's promise. With this flag the length has to be zero.
    unsafe { VirtualFree(at.cast(), 0, MEM_RELEASE) };
}
