//! What deltas are made of: in each channel with clients that are told them, the
//! publication that they were told last.
//!
//! A client gets a delta only when that is what it was told before it, whatever
//! the reason why it may not have been; all others get the whole publication.

use std::collections::HashMap;

use hioload::Prepared;
use hioload_centrifugo::MAX_DELTA;

/// Bytes of publications that a shard keeps for deltas at most: as many as the
/// history of a namespace takes unless its settings say otherwise. What comes when
/// they are taken is not kept, and what follows it comes whole.
const MAX_KEPT: usize = 64 << 20;

/// Of the channels on this shard whose publications are told as deltas: a
/// publication of [`MAX_DELTA`] bytes at most for each.
#[derive(Default)]
pub(super) struct Chains {
    channels: HashMap<Box<str>, Chain>,
    /// Of all publications kept.
    bytes: usize,
    /// The number of the latest publication in any of them.
    latest: u64,
}

struct Chain {
    subs: usize,
    last: Option<(Known, Prepared)>,
}

/// Which publication a client was told last, by its number; the first one has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known(u64);

/// A publication and the one before it.
pub(super) struct Link {
    known: Known,
    before: Option<(Known, Prepared)>,
}

impl Chains {
    /// A subscription to a channel is told deltas from now on.
    pub(super) fn join(&mut self, channel: &str) {
        if let Some(chain) = self.channels.get_mut(channel) {
            chain.subs += 1;
        } else {
            let subs = 1;
            let chain = Chain { subs, last: None };
            self.channels.insert(channel.into(), chain);
        }
    }

    /// A subscription that was has ended.
    pub(super) fn leave(&mut self, channel: &str) {
        if let Some(chain) = self.channels.get_mut(channel) {
            chain.subs -= 1;
            if chain.subs == 0 {
                self.bytes -= chain.bytes();
                self.channels.remove(channel);
            }
        }
    }

    /// The next publication that is told.
    pub(super) fn add(&mut self, channel: &str, came: &Prepared) -> Link {
        self.latest += 1;
        let known = Known(self.latest);
        let Some(chain) = self.channels.get_mut(channel) else {
            let before = None;
            return Link { known, before };
        };
        let others = self.bytes - chain.bytes();
        let length = came.message().payload().len();
        let fits = length <= MAX_DELTA && others + length <= MAX_KEPT;
        let next = fits.then(|| (known, came.clone()));
        let before = std::mem::replace(&mut chain.last, next);
        self.bytes = others + chain.bytes();
        Link { known, before }
    }
}

impl Chain {
    fn bytes(&self) -> usize {
        let last = self.last.as_ref();
        last.map_or(0, |(_, kept)| kept.message().payload().len())
    }
}

impl Link {
    pub(super) fn known(&self) -> Known {
        self.known
    }

    /// What a delta for a client is made of, if that is what it was told last.
    pub(super) fn before(&self, known: Known) -> Option<&Prepared> {
        let before = self.before.as_ref();
        before
            .filter(|(told, _)| *told == known)
            .map(|(_, one)| one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_known_while_somebody_is_told_deltas() {
        let mut chains = Chains::default();
        let came = Prepared::new("1");
        let nobody = chains.add("a", &came);
        assert!(nobody.before(Known::default()).is_none());
        chains.join("a");
        chains.join("a");
        chains.leave("a");
        let first = chains.add("a", &came);
        assert!(first.before(nobody.known()).is_none(), "it was not kept");
        assert!(chains.add("a", &came).before(first.known()).is_some());
        chains.leave("a");
        assert!(chains.channels.is_empty());
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let mut chains = Chains::default();
        chains.join("a");
        let large = Prepared::new("x".repeat(MAX_DELTA + 1).as_str());
        let link = chains.add("a", &large);
        assert!(chains.add("a", &large).before(link.known()).is_none());
        assert!(chains.channels["a"].last.is_none());
    }

    #[test]
    fn a_shard_keeps_so_much_and_no_more() {
        let mut chains = Chains::default();
        let came = Prepared::new("x".repeat(MAX_DELTA).as_str());
        let names: Vec<_> = (0..=MAX_KEPT / MAX_DELTA).map(|n| n.to_string()).collect();
        for name in &names {
            chains.join(name);
            chains.add(name, &came);
        }
        assert_eq!(chains.bytes, MAX_KEPT);
        let (last, first) = (&names[names.len() - 1], &names[0]);
        assert!(chains.channels[&**last].last.is_none());
        // One takes the place of the one before it.
        chains.add(first, &came);
        assert!(chains.channels[&**first].last.is_some());
        chains.leave(first);
        chains.add(last, &came);
        assert!(chains.channels[&**last].last.is_some());
        for name in &names[1..] {
            chains.leave(name);
        }
        assert_eq!(chains.bytes, 0);
    }
}
