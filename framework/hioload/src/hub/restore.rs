//! What a hub begins with: topics from before the start.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::position::Place;
use crate::app::Prepared;

/// A topic as it was before the start.
#[derive(Clone, Debug)]
pub struct Restored<'a> {
    /// Its name.
    pub topic: &'a str,
    /// Where it goes on: the place of the last message published.
    pub place: Place,
    /// The latest messages without a gap, oldest first, the last one at `place`;
    /// and for how long each may still be given to subscribers.
    pub messages: Vec<(Duration, Prepared)>,
}

/// Where topics are restored from, by [`Hub::restore`](super::Hub::restore).
pub trait Restore: Send + Sync {
    /// Gives `found` each topic that `is_home`. Called once on each shard's
    /// thread, before it accepts; it may block.
    ///
    /// # Errors
    /// What it could not read; the server does not start.
    fn restore(
        &self,
        is_home: &dyn Fn(&str) -> bool,
        found: &mut dyn FnMut(Restored<'_>),
    ) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// A source, compared by which it is.
#[derive(Clone)]
pub(crate) struct Source(pub(crate) Arc<dyn Restore>);

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Source {}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}
