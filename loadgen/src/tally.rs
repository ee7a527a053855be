//! What one thread counted, and how threads add up.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use hioload_platform::Nanos;

use crate::cause;
use crate::chat::{Exchange, Visits};
use crate::idle::Beats;
use crate::opens::Opens;
use crate::recent::Recording;
use crate::reconnect::Comeback;
use crate::recorded;
use crate::series::Series;

/// Latencies are kept to three significant digits, up to an hour; what is
/// longer counts as an hour.
pub(crate) const MAX_LATENCY: Nanos = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// A message that left this much after its planned time was late.
pub(crate) const LATE: Nanos = 1_000_000;

/// Faults described in words, per thread.
const MAX_EXAMPLES: usize = 5;

/// When the measurement takes place.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    #[serde(with = "recorded")]
    pub(crate) latency: Histogram<u64>,
    /// Of messages planned within the window: from the planned time to when the
    /// generator came to send them.
    #[serde(with = "recorded")]
    pub(crate) lateness: Histogram<u64>,
    /// Of these, those more than [`LATE`].
    pub(crate) late: u64,
    /// Messages kept back because the server did not take or answer earlier
    /// ones; their latency counts from the planned time all the same.
    pub(crate) held_back: u64,
    /// Planned, but still kept back when the drain ended.
    pub(crate) unsent: u64,
    /// Of the expected, those that nobody can demand any more, since their
    /// receiver's or sender's connection failed; it is counted as a fault.
    pub(crate) cut_off: u64,
    /// Whether latencies are to be had from this run at all.
    pub(crate) timed: bool,
    /// Connections that agreed on permessage-deflate.
    pub(crate) deflated: u64,
    /// The measurement over time.
    pub(crate) series: Series,
    /// Latencies for the live view, if there is one.
    #[serde(skip)]
    pub(crate) recording: Option<Recording>,
    /// How connections opened.
    pub(crate) opens: Opens,
    /// Joins and leaves, where users chat.
    pub(crate) visits: Option<Visits>,
    /// What clients of Centrifugo's protocol did. A chat is of one process.
    #[serde(skip)]
    pub(crate) exchange: Option<Box<Exchange>>,
    /// Pings and pongs, where connections are idle.
    pub(crate) beats: Option<Beats>,
    /// How connections came back, where that is the load. Its times are those of
    /// one process's clock, so that only a run of one process has it.
    #[serde(skip)]
    pub(crate) comeback: Option<Box<Comeback>>,
    /// What went wrong.
    pub(crate) faults: Faults,
    /// The messages planned for each step of the rate, in a tally whose window
    /// is the step; empty without steps. Of the faults only `lost` is known by
    /// step.
    pub(crate) steps: Vec<Self>,
}

