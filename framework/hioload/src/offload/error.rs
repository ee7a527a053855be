//! Why there is no result.

use thiserror::Error;

/// Offloaded work was refused, or gave no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OffloadError {
    /// Refused: as much work waits as may. Offer it again later, or answer
    /// that the service is busy; [`Config::offload_queue`](crate::Config)
    /// says how much may wait.
    #[error("the offload queue is full; offer the work again later, or raise offload_queue")]
    Full,
    /// Refused: the pool was resized to no workers, or the system starts none.
    #[error("the offload pool has no workers; resize it to at least one")]
    NoWorkers,
    /// Refused, or dropped before it began: the server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// It was not done in its time: never begun, or told by its
    /// [`Cancel`](super::Cancel) token and left to itself.
    #[error("the offloaded work was not done in its time")]
    TimedOut,
    /// It panicked: a defect of the work. The worker lives on.
    #[error("the offloaded work panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
}
