//! The buffer pools of each shard.

use hioload_platform::{ChunkPool, DriverStats};

use serde::Serialize;

use super::counter::{Counter, Metrics};

/// The receive pool, and the classes of send chunks with what is larger.
pub(super) const POOLS: usize = 5;

/// What a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolKind {
    /// Bytes from sockets.
    Receive,
    /// Bytes to be sent.
    Send,
}

impl PoolKind {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Receive => "recv",
            Self::Send => "send",
        }
    }
}

/// One size class of a shard's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// The shard.
    pub shard: usize,
    /// The NUMA node its memory lies on; `None`: the shard is not pinned, or
    /// the system does not say.
    pub node: Option<usize>,
    /// What for.
    pub kind: PoolKind,
    /// Bytes of a buffer; 0: larger than any class, each as large as it must
    /// be.
    pub size: u64,
    /// Buffers allocated, in use or not.
    pub buffers: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Buffers in use.
    pub in_use: u64,
    /// The most in use at once.
    pub peak: u64,
    /// Times no buffer was free: a receive pool grew or receives were stalled,
    /// a send chunk was allocated.
    pub exhausted: u64,
    /// Times it grew.
    pub grown: u64,
    /// Times it shrank.
    pub shrunk: u64,
}

/// A pool as its shard writes it.
#[derive(Debug, Default)]
pub(super) struct PoolCounters {
    size: Counter,
    buffers: Counter,
    bytes: Counter,
    in_use: Counter,
    peak: Counter,
    exhausted: Counter,
    grown: Counter,
    shrunk: Counter,
}

/// The receive pool comes first, then the send chunks, small to large.
#[derive(Debug, Default)]
pub(crate) struct ShardPools {
    /// One more than the node's number; 0: unknown.
    node: Counter,
    pools: [PoolCounters; POOLS],
}

impl ShardPools {
    pub(crate) fn set_node(&self, node: Option<usize>) {
        self.node.set(node.map_or(0, |node| node as u64 + 1));
    }

    pub(crate) fn receive(&self, stats: &DriverStats) {
        let pool = &self.pools[0];
        let buffers = stats.recv_buffers;
        pool.size
            .set(stats.recv_buffer_bytes.checked_div(buffers).unwrap_or(0));
        pool.buffers.set(buffers);
        pool.bytes.set(stats.recv_buffer_bytes);
        pool.in_use.set(stats.recv_in_use);
        pool.peak.set(stats.recv_peak);
        pool.exhausted.set(stats.pool_exhausted);
        pool.grown.set(stats.recv_grown);
        pool.shrunk.set(stats.recv_shrunk);
    }

    pub(crate) fn send(&self, chunks: &ChunkPool) {
        for (pool, class) in self.pools[1..].iter().zip(chunks.stats()) {
            pool.size.set(class.size as u64);
            pool.buffers.set((class.out + class.free) as u64);
            pool.bytes
                .set((class.out_bytes + class.free * class.size) as u64);
            pool.in_use.set(class.out as u64);
            pool.peak.set(class.peak as u64);
            pool.exhausted.set(class.allocated);
            pool.grown.set(class.allocated);
            pool.shrunk.set(class.freed);
        }
    }

    pub(crate) fn read(&self, shard: usize) -> impl Iterator<Item = Pool> + '_ {
        let node = self.node.get().checked_sub(1);
        self.pools
            .iter()
            .enumerate()
            .map(move |(index, pool)| Pool {
                shard,
                // It was a usize before.
                node: node.and_then(|node| usize::try_from(node).ok()),
                kind: if index == 0 {
                    PoolKind::Receive
                } else {
                    PoolKind::Send
                },
                size: pool.size.get(),
                buffers: pool.buffers.get(),
                bytes: pool.bytes.get(),
                in_use: pool.in_use.get(),
                peak: pool.peak.get(),
                exhausted: pool.exhausted.get(),
                grown: pool.grown.get(),
                shrunk: pool.shrunk.get(),
            })
    }
}

impl Metrics {
    /// The buffer pools of all shards: what they have, use and used at most.
    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        let shards = self.0.iter().enumerate();
        shards
            .flat_map(|(index, shard)| shard.pools.read(index))
            .collect()
    }
}
