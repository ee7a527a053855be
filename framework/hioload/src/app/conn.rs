//! A connection as a callback sees it.

use std::sync::Arc;

use hioload_platform::{Frame, Nanos};
use hioload_protocol::CloseCode;

use super::{ConnId, Message};
use crate::client::{Dial, DialsFull};
use crate::shard::{Context, Link};
use crate::timer::TimerId;

/// One open WebSocket, during a callback. What it queues leaves at the end of
/// the turn, coalesced into one send.
pub struct Conn<'a> {
    pub(crate) link: &'a mut Link,
    pub(crate) cx: &'a mut Context,
}

/// What became of a send.
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

    /// Queues a message.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> SendOutcome {
        self.link.send(message.into(), self.cx)
    }

    /// Queues a frame encoded once for many connections
    /// (see [`encode_message`](hioload_protocol::frame::encode_message)).
    pub fn send_frame(&mut self, frame: &Frame) -> SendOutcome {
        self.link.send_frame(frame, self.cx)
    }

    /// Subscribes to a topic, any string; `false` if it was subscribed.
    pub fn subscribe(&mut self, topic: &str) -> bool {
        self.cx.topics.subscribe(topic, self.link.token())
    }

    /// Unsubscribes from a topic; `false` if it was not subscribed.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.cx.topics.unsubscribe(topic, self.link.token())
    }

    /// Sends a message to all subscribers of a topic on all shards, except
    /// this connection. Messages of one publisher stay in order.
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>) -> PublishOutcome {
        let outcome = self.cx.publish(topic, message.into(), self.link.token());
        if outcome == PublishOutcome::Congested {
            self.link.pause_congested(self.cx);
        }
        outcome
    }

    /// Starts the close handshake. What is queued leaves before the Close
    /// frame. A code that must not be sent (RFC 6455 section 7.4) becomes 1011.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        let code = if code.is_sendable() {
            code
        } else {
            CloseCode::INTERNAL
        };
        self.link.close(code, reason, self.cx);
    }

    /// Ends the connection at once, without a Close frame.
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

    /// As [`Turn::schedule`](super::Turn::schedule).
    pub fn schedule(&mut self, delay: Nanos, key: u64) -> TimerId {
        self.cx.schedule(delay, key)
    }

    /// As [`Turn::cancel`](super::Turn::cancel).
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.cx.scheduler.cancel(timer).is_some()
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
