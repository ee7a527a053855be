//! Memory that is about to be used.

/// Bytes that a CPU fetches at once: those of common ones.
const LINE: usize = 64;

/// Lines of a value that are fetched at most: a CPU has room for a dozen misses.
const LINES: usize = 4;

/// Has the CPU fetch a value that is read or written soon, without waiting for
/// it; of a large one its first 256 bytes. A hint, which changes nothing that
/// can be seen but the time that the use takes; on other CPUs than `x86_64` it
/// is none.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let first = std::ptr::from_ref(value).cast::<i8>();
        for line in 0..size_of::<T>().div_ceil(LINE).clamp(1, LINES) {
            // SAFETY: a prefetch reads nothing and faults nowhere, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(line * LINE)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    use super::prefetch;

    #[test]
    fn whatever_its_size_a_value_stays_what_it_is() {
        let (large, small) = ([7_u8; 4096], 7_u8);
        prefetch(&large);
        prefetch(&small);
        prefetch(&());
        assert!(large.iter().all(|&byte| byte == small));
    }
}
