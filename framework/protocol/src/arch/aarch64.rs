//! NEON, part of the aarch64 baseline.

use std::arch::aarch64::{vdupq_n_u32, veorq_u8, vld1q_u8, vreinterpretq_u8_u32, vst1q_u8};

use super::scalar;

/// XORs `data` with `key`, whose first byte belongs to `data[0]`.
pub(crate) fn apply(data: &mut [u8], key: [u8; 4]) {
    let (blocks, rest) = data.as_chunks_mut::<16>();
    // SAFETY: NEON is part of the aarch64 baseline.
    let words = unsafe { vdupq_n_u32(u32::from_ne_bytes(key)) };
    // SAFETY: NEON is part of the aarch64 baseline.
    let wide = unsafe { vreinterpretq_u8_u32(words) };
    for block in blocks {
        // SAFETY: `block` is 16 readable bytes; vld1q_u8 needs no alignment.
        let plain = unsafe { vld1q_u8(block.as_ptr()) };
        // SAFETY: NEON is part of the aarch64 baseline.
        let masked = unsafe { veorq_u8(plain, wide) };
        // SAFETY: `block` is 16 writable bytes, borrowed exclusively; vst1q_u8
        // needs no alignment.
        unsafe { vst1q_u8(block.as_mut_ptr(), masked) };
    }
    let _ascii = scalar::apply(rest, key);
}
