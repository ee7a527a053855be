//! What was published reaches the subscribers; what subscriptions come to
//! reaches the app.

use std::sync::Arc;

use hioload_platform::Token;

use super::core::ShardCore;
use super::inbox::{InboxEntry, Pushed};
use super::slab::Entry;
use crate::app::{App, Conn};
use crate::hub::{
    Change, Changed, Delivery, Join, Joined, Kind, News, Place, Publication, Request, TopicId, Work,
};
use crate::metrics::BackpressureAction;

/// What one call does of what callbacks left: as much as they may leave. An
/// app that publishes whenever it is given a publication would never end; the
/// rest waits for the next turn.
const WORK_PER_CALL: usize = 1 << 16;

impl<A: App> ShardCore<A> {
    /// Does what callbacks left to do.
    #[inline]
    pub(super) fn deliver(&mut self) {
        if !self.cx.work.is_empty() {
            self.deliver_work();
        }
    }

    fn deliver_work(&mut self) {
        for _ in 0..WORK_PER_CALL {
            let Some(work) = self.cx.work.pop_front() else {
                return;
            };
            match work {
                Work::Publish(publication) => self.fan_out(&publication),
                Work::Home(request) => self.at_home(request),
                Work::News(news) => self.tell(&news),
            }
        }
    }

    /// Gives a publication to this shard's subscribers, each once.
    pub(super) fn fan_out(&mut self, publication: &Publication) {
        let mut lists = std::mem::take(&mut self.cx.matched);
        let (hub, topic) = (publication.hub, &publication.topic);
        self.cx.topics.matching(hub, topic, &mut lists);
        let several = lists.len() > 1;
        if several {
            self.cx.topics.begin_visits();
        }
        if self.cx.topics.hubs().get(hub).options.through_app {
            self.fan_out_through_app(&lists, publication, several);
        } else {
            for &list in &lists {
                self.fan_out_to(list, publication, several);
            }
        }
        lists.clear();
        self.cx.matched = lists;
    }

    fn fan_out_to(&mut self, list: TopicId, publication: &Publication, several: bool) {
        let except = self.excepted(publication);
        let slow = self.cx.topics.hubs().get(publication.hub).options.slow;
        let subscribers = self.cx.topics.take(list);
        for subscriber in subscribers.iter().filter(|one| !one.waits()) {
            let token = subscriber.token;
            if except == Some(token) || (several && !self.cx.topics.visits_first(token)) {
                continue;
            }
            if let Some(entry) = self.slab.get(token) {
                entry.link.send_published(publication, slow, &mut self.cx);
            }
        }
        self.cx.topics.put_back(list, subscribers);
    }

    /// The receivers are known before the first callback, which may change
    /// what its own connection is subscribed to.
    fn fan_out_through_app(&mut self, lists: &[TopicId], publication: &Publication, several: bool) {
        let except = self.excepted(publication);
        let mut receivers = std::mem::take(&mut self.cx.receivers);
        for &list in lists {
            self.cx.topics.copy(list, &mut receivers);
        }
        if several {
            receivers.retain(|&token| self.cx.topics.visits_first(token));
        }
        for token in receivers.drain(..) {
            if except != Some(token) {
                self.deliver_through_app(token, publication);
            }
        }
        self.cx.receivers = receivers;
    }

    fn deliver_through_app(&mut self, token: Token, publication: &Publication) {
        let Some(Entry { link, state }) = self.slab.get(token) else {
            return;
        };
        let cx = &mut self.cx;
        if link.is_stream() {
            let slow = cx.topics.hubs().get(publication.hub).options.slow;
            link.send_published(publication, slow, cx);
        } else if link.is_open() {
            let delivery = delivery(publication);
            self.app.deliver(&mut Conn { link, cx }, state, &delivery);
        }
    }

    /// The publisher, if it is a connection of this shard.
    fn excepted(&self, publication: &Publication) -> Option<Token> {
        let (shard, token) = publication.except?;
        (shard == self.cx.shard).then_some(token)
    }

    /// This shard was asked as the home of a topic.
    pub(super) fn at_home(&mut self, request: Request) {
        match request {
            Request::Publish(publication) => self.put_in_order(publication),
            Request::Join(join) => self.answer_join(join),
            Request::Clear { hub, topic } => {
                if let Some(home) = &mut self.cx.homes[hub.index()] {
                    home.clear(&topic);
                }
            }
            Request::Forget { hub, topic } => {
                if let Some(home) = &mut self.cx.homes[hub.index()] {
                    home.forget(&topic);
                }
            }
        }
    }

