//! Monotonic time, in nanoseconds.

use std::time::{Duration, Instant};

/// Nanoseconds. A point in time counts from the arbitrary start of a [`Clock`].
pub type Nanos = u64;

/// Nanoseconds of a duration; 584 years at most, longer saturates.
#[must_use]
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The machine's monotonic clock (`CLOCK_MONOTONIC` on Linux).
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
