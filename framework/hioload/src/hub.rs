//! Hubs: topics and their subscribers, per shard, joined by the inboxes.
//!
//! Each shard keeps its own subscribers; [`Interest`] tells every shard which
//! others have any, so that a publish costs nothing on the rest.

mod encoded;
mod interest;
mod seed;
mod topics;

pub(crate) use encoded::Encoded;
pub(crate) use interest::Interest;
pub(crate) use seed::HashSeed;
pub(crate) use topics::Topics;

use std::sync::Arc;

use hioload_platform::Token;

/// A message on its way to the subscribers of a topic, encoded once.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) topic: Arc<str>,
    pub(crate) encoded: Encoded,
    /// The connection of this shard that published it and does not want it.
    pub(crate) except: Option<Token>,
}
