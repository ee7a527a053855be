//! Errors: whose fault, and what happens next.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

use crate::socket;

/// A driver could not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The operating system does not let this process use the backend.
    #[error("{backend} is not available: {cause}")]
    Unavailable {
        /// Which backend.
        backend: &'static str,
        /// Which of kernel age, seccomp, sysctl or memlock forbids it, and what
        /// to do about it.
        cause: String,
    },
    /// The table of attached sockets is full; the configuration bounds it.
    #[error("the socket table is full ({limit} sockets); raise the connection limit")]
    TableFull {
        /// The configured bound.
        limit: u32,
    },
    /// A source of the system was given to a simulated driver, or the other way
    /// round.
    #[error("the source belongs to another kind of machine than the driver")]
    Foreign,
    /// A system call failed.
    #[error("{call} failed: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl DriverError {
    pub(crate) fn system(call: &'static str, source: io::Error) -> Self {
        Self::System { call, source }
    }
}

/// A listening socket could not be made.
#[derive(Debug, Error)]
#[error("cannot listen on {addr}: {}", reason(source))]
pub struct BindError {
    /// The address asked for.
    pub addr: SocketAddr,
    /// The cause.
    pub source: io::Error,
}

fn reason(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use; stop the other process or choose another port".into()
        }
        io::ErrorKind::PermissionDenied => format!("permission denied; {}", socket::DENIED),
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address".into(),
        _ => source.to_string(),
    }
}
