//! What callbacks subscribe to and publish: what is done at once, what waits
//! for the callback's return, what goes to other shards.

use std::sync::Arc;

use hioload_platform::Token;

use super::context::Context;
use super::inbox::{InboxEntry, Pushed};
use crate::app::{Message, PublishOutcome};
use crate::hub::{
    Changed, Encoded, HubId, Join, Kind, News, Parts, Place, Position, Publication, Request,
    SubscribeOutcome, Work, is_topic,
};
use crate::metrics::BackpressureAction;

/// What callbacks leave for the shard to do: publications, changes of
/// subscriptions. Beyond it a publish is refused.
const WORK: usize = 1 << 16;

impl Context {
    /// Encodes `message` once and hands it to every shard with subscribers, or
    /// to the topic's home. `except` is a connection of this shard.
    pub(crate) fn publish(
        &mut self,
        hub: HubId,
        topic: &str,
        message: Message<'_>,
        except: Option<Token>,
    ) -> PublishOutcome {
        if self.topics.hubs().get(hub).options.is_ordered() {
            self.metrics().publishes.add(1);
            return self.publish_ordered(hub, topic, message, except);
        }
        self.publish_unnumbered(hub, topic, message, except)
    }

    /// Sends a message to all subscribers by the shortest way, without a place.
    pub(crate) fn publish_unnumbered(
        &mut self,
        hub: HubId,
        topic: &str,
        message: Message<'_>,
        except: Option<Token>,
    ) -> PublishOutcome {
        self.metrics().publishes.add(1);
        let shared = self.topics.hubs().get(hub);
        let known = self.topics.name(hub, topic);
        let here = known.is_some() || self.topics.has_filters(hub);
        let (name, hash) = known.map_or_else(
            || (None, shared.interest.hash(topic)),
            |(name, hash)| (Some(name), hash),
        );
        let remote = shared.interest.shards(topic, hash) & !(1 << self.shard);
        if (!here && remote == 0) || !is_topic(topic) {
            return PublishOutcome::Published;
        }
        if self.work.len() >= WORK {
            return self.refused();
        }
        let publication = self.recent.publication(&Parts {
            hub,
            topic,
            name: name.as_ref(),
            message,
            except: self.of_this_shard(except),
        });
        let mut congested = false;
        if remote != 0 {
            let entry = || InboxEntry::Publish(Arc::clone(&publication));
            match self.outgoing.push(remote, entry) {
                Pushed::Accepted => {}
                Pushed::Congested => congested = true,
                Pushed::Full => return self.refused(),
            }
        }
        if here {
            self.work.push_back(Work::Publish(publication));
        }
        if congested {
            PublishOutcome::Congested
        } else {
            PublishOutcome::Published
        }
    }

    fn publish_ordered(
        &mut self,
        hub: HubId,
        topic: &str,
        message: Message<'_>,
        except: Option<Token>,
    ) -> PublishOutcome {
        if !is_topic(topic) {
            return PublishOutcome::Published;
        }
        let topic = self.shared_name(hub, topic);
        let home = self.topics.hubs().get(hub).home(&topic);
        let request = Request::Publish(Publication {
            hub,
            topic,
            encoded: Encoded::new(message),
            place: None,
            except: self.of_this_shard(except),
        });
        match self.request(home, request) {
            Pushed::Accepted if self.outgoing.is_behind(home) => PublishOutcome::Congested,
            Pushed::Accepted => PublishOutcome::Published,
            Pushed::Congested => PublishOutcome::Congested,
            Pushed::Full => self.refused(),
        }
    }

    /// The number of a message that comes later, at the topic's home.
    pub(crate) fn reserve(&mut self, hub: HubId, topic: &str) -> Option<Place> {
        let shared = self.topics.hubs().get(hub);
        if !is_topic(topic) || shared.home(topic) != self.shard {
            return None;
        }
        let shards = shared.interest.shards(topic, shared.interest.hash(topic));
        if !self.outgoing.has_room(shards) || self.work.len() >= WORK {
            self.metrics().backpressure(BackpressureAction::Refused);
            return None;
        }
        let topic = self.shared_name(hub, topic);
        let home = self.homes[hub.index()].as_mut()?;
        Some(home.reserve(&topic))
    }

    /// A message whose number was reserved, after all that was left to do
    /// before.
    pub(crate) fn publish_at(
        &mut self,
        hub: HubId,
        topic: &str,
        message: Message<'_>,
        place: Place,
    ) {
        self.metrics().publishes.add(1);
        let publication = Publication {
            hub,
            topic: self.shared_name(hub, topic),
            encoded: Encoded::new(message),
            place: Some(place),
            except: None,
        };
        self.work
            .push_back(Work::Home(Request::Publish(publication)));
    }

