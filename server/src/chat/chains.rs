//! What deltas are made of: in each channel with clients that are told them, the
//! publication that they were told last.
//!
//! A client gets a delta only when that is what it was told before it, whatever
//! the reason why it may not have been; all others get the whole publication.

use std::collections::HashMap;

use hioload::Prepared;
use hioload_centrifugo::MAX_DELTA;

/// Of the channels on this shard whose publications are told as deltas: a
/// publication of [`MAX_DELTA`] bytes at most for each.
#[derive(Default)]
pub(super) struct Chains {
    channels: HashMap<Box<str>, Chain>,
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
                self.channels.remove(channel);
            }
        }
    }

    /// The next publication that is told.
    pub(super) fn add(&mut self, channel: &str, came: &Prepared) -> Link {
        self.latest += 1;
        let known = Known(self.latest);
        let fits = came.message().payload().len() <= MAX_DELTA;
        let next = fits.then(|| (known, came.clone()));
        let chain = self.channels.get_mut(channel);
        let before = chain.and_then(|chain| std::mem::replace(&mut chain.last, next));
        Link { known, before }
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
}
