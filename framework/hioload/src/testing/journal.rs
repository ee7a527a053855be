//! Who did what, in which order.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use hioload_platform::Nanos;

use super::client::Seen;

/// Entries kept to explain a failure; older ones live on in the digest alone.
const KEPT: usize = 256;

/// Something that happened outside the network.
#[derive(Clone, Debug, Hash)]
pub(super) enum Entry {
    /// A shard took a turn.
    Turn { shard: usize },
    /// A shard could have taken one and did not.
    Stall,
    /// A shard has ended.
    Over { shard: usize },
    /// Offloaded work has run.
    Worked,
    /// A client saw something.
    Saw { client: usize, what: Seen },
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    // Unlike the hasher of a map this one has no keys of its own.
    digest: DefaultHasher,
    kept: VecDeque<(Nanos, Entry)>,
}

impl Journal {
    pub(super) fn note(&mut self, at: Nanos, entry: Entry) {
        (at, &entry).hash(&mut self.digest);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((at, entry));
    }

    /// Equal for equal histories, together with `network`, that of the network.
    pub(super) fn digest(&self, network: u64) -> u64 {
        let mut digest = self.digest.clone();
        digest.write_u64(network);
        digest.finish()
    }

    /// The latest, oldest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = String> + '_ {
        self.kept
            .iter()
            .map(|(at, entry)| format!("{at:>12} {entry:?}"))
    }
}
