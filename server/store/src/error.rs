//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// The store can not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system does not let us.
    #[error(
        "cannot open the store {}: {source}; its directory must exist, and this user must be \
         able to write there", path.display()
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "the store {} is in use by another process; end that one, or give each server a path \
         of its own", path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It is no store, or no longer one.
    #[error(
        "the store {} is damaged or no store: {cause}; restore a copy, or move the file away \
         to begin with an empty one", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// It was written by another version.
    #[error(
        "the store {} has the format {found}, and this version reads {known}; use the version \
         that wrote it, or move the file away to begin with an empty one", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u64,
        /// The format known.
        known: u64,
    },
    /// It could not be read or prepared.
    #[error("cannot use the store {}: {cause}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: redb::Error,
    },
    /// There can be no thread for it.
    #[error("cannot start the thread that writes: {0}")]
    Thread(io::Error),
}

/// Something was not taken, and will not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// As much waits to be written as may. Try again later.
    #[error("too much waits to be written")]
    Full,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// A store was closed before all of it could be written. None of it was told
/// to be safe.
#[derive(Debug, Error)]
#[error("{count} entries could not be written to the store before the stop: {cause}")]
pub struct Unwritten {
    /// How many.
    pub count: usize,
    /// What the last try ended with.
    pub cause: String,
}
