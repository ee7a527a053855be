//! What the store has done, for whoever operates it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that any thread may read.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bounds of the histogram, in microseconds.
const BOUNDS: [u64; 10] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000,
];

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) queued: Number,
    pub(crate) queued_bytes: Number,
    pub(crate) written: Number,
    pub(crate) refused: Number,
    pub(crate) batches: Number,
    pub(crate) fsyncs: Number,
    pub(crate) retries: Number,
    pub(crate) failures: Number,
    pub(crate) expired: Number,
    pub(crate) kept_bytes: Number,
    latency: [Number; BOUNDS.len()],
    latency_count: Number,
    latency_sum: Number,
}

/// Name, type, help and source of a metric.
type Plain = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Stats) -> &Number,
);

const PLAIN: [Plain; 10] = [
    (
        "hioload_store_queued",
        "gauge",
        "Entries that wait to be written.",
        |s| &s.queued,
    ),
    (
        "hioload_store_queued_bytes",
        "gauge",
        "Bytes of them.",
        |s| &s.queued_bytes,
    ),
    (
        "hioload_store_kept_bytes",
        "gauge",
        "Bytes of what is kept.",
        |s| &s.kept_bytes,
    ),
    (
        "hioload_store_written_total",
        "counter",
        "Entries written.",
        |s| &s.written,
    ),
    (
        "hioload_store_refused_total",
        "counter",
        "Entries refused: the queue was full.",
        |s| &s.refused,
    ),
    (
        "hioload_store_batches_total",
        "counter",
        "Batches written.",
        |s| &s.batches,
    ),
    (
        "hioload_store_fsyncs_total",
        "counter",
        "Successful syncs of the file.",
        |s| &s.fsyncs,
    ),
    (
        "hioload_store_failures_total",
        "counter",
        "Failed tries to write a batch.",
        |s| &s.failures,
    ),
    (
        "hioload_store_retries_total",
        "counter",
        "Batches tried once more.",
        |s| &s.retries,
    ),
    (
        "hioload_store_expired_total",
        "counter",
        "Publications and channels given up by age or size.",
        |s| &s.expired,
    ),
];

impl Stats {
    /// A batch took so long, with its retries.
    pub(crate) fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BOUNDS.iter().position(|bound| micros <= *bound) {
            self.latency[bucket].add(1);
        }
        self.latency_count.add(1);
        self.latency_sum.add(micros);
    }

    /// The Prometheus text format (version 0.0.4).
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        for (name, kind, help, number) in PLAIN {
            let value = number(self).get();
            let _infallible = writeln!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
            );
        }
        self.render_latency(&mut out);
        out
    }

    fn render_latency(&self, out: &mut String) {
        const NAME: &str = "hioload_store_batch_microseconds";
        let _infallible = writeln!(
            out,
            "# HELP {NAME} From a batch's beginning to its success.\n# TYPE {NAME} histogram"
        );
        let mut below = 0;
        for (bound, number) in BOUNDS.iter().zip(&self.latency) {
            below += number.get();
            let _infallible = writeln!(out, "{NAME}_bucket{{le=\"{bound}\"}} {below}");
        }
        let (count, sum) = (self.latency_count.get(), self.latency_sum.get());
        let _infallible = writeln!(
            out,
            "{NAME}_bucket{{le=\"+Inf\"}} {count}\n{NAME}_sum {sum}\n{NAME}_count {count}"
        );
    }
}
