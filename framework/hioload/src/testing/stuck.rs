//! Why a simulation did not get where it should.

use std::time::Duration;

use hioload_platform::{DriverError, Nanos};

/// A run that hangs, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// Somebody always has something to do at once, so time does not pass.
    #[error("time stands still at {at} ns: {steps} steps and nobody is done")]
    Still {
        /// The time.
        at: Nanos,
        /// Steps taken at that time.
        steps: u32,
    },
    /// What was waited for did not happen.
    #[error("at {at} ns what was waited for has not happened within {within:?}")]
    Unmet {
        /// The time.
        at: Nanos,
        /// How long it had.
        within: Duration,
    },
    /// Shards have not ended although their deadline to stop has passed.
    #[error("at {at} ns the shards {shards:?} have not stopped by their deadline")]
    Unstopped {
        /// The time.
        at: Nanos,
        /// The shards.
        shards: Vec<usize>,
    },
    /// A shard's driver cannot go on.
    #[error("a shard cannot go on")]
    Driver(#[from] DriverError),
}
