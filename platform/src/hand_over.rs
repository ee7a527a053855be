//! Passing listening sockets to the process that takes this one's place.
//!
//! A server that is to be replaced waits at a [`Post`], a Unix socket of mode
//! 0600. Its successor asks there ([`Predecessor::ask`]), and is given the
//! listening descriptors themselves (`SCM_RIGHTS`, unix(7)): connections that
//! the kernel has queued on them are not lost, whoever accepts them. Then:
//!
//! ```text
//! successor                              predecessor
//!   take             ->
//!                    <-   listeners (64 a packet, with their descriptors)
//!   accepting        ->                   stops accepting, drains
//!                    <-   draining
//! ```
//!
//! Until `accepting` has arrived the predecessor goes on as if nobody had
//! asked; after it the successor does, whatever becomes of the predecessor. A
//! successor that needs something the predecessor has to let go says
//! `accepting` before it accepts: connections wait in the sockets' queues.
//!
//! Only processes of the same user and of root are talked to (`SO_PEERCRED`).
//! Every packet begins with the protocol's name and version; every step has a
//! deadline, [`STEP`] or [`START`]. Windows has nothing like it: everything
//! here fails with [`HandOverError::Unsupported`].

#[cfg(unix)]
mod packet;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::socket::Listener;

#[cfg(unix)]
use unix as imp;
#[cfg(windows)]
use windows as imp;

pub use imp::{Bell, Post, Predecessor, Successor};

/// The longest wait for an answer that needs no work.
pub const STEP: Duration = Duration::from_secs(5);

/// The longest wait of a predecessor for its successor to accept: it opens
/// rings and makes apps meanwhile.
pub const START: Duration = Duration::from_secs(60);

/// The listeners passed at most: 64 shards on 16 addresses.
pub const MOST_LISTENERS: usize = 1024;

/// A listener that changes hands.
#[derive(Debug)]
pub struct Passed {
    /// The same socket of the kernel in both processes.
    pub listener: Listener,
    /// Whether its connections begin with TLS.
    pub tls: bool,
}

/// A hand-over that did not happen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// This system has no way to do it.
    #[error("this system cannot pass listeners to another process; stop the old server first")]
    Unsupported,
    /// Another server waits for its successor at the same path.
    #[error(
        "another server hands over at {}; take over from it, or choose another path",
        path.display()
    )]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// The process at the other end belongs to somebody else.
    #[error("the other process runs as user {theirs}; only user {ours} and root may hand over")]
    ForeignUser {
        /// Its effective user.
        theirs: u32,
        /// This process's.
        ours: u32,
    },
    /// The process at the other end speaks something else, or another version.
    #[error("the other process does not speak this hand-over: {what}")]
    Protocol {
        /// What was heard.
        what: String,
    },
    /// The process at the other end said nothing in time.
    #[error("no answer from the other process within {waited:?}")]
    Silent {
        /// How long was waited.
        waited: Duration,
    },
    /// The process at the other end is gone.
    #[error("the other process ended the hand-over")]
    Ended,
    /// More listeners than can be passed.
    #[error("{count} listeners are too many to pass, the most are {MOST_LISTENERS}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A system call failed.
    #[error("{call} for the hand-over failed: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The cause.
        source: io::Error,
    },
}
