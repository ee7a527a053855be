//! What the calling thread costs.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

use std::ops::Sub;

use crate::clock::Nanos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(windows)]
use windows as imp;

/// CPU time of one thread since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// In user mode.
    pub user: Nanos,
    /// In the kernel.
    pub system: Nanos,
    /// Ready to run, but another thread had the CPU (Linux
    /// `/proc/thread-self/schedstat`; zero where that does not exist).
    pub waited: Nanos,
}

impl ThreadTime {
    /// The calling thread's, until now; zero when the system does not say.
    /// Windows counts in ticks, of 15.6 milliseconds at worst.
    #[must_use]
    pub fn now() -> Self {
        imp::now()
    }

    /// Time on the CPU.
    #[must_use]
    pub fn used(self) -> Nanos {
        self.user + self.system
    }
}

impl Sub for ThreadTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_cpu_time() {
        let before = ThreadTime::now();
        let start = std::time::Instant::now();
        let mut state = 1_u64;
        while ThreadTime::now().used() - before.used() < 5_000_000 {
            state = std::hint::black_box(state.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert!(start.elapsed().as_secs() < 10, "no CPU time was counted");
        }
        let spent = ThreadTime::now() - before;
        assert_eq!(spent.used(), spent.user + spent.system);
    }
}