/// What went wrong, by cause, in the whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// What is not as the chat protocol has it, errors in replies among them, by
    /// cause.
    pub(crate) protocol: BTreeMap<String, u64>,
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
            cut_off: 0,
            timed: true,
            deflated: 0,
            series: Series::new(),
            recording: None,
            opens: Opens::default(),
            visits: None,
            exchange: None,
            beats: None,
            comeback: None,
            faults: Faults::default(),
            steps: Vec::new(),
        }
    }

    /// Measures within `window`, and each step of the rate by itself.
    pub(crate) fn measure(&mut self, window: Window, steps: &[Window]) {
        self.window = window;
        self.steps = steps.iter().copied().map(Self::new).collect();
    }

    /// Ends the measurement, and with it the step under way, at `end` when that
    /// is earlier.
    pub(crate) fn end_at(&mut self, end: Nanos) {
        self.window.to = self.window.to.min(end);
        for step in &mut self.steps {
            step.end_at(end);
        }
    }

    /// The step that `at` belongs to.
    fn step(&mut self, at: Nanos) -> Option<&mut Self> {
        let index = self.steps.partition_point(|step| step.window.to <= at);
        let step = self.steps.get_mut(index);
        step.filter(|step| step.window.contains(at))
    }

    /// A message planned for `planned` was handed to its connection and should
    /// cause so many receipts.
    pub(crate) fn expect(&mut self, planned: Nanos, receipts: u64) {
        self.expected_total += receipts;
        if let Some(step) = self.step(planned) {
            step.sent_total += 1;
            step.expected_total += receipts;
        }
    }

    /// A message was handed to its connection.
    pub(crate) fn sent(&mut self, now: Nanos, bytes: usize) {
        self.sent_total += 1;
        if self.window.contains(now) {
            self.sent.add(bytes);
            self.series.sent(self.window, now, bytes);
            if let Some(step) = self.step(now) {
                step.sent.add(bytes);
            }
        }
    }

    /// A message arrived, intact and for the first time.
    pub(crate) fn received(&mut self, planned: Nanos, now: Nanos, bytes: usize) {
        self.arrived_total += 1;
        if let Some(step) = self.step(planned) {
            step.arrived_total += 1;
        }
        self.received_unasked(planned, now, bytes);
    }

    /// As [`received`](Self::received), of a message that nobody was demanded
    /// to receive.
    pub(crate) fn received_unasked(&mut self, planned: Nanos, now: Nanos, bytes: usize) {
        if self.window.contains(now) {
            self.received.add(bytes);
            self.series.received(self.window, now, bytes);
            if let Some(step) = self.step(now) {
                step.received.add(bytes);
            }
        }
        self.took(planned, now);
    }

    /// What was planned for `planned` has taken until `now`.
    pub(crate) fn took(&mut self, planned: Nanos, now: Nanos) {
        let latency = now.saturating_sub(planned);
        if let Some(recording) = &mut self.recording {
            recording.took(latency);
        }
        if self.window.contains(planned) {
            self.latency.saturating_record(latency);
            self.series.took(self.window, planned, latency);
            if let Some(step) = self.step(planned) {
                step.latency.saturating_record(latency);
            }
        }
    }

    /// What was sent for `planned` and should arrive can not any more, since a
    /// connection failed.
    pub(crate) fn cut_off(&mut self, planned: Nanos) {
        self.cut_off += 1;
        if let Some(step) = self.step(planned) {
            step.cut_off += 1;
        }
    }

    /// At `now`, `open` connections were open.
    pub(crate) fn look(&mut self, now: Nanos, open: usize) {
        if self.window.contains(now) {
            let faults = self.faults.count();
            self.series.look(self.window, now, open as u64, faults);
        }
    }

    /// The generator came at `now` to a message planned for `planned`.
    pub(crate) fn came_to(&mut self, planned: Nanos, now: Nanos) {
        if self.window.contains(planned) {
            let lateness = now.saturating_sub(planned);
            self.lateness.saturating_record(lateness);
            self.late += u64::from(lateness > LATE);
        }
        if let Some(step) = self.step(planned) {
            step.came_to(planned, now);
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
        self.cut_off += other.cut_off;
        self.timed &= other.timed;
        self.deflated += other.deflated;
        self.opens.merge(&other.opens);
        if let Some(other) = other.visits {
            self.visits.get_or_insert_default().merge(other);
        }
        if let Some(other) = &other.exchange {
            self.exchange.get_or_insert_default().merge(other);
        }
        if let Some(other) = other.beats {
            self.beats.get_or_insert_default().merge(other);
        }
        if let Some(other) = &other.comeback {
            self.comeback.get_or_insert_default().merge(other);
        }
        self.faults.merge(&other.faults);
        if !other.series.is_empty() {
            let mut series = other.series.clone();
            series.measured(other.window);
            self.series.merge(&series);
        }
        for (index, step) in other.steps.iter().enumerate() {
            match self.steps.get_mut(index) {
                Some(own) => own.merge(step),
                None => self.steps.push(step.clone()),
            }
        }
    }

    /// Counts as lost what was sent and did not arrive. A damaged message that
    /// could not be identified is corrupted, not lost as well, and what a failed
    /// connection cut off is not lost beside it.
    pub(crate) fn settle(&mut self) {
        let missing = self.expected_total.saturating_sub(self.arrived_total);
        let excused = self.faults.unidentified + self.cut_off;
        self.faults.lost = missing.saturating_sub(excused);
        for step in &mut self.steps {
            step.unsent = step.lateness.len().saturating_sub(step.sent_total);
            step.settle();
        }
    }
}

