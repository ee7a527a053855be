//! Hubs: topics and their subscribers, per shard, joined by the inboxes.
//!
//! Each shard keeps its own subscribers; a small shared table tells every
//! shard which others have any, so that a publish costs nothing on the rest.
//!
//! A server has a default hub, that of [`Conn::subscribe`](crate::Conn::subscribe),
//! and those declared with [`Server::hub`](crate::Server::hub). A hub is
//! reached by its [`HubId`]: [`Conn::hub`](crate::Conn::hub),
//! [`Turn::hub`](crate::Turn::hub), [`Handle::hub`](crate::Handle::hub).
//!
//! # Order
//! Messages of one publisher to one topic arrive in order. In an
//! [ordered](Hub::ordered) hub all subscribers of a topic see one order, and a
//! subscription has an exact beginning: everything after its
//! [`Start`] arrives, once. Elsewhere a new subscriber may see a message that
//! was published just before it subscribed, and miss the next one.
//!
//! # In two steps
//! A message of an ordered topic that must be somewhere else before anybody sees
//! it, such as on a disk, is published in two steps on the topic's home:
//! [`reserve`](TurnHub::reserve) numbers it, and
//! [`publish_at`](TurnHub::publish_at) sends it on later.
//! [`Hub::restore`] gives a hub back what it had before the start.
//!
//! # Filters
//! A topic is any string. [`subscribe_filter`](ConnHub::subscribe_filter)
//! subscribes to all topics that match, with the wildcards of MQTT 5.0
//! section 4.7: levels are separated by `/`, `+` is one level, `#` at the end
//! is all that follow, and the level before it. A filter that begins with a
//! wildcard passes over topics that begin with `$`. Up to [`MAX_LEVELS`] levels
//! and [`MAX_SINGLES`] `+`. A connection that matches a message through several
//! subscriptions gets it once. In an ordered hub a filter is given what is live
//! from then on, without a [`Start`]; what it gives is not counted out of what
//! another subscription replays.

mod access;
mod counts;
mod encoded;
mod filter;
mod home;
mod interest;
mod options;
mod position;
mod publication;
mod recent;
mod restore;
mod seed;
mod shared;
mod subscriptions;
mod topics;
mod trie;

pub use access::{ConnHub, HandleHub, SubscribeOutcome, TurnHub};
pub use filter::{FilterError, MAX_LEVELS, MAX_SINGLES};
pub use options::{History, Hub, HubId, MAX_HUBS, MAX_TOPIC, Slow};
pub use position::{Epoch, Past, Place, Position, Start};
pub use publication::{Change, Changed, Delivery};
pub use restore::{Restore, Restored};

pub(crate) use encoded::Encoded;
pub(crate) use home::Home;
pub(crate) use publication::{Join, Joined, News, Publication, Request, Work};
pub(crate) use recent::{Parts, Recent};
pub(crate) use seed::HashSeed;
pub(crate) use shared::{Hubs, SharedHub, is_topic};
pub(crate) use topics::{Kind, TopicId, Topics};
