//! How many pairs, of how many connections, and whether there is memory for it.

use hioload_platform::limits::Limits;

use crate::{Failure, Wanted};

/// Descriptors of a process that are no connections.
const RESERVE: u64 = 200;

/// What a connection takes at most, both its ends: two sockets with inode and
/// file, two armed receives, and the user memory of server and client. 10.5 KB
/// were measured; the rest is what a broadcast takes for a moment.
const BYTES_PER_CONNECTION: u64 = 14 << 10;

/// What a pair of processes takes without connections.
const BYTES_PER_PAIR: u64 = 24 << 20;

/// The pairs to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Connections of each pair.
    pub(crate) pairs: Vec<u32>,
}

impl Plan {
    /// As many full pairs as needed, and a last one with the rest.
    pub(crate) fn new(wanted: &Wanted) -> Self {
        let hard = Limits::read().nofile.map_or(u64::MAX, |limit| limit.hard);
        let most = u32::try_from(hard.saturating_sub(RESERVE).max(1)).unwrap_or(u32::MAX);
        Self::of(wanted.connections, wanted.per_pair.min(most))
    }

    fn of(connections: u32, per_pair: u32) -> Self {
        let full = connections / per_pair;
        let rest = connections % per_pair;
        let mut pairs = vec![per_pair; full as usize];
        pairs.extend((rest > 0).then_some(rest));
        Self { pairs }
    }

    pub(crate) fn connections(&self) -> u64 {
        self.pairs.iter().copied().map(u64::from).sum()
    }

    /// Memory that it may take.
    pub(crate) fn bytes(&self) -> u64 {
        self.connections() * BYTES_PER_CONNECTION + self.pairs.len() as u64 * BYTES_PER_PAIR
    }

    /// Refuses what there is no memory for, and says what there is memory for.
    pub(crate) fn check(&self, available: u64, keep_free: u64) -> Result<(), Failure> {
        let room = available.saturating_sub(keep_free);
        if self.bytes() <= room {
            return Ok(());
        }
        let fit = room * self.connections() / self.bytes().max(1);
        Err(format!(
            "{} connections may take {} MiB; {} MiB are available and {} are to stay free. \
             There is room for about {fit}: --connections {fit}, or --keep-free less",
            self.connections(),
            self.bytes() >> 20,
            available >> 20,
            keep_free >> 20,
        )
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_hold_exactly_what_is_wanted() {
        assert_eq!(Plan::of(5, 2).pairs, [2, 2, 1]);
        assert_eq!(Plan::of(4, 2).pairs, [2, 2]);
        assert_eq!(Plan::of(1, 18_000).pairs, [1]);
        assert_eq!(Plan::of(1_000_000, 18_000).connections(), 1_000_000);
    }

    #[test]
    fn what_there_is_no_memory_for_is_refused_with_what_there_is() {
        let plan = Plan::of(100_000, 10_000);
        assert!(plan.check(plan.bytes() + 5, 5).is_ok());
        let error = plan.check(plan.bytes() / 2, 0).expect_err("half of it");
        assert!(error.to_string().contains("about 50000"), "{error}");
    }
}
