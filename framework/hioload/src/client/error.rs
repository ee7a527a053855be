//! Why a dial came to nothing.

use std::io;

use hioload_platform::DriverError;
use hioload_protocol::handshake::{InvalidField, ResponseError};
use thiserror::Error;

/// A dialled connection did not open. There is nothing to clean up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// TCP: refused, unreachable, reset.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// No socket, or the source address is not one of this machine's.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// Not open within [`Dial::timeout`](super::Dial::timeout), everything
    /// included: TCP, TLS, upgrade.
    #[error("the server did not complete the handshake in time")]
    TimedOut,
    /// The server's certificate is not one to trust: unknown issuer, another
    /// name, expired. See [`Dial::tls`](super::Dial::tls).
    #[error("TLS failed: {0}")]
    Untrusted(String),
    /// TLS failed for another reason; the text says whose version or message
    /// is to blame.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The server answered, but not with an upgrade to what was asked for.
    #[error(transparent)]
    Refused(#[from] ResponseError),
    /// The server ended the connection without an answer.
    #[error("the server ended the connection before the WebSocket was open")]
    Ended,
    /// A subprotocol, header or origin that cannot be written into a request.
    #[error(transparent)]
    Request(#[from] InvalidField),
    /// [`Config::max_connections`](crate::Config::max_connections) are open.
    #[error("max_connections are open already; raise it, or close some")]
    TooMany,
    /// Too many dials wait to be started on the shard.
    #[error(transparent)]
    Full(#[from] super::DialsFull),
    /// The shard is stopping.
    #[error("the shard is stopping")]
    Stopping,
}

impl DialError {
    pub(crate) fn plain_http() -> Self {
        Self::Tls("the server speaks plain HTTP: use ws://".to_owned())
    }
}
