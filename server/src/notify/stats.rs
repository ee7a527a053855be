//! What sinks came to, in the Prometheus text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The counters of one sink. Any thread counts.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Events that nobody has taken from the queue.
    pub(super) queued: Number,
    pub(super) queued_bytes: Number,
    /// Events that were taken and of which nothing is known yet.
    pub(super) underway: Number,
    pub(super) sent: Number,
    /// The queue was full.
    pub(super) dropped: Number,
    /// They could not be sent to anybody: the user's name makes no address.
    pub(super) refused: Number,
    /// The recipient was written to not long ago.
    pub(super) held_back: Number,
    /// The receiver did not want them, or all tries failed.
    pub(super) failed: Number,
    /// Requests or mails that were tried again, each time.
    pub(super) retries: Number,
    latency: [Number; BOUNDS.len()],
    latency_sum: Number,
}

/// Of the latency's buckets.
const BOUNDS: [(&str, Duration); 6] = [
    ("10000", Duration::from_millis(10)),
    ("100000", Duration::from_millis(100)),
    ("1000000", Duration::from_secs(1)),
    ("10000000", Duration::from_secs(10)),
    ("100000000", Duration::from_secs(100)),
    ("+Inf", Duration::MAX),
];

#[derive(Debug, Default)]
pub(super) struct Number(AtomicU64);

impl Number {
    pub(super) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, n: usize) {
        self.0.fetch_sub(n as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds if it does not come to more than a limit.
    pub(super) fn add_within(&self, n: usize, limit: usize) -> bool {
        let add = |sum: u64| sum.checked_add(n as u64).filter(|sum| *sum <= limit as u64);
        let added = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        added.is_ok()
    }
}

impl Stats {
    /// An event was delivered, so long after it came.
    pub(super) fn delivered(&self, after: Duration) {
        self.sent.add(1);
        let bucket = BOUNDS.iter().position(|(_, bound)| after <= *bound);
        self.latency[bucket.unwrap_or(BOUNDS.len() - 1)].add(1);
        let micros = usize::try_from(after.as_micros()).unwrap_or(usize::MAX);
        self.latency_sum.add(micros);
    }

    /// Events that are in nobody's hands.
    pub(super) fn left(&self) -> u64 {
        self.queued.get() + self.underway.get()
    }
}

/// The numbers of all sinks, each with what it is called in the labels.
pub(super) fn render(sinks: &[(&str, &Stats)]) -> String {
    let mut out = String::new();
    if sinks.is_empty() {
        return out;
    }
    type Source = fn(&Stats) -> &Number;
    let gauges: [(&str, &str, Source); 3] = [
        ("queued", "Events that wait in the queue.", |s| &s.queued),
        ("queued_bytes", "Bytes that they take.", |s| &s.queued_bytes),
        ("underway", "Events that are being delivered.", |s| {
            &s.underway
        }),
    ];
    for (name, help, source) in gauges {
        let name = format!("hioload_notify_{name}");
        head(&mut out, &name, "gauge", help);
        for (sink, stats) in sinks {
            let value = source(stats).get();
            let _infallible = writeln!(out, "{name}{{{sink}}} {value}");
        }
    }
    let outcomes: [(&str, Source); 5] = [
        ("sent", |s| &s.sent),
        ("dropped", |s| &s.dropped),
        ("refused", |s| &s.refused),
        ("held_back", |s| &s.held_back),
        ("failed", |s| &s.failed),
    ];
    let name = "hioload_notify_events_total";
    head(
        &mut out,
        name,
        "counter",
        "Events by what became of them: sent, dropped as the queue was full, refused as the user \
         has no address, held_back as one was sent not long ago, failed.",
    );
    for (sink, stats) in sinks {
        for (outcome, source) in outcomes {
            let value = source(stats).get();
            let _infallible = writeln!(out, "{name}{{{sink},outcome=\"{outcome}\"}} {value}");
        }
    }
    let name = "hioload_notify_retries_total";
    let help = "Requests or mails that were tried once more.";
    head(&mut out, name, "counter", help);
    for (sink, stats) in sinks {
        let value = stats.retries.get();
        let _infallible = writeln!(out, "{name}{{{sink}}} {value}");
    }
    latencies(&mut out, sinks);
    out
}

fn latencies(out: &mut String, sinks: &[(&str, &Stats)]) {
    let name = "hioload_notify_latency_microseconds";
    let help = "From an event to its delivery.";
    head(out, name, "histogram", help);
    for (sink, stats) in sinks {
        let mut count = 0;
        for ((bound, _), number) in BOUNDS.iter().zip(&stats.latency) {
            count += number.get();
            let _infallible = writeln!(out, "{name}_bucket{{{sink},le=\"{bound}\"}} {count}");
        }
        let sum = stats.latency_sum.get();
        let _infallible = writeln!(out, "{name}_sum{{{sink}}} {sum}");
        let _infallible = writeln!(out, "{name}_count{{{sink}}} {count}");
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _infallible = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_by_sink_and_latencies_add_up() {
        let stats = Stats::default();
        stats.dropped.add(3);
        for millis in [1, 50, 50_000] {
            stats.delivered(Duration::from_millis(millis));
        }
        let text = render(&[("sink=\"webhook\",name=\"app\"", &stats)]);
        for line in [
            "hioload_notify_events_total{sink=\"webhook\",name=\"app\",outcome=\"sent\"} 3",
            "hioload_notify_events_total{sink=\"webhook\",name=\"app\",outcome=\"dropped\"} 3",
            "hioload_notify_latency_microseconds_bucket{sink=\"webhook\",name=\"app\",le=\"10000\"} 1",
            "hioload_notify_latency_microseconds_bucket{sink=\"webhook\",name=\"app\",le=\"1000000\"} 2",
            "hioload_notify_latency_microseconds_bucket{sink=\"webhook\",name=\"app\",le=\"+Inf\"} 3",
            "hioload_notify_latency_microseconds_sum{sink=\"webhook\",name=\"app\"} 50051000",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert_eq!(render(&[]), "");
    }

    #[test]
    fn a_limit_is_not_passed() {
        let number = Number::default();
        assert!(number.add_within(7, 10));
        assert!(!number.add_within(4, 10));
        assert!(number.add_within(3, 10));
        assert_eq!(number.get(), 10);
    }
}
