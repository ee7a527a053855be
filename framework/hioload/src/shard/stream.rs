//! The stream stage: an HTTP request that became a subscription.

use std::sync::Arc;

use hioload_platform::{Nanos, Token};
use hioload_protocol::event_stream;
use hioload_protocol::handshake::Refusal;

use super::chain::Stage;
use super::context::Context;
use super::core::ShardCore;
use super::deadlines::Due;
use super::link::{Flags, Link};
use super::slab::Entry;
use crate::app::{App, SendOutcome};
use crate::http::{EventStream, MAX_STREAM_TOPICS, Places};
use crate::hub::{HubId, Kind, Place, Position, Publication, SubscribeOutcome, is_topic};

/// An event stream.
#[derive(Debug)]
pub(crate) struct StreamStage {
    /// The lines before the data of the last event: its name, then its id.
    head: Vec<u8>,
    /// Bytes of the name's line, the same in all events.
    name: usize,
    /// In the order of `places`.
    topics: Box<[(HubId, Arc<str>)]>,
    places: Places,
    /// When something was last queued.
    last: Nanos,
}

impl StreamStage {
    fn new(stream: EventStream, now: Nanos) -> Self {
        let mut head = Vec::new();
        if let Some(name) = &stream.event {
            event_stream::field("event", name, &mut head);
        }
        let topics = stream.topics.into_iter().map(|one| (one.hub, one.topic));
        Self {
            name: head.len(),
            head,
            topics: topics.collect(),
            places: stream.places,
            last: now,
        }
    }

    /// Notes how far the client is in a topic.
    fn reached(&mut self, hub: HubId, topic: &str, place: Place) {
        let is_it = |(of, name): &(HubId, Arc<str>)| *of == hub && **name == *topic;
        let Some(index) = self.topics.iter().position(is_it) else {
            return;
        };
        self.places.0[index] = Some(place);
        self.head.truncate(self.name);
        if let Some(id) = self.places.id() {
            event_stream::field("id", &id, &mut self.head);
        }
    }
}

impl<A: App> ShardCore<A> {
    /// A request becomes a stream, after this response head.
    pub(super) fn open_stream(&mut self, token: Token, mut head: Vec<u8>, mut stream: EventStream) {
        if let Err(refusal) = self.follow(token, &mut stream) {
            self.cx.topics.leave_all(token);
            return self.refuse(token, &refusal);
        }
        stream.preamble(&mut head);
        self.with(token, |link, cx| {
            cx.metrics().http_requests.add(1);
            cx.metrics().event_streams.add(1);
            link.outbox.append(&head, &mut cx.outboxes);
            link.touch(cx);
            let policy = stream.backpressure.unwrap_or(cx.rules.backpressure);
            link.set_backpressure(policy);
            link.stage = Stage::Stream(Box::new(StreamStage::new(stream, cx.now)));
            link.set(Flags::STREAM);
        });
        self.with(token, |link, cx| {
            let deadline = link.begin_life(cx);
            link.stream_goes_on(deadline, cx);
        });
        self.stopping.opened(token, self.cx.now);
        self.deliver();
    }

    /// Subscribes to the topics of a stream, from the places on that the client
    /// knows.
    fn follow(&mut self, token: Token, stream: &mut EventStream) -> Result<(), Refusal> {
        let cx = &mut self.cx;
        let topics = &stream.topics;
        let most = MAX_STREAM_TOPICS.min(cx.rules.max_subscriptions);
        if topics.len() > most {
            let topics = topics.len();
            tracing::error!(topics, most, "the app gave a stream too many topics");
            return Err(Refusal::Internal);
        }
        stream.places.0.resize(topics.len(), None);
        for (one, place) in topics.iter().zip(&mut stream.places.0) {
            if !cx.has_hub(one.hub) || !is_topic(&one.topic) {
                tracing::error!(
                    hub = ?one.hub,
                    topic_len = one.topic.len(),
                    "the app gave a stream a topic that is too long, or a hub of another server"
                );
                return Err(Refusal::Internal);
            }
            if !cx.topics.hubs().get(one.hub).options.is_ordered() {
                *place = None;
            }
            if cx
                .topics
                .is_subscribed(one.hub, Kind::Plain, &one.topic, token)
            {
                continue;
            }
            let position = place.map_or(one.position, Position::After);
            let outcome = cx.subscribe(one.hub, &one.topic, position, token);
            if outcome == SubscribeOutcome::Full {
                return Err(Refusal::Unavailable);
            }
        }
        Ok(())
    }

    /// The timer of a stream has fired.
    pub(super) fn stream_timeout(&mut self, token: Token) {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        let cx = &mut self.cx;
        let (due, deadline) = link.due(cx);
        match due {
            Due::Nothing => link.stream_goes_on(deadline, cx),
            Due::Old => link.finish(cx),
            Due::Stalled => {
                cx.metrics().send_stalls.add(1);
                self.lost(token);
            }
        }
    }

    /// The stream is over; whether it was one.
    pub(super) fn stream_ended(&mut self, token: Token) -> bool {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return false;
        };
        if !link.is(Flags::STREAM) {
            return false;
        }
        link.unset(Flags::STREAM);
        self.cx.metrics().event_streams.sub(1);
        self.cx.topics.leave_all(token);
        drop(self.cx.take_latest(token));
        true
    }
}

impl Link {
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.stage, Stage::Stream(_))
    }

    /// Sends a comment if nothing was sent for long, and sets the timer for the
    /// next one or for `deadline`.
    fn stream_goes_on(&mut self, deadline: Nanos, cx: &mut Context) {
        let interval = cx.rules.keepalive.ping_interval.unwrap_or(Nanos::MAX);
        let Stage::Stream(stream) = &mut self.stage else {
            return;
        };
        let silent = stream.last.saturating_add(interval) <= cx.now;
        if silent {
            stream.last = cx.now;
        }
        let next = stream.last.saturating_add(interval).min(deadline);
        // Behind, it has enough to read.
        if silent && self.pending() == 0 {
            self.outbox.append(event_stream::COMMENT, &mut cx.outboxes);
            self.touch(cx);
        }
        if next < Nanos::MAX {
            self.arm(next, cx);
        } else {
            self.disarm(cx);
        }
    }

    /// Queues a publication as an event.
    pub(super) fn append_event(
        &mut self,
        publication: &Publication,
        cx: &mut Context,
    ) -> SendOutcome {
        let Stage::Stream(stream) = &mut self.stage else {
            return SendOutcome::Dropped;
        };
        stream.last = cx.now;
        if let Some(place) = publication.place {
            stream.reached(publication.hub, &publication.topic, place);
        }
        if !stream.head.is_empty() {
            self.outbox.append(&stream.head, &mut cx.outboxes);
        }
        self.append_frame(publication.encoded.event(), cx)
    }

    /// A stream's subscription begins after this place, and nothing is
    /// replayed: a client that is cut off before the first event comes back
    /// with it.
    pub(super) fn append_place(&mut self, hub: HubId, topic: &str, place: Place, cx: &mut Context) {
        let Stage::Stream(stream) = &mut self.stage else {
            return;
        };
        stream.last = cx.now;
        stream.reached(hub, topic, place);
        // Without data it is no event.
        self.outbox
            .append(&stream.head[stream.name..], &mut cx.outboxes);
        self.outbox.append(b"\n", &mut cx.outboxes);
        self.touch(cx);
    }
}
