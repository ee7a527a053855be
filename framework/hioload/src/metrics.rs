//! Counters: one set per shard, written by that shard alone, read by anyone.

mod counter;
mod pools;
mod render;
mod routes;

pub use counter::Metrics;
pub(crate) use counter::{BackpressureAction, ShardMetrics};
pub use pools::{Pool, PoolKind};
pub(crate) use routes::RouteCounters;
