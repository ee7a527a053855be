//! How long a cache line takes from one CPU to the other.
//!
//! A host may move virtual CPUs to cores that share less: a line then takes ten
//! times as long, and every rate drops by a quarter. Nothing else tells.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use hioload_platform::affinity;

/// A line that takes longer has not stayed within a core complex.
pub(crate) const SLOW_NS: f64 = 80.0;

/// The median is of so many batches of so many round trips.
const BATCHES: usize = 101;
const TRIPS: u64 = 200;

/// When it gives up, because something else has one of the CPUs.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks at the clock after so many looks at the line.
const LOOKS: u32 = 4096;

/// A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// The line, and whether one side gave up.
#[derive(Debug, Default)]
struct Court {
    line: Line,
    over: AtomicBool,
}

impl Court {
    /// Waits for a value; `false` if that takes too long.
    fn await_value(&self, value: u64, deadline: Instant) -> bool {
        let mut looks = 0;
        while self.line.0.load(Ordering::Acquire) != value {
            looks += 1;
            if looks == LOOKS {
                looks = 0;
                if self.over.load(Ordering::Relaxed) || Instant::now() > deadline {
                    self.over.store(true, Ordering::Relaxed);
                    return false;
                }
            }
        }
        true
    }
}

/// Median nanoseconds of one hop between two CPUs; nothing when the two could
/// not be had at the same time.
pub(crate) fn hop(one: usize, other: usize) -> Option<f64> {
    let court = Arc::new(Court::default());
    let start = Arc::new(Barrier::new(2));
    let deadline = Instant::now() + PATIENCE;
    let returner = thread::spawn({
        let (court, start) = (Arc::clone(&court), Arc::clone(&start));
        move || {
            let pinned = affinity::pin(other).is_ok();
            start.wait();
            let trips = TRIPS * BATCHES as u64;
            pinned
                && (0..trips).all(|trip| {
                    let came = court.await_value(2 * trip + 1, deadline);
                    court.line.0.store(2 * trip + 2, Ordering::Release);
                    came
                })
        }
    });
    let server = thread::spawn(move || {
        let pinned = affinity::pin(one).is_ok();
        start.wait();
        pinned.then(|| serve(&court, deadline)).flatten()
    });
    let times = server.join().ok().flatten();
    let returned = returner.join().unwrap_or(false);
    times.filter(|_| returned).map(|mut times| {
        times.sort_unstable();
        times[BATCHES / 2].as_nanos() as f64 / (2 * TRIPS) as f64
    })
}

fn serve(court: &Court, deadline: Instant) -> Option<Vec<Duration>> {
    let mut trip = 0;
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..TRIPS {
            court.line.0.store(2 * trip + 1, Ordering::Release);
            if !court.await_value(2 * trip + 2, deadline) {
                return None;
            }
            trip += 1;
        }
        times.push(start.elapsed());
    }
    Some(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_also_where_both_sides_share_a_cpu() {
        let cpu = affinity::allowed().expect("affinity can be read")[0];
        // Each side waits for the other until the scheduler takes turns.
        assert!(hop(cpu, cpu).is_none_or(|hop| hop > 0.0));
    }

    #[test]
    fn a_cpu_that_does_not_exist_yields_nothing() {
        assert_eq!(hop(usize::MAX, usize::MAX), None);
    }
}
