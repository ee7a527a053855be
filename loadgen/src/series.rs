//! A run over time: counts and latencies per interval.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use hioload_platform::Nanos;

use crate::recorded;
use crate::tally::{MAX_LATENCY, Window};

/// Length of a point at first.
const INTERVAL: Nanos = 1_000_000_000;

/// Points kept; a longer run has longer points. Enough for a plot, and it
/// bounds the memory of a thread to some 10 MB, most of it histograms.
const MAX_POINTS: usize = 600;

/// Significant digits of the latencies of one point, to be plotted: 1% off, in
/// a tenth of the memory of the three digits of the whole run.
const DIGITS: u8 = 2;

/// What happened in the measurement, in points of equal length. When the points
/// do not suffice, neighbours become one and the length doubles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    interval: Nanos,
    /// Of the measurement, as far as threads have reported it.
    length: Nanos,
    points: Vec<Point>,
}

/// What happened in one interval.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Point {
    sent: u64,
    sent_bytes: u64,
    received: u64,
    received_bytes: u64,
    /// Connections open and faults seen since the start, at the last look
    /// within the interval. None: nobody looked.
    state: Option<State>,
    /// Of the messages planned in the interval. None: there were none.
    #[serde(with = "recorded::point")]
    latency: Option<Histogram<u32>>,
}

/// What lasts from one interval to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    open: u64,
    faults: u64,
}

/// One interval, as it is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Interval {
    /// Its start, from that of the measurement.
    pub(crate) at_ns: Nanos,
    /// The last one is shorter when the measurement ends within it.
    pub(crate) length_ns: Nanos,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received: u64,
    pub(crate) received_bytes: u64,
    pub(crate) faults: u64,
    pub(crate) open: u64,
    pub(crate) latency_ns: Option<Spread>,
}

/// Latencies of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) p50: Nanos,
    pub(crate) p99: Nanos,
    pub(crate) max: Nanos,
}

impl Series {
    /// Nothing happened yet.
    pub(crate) fn new() -> Self {
        Self {
            interval: INTERVAL,
            length: 0,
            points: Vec::new(),
        }
    }

    /// Whether nothing was seen, not even that nothing happened.
    pub(crate) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// A message of `bytes` was sent at `now`.
    pub(crate) fn sent(&mut self, window: Window, now: Nanos, bytes: usize) {
        if let Some(point) = self.point(window, now) {
            point.sent += 1;
            point.sent_bytes += bytes as u64;
        }
    }

    /// A message of `bytes` was received at `now`.
    pub(crate) fn received(&mut self, window: Window, now: Nanos, bytes: usize) {
        if let Some(point) = self.point(window, now) {
            point.received += 1;
            point.received_bytes += bytes as u64;
        }
    }

    /// What was planned for `planned` took `latency`. It counts where it was
    /// planned, so that a stall shows where it began, and in the length that
    /// each message behind it had to wait.
    pub(crate) fn took(&mut self, window: Window, planned: Nanos, latency: Nanos) {
        if let Some(point) = self.point(window, planned) {
            let histogram = point.latency.get_or_insert_with(histogram);
            record(histogram, latency);
        }
    }

    /// At `now`, `open` connections were open, and `faults` had been seen since
    /// the start of the run.
    pub(crate) fn look(&mut self, window: Window, now: Nanos, open: u64, faults: u64) {
        if let Some(point) = self.point(window, now) {
            point.state = Some(State { open, faults });
        }
    }

    /// The measurement was `window`.
    pub(crate) fn measured(&mut self, window: Window) {
        self.length = self.length.max(window.to.saturating_sub(window.from));
        self.fill();
    }

