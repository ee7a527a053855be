//! The inside of a running server, for people who look for a cause.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use crate::metrics::Pool;

/// Connections, topics and shards that a list of the largest has at most.
pub(crate) const LARGEST: usize = 10;

/// All shards at about one time: each says its part at the end of a turn, and
/// none waits for another. See
/// [`Handle::debug_state`](crate::Handle::debug_state).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DebugState {
    /// Each shard's part, in their order.
    pub shards: Vec<ShardReport>,
    /// The connections of all shards for which most bytes wait, at most ten.
    pub slowest: Vec<ConnectionState>,
}

/// What is known of one shard.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShardReport {
    /// Which one, from 0.
    pub shard: usize,
    /// Whether it has answered the latest question. If not it has ended, or it
    /// has been in one turn since: in a callback, or without a CPU.
    pub answered: bool,
    /// Milliseconds since it said `state`.
    pub age_ms: Option<u64>,
    /// The latest that it said.
    pub state: Option<ShardState>,
}

/// A shard at the end of a turn.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShardState {
    /// Turns so far.
    pub turns: u64,
    /// Reloads it has taken over.
    pub reloads: u64,
    /// Whether it was asked to stop.
    pub stopping: bool,
    /// Its connections.
    pub connections: Connections,
    /// What waits in it.
    pub queues: Queues,
    /// The counters of its driver by their names in
    /// `hioload_platform::DriverStats`.
    pub driver: BTreeMap<&'static str, u64>,
    /// Its buffers: the receive pool, then the classes of send chunks.
    pub pools: Vec<Pool>,
    /// The one timer of each connection.
    pub connection_timers: WheelState,
    /// The app's timers.
    pub app_timers: WheelState,
    /// Its topics.
    pub hub: HubState,
    /// Its connections for which most bytes wait, at most ten.
    pub slowest: Vec<ConnectionState>,
}

/// Connections by what they are in.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Connections {
    /// All in its table.
    pub all: usize,
    /// Before an upgrade, or plain HTTP.
    pub http: usize,
    /// Dialled from here, not open yet.
    pub dialling: usize,
    /// WebSockets.
    pub websocket: usize,
    /// Streams of server-sent events, and of the app's messages.
    pub streams: usize,
    /// Waiting for the peer to end.
    pub draining: usize,
    /// Of all: those whose end is decided.
    pub closing: usize,
    /// Of all: those that are not read from.
    pub paused: usize,
}

/// What waits in a shard.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Queues {
    /// Entries from other threads that it has not taken in.
    pub inbox: usize,
    /// Bytes of messages among them.
    pub inbox_bytes: usize,
    /// Places taken for results of accepted work.
    pub inbox_places: usize,
    /// Entries it keeps for each other shard whose inbox is full.
    pub backlog: Vec<usize>,
    /// Bytes of messages among them.
    pub backlog_bytes: Vec<usize>,
    /// Publishers that are paused for it.
    pub congested: usize,
    /// Bytes that wait to be sent, or are with the kernel.
    pub send_bytes: usize,
    /// Bytes received from connections that were paused.
    pub held_bytes: usize,
    /// Connections the app has dialled in this turn.
    pub dials: usize,
}

/// A timing wheel.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct WheelState {
    /// Timers that have not fired.
    pub pending: usize,
    /// Nanoseconds until the wheel has something to do.
    pub next_in_ns: Option<u64>,
}

/// A shard's part of the hub.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct HubState {
    /// Topics and filters with subscribers on this shard.
    pub topics: usize,
    /// Subscriptions of its connections.
    pub subscriptions: usize,
    /// The topics with the most subscribers, at most ten.
    pub largest: Vec<TopicState>,
}

/// A topic on one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TopicState {
    /// The name of its hub; empty: the one that is always there.
    pub hub: String,
    /// Its name, or the filter.
    pub topic: String,
    /// Its subscribers on this shard.
    pub subscribers: usize,
}

/// A connection that is behind.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ConnectionState {
    /// Its shard.
    pub shard: usize,
    /// Its place there.
    pub slot: u32,
    /// How many connections had that place before, modulo 2^28.
    pub generation: u32,
    /// The other side.
    pub peer: Option<SocketAddr>,
    /// Whole seconds since it was accepted or dialled.
    pub age_s: u32,
    /// `http`, `dialling`, `websocket`, `stream` or `draining`.
    pub stage: &'static str,
    /// Bytes that wait to be sent to it, or are with the kernel.
    pub pending: usize,
    /// Bytes it has sent and that nobody has read.
    pub held: usize,
    /// Why it is not read from: `backpressure`, `congestion`, `app`.
    pub paused: Vec<&'static str>,
    /// Whether its end is decided.
    pub closing: bool,
}

/// The `LARGEST` items by `key`, largest first.
pub(crate) fn largest<T, K: Ord>(items: impl Iterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(LARGEST + 1);
    for item in items {
        let at = kept.partition_point(|other| key(other) >= key(&item));
        if at < LARGEST {
            kept.insert(at, item);
            kept.truncate(LARGEST);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_are_few() {
        assert_eq!(largest([3, 9, 5].into_iter(), |n| *n), [9, 5, 3]);
        let many = largest((0..1000).map(|n| n * 7 % 1000), |n| *n);
        assert_eq!(many, (990..1000).rev().collect::<Vec<_>>());
    }
}
