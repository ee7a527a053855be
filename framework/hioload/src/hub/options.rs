//! What a hub is declared with.

use std::sync::Arc;
use std::time::Duration;

use hioload_protocol::CloseCode;

use super::restore::{Restore, Source};
use crate::error::ConfigError;

/// Hubs of a server at most, the default one among them. Each costs 34 KiB,
/// and 17 KiB per shard.
pub const MAX_HUBS: usize = 64;

/// Bytes of a topic or filter at most. A longer one can not be subscribed to,
/// so that what is published to it reaches nobody.
pub const MAX_TOPIC: usize = 1024;

/// Names a hub of a server: [`Handle::hub_id`](crate::Handle::hub_id) finds it
/// once, and it costs nothing from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubId(u8);

impl HubId {
    /// The hub every server has: that of [`Conn::subscribe`](crate::Conn::subscribe)
    /// and [`Conn::publish`](crate::Conn::publish).
    pub const DEFAULT: Self = Self(0);

    pub(super) fn new(index: usize) -> Self {
        Self(u8::try_from(index).expect("at most MAX_HUBS"))
    }

    pub(crate) fn index(self) -> usize {
        self.0.into()
    }
}

/// A hub: topics of its own, with options that hold for all of them. The same
/// topic in two hubs is two topics.
///
/// ```no_run
/// use std::time::Duration;
/// use hioload::hub::{History, Hub};
/// use hioload::{Echo, Server};
///
/// # fn main() -> hioload::Result<()> {
/// let prices = Hub::new("prices").history(History::new(100, Duration::from_secs(60)));
/// Server::bind("127.0.0.1:8000").hub(prices).run(|_shard| Echo)
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    pub(crate) name: String,
    ordered: bool,
    pub(crate) retain: bool,
    pub(crate) history: History,
    pub(crate) slow: Slow,
    pub(crate) through_app: bool,
    pub(crate) report: bool,
    pub(crate) source: Option<Source>,
}

impl Hub {
    /// A hub with this name. The empty name is that of the default hub, whose
    /// options are replaced.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ordered: false,
            retain: false,
            history: History::default(),
            slow: Slow::default(),
            through_app: false,
            report: false,
            source: None,
        }
    }

    /// Gives each topic one order, the same for all its subscribers: a home
    /// shard, chosen by the topic's hash, numbers what is published and sends
    /// it on. That is one hop more for those who publish on other shards.
    #[must_use]
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// Keeps the last message of each topic, and sends it to new subscribers.
    /// It takes an order to say which is the last: makes the hub ordered.
    /// [`History::memory`] bounds it.
    #[must_use]
    pub fn retain_last(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Keeps what was published, for those who subscribe later or again
    /// ([`Position`](super::Position)). Makes the hub ordered.
    #[must_use]
    pub fn history(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    /// What happens to a subscriber that reads too slowly.
    #[must_use]
    pub fn slow(mut self, slow: Slow) -> Self {
        self.slow = slow;
        self
    }

    /// Hands each message to [`App::deliver`](crate::App::deliver) for each of
    /// its subscribers, instead of sending it as it was published: for an
    /// encoding of one's own, with topic and offset.
    #[must_use]
    pub fn through_app(mut self, through_app: bool) -> Self {
        self.through_app = through_app;
        self
    }

    /// Tells [`App::subscription`](crate::App::subscription) of every change,
    /// also at the end of a connection. Without it, only of what subscriptions
    /// to ordered topics come to.
    #[must_use]
    pub fn report(mut self, report: bool) -> Self {
        self.report = report;
        self
    }

    /// Begins with the topics that `source` knows: their epochs and offsets go
    /// on. For an ordered hub.
    #[must_use]
    pub fn restore(mut self, source: Arc<dyn Restore>) -> Self {
        self.source = Some(Source(source));
        self
    }

    /// Whether its topics have home shards.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.ordered || self.retain || self.history.size > 0
    }

    pub(crate) fn check(hubs: &[Self]) -> Result<(), ConfigError> {
        if hubs.len() >= MAX_HUBS {
            return Err(ConfigError::TooLarge {
                field: "hubs",
                value: hubs.len(),
                most: MAX_HUBS - 1,
            });
        }
        for (index, hub) in hubs.iter().enumerate() {
            if hubs[..index].iter().any(|other| other.name == hub.name) {
                return Err(ConfigError::HubTwice {
                    hub: hub.name.clone(),
                });
            }
            if let Slow::Close(code) = hub.slow
                && !code.is_sendable()
            {
                return Err(ConfigError::CloseCode {
                    field: "slow",
                    code: code.0,
                });
            }
            if hub.history.size > 0 && hub.history.ttl.is_zero() {
                return Err(ConfigError::ZeroDuration {
                    field: "history.ttl",
                });
            }
        }
        Ok(())
    }
}

/// How much of what was published an ordered hub keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Messages of each topic; 0: none.
    pub size: usize,
    /// How long a message may be given to subscribers after it was published.
    pub ttl: Duration,
    /// Bytes that the hub takes for all its topics, on all shards together:
    /// history, last messages, and 256 bytes and the name of each topic. Each
    /// shard has an equal part. Above it the oldest messages go first, then
    /// topics not used for longest that have no subscribers; their offsets begin
    /// again under another epoch. Messages compressed for somebody take up to
    /// as much again, and so do those sent as events (a text that is mostly
    /// line breaks seven times as much).
    pub memory: usize,
}

impl History {
    /// So many messages of each topic, for so long, in 64 MiB.
    #[must_use]
    pub fn new(size: usize, ttl: Duration) -> Self {
        Self {
            size,
            ttl,
            ..Self::default()
        }
    }
}

impl Default for History {
    /// None; 64 MiB for what an ordered hub keeps beside it.
    fn default() -> Self {
        Self {
            size: 0,
            ttl: Duration::ZERO,
            memory: 64 << 20,
        }
    }
}

/// What happens to a subscriber above its
/// [`backpressure_limit`](crate::Config::backpressure_limit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slow {
    /// What its connection's [`Backpressure`](crate::Backpressure) says.
    #[default]
    AsConnection,
    /// It misses messages, which are counted; the connection lives.
    Drop,
    /// It is closed with this code (1008 or 1013 are usual).
    Close(CloseCode),
    /// It gets the latest message of each topic once there is room, and misses
    /// those before; they are counted as dropped.
    Latest,
}
