//! Monotonic time, in nanoseconds.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

use std::io;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(windows)]
use windows as imp;

/// Nanoseconds. A point in time counts from the arbitrary start of a [`Clock`].
pub type Nanos = u64;

/// Nanoseconds of a duration; 584 years at most, longer saturates.
#[must_use]
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The machine's monotonic clock: `CLOCK_MONOTONIC` on Linux,
/// `QueryPerformanceCounter` on Windows.
///
/// All clocks of one process share their start, so that times may travel
/// between threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock with the process-wide start.
    #[must_use]
    pub fn new() -> Self {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        Self {
            start: *START.get_or_init(Instant::now),
        }
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub fn now(&self) -> Nanos {
        nanos(self.start.elapsed())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Asks the system to wake the calling thread at most `slack` after the time it
/// asked for. Linux wakes 50 microseconds late unless told otherwise. Windows
/// wakes on ticks, of 15.6 milliseconds or of one at best, and for the whole
/// process: any slack asks for the best.
///
/// # Errors
/// When the system refuses; wakes are as late as before then.
pub fn limit_slack(slack: Nanos) -> io::Result<()> {
    imp::limit_slack(slack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_can_be_limited() {
        limit_slack(1_000).expect("any thread may ask");
    }
}
