//! A hub as callbacks and other threads see it.

use std::fmt;

use super::filter::{self, FilterError};
use super::options::HubId;
use super::position::{Past, Place, Position};
use super::topics::Kind;
use crate::app::{Message, Prepared, PublishOutcome};
use crate::server::{Handle, InboxFull};
use crate::shard::{Context, Link};

/// A hub as a connection sees it; see [`Conn::hub`](crate::Conn::hub).
pub struct ConnHub<'a> {
    pub(crate) hub: HubId,
    pub(crate) link: &'a mut Link,
    pub(crate) cx: &'a mut Context,
}

/// What became of a wish to subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeOutcome {
    /// Subscribed.
    Subscribed,
    /// The topic's home was asked; [`App::subscription`](crate::App::subscription)
    /// hears where the subscription begins. Until then it is given nothing.
    Asked,
    /// It was subscribed already; nothing has changed.
    Already,
    /// Refused: it has as many subscriptions as
    /// [`max_subscriptions`](crate::Config::max_subscriptions) allows.
    TooMany,
    /// Refused: the topic has more bytes than [`MAX_TOPIC`](super::MAX_TOPIC).
    TooLong,
    /// Refused: this is no filter.
    BadFilter(FilterError),
    /// Refused: too much is on its way to the topic's home. Try again later.
    Full,
    /// Refused: the connection has ended.
    Ended,
}

impl SubscribeOutcome {
    /// Whether it is, or is about to be, subscribed.
    #[must_use]
    pub fn is_subscribed(self) -> bool {
        matches!(self, Self::Subscribed | Self::Asked | Self::Already)
    }
}

impl ConnHub<'_> {
    /// Subscribes to a topic, any string; in an ordered hub from
    /// [`Position::Now`] on.
    pub fn subscribe(&mut self, topic: &str) -> SubscribeOutcome {
        self.subscribe_from(topic, Position::Now)
    }

    /// Subscribes to a topic from a position on. In a hub that is not ordered
    /// all positions are [`Position::Now`].
    pub fn subscribe_from(&mut self, topic: &str, position: Position) -> SubscribeOutcome {
        if !super::is_topic(topic) {
            return SubscribeOutcome::TooLong;
        }
        match self.refusal(Kind::Plain, topic) {
            Some(refusal) => refusal,
            None => self
                .cx
                .subscribe(self.hub, topic, position, self.link.token()),
        }
    }

    /// Subscribes to all topics that match a filter, now and later.
    pub fn subscribe_filter(&mut self, filter: &str) -> SubscribeOutcome {
        if let Err(error) = filter::check(filter) {
            return SubscribeOutcome::BadFilter(error);
        }
        match self.refusal(Kind::Filter, filter) {
            Some(refusal) => refusal,
            None => self
                .cx
                .subscribe_filter(self.hub, filter, self.link.token()),
        }
    }

    fn refusal(&self, kind: Kind, name: &str) -> Option<SubscribeOutcome> {
        let (topics, token) = (&self.cx.topics, self.link.token());
        if !self.link.is_open() {
            Some(SubscribeOutcome::Ended)
        } else if topics.is_subscribed(self.hub, kind, name, token) {
            Some(SubscribeOutcome::Already)
        } else if topics.subscriptions(token) >= self.cx.rules.max_subscriptions {
            Some(SubscribeOutcome::TooMany)
        } else {
            None
        }
    }

    /// Unsubscribes from a topic; `false` if it was not subscribed.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.cx
            .unsubscribe(self.hub, Kind::Plain, topic, self.link.token())
    }

    /// Unsubscribes from a filter; `false` if it was not subscribed.
    pub fn unsubscribe_filter(&mut self, filter: &str) -> bool {
        self.cx
            .unsubscribe(self.hub, Kind::Filter, filter, self.link.token())
    }

    /// Whether the connection is subscribed to this topic itself, or waits for
    /// its home.
    #[must_use]
    pub fn is_subscribed(&self, topic: &str) -> bool {
        let token = self.link.token();
        self.cx
            .topics
            .is_subscribed(self.hub, Kind::Plain, topic, token)
    }

    /// Sends a message to all subscribers of a topic on all shards, except
    /// this connection.
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>) -> PublishOutcome {
        let except = Some(self.link.token());
        let outcome = self.cx.publish(self.hub, topic, message.into(), except);
        self.heed(outcome)
    }

    /// As [`publish`](Self::publish), to this connection too.
    pub fn publish_all<'m>(
        &mut self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> PublishOutcome {
        let outcome = self.cx.publish(self.hub, topic, message.into(), None);
        self.heed(outcome)
    }

    fn heed(&mut self, outcome: PublishOutcome) -> PublishOutcome {
        if outcome == PublishOutcome::Congested {
            self.link.pause_congested(self.cx);
        }
        outcome
    }

    /// Subscribers of a topic on all shards. Filters are not counted.
    #[must_use]
    pub fn subscribers(&self, topic: &str) -> usize {
        self.cx.topics.hubs().get(self.hub).subscribers(topic)
    }

    /// Subscribers of a topic on this shard. Filters are not counted.
    #[must_use]
    pub fn subscribers_here(&self, topic: &str) -> usize {
        self.cx.topics.subscribers(self.hub, topic)
    }
}

/// A hub as a shard sees it; see [`Turn::hub`](crate::Turn::hub).
pub struct TurnHub<'a> {
    pub(crate) hub: HubId,
    pub(crate) cx: &'a mut Context,
}

