//! A connection as a callback sees it.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use hioload_platform::Nanos;
use hioload_protocol::{CloseCode, Kind};
use serde::Serialize;

use super::{ConnId, ConnRef, Message, Prepared, Tracked};
use crate::client::{Dial, DialsFull};
use crate::http::Response;
use crate::hub::{ConnHub, HubId, SubscribeOutcome};
use crate::shard::{Context, Link};
use crate::timer::{Timer, TimersFull};

/// Memory kept for the next value of [`Conn::send_json`].
const JSON_KEPT: usize = 64 << 10;

/// One open WebSocket, or [stream of messages](crate::http::MessageStream),
/// during a callback; or one request whose body the app streams, to which no
/// messages can be sent. What it queues leaves at the end of the turn, coalesced
/// into one send.
pub struct Conn<'a> {
    pub(crate) link: &'a mut Link,
    pub(crate) cx: &'a mut Context,
}

/// What became of a send. The limit is that of the connection, in bytes:
/// [`Config::backpressure_limit`](crate::Config::backpressure_limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// Queued.
    Queued,
    /// Queued, and more than half of the backpressure limit waits now: slow
    /// down until [`App::drain`](super::App::drain).
    AboveHighMark,
    /// Not queued: the connection is closing, or above its backpressure limit.
    Dropped,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// On its way to every subscriber.
    Published,
    /// On its way, and some shard is behind: reading from the publisher is
    /// paused until it has caught up.
    Congested,
    /// Refused, delivered to nobody: too much is on its way already.
    Full,
}