impl Faults {
    /// How many in all, without the connections that did not open.
    pub(crate) fn count(&self) -> u64 {
        self.of_messages() + self.of_connections()
    }

    /// Messages that did not come as they should.
    pub(crate) fn of_messages(&self) -> u64 {
        self.lost
            + self.duplicated
            + self.reordered
            + self.corrupted
            + self.unexpected
            + self.foreign
            + self.own
            + self.of_protocol()
    }

    /// What is not as the chat protocol has it.
    fn of_protocol(&self) -> u64 {
        self.protocol.values().sum()
    }

    /// Connections that did not end as they should.
    pub(crate) fn of_connections(&self) -> u64 {
        self.unclean + self.closes.values().sum::<u64>()
    }

    /// Of these, what a server that is at its limit does not do either.
    pub(crate) fn wrong(&self) -> u64 {
        self.duplicated
            + self.reordered
            + self.corrupted
            + self.unexpected
            + self.foreign
            + self.own
    }

    /// Keeps the first few descriptions; `words` is called only for those.
    pub(crate) fn describe(&mut self, words: impl FnOnce() -> String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(words());
        }
    }

    /// Something is not as the chat protocol has it.
    pub(crate) fn broke(&mut self, cause: &str) {
        cause::count(&mut self.protocol, cause);
    }

    /// A connection ended before the end.
    pub(crate) fn closed(&mut self, cause: &str) {
        cause::count(&mut self.closes, cause);
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
        cause::merge(&mut self.protocol, &other.protocol);
        cause::merge(&mut self.closes, &other.closes);
        let room = MAX_EXAMPLES.saturating_sub(self.examples.len());
        self.examples
            .extend(other.examples.iter().take(room).cloned());
    }
}

/// An empty histogram of times.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY, DIGITS).expect("the bounds are constants")
}

/// Adds a histogram to another.
pub(crate) fn merge(into: &mut Histogram<u64>, from: &Histogram<u64>) {
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
    fn a_step_counts_what_was_planned_for_it() {
        let mut tally = tally();
        let step = |from, to| Window { from, to };
        tally.measure(step(100, 300), &[step(100, 200), step(200, 300)]);
        for planned in [50, 150, 250, 260, 300] {
            tally.came_to(planned, planned);
            if planned != 260 {
                tally.expect(planned, 2);
                tally.sent(planned, 10);
            }
        }
        tally.received(150, 160, 10);
        tally.received(150, 170, 10);
        tally.received(250, 301, 10);
        let mut both = tally.clone();
        both.merge(&tally);
        both.settle();
        let seen = |step: &Tally| {
            let Tally {
                sent,
                received,
                latency,
                unsent,
                faults,
                ..
            } = step;
            let counts = (sent.messages, received.messages, latency.len());
            (counts, *unsent, faults.lost)
        };
        assert_eq!(seen(&both.steps[0]), ((2, 4, 4), 0, 0));
        assert_eq!(seen(&both.steps[1]), ((2, 0, 2), 2, 2));
    }

    #[test]
    fn an_early_end_cuts_the_step_under_way_and_leaves_the_rest_empty() {
        let mut tally = tally();
        let step = |from, to| Window { from, to };
        tally.measure(step(100, 300), &[step(100, 200), step(200, 300)]);
        tally.end_at(150);
        tally.came_to(149, 149);
        tally.came_to(250, 250);
        assert_eq!(tally.steps[0].lateness.len(), 1);
        assert_eq!(tally.steps[1].lateness.len(), 0);
    }

    #[test]
    fn what_a_failed_connection_cut_off_is_not_lost() {
        let mut tally = tally();
        tally.expected_total = 10;
        tally.arrived_total = 4;
        tally.cut_off = 5;
        tally.settle();
        assert_eq!(tally.faults.lost, 1);
    }

    #[test]
    fn examples_are_bounded() {
        let mut faults = Faults::default();
        for index in 0..1000 {
            faults.closed("cause");
            faults.describe(|| format!("example {index}"));
        }
        assert_eq!(faults.examples.len(), MAX_EXAMPLES);
        assert_eq!(faults.count(), 1000);
    }
}
