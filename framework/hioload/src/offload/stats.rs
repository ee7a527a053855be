//! What a pool does and has done.

use std::fmt::Write;

/// The counters of an offload pool, all of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Threads there are.
    pub workers: usize,
    /// Threads there may be.
    pub wanted: usize,
    /// Work that may wait.
    pub capacity: usize,
    /// Work that waits.
    pub queued: usize,
    /// Work that occupies a worker, also after its submitter has given it up.
    pub running: usize,
    /// Work that gave a result.
    pub done: u64,
    /// Work that gave an `Err` (see [`Job::fallible`](super::Job::fallible)),
    /// that nobody was there to take the result of, or that a stop has dropped.
    pub failed: u64,
    /// Work that was not done in its time, begun or not.
    pub timed_out: u64,
    /// Work that panicked.
    pub panicked: u64,
    /// Work that was refused: it never waited.
    pub refused: u64,
}

impl Stats {
    /// Appends them in the Prometheus text format.
    pub(crate) fn render(&self, out: &mut String) {
        let gauges = [
            ("workers", "Threads of the offload pool.", self.workers),
            ("workers_wanted", "Threads it may have.", self.wanted),
            (
                "queue_capacity",
                "Offloaded work that may wait.",
                self.capacity,
            ),
            ("queued", "Offloaded work that waits.", self.queued),
            ("running", "Offloaded work that runs.", self.running),
        ];
        for (name, help, value) in gauges {
            let _infallible = writeln!(
                out,
                "# HELP hioload_offload_{name} {help}\n\
                 # TYPE hioload_offload_{name} gauge\n\
                 hioload_offload_{name} {value}"
            );
        }
        let outcomes = [
            ("done", self.done),
            ("failed", self.failed),
            ("timed_out", self.timed_out),
            ("panicked", self.panicked),
            ("refused", self.refused),
        ];
        let _infallible = writeln!(
            out,
            "# HELP hioload_offload_total Offloaded work by what became of it.\n\
             # TYPE hioload_offload_total counter"
        );
        for (outcome, value) in outcomes {
            let _infallible = writeln!(
                out,
                "hioload_offload_total{{outcome=\"{outcome}\"}} {value}"
            );
        }
    }
}
