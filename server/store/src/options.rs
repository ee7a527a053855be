//! What a store is opened with.

use std::path::PathBuf;
use std::time::Duration;

/// How a store keeps what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file; its directory exists.
    pub path: PathBuf,
    /// When something is safe.
    pub sync: Sync,
    /// What may wait to be written: so many, and so many bytes.
    pub queue: usize,
    /// As `queue`, in bytes of publications.
    pub queue_bytes: usize,
    /// Bytes of all that is kept. Above it goes what would expire first.
    pub max_size: u64,
    /// How long a channel's position is known after its last publication has
    /// expired. Then the channel begins anew, under another epoch.
    pub position_ttl: Duration,
    /// The namespaces that are kept, by their numbers.
    pub namespaces: Vec<Kept>,
}

/// A namespace that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name in the file.
    pub name: String,
    /// Publications of each channel at most.
    pub size: u64,
    /// How long each is kept.
    pub ttl: Duration,
}

/// When what was written is told to be safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// After its batch has reached the disk (fsync).
    Always,
    /// At once, and the disk is asked to have it in this time. A kill or a loss
    /// of power may take as much.
    Interval(Duration),
}
