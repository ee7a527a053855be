//! No input makes memory grow beyond the bound of a connection, with many
//! connections that do the same at once; and all of it comes back.
//!
//! The clients live in the same process: they share the bytes they send and
//! own a socket each, so what is counted is the server's.

#![forbid(unsafe_code)]

mod crowd;
mod heap;
mod plain;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod support;
mod tls;

use std::time::Duration;

use hioload::{Config, Metrics, PoolKind};

use heap::Growth;
use support::wait::until;

/// What the connections of a shard share and that does not grow with them:
/// scratch for one call, one compressor, the first slots of tables.
const SHARED: usize = 1 << 20;

/// What a shard's pools keep at most when nothing needs it: chunks of three
/// sizes, 4 MiB each; buffers of messages, 4 MiB; four inflaters; queues.
const POOLED: usize = (3 * 4 + 4 + 1) << 20;

/// One shard, so that its pools are the same in every round.
fn config() -> Config {
    Config {
        shards: 1,
        // Small, and none the same, so that it is seen which of them counts.
        max_message: 96 << 10,
        max_head: 8 << 10,
        max_body: 20 << 10,
        backpressure_limit: 64 << 10,
        // Nobody is cut off while a crowd still sends, on a slow machine.
        close_timeout: Duration::from_secs(60),
        ..support::config()
    }
}

/// What to measure.
struct Case<'a> {
    name: &'a str,
    count: usize,
    /// The most bytes of one connection.
    bound: usize,
    /// The most bytes of all of them together, beside that.
    shared: usize,
    /// What a round leaves in the pools does not hang on how the bytes were
    /// split over turns.
    pools_are_the_same: bool,
}

impl Case<'_> {
    /// Runs `act` twice. It returns the connections once the server holds what
    /// it will hold, and dropping them ends them. Peak and rest are measured
    /// from before the first to after the second.
    fn measure<T>(&self, metrics: &Metrics, mut act: impl FnMut() -> T) {
        let growth = Growth::from_now();
        let mut left = [0; 2];
        // The receive pool grows with what arrives at once, and is bounded by
        // itself: it counts for no connection.
        let mut pool = 0;
        for left in &mut left {
            let connections = act();
            pool = pool.max(receive_pool(metrics));
            drop(connections);
            idle(metrics);
            pool = pool.max(receive_pool(metrics));
            *left = growth.left().saturating_sub(receive_pool(metrics));
        }
        let Self {
            name,
            count,
            bound,
            shared,
            pools_are_the_same,
        } = *self;
        let each = growth.peak() / count;
        eprintln!(
            "{name}: {count} connections, {each} bytes each at most; the bound is {bound} each and {shared} together; {left:?} in the pools"
        );
        assert!(
            growth.peak() <= count * bound + shared + pool,
            "{name}: {each} bytes for each of {count} connections, the bound is {bound}"
        );
        assert!(left[1] <= POOLED, "{name}: {left:?} bytes stay behind");
        assert!(
            !pools_are_the_same || left[1] <= left[0] + SHARED / 4,
            "{name}: more stays behind every time: {left:?}"
        );
    }
}

/// Waits until the server has no connection left.
fn idle(metrics: &Metrics) {
    until("no sockets, no bytes, no leases", || {
        let left = (
            metrics.sockets(),
            metrics.send_bytes_pending(),
            metrics.recv_leases(),
        );
        if left == (0, 0, 0) { Ok(()) } else { Err(left) }
    });
}

/// Bytes of the shard's receive pool.
fn receive_pool(metrics: &Metrics) -> usize {
    let pools = metrics.pools();
    let receive = pools.iter().find(|pool| pool.kind == PoolKind::Receive);
    usize::try_from(receive.expect("a shard has one").bytes).expect("it is memory")
}

/// Bytes received so far.
fn received(metrics: &Metrics) -> u64 {
    let text = metrics.render();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("hioload_bytes_received_total{shard=\"0\"} "));
    line.and_then(|value| value.parse().ok())
        .expect("it is counted")
}

/// Waits until the server has received `bytes`, counted from its start; on a
/// busy machine that takes long, and goes on.
fn taken(metrics: &Metrics, bytes: u64) {
    let mut before = received(metrics);
    while before < bytes {
        until("more is received", || {
            let received = received(metrics);
            let more = received > before;
            before = received;
            if more { Ok(()) } else { Err(received) }
        });
    }
}
