//! What the calling thread costs.

use std::fs;
use std::ops::Sub;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use hioload_platform::Nanos;

/// CPU time of one thread since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// In user mode.
    pub(crate) user: Nanos,
    /// In the kernel.
    pub(crate) system: Nanos,
    /// Ready to run, but another thread had the CPU (Linux
    /// `/proc/thread-self/schedstat`; zero where that does not exist).
    pub(crate) waited: Nanos,
}

impl Cpu {
    /// The calling thread's, until now.
    pub(crate) fn of_this_thread() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).ok();
        Self {
            user: usage.map_or(0, |usage| nanos(usage.user_time())),
            system: usage.map_or(0, |usage| nanos(usage.system_time())),
            waited: run_queue_wait().unwrap_or(0),
        }
    }

    /// Time on the CPU.
    pub(crate) fn used(self) -> Nanos {
        self.user + self.system
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}

fn nanos(time: TimeVal) -> Nanos {
    let (seconds, micros) = (time.tv_sec(), time.tv_usec());
    let seconds = Nanos::try_from(seconds).unwrap_or(0);
    let micros = Nanos::try_from(micros).unwrap_or(0);
    seconds * 1_000_000_000 + micros * 1_000
}

fn run_queue_wait() -> Option<Nanos> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_cpu_time() {
        let before = Cpu::of_this_thread();
        let start = std::time::Instant::now();
        let mut state = 1;
        while Cpu::of_this_thread().used() - before.used() < 5_000_000 {
            state = crate::random::mix(state);
            assert!(start.elapsed().as_secs() < 10, "no CPU time was counted");
        }
        let spent = Cpu::of_this_thread() - before;
        assert_eq!(spent.used(), spent.user + spent.system);
    }
}