impl Conn<'_> {
    /// Its name on this shard, for [`Turn::conn`](super::Turn::conn).
    #[must_use]
    pub fn id(&self) -> ConnId {
        ConnId(self.link.token())
    }

    /// Queues a message. It leaves at the end of the turn, after what was
    /// queued before, and is copied or compressed at once: what it was made
    /// from is free. How long it may be is not bounded here, for
    /// [`Config::max_message`](crate::Config::max_message) is about what is
    /// received; one message may go beyond the backpressure limit.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> SendOutcome {
        self.link.send(message.into(), self.cx)
    }

    /// As [`send`](Self::send) of a `&str`.
    pub fn send_text(&mut self, text: &str) -> SendOutcome {
        self.send(text)
    }

    /// Queues a value as a text message of JSON.
    ///
    /// # Errors
    /// The value has no form in JSON (a map whose keys are no strings, an
    /// error of its own); nothing was queued.
    pub fn send_json<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
    ) -> Result<SendOutcome, serde_json::Error> {
        let mut json = mem::take(&mut self.cx.json);
        json.clear();
        let written = serde_json::to_writer(&mut json, value);
        let sent = written.map(|()| {
            self.link
                .send(Message::received(Kind::Text, &json), self.cx)
        });
        if json.capacity() <= JSON_KEPT {
            self.cx.json = json;
        }
        sent
    }

    /// Queues one message in fragments (RFC 6455 section 5.4), whose parts
    /// need not be in memory together, but for a stream, which has no fragments.
    /// Text may be cut anywhere; all of it
    /// together must be valid UTF-8, which is for the caller to see to.
    pub fn send_fragmented<P: AsRef<[u8]>>(
        &mut self,
        kind: Kind,
        parts: impl IntoIterator<Item = P>,
    ) -> SendOutcome {
        self.link.send_fragmented(kind, parts.into_iter(), self.cx)
    }

    /// Queues a message that was encoded once for many connections.
    pub fn send_prepared(&mut self, message: &Prepared) -> SendOutcome {
        self.link.send_encoded(&message.0, self.cx)
    }

    /// Queues a message, and tells when the kernel has taken its last byte or
    /// why it never will.
    pub fn send_tracked<'m>(&mut self, message: impl Into<Message<'m>>) -> Tracked {
        let (tracked, completion) = Tracked::new();
        match self.link.send(message.into(), self.cx) {
            SendOutcome::Dropped => completion.resolve(Err(self.link.refusal())),
            SendOutcome::Queued | SendOutcome::AboveHighMark => self.link.track(completion),
        }
        tracked
    }

    /// Queues a ping with up to 125 bytes of payload; more are cut off. The
    /// peer's answer comes to [`App::pong`](super::App::pong). Streams have none.
    pub fn ping(&mut self, payload: &[u8]) {
        self.link.ping(payload, self.cx);
    }

    /// Answers the request whose body the app
    /// [streams](crate::http::Upload::stream). Before the end of the body the
    /// connection ends with the answer, and nothing more of it is told. `false`
    /// when there is nothing to answer: a WebSocket, or a request that was
    /// answered or aborted. Timers and offloaded work of the connection are
    /// given up with it.
    pub fn answer(&mut self, response: impl Into<Response>) -> bool {
        self.link.answer_upload(&response.into(), self.cx)
    }

    /// Stops reading from this connection until [`resume`](Self::resume), so
    /// that its peer has to wait. What had arrived by then is held and bounded
    /// as with [`Backpressure::PauseReading`](crate::Backpressure::PauseReading).
    /// While it lasts, silence of the peer ends nothing.
    pub fn pause(&mut self) {
        self.link.pause_by_app(self.cx);
    }

    /// Reads again. Does nothing to a connection that was not paused.
    pub fn resume(&mut self) {
        self.link.resume_by_app(self.cx);
    }

    /// Refers to this connection from other threads, or later from this one.
    #[must_use]
    pub fn reference(&mut self) -> ConnRef {
        ConnRef {
            handle: self.cx.handle.clone(),
            shard: self.cx.shard,
            token: self.link.token(),
            life: self.link.life(),
        }
    }

    /// The client's address: what [trusted proxies](crate::Config::trusted_proxies)
    /// say it is, else that of the connection. `None` when it was gone before it
    /// could be asked for, and for connections dialled from here.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.link.peer()
    }

    /// The subprotocol in use, if one was chosen.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.link.protocol()
    }

    /// What [`Upgrade::param`](super::Upgrade::param) left under this name: a
    /// parameter of the path, where a router chose the app.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.link.param(name)
    }

    /// A hub of the server: see [`hub`](crate::hub). What follows here is for
    /// the default one.
    ///
    /// # Panics
    /// When the id is that of another server with more hubs.
    pub fn hub(&mut self, hub: HubId) -> ConnHub<'_> {
        assert!(self.cx.has_hub(hub), "a hub of this server");
        ConnHub {
            hub,
            link: self.link,
            cx: self.cx,
        }
    }

    /// Subscribes to a topic, any string; as [`ConnHub::subscribe`].
    pub fn subscribe(&mut self, topic: &str) -> SubscribeOutcome {
        self.hub(HubId::DEFAULT).subscribe(topic)
    }

    /// Subscribes to all topics that match a filter; as
    /// [`ConnHub::subscribe_filter`].
    pub fn subscribe_filter(&mut self, filter: &str) -> SubscribeOutcome {
        self.hub(HubId::DEFAULT).subscribe_filter(filter)
    }

    /// Unsubscribes from a topic; `false` if it was not subscribed.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.hub(HubId::DEFAULT).unsubscribe(topic)
    }

    /// Unsubscribes from a filter; `false` if it was not subscribed.
    pub fn unsubscribe_filter(&mut self, filter: &str) -> bool {
        self.hub(HubId::DEFAULT).unsubscribe_filter(filter)
    }

    /// Sends a message to all subscribers of a topic on all shards, except
    /// this connection. Messages of one publisher stay in order.
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>) -> PublishOutcome {
        self.hub(HubId::DEFAULT).publish(topic, message)
    }

    /// As [`publish`](Self::publish), to this connection too.
    pub fn publish_all<'m>(
        &mut self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> PublishOutcome {
        self.hub(HubId::DEFAULT).publish_all(topic, message)
    }

    /// Starts the close handshake. What is queued leaves before the Close
    /// frame, or the [farewell](crate::http::MessageStream::farewell) of a
    /// stream. A code that must not be sent (RFC 6455 section 7.4) becomes 1011.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        let code = if code.is_sendable() {
            code
        } else {
            CloseCode::INTERNAL
        };
        self.link.close(code, reason, self.cx);
    }

    /// Whether its end is decided: nothing that is sent now leaves.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.link.is_closing()
    }

    /// Ends the connection at once, without a Close frame: what is queued is
    /// lost, and the peer sees 1006.
    pub fn terminate(&mut self) {
        self.link.abort(self.cx);
    }

    /// Bytes queued or with the kernel, not yet taken by the network.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.link.pending()
    }

    /// As [`Turn::connect`](super::Turn::connect).
    ///
    /// # Errors
    /// [`DialsFull`]; nothing was dialled.
    pub fn connect(&mut self, dial: &Arc<Dial>, key: u64) -> Result<(), DialsFull> {
        self.cx.connect(dial, key)
    }

    /// As [`Turn::schedule`](super::Turn::schedule); it outlives the connection.
    ///
    /// # Errors
    /// [`TimersFull`]; nothing is scheduled.
    pub fn schedule(&mut self, delay: Nanos, key: u64) -> Result<Timer, TimersFull> {
        self.cx.schedule(delay, key)
    }

    /// As [`Turn::cancel`](super::Turn::cancel).
    pub fn cancel(&mut self, timer: Timer) -> bool {
        self.cx.agenda.cancel(timer)
    }

    /// Asks all shards to stop, as [`Handle::stop`](crate::Handle::stop).
    pub fn stop_server(&mut self) {
        self.cx.stop_asked = true;
    }

    /// The time of this turn: nanoseconds of the server's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.cx.now
    }

    /// The shard this connection lives on.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.cx.shard
    }
}
