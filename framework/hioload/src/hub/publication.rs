//! What goes between shards on behalf of hubs.

use std::sync::Arc;

use hioload_platform::Token;

use super::encoded::Encoded;
use super::options::HubId;
use super::position::{Place, Position, Start};
use crate::app::{Message, Prepared};

/// A message on its way to the subscribers of a topic, encoded once.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) hub: HubId,
    pub(crate) topic: Arc<str>,
    pub(crate) encoded: Encoded,
    /// Given by the home of an ordered topic. On the way to it: reserved there.
    pub(crate) place: Option<Place>,
    /// The connection that published it and does not want it, and its shard.
    pub(crate) except: Option<(usize, Token)>,
}

/// What a topic's home is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// To give it a place and send it on.
    Publish(Publication),
    /// To say where a subscription begins.
    Join(Join),
    /// To forget the last message.
    Clear { hub: HubId, topic: Arc<str> },
    /// To forget the messages kept.
    Forget { hub: HubId, topic: Arc<str> },
}

impl Request {
    /// Bytes it holds, for the bounds of queues.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Publish(publication) => publication.encoded.len(),
            Self::Join(_) | Self::Clear { .. } | Self::Forget { .. } => 0,
        }
    }
}

/// A subscription that waits for its topic's home.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) hub: HubId,
    pub(crate) topic: Arc<str>,
    pub(crate) position: Position,
    /// Whose it is.
    pub(crate) shard: usize,
    pub(crate) token: Token,
    pub(crate) ticket: u32,
}

/// The home's answer. It comes by the same way as what the home sends on, so
/// that it separates what came before from what comes after.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) join: Join,
    pub(crate) start: Start,
    pub(crate) replay: Vec<(u64, Encoded)>,
}

/// A message for a subscriber, before it is sent: see
/// [`App::deliver`](crate::App::deliver).
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub(crate) hub: HubId,
    pub(crate) topic: &'a str,
    pub(crate) place: Option<Place>,
    pub(crate) encoded: &'a Encoded,
}

impl Delivery<'_> {
    /// The hub it was published in.
    #[must_use]
    pub fn hub(&self) -> HubId {
        self.hub
    }

    /// The topic it was published to: for a filter one of those that match.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.topic
    }

    /// Its place, in an ordered hub.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// The message as it was published.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        self.encoded.message()
    }

    /// The message as it was published, to be sent or kept.
    #[must_use]
    pub fn prepared(&self) -> Prepared {
        Prepared(self.encoded.clone())
    }

    /// Whether `other` is of the same publication: to encode it only once for
    /// many subscribers. All of them on a shard are called one after the other.
    #[must_use]
    pub fn is_same(&self, other: &Prepared) -> bool {
        self.encoded.is_same(&other.0)
    }
}

/// A subscription has changed: see
/// [`App::subscription`](crate::App::subscription).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// In which hub.
    pub hub: HubId,
    /// The topic or filter.
    pub topic: &'a str,
    /// Whether it is a filter.
    pub is_filter: bool,
    /// What happened.
    pub what: Changed,
}

/// What happened to a subscription: part of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It began. In an ordered topic it says where; what is replayed follows.
    Subscribed(Option<Start>),
    /// It ended, because that was asked for or with its connection.
    Unsubscribed,
}

/// A change that the app has not heard of yet.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) token: Token,
    pub(crate) hub: HubId,
    pub(crate) topic: Arc<str>,
    pub(crate) is_filter: bool,
    pub(crate) what: Changed,
}

/// What a callback has left for the shard to do once it has returned, in
/// order.
#[derive(Debug)]
pub(crate) enum Work {
    /// For this shard's subscribers.
    Publish(Arc<Publication>),
    /// For the topics this shard is home of.
    Home(Request),
    /// For the app.
    News(News),
}
