//! Memory that is about to be used.

/// Has the CPU fetch a value that is read or written soon, without waiting for
/// it; of a large one its first line of a cache. A hint, which changes nothing
/// that can be seen but the time that the use takes; on other CPUs than `x86_64`
/// it is none.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        // SAFETY: a prefetch reads nothing and faults nowhere, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
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