    /// Adds what another thread saw, after [`measured`](Self::measured).
    pub(crate) fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        while self.interval < other.interval {
            self.halve();
        }
        while other.interval < self.interval {
            other.halve();
        }
        self.length = self.length.max(other.length);
        self.fill();
        other.length = self.length;
        other.fill();
        for (mine, theirs) in self.points.iter_mut().zip(&other.points) {
            mine.add(theirs);
        }
    }

    /// Length of all intervals but the last.
    pub(crate) fn interval(&self) -> Nanos {
        self.interval
    }

    /// The intervals in order; `faults` are those of each alone.
    pub(crate) fn intervals(&self) -> Vec<Interval> {
        let mut faults = 0;
        let points = self.points.iter().enumerate();
        points
            .map(|(index, point)| {
                let at_ns = index as u64 * self.interval;
                let state = point.state.unwrap_or_default();
                let new = state.faults.saturating_sub(faults);
                faults = faults.max(state.faults);
                Interval {
                    at_ns,
                    length_ns: self.interval.min(self.length.saturating_sub(at_ns)),
                    sent: point.sent,
                    sent_bytes: point.sent_bytes,
                    received: point.received,
                    received_bytes: point.received_bytes,
                    faults: new,
                    open: state.open,
                    latency_ns: point.latency.as_ref().map(Spread::of),
                }
            })
            .collect()
    }

    /// The point that `at` belongs to; none outside the measurement.
    fn point(&mut self, window: Window, at: Nanos) -> Option<&mut Point> {
        if !window.contains(at) {
            return None;
        }
        let after = at - window.from;
        while self.place(after) >= MAX_POINTS {
            self.halve();
        }
        let place = self.place(after);
        if place >= self.points.len() {
            self.points.resize_with(place + 1, Point::default);
        }
        self.points.get_mut(place)
    }

    fn place(&self, after: Nanos) -> usize {
        usize::try_from(after / self.interval).unwrap_or(usize::MAX)
    }

    fn halve(&mut self) {
        self.interval *= 2;
        let points = std::mem::take(&mut self.points);
        for (index, point) in points.into_iter().enumerate() {
            match self.points.last_mut() {
                Some(earlier) if index % 2 == 1 => earlier.follow(&point),
                _ => self.points.push(point),
            }
        }
    }

    /// Makes the points cover the whole measurement, with what lasted in those
    /// in which nothing happened.
    fn fill(&mut self) {
        while usize::try_from(self.length.div_ceil(self.interval)).unwrap_or(usize::MAX)
            > MAX_POINTS
        {
            self.halve();
        }
        let count = usize::try_from(self.length.div_ceil(self.interval)).unwrap_or(MAX_POINTS);
        self.points
            .resize_with(count.max(self.points.len()), Point::default);
        let mut last = None;
        for point in &mut self.points {
            point.state = point.state.or(last);
            last = point.state;
        }
    }
}

impl Point {
    /// Becomes this point and the one after it.
    fn follow(&mut self, later: &Self) {
        let state = later.state.or(self.state);
        self.state = None;
        self.add(later);
        self.state = state;
    }

    /// Adds another thread's point of the same interval.
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.state = match (self.state, other.state) {
            (Some(mine), Some(theirs)) => Some(State {
                open: mine.open + theirs.open,
                faults: mine.faults + theirs.faults,
            }),
            (mine, theirs) => mine.or(theirs),
        };
        if let Some(theirs) = &other.latency {
            let mine = self.latency.get_or_insert_with(histogram);
            mine.add(theirs).expect("it grows as needed");
        }
    }
}

impl Spread {
    /// The spread of what a histogram holds.
    pub(crate) fn of(histogram: &Histogram<u32>) -> Self {
        Self {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            max: histogram.max(),
        }
    }
}

/// An empty histogram that grows with what it is given: 1 KiB for each factor
/// of two that latencies span.
pub(crate) fn histogram() -> Histogram<u32> {
    Histogram::new(DIGITS).expect("two digits are allowed")
}

