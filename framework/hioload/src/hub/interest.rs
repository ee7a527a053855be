//! Which shards have subscribers: a small table shared by all.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::filter::{REST, SINGLE, first_level, is_reserved};
use super::seed::HashSeed;
use crate::config::MAX_SHARDS;

/// Buckets of the table. Topics that share a bucket share its bits, which
/// costs a needless inbox entry, never a lost message. 32 KiB in all.
const BUCKETS: usize = 4096;

/// Buckets for the first levels of filters: a service has few of them. 2 KiB.
const FIRSTS: usize = 256;

/// The bucket of filters that begin with a wildcard.
const WILD: usize = BUCKETS + FIRSTS;

const _: () = assert!(MAX_SHARDS <= 64, "one word of bits per bucket");

/// The hash of a topic, the same on all shards of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicHash(u64);

impl TopicHash {
    pub(super) fn bucket(self) -> usize {
        // The remainder of a small divisor.
        usize::try_from(self.0 % BUCKETS as u64).unwrap_or(0)
    }

    /// One of `parts`, by other bits than the bucket's.
    pub(super) fn part(self, parts: usize) -> usize {
        usize::try_from((self.0 >> 32) % parts as u64).unwrap_or(0)
    }
}

/// For each bucket of topics one bit per shard: set while that shard has a
/// subscriber of any topic in the bucket. Without locks; a subscription is
/// visible to every publish that starts after it.
///
/// Filters have buckets of their own, by their first level.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    buckets: Arc<[AtomicU64]>,
    /// Shards that have had a filter: while none has, publishes do not look.
    filters: Arc<AtomicU64>,
    seed: HashSeed,
}

impl Interest {
    pub(crate) fn new(seed: HashSeed) -> Self {
        Self {
            buckets: (0..=WILD).map(|_| AtomicU64::new(0)).collect(),
            filters: Arc::default(),
            seed,
        }
    }

    pub(crate) fn hash(&self, topic: &str) -> TopicHash {
        TopicHash(self.seed.hash_one(topic))
    }

    pub(crate) fn seed(&self) -> &HashSeed {
        &self.seed
    }

    /// The shards with subscribers of that topic's bucket or with filters that
    /// begin as it does, one bit each.
    pub(crate) fn shards(&self, topic: &str, hash: TopicHash) -> u64 {
        let plain = self.bits(hash.bucket());
        if self.filters.load(Ordering::SeqCst) == 0 {
            return plain;
        }
        let wild = if is_reserved(topic) {
            0
        } else {
            self.bits(WILD)
        };
        plain | wild | self.bits(self.first(first_level(topic)))
    }

    /// The bucket of a filter.
    pub(super) fn filter_bucket(&self, filter: &str) -> usize {
        match first_level(filter) {
            REST | SINGLE => WILD,
            first => self.first(first),
        }
    }

    fn first(&self, level: &str) -> usize {
        BUCKETS + self.hash(level).part(FIRSTS)
    }

    fn bits(&self, bucket: usize) -> u64 {
        self.buckets[bucket].load(Ordering::SeqCst)
    }

    pub(super) fn set(&self, bucket: usize, shard: usize) {
        self.buckets[bucket].fetch_or(1 << shard, Ordering::SeqCst);
        if bucket >= BUCKETS {
            self.filters.fetch_or(1 << shard, Ordering::SeqCst);
        }
    }

    pub(super) fn clear(&self, bucket: usize, shard: usize) {
        self.buckets[bucket].fetch_and(!(1 << shard), Ordering::SeqCst);
    }

    /// Buckets in which a shard is marked.
    pub(crate) fn marked(&self) -> usize {
        let marked = |bucket: &&AtomicU64| bucket.load(Ordering::SeqCst) != 0;
        self.buckets.iter().filter(marked).count()
    }

    pub(super) const fn buckets() -> usize {
        WILD + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_interests_its_shard_in_what_begins_as_it_does() {
        let interest = Interest::new(HashSeed::Given(1));
        let shards = |topic: &str| interest.shards(topic, interest.hash(topic));
        let (rooms, wild) = (
            interest.filter_bucket("rooms/+"),
            interest.filter_bucket("+/a"),
        );
        assert_eq!(wild, interest.filter_bucket("#"));
        interest.set(rooms, 3);
        assert_eq!(
            (shards("rooms"), shards("rooms/a"), shards("other")),
            (8, 8, 0)
        );
        interest.set(wild, 1);
        assert_eq!(
            (shards("rooms/a"), shards("other"), shards("$other")),
            (10, 2, 0)
        );
        interest.clear(rooms, 3);
        interest.clear(wild, 1);
        assert_eq!((shards("rooms/a"), interest.marked()), (0, 0));
    }
}