    /// Forgets what is kept, after all that was left to do before.
    pub(crate) fn forget_past(&mut self, hub: HubId, topic: &str) {
        if !self.work.is_empty() {
            let topic = self.shared_name(hub, topic);
            self.work
                .push_back(Work::Home(Request::Forget { hub, topic }));
        } else if let Some(home) = self.homes[hub.index()].as_mut() {
            home.forget(topic);
        }
    }

    fn of_this_shard(&self, token: Option<Token>) -> Option<(usize, Token)> {
        token.map(|token| (self.shard, token))
    }

    fn refused(&self) -> PublishOutcome {
        self.metrics().backpressure(BackpressureAction::Refused);
        PublishOutcome::Full
    }

    fn shared_name(&self, hub: HubId, topic: &str) -> Arc<str> {
        let known = self.topics.name(hub, topic);
        known.map_or_else(|| topic.into(), |(name, _)| name)
    }

    /// Asks a topic's home, which may be this shard.
    fn request(&mut self, home: usize, request: Request) -> Pushed {
        if home != self.shard {
            let entry = || InboxEntry::Home(Box::new(request.clone()));
            return self.outgoing.push(1 << home, entry);
        }
        if self.work.len() >= WORK {
            return Pushed::Full;
        }
        self.work.push_back(Work::Home(request));
        Pushed::Accepted
    }

    /// Subscribes a connection that is not subscribed.
    pub(crate) fn subscribe(
        &mut self,
        hub: HubId,
        topic: &str,
        position: Position,
        token: Token,
    ) -> SubscribeOutcome {
        let shared = self.topics.hubs().get(hub);
        if !shared.options.is_ordered() {
            return self.subscribe_now(hub, Kind::Plain, topic, token);
        }
        let home = shared.home(topic);
        if !self.has_room() {
            return SubscribeOutcome::Full;
        }
        // Before the home is asked: from its answer on it sends to this shard.
        let ticket = self.topics.subscribe_later(hub, topic, token);
        let join = Join {
            hub,
            topic: self.shared_name(hub, topic),
            position,
            shard: self.shard,
            token,
            ticket,
        };
        if self.request(home, Request::Join(join)) == Pushed::Full {
            self.topics.unsubscribe(hub, Kind::Plain, topic, token);
            return SubscribeOutcome::Full;
        }
        SubscribeOutcome::Asked
    }

    /// Subscribes a connection to a valid filter it is not subscribed to.
    pub(crate) fn subscribe_filter(
        &mut self,
        hub: HubId,
        filter: &str,
        token: Token,
    ) -> SubscribeOutcome {
        self.subscribe_now(hub, Kind::Filter, filter, token)
    }

    fn subscribe_now(
        &mut self,
        hub: HubId,
        kind: Kind,
        name: &str,
        token: Token,
    ) -> SubscribeOutcome {
        if !self.has_room() {
            return SubscribeOutcome::Full;
        }
        self.topics.subscribe(hub, kind, name, token);
        self.note_change(hub, kind, name, token, Changed::Subscribed(None));
        SubscribeOutcome::Subscribed
    }

    /// Whether callbacks may leave more to do.
    fn has_room(&self) -> bool {
        self.work.len() < WORK
    }

    /// Ends a subscription; `false` when there is none.
    pub(crate) fn unsubscribe(&mut self, hub: HubId, kind: Kind, name: &str, token: Token) -> bool {
        let ended = self.topics.unsubscribe(hub, kind, name, token);
        if ended {
            self.note_change(hub, kind, name, token, Changed::Unsubscribed);
        }
        ended
    }

    fn note_change(&mut self, hub: HubId, kind: Kind, name: &str, token: Token, what: Changed) {
        if !self.topics.hubs().get(hub).options.report {
            return;
        }
        // Unsubscribing is never refused; there are no more of it than
        // subscriptions, which are bounded.
        self.work.push_back(Work::News(News {
            token,
            hub,
            topic: name.into(),
            is_filter: kind == Kind::Filter,
            what,
        }));
    }

    /// Asks the topic's home to forget the last message; `false`: too much is
    /// on its way there.
    pub(crate) fn clear_retained(&mut self, hub: HubId, topic: &str) -> bool {
        let home = self.topics.hubs().get(hub).home(topic);
        let topic = self.shared_name(hub, topic);
        self.request(home, Request::Clear { hub, topic }) != Pushed::Full
    }
}
