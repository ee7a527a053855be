//! How large a receive pool is: as small as what it is used for allows.
//!
//! A pool begins small, doubles when it runs dry, up to its bound, and halves
//! when for some time no turn has needed more than a quarter of it. Half of
//! what is left is free then, so that it does not grow again at once.

use crate::clock::Nanos;

/// When a pool shrinks. It grows whenever it is empty.
#[derive(Debug)]
pub(crate) struct Growth {
    /// How long a pool must have been too large.
    quiet: Nanos,
    /// Since when `busiest` counts.
    since: Nanos,
    /// The most buffers in use at once since then.
    busiest: u16,
    /// The most ever.
    peak: u16,
    grown: u64,
    shrunk: u64,
}

impl Growth {
    pub(crate) fn new(quiet: Nanos, now: Nanos) -> Self {
        Self {
            quiet,
            since: now,
            busiest: 0,
            peak: 0,
            grown: 0,
            shrunk: 0,
        }
    }

    /// So many buffers are in use.
    pub(crate) fn note(&mut self, in_use: u16) {
        self.busiest = self.busiest.max(in_use);
        self.peak = self.peak.max(in_use);
    }

    /// The pool has grown: what it needs is counted anew.
    pub(crate) fn grew(&mut self, now: Nanos) {
        self.grown += 1;
        self.restart(now);
    }

    /// The pool has shrunk.
    pub(crate) fn shrank(&mut self, now: Nanos) {
        self.shrunk += 1;
        self.restart(now);
    }

    /// When to ask again.
    pub(crate) fn due(&self) -> Nanos {
        self.since.saturating_add(self.quiet)
    }

    /// Whether a pool of `count` buffers has been too large for long enough.
    /// When it has not, the next stretch of time begins.
    pub(crate) fn too_large(&mut self, count: u16, now: Nanos) -> bool {
        if now < self.due() {
            return false;
        }
        let too_large = self.busiest <= count / 4;
        if !too_large {
            self.restart(now);
        }
        too_large
    }

    /// It could not be made smaller at this moment: asked again soon.
    pub(crate) fn postpone(&mut self, now: Nanos) {
        self.since = now.saturating_sub(self.quiet - self.quiet / 8);
    }

    fn restart(&mut self, now: Nanos) {
        self.since = now;
        self.busiest = 0;
    }

    /// The most buffers in use at once, ever.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.into()
    }

    /// How often the pool grew.
    pub(crate) fn grown(&self) -> u64 {
        self.grown
    }

    /// How often it shrank.
    pub(crate) fn shrunk(&self) -> u64 {
        self.shrunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_shrinks_after_it_was_too_large_for_long_enough() {
        let mut growth = Growth::new(100, 0);
        growth.note(5);
        assert!(!growth.too_large(32, 99), "not long enough");
        assert!(growth.too_large(32, 100));
        growth.postpone(100);
        assert!(!growth.too_large(32, 101), "it is asked less often");
        assert!(growth.too_large(32, growth.due()), "until it could be done");
        growth.shrank(120);
        assert_eq!((growth.due(), growth.shrunk()), (220, 1));
    }

    #[test]
    fn a_busy_stretch_keeps_its_size_and_is_forgotten_after_it() {
        let mut growth = Growth::new(100, 0);
        growth.note(9);
        assert!(!growth.too_large(32, 100), "more than a quarter");
        assert!(!growth.too_large(32, 199));
        assert!(growth.too_large(32, 200), "nothing was used since");
        assert_eq!(growth.peak(), 9);
    }

    #[test]
    fn growing_begins_a_new_stretch() {
        let mut growth = Growth::new(100, 0);
        growth.grew(90);
        assert!(!growth.too_large(64, 150));
        assert!(growth.too_large(64, 190));
        assert_eq!(growth.grown(), 1);
    }
}
