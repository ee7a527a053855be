//! How many subscribers topics have on all shards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::interest::TopicHash;
use super::seed::HashSeed;

/// Parts of the table, each with a lock, so that shards seldom meet.
const PARTS: usize = 64;

/// The subscribers of one topic on all shards.
#[derive(Debug, Default)]
pub(super) struct Count {
    subscribers: AtomicUsize,
    /// Shards that know the topic, guarded by the lock of its part.
    shards: AtomicUsize,
}

impl Count {
    pub(super) fn add(&self) {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sub(&self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The topics of a hub and their [`Count`]s. A shard takes a lock when a topic
/// gets its first subscriber there and when it loses the last; otherwise
/// counting is one atomic addition.
#[derive(Clone, Debug)]
pub(crate) struct Counts(Arc<[Mutex<Part>]>);

type Part = HashMap<Arc<str>, Arc<Count>, HashSeed>;

impl Counts {
    pub(super) fn new(seed: &HashSeed) -> Self {
        let part = |_| Mutex::new(HashMap::with_hasher(seed.clone()));
        Self((0..PARTS).map(part).collect())
    }

    fn part(&self, hash: TopicHash) -> MutexGuard<'_, Part> {
        let part = &self.0[hash.part(PARTS)];
        // Nothing that panics runs under it.
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more shard has subscribers of the topic.
    pub(super) fn join(&self, topic: &Arc<str>, hash: TopicHash) -> Arc<Count> {
        let mut part = self.part(hash);
        let count = part.entry(Arc::clone(topic)).or_default();
        count.shards.fetch_add(1, Ordering::Relaxed);
        Arc::clone(count)
    }

    /// A shard has no subscribers of it any more.
    pub(super) fn leave(&self, topic: &str, hash: TopicHash) {
        let mut part = self.part(hash);
        if let Some(count) = part.get(topic)
            && count.shards.fetch_sub(1, Ordering::Relaxed) == 1
        {
            part.remove(topic);
        }
    }

    pub(super) fn subscribers(&self, topic: &str, hash: TopicHash) -> usize {
        let part = self.part(hash);
        part.get(topic)
            .map_or(0, |count| count.subscribers.load(Ordering::Relaxed))
    }

    /// Topics with subscribers.
    pub(super) fn topics(&self) -> usize {
        let len = |part: &Mutex<Part>| part.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.0.iter().map(len).sum()
    }
}