impl TurnHub<'_> {
    /// Sends a message to all subscribers of a topic on all shards. After
    /// [`PublishOutcome::Congested`] publish less: here nobody is paused.
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>) -> PublishOutcome {
        self.cx.publish(self.hub, topic, message.into(), None)
    }

    /// As [`publish`](Self::publish), without a number and without being kept,
    /// also in an ordered hub: [`Delivery::place`](super::Delivery::place) is
    /// `None`, and it may overtake what has a number.
    pub fn publish_unnumbered<'m>(
        &mut self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> PublishOutcome {
        self.cx
            .publish_unnumbered(self.hub, topic, message.into(), None)
    }

    /// Forgets the last message of a topic, so that it is not sent to new
    /// subscribers; ordered with what is published. `false`: too much is on its
    /// way to the topic's home.
    pub fn clear_retained(&mut self, topic: &str) -> bool {
        self.cx.clear_retained(self.hub, topic)
    }

    /// Messages of an ordered topic after `offset`, so many at most. `None`
    /// where the topic is not known: on other shards than its
    /// [home](HandleHub::home), and before it was used.
    #[must_use]
    pub fn past(&mut self, topic: &str, offset: u64, limit: usize) -> Option<Past> {
        let now = self.cx.now;
        let home = self.cx.homes[self.hub.index()].as_mut()?;
        let (place, messages) = home.past(topic, offset, limit, now)?;
        let messages = messages
            .into_iter()
            .map(|(offset, encoded)| (offset, Prepared(encoded)));
        Some(Past {
            place,
            messages: messages.collect(),
        })
    }

    /// Forgets the messages kept of an ordered topic; its offsets go on. Does
    /// nothing where the topic is not known: on other shards than its
    /// [home](HandleHub::home).
    pub fn forget_past(&mut self, topic: &str) {
        self.cx.forget_past(self.hub, topic);
    }

    /// Numbers a message of an ordered topic that
    /// [`publish_at`](Self::publish_at) brings later; until it has come, others
    /// are refused unless they are numbered too, and the topic is not forgotten.
    /// `None`: this is not the topic's [home](HandleHub::home), or more is on
    /// its way to other shards than they have room for.
    pub fn reserve(&mut self, topic: &str) -> Option<Place> {
        self.cx.reserve(self.hub, topic)
    }

    /// Gives up the number that was reserved last of a topic.
    pub fn release(&mut self, topic: &str) {
        if let Some(home) = self.cx.homes[self.hub.index()].as_mut() {
            home.release(topic);
        }
    }

    /// Publishes a message with the number that was reserved for it, in the
    /// order of numbers. It is not refused: whoever reserves bounds what is on
    /// its way.
    pub fn publish_at<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>, place: Place) {
        self.cx.publish_at(self.hub, topic, message.into(), place);
    }

    /// Subscribers of a topic on all shards. Filters are not counted.
    #[must_use]
    pub fn subscribers(&self, topic: &str) -> usize {
        self.cx.topics.hubs().get(self.hub).subscribers(topic)
    }
}

/// A hub as any thread sees it; see [`Handle::hub`]. Cheap to clone.
#[derive(Clone)]
pub struct HandleHub {
    hub: HubId,
    handle: Handle,
}

impl HandleHub {
    pub(crate) fn new(hub: HubId, handle: Handle) -> Self {
        Self { hub, handle }
    }

    /// Sends a message to all subscribers of a topic on all shards. What one
    /// thread publishes to one topic stays in order.
    ///
    /// # Errors
    /// [`InboxFull`]; never blocks. In an ordered hub nobody gets the message
    /// then, elsewhere some shards may have it.
    pub fn publish<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<(), InboxFull> {
        self.handle.publish_in(self.hub, topic, message.into())
    }

    /// As [`publish`](Self::publish), several; one result each, in the order
    /// given.
    pub fn publish_many<'m, T, M>(
        &self,
        messages: impl IntoIterator<Item = (T, M)>,
    ) -> Vec<Result<(), InboxFull>>
    where
        T: AsRef<str>,
        M: Into<Message<'m>>,
    {
        self.handle.publish_many_in(self.hub, messages)
    }

    /// Forgets the last message of a topic, so that it is not sent to new
    /// subscribers.
    ///
    /// # Errors
    /// [`InboxFull`]; nothing is forgotten.
    pub fn clear_retained(&self, topic: &str) -> Result<(), InboxFull> {
        self.handle.clear_retained(self.hub, topic)
    }

    /// Subscribers of a topic on all shards; filters are not counted. Exact,
    /// between the moments at which shards change it.
    #[must_use]
    pub fn subscribers(&self, topic: &str) -> usize {
        self.handle.hubs().get(self.hub).subscribers(topic)
    }

    /// Topics with subscribers, on all shards together.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.handle.hubs().get(self.hub).topics()
    }

    /// The shard that orders a topic, in an ordered hub.
    #[must_use]
    pub fn home(&self, topic: &str) -> usize {
        self.handle.hubs().get(self.hub).home(topic)
    }
}

impl fmt::Debug for ConnHub<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnHub")
            .field("hub", &self.hub)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TurnHub<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnHub")
            .field("hub", &self.hub)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HandleHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleHub")
            .field("hub", &self.hub)
            .finish_non_exhaustive()
    }
}
