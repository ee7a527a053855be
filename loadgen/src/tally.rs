//! What one thread counted, and how threads add up.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use hioload_platform::Nanos;

/// Latencies are kept to three significant digits, up to an hour; what is
/// longer counts as an hour.
const MAX_LATENCY: Nanos = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// A message that left this much after its planned time was late.
pub(crate) const LATE: Nanos = 1_000_000;

/// Faults described in words, per thread.
const MAX_EXAMPLES: usize = 5;

/// Causes of unexpected closes told apart; the rest counts as one.
const MAX_CAUSES: usize = 32;

/// When the measurement takes place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// First nanosecond that counts.
    pub(crate) from: Nanos,
    /// First nanosecond that no longer counts.
    pub(crate) to: Nanos,
}

impl Window {
    /// Whether `at` counts.
    pub(crate) fn contains(self, at: Nanos) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// Messages and their payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    /// How many.
    pub(crate) messages: u64,
    /// Payload bytes.
    pub(crate) bytes: u64,
}

impl Volume {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    fn merge(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// Counts of one thread, or of all together.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// The measurement; the warm-up and the drain are outside.
    pub(crate) window: Window,
    /// Sent within the window.
    pub(crate) sent: Volume,
    /// Received within the window.
    pub(crate) received: Volume,
    /// Sent in the whole run.
    pub(crate) sent_total: u64,
    /// Different messages received in the whole run.
    pub(crate) arrived_total: u64,
    /// Receipts that the messages sent in the whole run should cause.
    pub(crate) expected_total: u64,
    /// Of messages planned within the window: from the planned time to receipt.
    pub(crate) latency: Histogram<u64>,
    /// Of messages planned within the window: from the planned time to when the
    /// generator came to send them.
    pub(crate) lateness: Histogram<u64>,
    /// Of these, those more than [`LATE`].
    pub(crate) late: u64,
    /// Messages kept back because the server did not take or answer earlier
    /// ones; their latency counts from the planned time all the same.
    pub(crate) held_back: u64,
    /// Planned, but still kept back when the drain ended.
    pub(crate) unsent: u64,
    /// Connections that agreed on permessage-deflate.
    pub(crate) deflated: u64,
    /// What went wrong.
    pub(crate) faults: Faults,
}

/// What went wrong, by cause, in the whole run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Never came back. Known only when all threads' counts are together.
    pub(crate) lost: u64,
    /// Came more than once.
    pub(crate) duplicated: u64,
    /// Came after a later one.
    pub(crate) reordered: u64,
    /// Came with other bytes, another length or as the other kind.
    pub(crate) corrupted: u64,
    /// Of these, those that could not be told which they were.
    pub(crate) unidentified: u64,
    /// Came although nobody sent it.
    pub(crate) unexpected: u64,
    /// Belongs to another run.
    pub(crate) foreign: u64,
    /// Came back to its publisher.
    pub(crate) own: u64,
    /// Connections that did not end with a close handshake at the end.
    pub(crate) unclean: u64,
    /// Connections that ended before the end, by cause.
    pub(crate) closes: BTreeMap<String, u64>,
    /// Some faults in words.
    pub(crate) examples: Vec<String>,
}

impl Tally {
    /// Nothing counted yet.
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            sent: Volume::default(),
            received: Volume::default(),
            sent_total: 0,
            arrived_total: 0,
            expected_total: 0,
            latency: histogram(),
            lateness: histogram(),
            late: 0,
            held_back: 0,
            unsent: 0,
            deflated: 0,
            faults: Faults::default(),
        }
    }

    /// A message was handed to its connection.
    pub(crate) fn sent(&mut self, now: Nanos, bytes: usize) {
        self.sent_total += 1;
        if self.window.contains(now) {
            self.sent.add(bytes);
        }
    }

    /// A message arrived, intact and for the first time.
    pub(crate) fn received(&mut self, planned: Nanos, now: Nanos, bytes: usize) {
        self.arrived_total += 1;
        if self.window.contains(now) {
            self.received.add(bytes);
        }
        if self.window.contains(planned) {
            self.latency.saturating_record(now.saturating_sub(planned));
        }
    }

    /// The generator came at `now` to a message planned for `planned`.
    pub(crate) fn came_to(&mut self, planned: Nanos, now: Nanos) {
        if self.window.contains(planned) {
            let lateness = now.saturating_sub(planned);
            self.lateness.saturating_record(lateness);
            self.late += u64::from(lateness > LATE);
        }
    }

    /// Adds another thread's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.sent.merge(other.sent);
        self.received.merge(other.received);
        self.sent_total += other.sent_total;
        self.arrived_total += other.arrived_total;
        self.expected_total += other.expected_total;
        merge(&mut self.latency, &other.latency);
        merge(&mut self.lateness, &other.lateness);
        self.late += other.late;
        self.held_back += other.held_back;
        self.unsent += other.unsent;
        self.deflated += other.deflated;
        self.faults.merge(&other.faults);
    }

    /// Counts as lost what was sent and did not arrive. A damaged message that
    /// could not be identified is corrupted, not lost as well.
    pub(crate) fn settle(&mut self) {
        let missing = self.expected_total.saturating_sub(self.arrived_total);
        self.faults.lost = missing.saturating_sub(self.faults.unidentified);
    }
}

