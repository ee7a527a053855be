//! Which shards have subscribers: a small table shared by all.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::seed::HashSeed;
use crate::config::MAX_SHARDS;

/// Buckets of the table. Topics that share a bucket share its bits, which
/// costs a needless inbox entry, never a lost message. 32 KiB in all.
const BUCKETS: usize = 4096;

const _: () = assert!(MAX_SHARDS <= 64, "one word of bits per bucket");

/// The hash of a topic, the same on all shards of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicHash(u64);

impl TopicHash {
    pub(crate) fn bucket(self) -> usize {
        usize::try_from(self.0 % BUCKETS as u64).unwrap_or(0)
    }
}

/// For each bucket of topics one bit per shard: set while that shard has a
/// subscriber of any topic in the bucket. Without locks; a subscription is
/// visible to every publish that starts after it.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    buckets: Arc<[AtomicU64]>,
    seed: HashSeed,
}

impl Interest {
    pub(crate) fn new(seed: HashSeed) -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            seed,
        }
    }

    pub(crate) fn hash(&self, topic: &str) -> TopicHash {
        TopicHash(self.seed.hash_one(topic))
    }

    pub(crate) fn seed(&self) -> &HashSeed {
        &self.seed
    }

    /// The shards with subscribers of that bucket, one bit each.
    pub(crate) fn shards(&self, hash: TopicHash) -> u64 {
        self.buckets[hash.bucket()].load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, bucket: usize, shard: usize) {
        self.buckets[bucket].fetch_or(1 << shard, Ordering::SeqCst);
    }

    pub(crate) fn clear(&self, bucket: usize, shard: usize) {
        self.buckets[bucket].fetch_and(!(1 << shard), Ordering::SeqCst);
    }

    /// Buckets in which a shard is marked.
    pub(crate) fn marked(&self) -> usize {
        let marked = |bucket: &&AtomicU64| bucket.load(Ordering::SeqCst) != 0;
        self.buckets.iter().filter(marked).count()
    }

    pub(crate) const fn buckets() -> usize {
        BUCKETS
    }
}
