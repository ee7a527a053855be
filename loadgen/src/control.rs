//! What the threads of a run share: a start, a stop, and live counts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use hioload_platform::Nanos;

/// "Not yet" in [`Control::start`].
const NEVER: Nanos = Nanos::MAX;

/// The run as all its threads see it.
#[derive(Debug)]
pub(crate) struct Control {
    start: AtomicU64,
    stop: AtomicBool,
    abort: AtomicBool,
    live: Box<[Live]>,
    published: Box<[AtomicU64]>,
    finished: AtomicUsize,
}

/// Counts of one thread, for the progress line; a cache line pair of its own,
/// since it is written every turn.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Live {
    /// Open connections.
    pub(crate) open: AtomicU64,
    /// Messages sent.
    pub(crate) sent: AtomicU64,
    /// Messages received.
    pub(crate) received: AtomicU64,
    /// Faults seen so far.
    pub(crate) faults: AtomicU64,
}

impl Control {
    /// For a run of `threads` threads and `publishers` publishers.
    pub(crate) fn new(threads: usize, publishers: usize) -> Self {
        Self {
            start: AtomicU64::new(NEVER),
            stop: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            live: (0..threads).map(|_| Live::default()).collect(),
            published: (0..publishers).map(|_| AtomicU64::new(0)).collect(),
            finished: AtomicUsize::new(0),
        }
    }

    /// When sending starts, once that is decided.
    pub(crate) fn start(&self) -> Option<Nanos> {
        let start = self.start.load(Ordering::Acquire);
        (start != NEVER).then_some(start)
    }

    /// Decides when sending starts.
    pub(crate) fn start_at(&self, start: Nanos) {
        self.start.store(start, Ordering::Release);
    }

    /// End the run now and report.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the run is to end now.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Give up: close everything at once.
    pub(crate) fn abort(&self) {
        self.abort.store(true, Ordering::Release);
    }

    /// Whether the run was given up.
    pub(crate) fn aborted(&self) -> bool {
        self.abort.load(Ordering::Acquire)
    }

    /// The counts of one thread.
    pub(crate) fn live(&self, thread: usize) -> &Live {
        &self.live[thread]
    }

    /// The sum of one count over all threads.
    pub(crate) fn sum(&self, count: impl Fn(&Live) -> &AtomicU64) -> u64 {
        self.live
            .iter()
            .map(|live| count(live).load(Ordering::Relaxed))
            .sum()
    }

    /// Publisher `publisher` has sent its last message; it was the
    /// `messages`-th.
    pub(crate) fn published(&self, publisher: usize, messages: u64) {
        self.published[publisher].store(messages, Ordering::Release);
    }

    /// One thread's publishers have all sent their last message.
    pub(crate) fn finish_publishing(&self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }

    /// How many messages each publisher sent, once all have sent their last.
    pub(crate) fn all_published(&self) -> Option<impl Fn(usize) -> u64> {
        (self.finished.load(Ordering::Acquire) == self.live.len())
            .then_some(|publisher: usize| self.published[publisher].load(Ordering::Acquire))
    }
}

impl Live {
    /// Publishes the counts of a turn.
    pub(crate) fn set(&self, open: usize, sent: u64, received: u64, faults: u64) {
        self.open.store(open as u64, Ordering::Relaxed);
        self.sent.store(sent, Ordering::Relaxed);
        self.received.store(received, Ordering::Relaxed);
        self.faults.store(faults, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_known_when_every_thread_has_finished() {
        let control = Control::new(2, 2);
        control.published(0, 5);
        control.finish_publishing();
        assert!(control.all_published().is_none());
        control.published(1, 7);
        control.finish_publishing();
        let totals = control.all_published().unwrap();
        assert_eq!((totals(0), totals(1)), (5, 7));
    }

    #[test]
    fn a_start_is_seen_once_decided() {
        let control = Control::new(1, 0);
        assert_eq!(control.start(), None);
        control.start_at(0);
        assert_eq!(control.start(), Some(0));
    }
}