impl Faults {
    /// How many in all.
    pub(crate) fn count(&self) -> u64 {
        self.lost
            + self.duplicated
            + self.reordered
            + self.corrupted
            + self.unexpected
            + self.foreign
            + self.own
            + self.unclean
            + self.closes.values().sum::<u64>()
    }

    /// Keeps the first few descriptions; `words` is called only for those.
    pub(crate) fn describe(&mut self, words: impl FnOnce() -> String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(words());
        }
    }

    /// A connection ended before the end.
    pub(crate) fn closed(&mut self, cause: String) {
        let known = self.closes.contains_key(&cause) || self.closes.len() < MAX_CAUSES;
        let cause = if known { cause } else { "other causes".into() };
        *self.closes.entry(cause).or_default() += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.unidentified += other.unidentified;
        self.unexpected += other.unexpected;
        self.foreign += other.foreign;
        self.own += other.own;
        self.unclean += other.unclean;
        for (cause, count) in &other.closes {
            *self.closes.entry(cause.clone()).or_default() += count;
        }
        let room = MAX_EXAMPLES.saturating_sub(self.examples.len());
        self.examples
            .extend(other.examples.iter().take(room).cloned());
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY, DIGITS).expect("the bounds are constants")
}

fn merge(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    into.add(from).expect("all histograms have the same bounds");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new(Window { from: 100, to: 200 })
    }

    #[test]
    fn only_the_window_is_measured_and_everything_is_counted() {
        let mut tally = tally();
        for at in [50, 150, 250] {
            tally.sent(at, 10);
            tally.received(at, at + 20, 10);
        }
        assert_eq!((tally.sent_total, tally.arrived_total), (3, 3));
        assert_eq!(
            tally.sent,
            Volume {
                messages: 1,
                bytes: 10
            }
        );
        assert_eq!(
            tally.received,
            Volume {
                messages: 1,
                bytes: 10
            }
        );
        assert_eq!((tally.latency.len(), tally.latency.max()), (1, 20));
    }

    #[test]
    fn a_send_is_late_after_a_millisecond() {
        let mut tally = tally();
        tally.came_to(150, 150 + LATE);
        tally.came_to(150, 151 + LATE);
        tally.came_to(50, 50 + 10 * LATE);
        assert_eq!((tally.late, tally.lateness.len()), (1, 2));
    }

    #[test]
    fn what_did_not_arrive_is_lost_once_all_threads_are_together() {
        let (mut one, mut other) = (tally(), tally());
        one.expected_total = 10;
        one.arrived_total = 3;
        other.arrived_total = 5;
        other.faults.unidentified = 1;
        other.faults.corrupted = 1;
        one.merge(&other);
        one.settle();
        assert_eq!((one.faults.lost, one.faults.corrupted), (1, 1));
        assert_eq!(one.faults.count(), 2);
    }

    #[test]
    fn causes_and_examples_are_bounded() {
        let mut faults = Faults::default();
        for index in 0..1000 {
            faults.closed(format!("cause {index}"));
            faults.describe(|| format!("example {index}"));
        }
        assert!(faults.closes.len() <= MAX_CAUSES + 1);
        assert_eq!(faults.examples.len(), MAX_EXAMPLES);
        assert_eq!(faults.count(), 1000);
    }
}
