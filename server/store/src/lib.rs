//! The chat's history in a file that outlives the process: an embedded store
//! (redb) behind a thread that writes in batches.
//!
//! Whoever appends is told at once whether there is room in the queue, and
//! later, through the [listener](Store::listen), up to which number all is as
//! safe as the [`Sync`] promises. Nothing is given up in between: a write that
//! fails is tried again until it succeeds or the store is closed.
//!
//! # What is safe when
//! With [`Sync::Always`] what was told to be safe is there after the process is
//! killed and after a loss of power. With [`Sync::Interval`] the last interval
//! may be lost to either; then all channels get new epochs at the next opening,
//! so that nobody takes a number given twice for the same publication.
//!
//! # What is not promised
//! Something that was never told to be safe may be there all the same.

#![forbid(unsafe_code)]

mod disk;
mod error;
mod ledger;
mod options;
mod queue;
mod rewriting;
mod stats;
mod store;
mod writer;

pub use error::{OpenError, Refused, Unwritten};
pub use ledger::Stored;
pub use options::{Kept, Options, Sync};
pub use redb::StorageBackend;
pub use store::Store;
