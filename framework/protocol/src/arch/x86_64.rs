//! SSE2 (part of the x86_64 baseline) and AVX2 (detected once, then cached by
//! the standard library in one atomic).
//!
//! Loads and stores are the unaligned forms: on every CPU with AVX2 they cost
//! the same as the aligned ones when the address happens to be aligned, and
//! a prologue up to the next boundary would cost more than it saves on the
//! message sizes a WebSocket server sees.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    _mm_loadu_si128, _mm_set1_epi32, _mm_storeu_si128, _mm_xor_si128, _mm256_loadu_si256,
    _mm256_set1_epi32, _mm256_storeu_si256, _mm256_xor_si256,
};

use super::scalar;

/// XORs `data` with `key`, whose first byte belongs to `data[0]`.
pub(crate) fn apply(data: &mut [u8], key: [u8; 4]) {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was detected just above.
        unsafe { avx2(data, key) }
    } else {
        sse2(data, key);
    }
}

pub(super) fn sse2(data: &mut [u8], key: [u8; 4]) {
    let (blocks, rest) = data.as_chunks_mut::<16>();
    // SAFETY: SSE2 is part of the x86_64 baseline.
    let wide = unsafe { _mm_set1_epi32(i32::from_ne_bytes(key)) };
    for block in blocks {
        let at = block.as_mut_ptr();
        // SAFETY: `block` is 16 readable bytes; loadu needs no alignment.
        let plain = unsafe { _mm_loadu_si128(at.cast_const().cast()) };
        // SAFETY: SSE2 is part of the x86_64 baseline.
        let masked = unsafe { _mm_xor_si128(plain, wide) };
        // SAFETY: `block` is 16 writable bytes, borrowed exclusively; storeu
        // needs no alignment.
        unsafe { _mm_storeu_si128(at.cast(), masked) };
    }
    let _ascii = scalar::apply(rest, key);
}

#[target_feature(enable = "avx2")]
pub(super) fn avx2(data: &mut [u8], key: [u8; 4]) {
    let wide = _mm256_set1_epi32(i32::from_ne_bytes(key));
    let (blocks, rest) = data.as_chunks_mut::<32>();
    for block in blocks {
        let at = block.as_mut_ptr();
        // SAFETY: `block` is 32 readable bytes; loadu needs no alignment.
        let plain = unsafe { _mm256_loadu_si256(at.cast_const().cast()) };
        let masked = _mm256_xor_si256(plain, wide);
        // SAFETY: `block` is 32 writable bytes, borrowed exclusively; storeu
        // needs no alignment.
        unsafe { _mm256_storeu_si256(at.cast(), masked) };
    }
    let _ascii = scalar::apply(rest, key);
}