    /// Gives a publication its place, and sends it on to all subscribers.
    fn put_in_order(&mut self, mut publication: Publication) {
        let cx = &mut self.cx;
        let shared = cx.topics.hubs().get(publication.hub);
        let hash = shared.interest.hash(&publication.topic);
        let shards = shared.interest.shards(&publication.topic, hash);
        let reserved = publication.place;
        if reserved.is_none() && !cx.outgoing.has_room(shards) {
            // It has no place yet: there is no gap, and nobody gets it.
            cx.metrics().backpressure(BackpressureAction::Refused);
            return;
        }
        let Some(home) = &mut cx.homes[publication.hub.index()] else {
            return;
        };
        let subscribed = |topic: &str| shared.subscribers(topic) > 0;
        let (topic, encoded) = (&publication.topic, &publication.encoded);
        publication.place = match reserved {
            None => home.publish(topic, encoded, cx.now, subscribed),
            Some(place) => home
                .place(topic, encoded, place, cx.now, subscribed)
                .then_some(place),
        };
        if publication.place.is_none() {
            cx.metrics().backpressure(BackpressureAction::Refused);
            return;
        }
        let publication = Arc::new(publication);
        let entry = || InboxEntry::Publish(Arc::clone(&publication));
        if reserved.is_some() {
            cx.outgoing.push_numbered(shards, entry);
        } else {
            let pushed = cx.outgoing.push(shards, entry);
            debug_assert_ne!(pushed, Pushed::Full, "there was room");
        }
        if shards & (1 << cx.shard) != 0 {
            self.fan_out(&publication);
        }
    }

    fn answer_join(&mut self, join: Join) {
        let cx = &mut self.cx;
        let shared = cx.topics.hubs().get(join.hub);
        let Some(home) = &mut cx.homes[join.hub.index()] else {
            return;
        };
        let subscribed = |topic: &str| shared.subscribers(topic) > 0;
        let most = cx.rules.backpressure_limit / 2;
        let (start, replay) = home.join(&join.topic, join.position, cx.now, most, subscribed);
        let shard = join.shard;
        let joined = Joined {
            join,
            start,
            replay,
        };
        if shard == cx.shard {
            self.joined(&joined);
        } else {
            let entry = InboxEntry::Joined(Box::new(joined));
            cx.outgoing.push_reserved(shard, entry);
        }
    }

    /// A topic's home says where a subscription begins.
    pub(super) fn joined(&mut self, joined: &Joined) {
        let Join {
            hub,
            topic,
            token,
            ticket,
            ..
        } = &joined.join;
        if !self.cx.topics.begin(*hub, topic, *token, *ticket) {
            return;
        }
        self.tell(&News {
            token: *token,
            hub: *hub,
            topic: Arc::clone(topic),
            is_filter: false,
            what: Changed::Subscribed(Some(joined.start)),
        });
        let place = joined.start.place;
        if joined.replay.is_empty() {
            self.with(*token, |link, cx| link.append_place(*hub, topic, place, cx));
        }
        let epoch = place.epoch;
        for (offset, encoded) in &joined.replay {
            let offset = *offset;
            let publication = Publication {
                hub: *hub,
                topic: Arc::clone(topic),
                encoded: encoded.clone(),
                place: Some(Place { epoch, offset }),
                except: None,
            };
            self.replay(&publication, *token);
        }
    }

    fn replay(&mut self, publication: &Publication, token: Token) {
        let (hub, topic) = (publication.hub, &publication.topic);
        // The app may have ended the subscription meanwhile, and begun another.
        let topics = &self.cx.topics;
        if !topics.is_live(hub, topic, token) {
            return;
        }
        let options = &topics.hubs().get(hub).options;
        if options.through_app {
            return self.deliver_through_app(token, publication);
        }
        let slow = options.slow;
        self.with(token, |link, cx| {
            link.send_published(publication, slow, cx);
        });
    }

    /// Tells the app of a change.
    fn tell(&mut self, news: &News) {
        let Some(Entry { link, state }) = self.slab.get(news.token) else {
            return;
        };
        if !link.is_open() {
            return;
        }
        let change = Change {
            hub: news.hub,
            topic: &news.topic,
            is_filter: news.is_filter,
            what: news.what,
        };
        let cx = &mut self.cx;
        self.app
            .subscription(&mut Conn { link, cx }, state, &change);
    }

    /// Ends all subscriptions of a connection that is about to end; the app
    /// hears of those it wants to.
    pub(super) fn leave_hubs(&mut self, token: Token) {
        // One that the app subscribes anew meanwhile is not waited for.
        for _ in 0..self.cx.topics.subscriptions(token) {
            let Some((hub, kind, topic)) = self.cx.topics.leave_last(token) else {
                return;
            };
            if self.cx.topics.hubs().get(hub).options.report {
                self.tell(&News {
                    token,
                    hub,
                    topic,
                    is_filter: kind == Kind::Filter,
                    what: Changed::Unsubscribed,
                });
            }
        }
    }
}

fn delivery(publication: &Publication) -> Delivery<'_> {
    Delivery {
        hub: publication.hub,
        topic: &publication.topic,
        place: publication.place,
        encoded: &publication.encoded,
    }
}
