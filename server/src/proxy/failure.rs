//! Why an endpoint gave no answer.

use thiserror::Error;

/// There is no answer. Clients are told that the server could not, this time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Failure {
    /// It could not be reached, or went away.
    #[error("the connection failed")]
    Connection,
    #[error("it took too long")]
    Timeout,
    #[error("it was answered with status {0}")]
    Status(u16),
    /// Not what the protocol says.
    #[error("the answer is none: {0}")]
    Garbled(String),
    #[error("the answer is longer than max_response")]
    TooBig,
    /// No endpoint is well enough to be asked.
    #[error("no endpoint is well enough to be asked")]
    Unavailable,
    /// Nobody waited for it.
    #[error("it was given up")]
    GivenUp,
}

impl Failure {
    /// Whether the same request may go well a moment later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connection | Self::Timeout | Self::Status(500..600) => true,
            Self::Status(_)
            | Self::Garbled(_)
            | Self::TooBig
            | Self::Unavailable
            | Self::GivenUp => false,
        }
    }

    /// Whether it says that the endpoint is not well. What a client may bring
    /// about with a request of its own does not: it would take the endpoint from
    /// all others.
    pub(super) fn is_the_endpoints(&self) -> bool {
        self.is_passing() || matches!(self, Self::Garbled(_))
    }
}
