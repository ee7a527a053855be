//! Errors of a server's start and end.

use std::io;

use hioload_platform::hand_over::HandOverError;
use hioload_platform::inherit::InheritError;
use hioload_platform::placement::PlacementError;
use hioload_platform::{BindError, DriverError};
use thiserror::Error;

/// A server could not start, or had to stop.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Shards can not run where they should.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The connections asked for need more descriptors than this process may
    /// open.
    #[error(
        "max_connections = {connections} needs {needed} open files, and the hard limit is {now}; \
         raise it (ulimit -Hn {needed} as root, LimitNOFILE={needed} of systemd, \
         --ulimit nofile={needed} of docker) or ask for fewer connections"
    )]
    Descriptors {
        /// The connections asked for.
        connections: usize,
        /// The descriptors they need.
        needed: u64,
        /// The descriptors allowed at most.
        now: u64,
    },
    /// An address does not parse or resolve.
    #[error("cannot use the address {addr:?}: {source}")]
    Address {
        /// What was given.
        addr: String,
        /// The cause.
        source: io::Error,
    },
    /// A listening socket could not be made.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The listeners of another server could not be taken over, or this one
    /// cannot hand over.
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    /// The sockets this process was started with cannot be used.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// No inherited socket is the one asked for.
    #[error("no inherited socket is {asked}; there are {there}")]
    NotInherited {
        /// Which.
        asked: String,
        /// The names of those there are.
        there: String,
    },
    /// The driver of a shard could not start or go on.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A system call of the start failed.
    #[error("{call} failed: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The app refused to start; see [`App::check`](crate::App::check).
    #[error("the app cannot serve: {0}")]
    App(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What a hub had before could not be [restored](crate::hub::Hub::restore).
    #[error("a hub cannot be restored: {0}")]
    Restore(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A shard's thread panicked: a defect in the app or in hioload.
    #[error("shard {shard} panicked; the server stopped")]
    ShardPanicked {
        /// Which shard.
        shard: usize,
    },
}

/// Who can do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Whoever wrote the configuration: change it.
    Config,
    /// The system, or who runs it: a limit, a port in use, a kernel.
    System,
    /// The program that uses hioload.
    App,
    /// A defect in the app or in hioload; the log has more.
    Defect,
}

impl Error {
    /// Who can do something about it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Config(_)
            | Self::Placement(_)
            | Self::Address { .. }
            | Self::NotInherited { .. }
            | Self::Driver(DriverError::TableFull { .. }) => Fault::Config,
            Self::Descriptors { .. }
            | Self::Bind(_)
            | Self::HandOver(_)
            | Self::Inherit(_)
            | Self::Driver(_)
            | Self::Restore(_)
            | Self::System { .. } => Fault::System,
            Self::App(_) => Fault::App,
            Self::ShardPanicked { .. } => Fault::Defect,
        }
    }
}

/// A field of the configuration is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No address was given.
    #[error("no address to listen on")]
    NoAddress,
    /// The system has no `SO_REUSEPORT`.
    #[error("listeners can not share a port on this system; use the listener mode \"distribute\"")]
    ReusePort,
    /// Two hubs have one name.
    #[error("the hub {hub:?} is declared twice")]
    HubTwice {
        /// The name.
        hub: String,
    },
    /// Below what works.
    #[error("{field} is {value}, it must be at least {least}")]
    TooSmall {
        /// The field.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The least that works.
        least: usize,
    },
    /// Above what works.
    #[error("{field} is {value}, it must be at most {most}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The most that works.
        most: usize,
    },
    /// Outside what works.
    #[error("{field} is {value}, it must be {least} to {most}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The least that works.
        least: usize,
        /// The most that works.
        most: usize,
    },
    /// A duration of zero.
    #[error("{field} is zero; give a duration, or leave it out to switch it off where it can be")]
    ZeroDuration {
        /// The field.
        field: &'static str,
    },
    /// No part of a whole.
    #[error("{field} is {value}, it must be 0 to 1")]
    Fraction {
        /// The field.
        field: &'static str,
        /// Its value, for people.
        value: String,
    },
    /// Two fields that do not go together.
    #[error("{field} is {value}, but {other} is {than}: {why}")]
    Contradiction {
        /// The field to change.
        field: &'static str,
        /// Its value, for people.
        value: String,
        /// The field it contradicts, or this one.
        other: &'static str,
        /// That one's value.
        than: String,
        /// What is wrong about it.
        why: &'static str,
    },
    /// A close code that must not be sent (RFC 6455 section 7.4).
    #[error(
        "{field}: the close code {code} must not be sent; use 1000 to 1003, 1007 to 1014, or 3000 to 4999"
    )]
    CloseCode {
        /// The field.
        field: &'static str,
        /// The code.
        code: u16,
    },
}

/// The result of starting or running a server.
pub type Result<T> = std::result::Result<T, Error>;
