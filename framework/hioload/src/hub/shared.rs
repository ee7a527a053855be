//! What all shards know of the hubs.

use std::sync::Arc;

use super::counts::Counts;
use super::interest::Interest;
use super::options::{Hub, HubId, MAX_TOPIC};
use super::seed::HashSeed;

/// The hubs of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Hubs(Arc<[SharedHub]>);

/// One of them.
#[derive(Debug)]
pub(crate) struct SharedHub {
    pub(crate) options: Hub,
    pub(crate) interest: Interest,
    pub(super) counts: Counts,
    shards: usize,
}

impl Hubs {
    /// The default hub, unless it is among `declared`, and those. They were
    /// [checked](Hub::check).
    pub(crate) fn new(declared: &[Hub], shards: usize, seed: &HashSeed) -> Self {
        let default = declared.iter().find(|hub| hub.name.is_empty());
        let default = default.cloned().unwrap_or_else(|| Hub::new(""));
        let named = declared.iter().filter(|hub| !hub.name.is_empty());
        let shared = |options: Hub| SharedHub {
            options,
            interest: Interest::new(seed.clone()),
            counts: Counts::new(seed),
            shards,
        };
        let hubs = std::iter::once(default).chain(named.cloned());
        Self(hubs.map(shared).collect())
    }

    /// # Panics
    /// When the id is that of another server, and too large for this one.
    pub(crate) fn get(&self, hub: HubId) -> &SharedHub {
        &self.0[hub.index()]
    }

    pub(crate) fn find(&self, name: &str) -> Option<HubId> {
        let index = self.0.iter().position(|hub| hub.options.name == name)?;
        Some(HubId::new(index))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SharedHub> {
        self.0.iter()
    }
}

impl SharedHub {
    /// The shard that orders a topic.
    pub(crate) fn home(&self, topic: &str) -> usize {
        self.interest.hash(topic).part(self.shards)
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards
    }

    pub(crate) fn subscribers(&self, topic: &str) -> usize {
        self.counts.subscribers(topic, self.interest.hash(topic))
    }

    pub(crate) fn topics(&self) -> usize {
        self.counts.topics()
    }
}

/// Whether a topic can have subscribers.
pub(crate) fn is_topic(topic: &str) -> bool {
    topic.len() <= MAX_TOPIC
}
