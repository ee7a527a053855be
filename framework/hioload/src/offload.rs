//! Work that blocks or computes for long, away from the shards.
//!
//! A shard that waits stops all of its connections.
//! [`Turn::offload`](crate::Turn::offload) hands work to a pool of threads beside
//! the shards; what it returns comes back to the shard that asked, as a call of
//! a closure that never left it. Only the work and its result cross threads.
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | work that waits | [`Config::offload_queue`](crate::Config::offload_queue) | refused: [`OffloadError::Full`] |
//! | results a shard has not taken yet, and work it has submitted | as many again, and one per worker | refused: [`OffloadError::Full`] |
//! | time from submission to result | [`Config::offload_timeout`](crate::Config::offload_timeout), or the job's | the submitter gets [`OffloadError::TimedOut`] |
//! | threads | [`Config::offload_workers`](crate::Config::offload_workers), [`Pool::resize`] | work waits |
//!
//! Work that does not begin in its time is never run. Work that has begun
//! cannot be stopped from outside: its [`Cancel`] token says that nobody wants
//! its result, and it occupies its worker until it returns. A panic ends the
//! work, not the worker.
//!
//! On machines of several NUMA nodes workers are spread over the nodes, on the
//! CPUs that no shard is pinned to, and work goes to a worker of its shard's
//! node if one is idle; none stays idle while work waits anywhere.

mod desk;
mod error;
mod job;
mod pool;
mod queue;
mod retry;
mod seats;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod turn;
mod worker;

pub use error::OffloadError;
pub use job::{Cancel, Job, Priority};
pub use pool::{Pool, Stopped};
pub use retry::Retry;
pub use state::Queued;
pub use stats::Stats;
pub use turn::{RetryError, WorkId};

pub(crate) use desk::{Completion, Desk};
pub(crate) use pool::MOST_WORKERS;
pub(crate) use pool::Taken;
pub(crate) use seats::Seats;