/// Records a latency; what is longer than an hour counts as an hour.
pub(crate) fn record(histogram: &mut Histogram<u32>, latency: Nanos) {
    let latency = latency.min(MAX_LATENCY);
    histogram.record(latency).expect("it grows as needed");
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;
    const HOUR: Window = Window {
        from: 100,
        to: 100 + 3600 * SECOND,
    };

    fn three_seconds() -> Window {
        Window {
            from: SECOND,
            to: 4 * SECOND,
        }
    }

    #[test]
    fn events_count_in_their_interval_and_not_outside_the_measurement() {
        let window = three_seconds();
        let mut series = Series::new();
        for at in [SECOND - 1, SECOND, 2 * SECOND - 1, 3 * SECOND, 4 * SECOND] {
            series.sent(window, at, 10);
            series.received(window, at, 20);
            series.took(window, at, 500);
        }
        series.measured(window);
        let sent: Vec<_> = series.intervals().iter().map(|point| point.sent).collect();
        assert_eq!(sent, [2, 0, 1]);
        let first = &series.intervals()[0];
        assert_eq!((first.at_ns, first.length_ns), (0, SECOND));
        assert_eq!((first.sent_bytes, first.received_bytes), (20, 40));
        assert_eq!(first.latency_ns.map(|spread| spread.count), Some(2));
        assert_eq!(series.intervals()[1].latency_ns, None);
    }

    #[test]
    fn the_last_interval_may_be_shorter() {
        let window = Window {
            from: 0,
            to: 5 * SECOND / 2,
        };
        let mut series = Series::new();
        series.measured(window);
        let lengths: Vec<_> = series
            .intervals()
            .iter()
            .map(|point| point.length_ns)
            .collect();
        assert_eq!(lengths, [SECOND, SECOND, SECOND / 2]);
    }

    #[test]
    fn latencies_are_one_percent_exact() {
        let window = three_seconds();
        let mut series = Series::new();
        for index in 1..=1000 {
            series.took(window, SECOND, index * 100_000);
        }
        let spread = series.intervals()[0].latency_ns.expect("a thousand");
        for (value, exact) in [
            (spread.p50, 50_000_000_f64),
            (spread.p99, 99_000_000.0),
            (spread.max, 100_000_000.0),
        ] {
            assert!((value as f64 / exact - 1.0).abs() < 0.01, "{spread:?}");
        }
    }

    #[test]
    fn open_connections_last_and_faults_are_those_of_the_interval() {
        let window = Window {
            from: 0,
            to: 5 * SECOND,
        };
        let mut series = Series::new();
        series.look(window, SECOND / 2, 10, 1);
        series.look(window, SECOND - 1, 9, 2);
        series.look(window, 3 * SECOND, 7, 5);
        series.measured(window);
        let intervals = series.intervals();
        let seen: Vec<_> = intervals
            .iter()
            .map(|point| (point.open, point.faults))
            .collect();
        assert_eq!(seen, [(9, 2), (9, 0), (9, 0), (7, 3), (7, 0)]);
    }

    #[test]
    fn a_long_run_has_longer_points_and_loses_nothing() {
        let mut series = Series::new();
        for second in 0..3600 {
            let at = HOUR.from + second * SECOND;
            series.sent(HOUR, at, 1);
            series.took(HOUR, at, 1_000 + second);
            series.look(HOUR, at, 5, second);
        }
        series.measured(HOUR);
        let intervals = series.intervals();
        assert_eq!((series.interval(), intervals.len()), (8 * SECOND, 450));
        assert!(
            intervals
                .iter()
                .all(|point| point.sent == 8 && point.open == 5)
        );
        let faults: u64 = intervals.iter().map(|point| point.faults).sum();
        let latencies = intervals.iter().filter_map(|point| point.latency_ns);
        assert_eq!((faults, latencies.map(|of| of.count).sum()), (3599, 3600));
    }

    #[test]
    fn threads_add_up_though_their_points_differ_in_length() {
        let (mut long, mut short) = (Series::new(), Series::new());
        for second in 0..3600 {
            long.sent(HOUR, HOUR.from + second * SECOND, 1);
            long.look(HOUR, HOUR.from + second * SECOND, 3, 0);
        }
        short.sent(HOUR, HOUR.from + 9 * SECOND, 1);
        short.took(HOUR, HOUR.from + 9 * SECOND, 700);
        short.look(HOUR, HOUR.from + 9 * SECOND, 2, 1);
        long.measured(HOUR);
        short.measured(HOUR);
        for (mut one, other) in [(long.clone(), &short), (short.clone(), &long)] {
            one.merge(other);
            let intervals = one.intervals();
            assert_eq!(intervals.len(), 450);
            assert_eq!((intervals[0].sent, intervals[1].sent), (8, 9));
            assert_eq!((intervals[0].open, intervals[449].open), (3, 5));
            assert_eq!(intervals[1].faults, 1);
            assert_eq!(intervals[1].latency_ns.map(|of| of.count), Some(1));
        }
    }

    #[test]
    fn nothing_measured_has_no_intervals() {
        let mut series = Series::new();
        let never = Window {
            from: Nanos::MAX,
            to: Nanos::MAX,
        };
        series.look(never, 5, 1, 0);
        series.measured(never);
        series.merge(&Series::new());
        assert_eq!(series.intervals(), []);
    }
}
