//! What a server leaves behind.

use crate::app::App;
use crate::shard::ShardCore;
use hioload_platform::DriverStats;

/// What is left of a stopped server; all of it should be 0.
///
/// Publishes that a shard still had for another one when it ended are not
/// counted: a stop does not wait for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residue {
    /// Sockets and listeners attached to drivers.
    pub attached: u64,
    /// Operations the kernel has not finished.
    pub in_flight: u64,
    /// Receive buffers that were not given back.
    pub leases: u64,
    /// Receive buffers that were, and are in nobody's hands.
    pub lost_buffers: u64,
    /// Connections in the shards' tables.
    pub connections: u64,
    /// Connections counted against `max_connections`.
    pub counted: u64,
    /// Connections counted against `max_connections_per_address`.
    pub of_addresses: u64,
    /// Timers of connections.
    pub timers: u64,
    /// Bytes accounted as waiting to be sent.
    pub send_bytes: u64,
    /// Chunks of such bytes that were not given back.
    pub chunks: u64,
    /// Bytes of memory accounted as received and not read.
    pub held: u64,
    /// Topics and filters with subscribers.
    pub topics: u64,
    /// Topics whose subscribers are counted.
    pub counted_topics: u64,
    /// Buckets of the tables of interest in which a shard is marked.
    pub interest: u64,
    /// Descriptors that are open.
    pub descriptors: u64,
}

impl Residue {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what a shard leaves behind.
    pub(super) fn add_shard<A: App>(&mut self, core: &ShardCore<A>, driver: &DriverStats) {
        let cx = core.context();
        self.attached += driver.attached;
        self.in_flight += driver.in_flight;
        self.leases += driver.leases_out;
        self.connections += core.connections() as u64;
        self.timers += cx.wheel.len() as u64;
        self.send_bytes += cx.outboxes.pending() as u64;
        self.chunks += cx.outboxes.chunks_out() as u64;
        self.held += cx.held as u64;
        self.topics += cx.topics.len() as u64;
    }
}
