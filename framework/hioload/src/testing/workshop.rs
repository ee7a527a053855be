//! The offload pool of a simulated server: nothing runs beside the shards, it
//! only takes as long as if it did.

use hioload_platform::Nanos;
use hioload_platform::backend::sim::SimNet;

use crate::offload::{Pool, Taken};

/// How long work takes unless the test says otherwise: up to some turns, and
/// enough for others to overtake it.
pub(super) const LONGEST: Nanos = 10_000_000;

/// Work under way, each with the time of its end. It runs as a whole at that
/// moment, in the thread of the test.
pub(super) struct Workshop {
    pool: Pool,
    busy: Vec<(Nanos, Taken)>,
    longest: Nanos,
}

impl Workshop {
    pub(super) fn new(pool: Pool, longest: Nanos) -> Self {
        Self {
            pool,
            busy: Vec::new(),
            longest,
        }
    }

    /// Idle workers begin what waits; the seed says how long each takes.
    pub(super) fn begin(&mut self, now: Nanos, net: &SimNet) {
        while let Some(taken) = self.pool.take() {
            let longest = usize::try_from(self.longest).unwrap_or(usize::MAX);
            let takes = 1 + net.choose(longest.max(1)) as Nanos;
            self.busy.push((now.saturating_add(takes), taken));
        }
    }

    /// When the next work ends, if any is under way.
    pub(super) fn next_time(&self) -> Option<Nanos> {
        self.busy.iter().map(|&(end, _)| end).min()
    }

    /// Runs what ends first.
    pub(super) fn finish_one(&mut self) {
        let first = (0..self.busy.len()).min_by_key(|&index| self.busy[index].0);
        if let Some(first) = first {
            let (_, taken) = self.busy.remove(first);
            self.pool.execute(taken);
        }
    }
}
