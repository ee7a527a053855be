//! What the threads of a run share: a start, a stop, and live counts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use hioload_platform::Nanos;

use crate::chat::Clients;
use crate::recent::Recent;
use crate::rooms::Rooms;
use crate::series::Spread;

/// "Not yet" in [`Control::start`].
const NEVER: Nanos = Nanos::MAX;

/// The bit of a publisher's count that says its connection failed.
const CUT: u64 = 1 << 63;

/// The run as all its threads see it.
#[derive(Debug)]
pub(crate) struct Control {
    start: AtomicU64,
    stop: AtomicBool,
    abort: AtomicBool,
    live: Box<[Live]>,
    recent: Box<[Recent]>,
    published: Box<[AtomicU64]>,
    finished: AtomicUsize,
    measured: AtomicUsize,
    failed: AtomicU64,
    /// The rooms of a chat; none for other loads.
    pub(crate) rooms: Rooms,
    /// Who its users are to a server that names them.
    pub(crate) clients: Clients,
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
    pub(crate) fn new(threads: usize, publishers: usize, rooms: Rooms) -> Self {
        Self {
            start: AtomicU64::new(NEVER),
            stop: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            live: (0..threads).map(|_| Live::default()).collect(),
            recent: (0..threads).map(|_| Recent::new()).collect(),
            published: (0..publishers).map(|_| AtomicU64::new(0)).collect(),
            finished: AtomicUsize::new(0),
            measured: AtomicUsize::new(0),
            failed: AtomicU64::new(0),
            rooms,
            clients: Clients::default(),
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

    /// One thread's measurement is over.
    pub(crate) fn finish_measuring(&self) {
        self.measured.fetch_add(1, Ordering::AcqRel);
    }

    /// Threads whose measurement is over.
    pub(crate) fn finished_measuring(&self) -> usize {
        self.measured.load(Ordering::Acquire)
    }

    /// Whether every thread's measurement is over.
    pub(crate) fn measured(&self) -> bool {
        self.finished_measuring() >= self.live.len()
    }

    /// A connection failed; how many have by now.
    pub(crate) fn count_failed(&self) -> u64 {
        self.failed.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The counts of one thread.
    pub(crate) fn live(&self, thread: usize) -> &Live {
        &self.live[thread]
    }

    /// Where one thread hands over its recent latencies.
    pub(crate) fn recent(&self, thread: usize) -> &Recent {
        &self.recent[thread]
    }

    /// The latencies since the last call, of all threads together.
    pub(crate) fn take_recent(&self) -> Option<Spread> {
        Recent::take(&self.recent)
    }

    /// The sum of one count over all threads.
    pub(crate) fn sum(&self, count: impl Fn(&Live) -> &AtomicU64) -> u64 {
        self.live
            .iter()
            .map(|live| count(live).load(Ordering::Relaxed))
            .sum()
    }

    /// Publisher `publisher` has sent its last message; it was the
    /// `messages`-th. `cut` tells that its connection failed, so that the last
    /// ones may not have reached the server.
    pub(crate) fn published(&self, publisher: usize, messages: u64, cut: bool) {
        let word = messages | if cut { CUT } else { 0 };
        self.published[publisher].store(word, Ordering::Release);
    }

    /// One thread's publishers have all sent their last message.
    pub(crate) fn finish_publishing(&self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }

    /// Threads whose publishers have sent their last message.
    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Ordering::Acquire)
    }

    /// Every publisher and what it said, for
    /// [`pass_on_published`](Self::pass_on_published).
    pub(crate) fn publishers(&self) -> impl Iterator<Item = (usize, u64)> {
        let all = self.published.iter().enumerate();
        all.map(|(publisher, said)| (publisher, said.load(Ordering::Acquire)))
    }

    /// What a publisher of another process said.
    pub(crate) fn pass_on_published(&self, publisher: usize, said: u64) {
        if let Some(published) = self.published.get(publisher) {
            published.store(said, Ordering::Release);
        }
    }

    /// All publishers, those of other processes as well, have sent their last
    /// message, and said this.
    pub(crate) fn finish_all(&self, published: &[u64]) {
        for (publisher, &said) in published.iter().enumerate() {
            self.pass_on_published(publisher, said);
        }
        self.finished.store(self.live.len(), Ordering::Release);
    }

    /// How many messages each publisher sent, once all have sent their last.
    pub(crate) fn all_published(&self) -> Option<impl Fn(usize) -> u64> {
        (self.finished.load(Ordering::Acquire) == self.live.len())
            .then_some(|publisher: usize| self.published[publisher].load(Ordering::Acquire) & !CUT)
    }

    /// Whether a publisher's connection failed.
    pub(crate) fn was_cut(&self, publisher: usize) -> bool {
        self.published[publisher].load(Ordering::Acquire) & CUT != 0
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
        let control = Control::new(2, 2, Rooms::new(0, 0));
        control.published(0, 5, false);
        control.finish_publishing();
        assert!(control.all_published().is_none());
        control.published(1, 7, true);
        control.finish_publishing();
        let totals = control.all_published().unwrap();
        assert_eq!((totals(0), totals(1)), (5, 7));
        assert!(!control.was_cut(0) && control.was_cut(1));
        let other = Control::new(1, 2, Rooms::new(0, 0));
        let said: Vec<u64> = control.publishers().map(|publisher| publisher.1).collect();
        other.finish_all(&said);
        let totals = other.all_published().unwrap();
        assert_eq!((totals(0), totals(1)), (5, 7));
        assert!(!other.was_cut(0) && other.was_cut(1));
    }

    #[test]
    fn a_start_is_seen_once_decided() {
        let control = Control::new(1, 0, Rooms::new(0, 0));
        assert_eq!(control.start(), None);
        control.start_at(0);
        assert_eq!(control.start(), Some(0));
    }
}
