//! Latencies since the last look, for the live view.

use std::sync::{Mutex, PoisonError, TryLockError};

use hdrhistogram::Histogram;

use hioload_platform::Nanos;

use crate::series::{Spread, histogram, record};

/// How often a thread hands over what it recorded: often enough for a view that
/// is looked at once a second, and rarely enough to cost it nothing.
const HAND_OVER: Nanos = 250_000_000;

/// What one thread has handed over and nobody has looked at.
#[derive(Debug)]
pub(crate) struct Recent(Mutex<Histogram<u32>>);

/// A thread's own record between two handings over.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    latencies: Histogram<u32>,
    next: Nanos,
}

impl Recent {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(histogram()))
    }

    /// Moves out what all threads have handed over. None: nothing.
    pub(crate) fn take(all: &[Self]) -> Option<Spread> {
        let mut sum = histogram();
        for recent in all {
            let mut handed = recent.0.lock().unwrap_or_else(PoisonError::into_inner);
            sum.add(&*handed).expect("it grows as needed");
            handed.reset();
        }
        (!sum.is_empty()).then(|| Spread::of(&sum))
    }
}

impl Recording {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            latencies: histogram(),
            next: 0,
        }
    }

    /// Something took `latency`.
    pub(crate) fn took(&mut self, latency: Nanos) {
        record(&mut self.latencies, latency);
    }

    /// Hands over what was recorded if that is due at `now`. A thread that
    /// generates load does not wait for one that looks: it comes again.
    pub(crate) fn hand_over(&mut self, now: Nanos, to: &Recent) {
        if now < self.next {
            return;
        }
        let mut handed = match to.0.try_lock() {
            Ok(handed) => handed,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        handed.add(&self.latencies).expect("it grows as needed");
        self.latencies.reset();
        self.next = now + HAND_OVER;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_seen_once() {
        let all = [Recent::new(), Recent::new()];
        let mut recordings = [Recording::new(), Recording::new()];
        for (recording, recent) in recordings.iter_mut().zip(&all) {
            recording.took(1_000);
            recording.hand_over(5, recent);
        }
        let seen = Recent::take(&all).expect("two latencies");
        assert_eq!(seen.count, 2);
        assert!((990..=1_010).contains(&seen.p50), "{seen:?}");
        assert_eq!(Recent::take(&all), None);
    }

    #[test]
    fn handing_over_waits_until_it_is_due() {
        let all = [Recent::new()];
        let mut recording = Recording::new();
        recording.hand_over(0, &all[0]);
        recording.took(7);
        recording.hand_over(HAND_OVER - 1, &all[0]);
        assert_eq!(Recent::take(&all), None);
        recording.hand_over(HAND_OVER, &all[0]);
        assert_eq!(Recent::take(&all).map(|seen| seen.count), Some(1));
    }

    #[test]
    fn a_thread_does_not_wait_for_one_that_looks() {
        let recent = Recent::new();
        let mut recording = Recording::new();
        recording.took(7);
        let looking = recent.0.lock().expect("nobody panics");
        recording.hand_over(0, &recent);
        drop(looking);
        recording.hand_over(0, &recent);
        assert_eq!(Recent::take(&[recent]).map(|seen| seen.count), Some(1));
    }
}
