//! The messages stage: an HTTP answer that is a connection of the app.

use std::io::Write;

use hioload_platform::{Frame, Nanos, Token};
use hioload_protocol::{CloseCode, event_stream};

use super::chain::Stage;
use super::context::Context;
use super::core::ShardCore;
use super::deadlines::Due;
use super::link::{Flags, Link};
use super::outbox::{Outbox, OutboxPool};
use super::slab::Entry;
use crate::app::{App, Conn, Message, SendOutcome};
use crate::http::{Farewell, Framing, MessageStream};
use crate::hub::Encoded;

/// Bytes of the line before a chunk at most: the length in hexadecimal, CR LF.
const MAX_CHUNK_HEAD: usize = 18;

/// What ends a body that is sent in chunks (RFC 9112 section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A request that became a connection of the app.
#[derive(Debug)]
pub(crate) struct MessageStage {
    framing: Framing,
    /// Whether the body is sent in chunks.
    chunked: bool,
    farewell: Option<Farewell>,
    /// When something was last queued.
    last: Nanos,
}

/// What a request leads to that becomes a connection of the app.
pub(super) struct Opening<S> {
    /// The head of the response.
    pub(super) head: Vec<u8>,
    pub(super) chunked: bool,
    pub(super) stream: MessageStream,
    pub(super) state: S,
    pub(super) span: Option<tracing::Span>,
}

/// A message, or a part of a frame that holds it.
enum Body<'a> {
    Bytes(&'a [u8]),
    Tail(&'a Frame, usize),
}

impl Body<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Tail(frame, skipped) => frame.bytes().len() - skipped,
        }
    }
}

impl MessageStage {
    /// Appends what the framing leaves of a body, and what it puts behind it.
    fn write(&self, body: &Body<'_>, outbox: &mut Outbox, pool: &mut OutboxPool) {
        let (end, chunk_end): (&[u8], &[u8]) = match self.framing {
            Framing::Lines => (b"\n", b"\n\r\n"),
            Framing::Bare | Framing::Events => (b"", b"\r\n"),
        };
        let len = body.len() + end.len();
        if len == 0 {
            // A chunk of nothing would be the last.
            return;
        }
        if self.chunked {
            let mut head = [0; MAX_CHUNK_HEAD];
            let mut rest = &mut head[..];
            let _fits = write!(rest, "{len:x}\r\n");
            let left = rest.len();
            outbox.append(&head[..MAX_CHUNK_HEAD - left], pool);
        }
        match *body {
            Body::Bytes(bytes) => outbox.append(bytes, pool),
            Body::Tail(frame, skipped) => outbox.append_tail(frame, skipped, pool),
        }
        outbox.append(if self.chunked { chunk_end } else { end }, pool);
    }

    fn write_message(&self, message: Message<'_>, outbox: &mut Outbox, pool: &mut OutboxPool) {
        if self.framing == Framing::Events {
            let event = event_stream::data(message.kind(), message.payload());
            self.write(&Body::Bytes(&event), outbox, pool);
        } else {
            self.write(&Body::Bytes(message.payload()), outbox, pool);
        }
    }
}

impl<A: App> ShardCore<A> {
    /// A request becomes a connection of the app.
    pub(super) fn open_messages(&mut self, token: Token, opening: Opening<A::State>) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        let Opening {
            head,
            chunked,
            stream,
            state,
            span,
        } = opening;
        entry.state = state;
        let (link, cx) = (&mut entry.link, &mut self.cx);
        cx.metrics().http_requests.add(1);
        cx.metrics().connections.add(1);
        link.outbox.append(&head, &mut cx.outboxes);
        link.touch(cx);
        link.set_backpressure(stream.backpressure.unwrap_or(cx.rules.backpressure));
        link.stage = Stage::Messages(Box::new(MessageStage {
            framing: stream.framing,
            chunked,
            farewell: stream.farewell,
            last: cx.now,
        }));
        link.set(Flags::APP_OPEN);
        link.set_span(span);
        let deadline = link.begin_life(cx);
        link.messages_go_on(deadline, cx);
        link.trace_open();
        let span = link.entered();
        self.app.open(&mut Conn { link, cx }, &mut entry.state);
        self.stopping.opened(token, self.cx.now);
        drop(span);
        self.deliver();
    }

    /// The timer of such a connection has fired.
    pub(super) fn messages_timeout(&mut self, token: Token) {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        let cx = &mut self.cx;
        let (due, deadline) = link.due(cx);
        match due {
            Due::Nothing => link.messages_go_on(deadline, cx),
            Due::Old => link.close(CloseCode::GOING_AWAY, "connected for too long", cx),
            Due::Stalled => {
                cx.metrics().send_stalls.add(1);
                self.lost(token);
            }
        }
    }
}

impl Link {
    /// Sends a comment, where there are any, if nothing was sent for long, and
    /// sets the timer for the next one or for `deadline`.
    fn messages_go_on(&mut self, deadline: Nanos, cx: &mut Context) {
        let Stage::Messages(stage) = &mut self.stage else {
            return;
        };
        let mut next = deadline;
        if stage.framing == Framing::Events
            && let Some(interval) = cx.rules.keepalive.ping_interval
        {
            if stage.last.saturating_add(interval) <= cx.now {
                stage.last = cx.now;
                // Behind, it has enough to read.
                if self.outbox.is_empty() {
                    let comment = Body::Bytes(event_stream::COMMENT);
                    stage.write(&comment, &mut self.outbox, &mut cx.outboxes);
                }
            }
            next = next.min(stage.last.saturating_add(interval));
        }
        self.touch(cx);
        if next < Nanos::MAX {
            self.arm(next, cx);
        } else {
            self.disarm(cx);
        }
    }

    /// Queues a message, if this is a stream of them.
    #[cold]
    pub(super) fn append_streamed(
        &mut self,
        message: Message<'_>,
        cx: &mut Context,
    ) -> SendOutcome {
        let Stage::Messages(stage) = &mut self.stage else {
            return SendOutcome::Dropped;
        };
        stage.last = cx.now;
        stage.write_message(message, &mut self.outbox, &mut cx.outboxes);
        self.queued(cx)
    }

    /// Queues a message encoded for many: large ones are not copied.
    #[cold]
    pub(super) fn append_streamed_encoded(
        &mut self,
        encoded: &Encoded,
        cx: &mut Context,
    ) -> SendOutcome {
        let Stage::Messages(stage) = &mut self.stage else {
            return SendOutcome::Dropped;
        };
        stage.last = cx.now;
        let (frame, skipped) = match stage.framing {
            Framing::Lines | Framing::Bare => encoded.payload(),
            Framing::Events => (encoded.event(), 0),
        };
        let body = Body::Tail(frame, skipped);
        stage.write(&body, &mut self.outbox, &mut cx.outboxes);
        self.queued(cx)
    }

    /// Ends a stream of messages with its farewell; a second call does nothing.
    pub(super) fn close_messages(&mut self, code: CloseCode, reason: &str, cx: &mut Context) {
        let Stage::Messages(stage) = &self.stage else {
            return;
        };
        if self.is(Flags::CLOSING) {
            return;
        }
        let (outbox, pool) = (&mut self.outbox, &mut cx.outboxes);
        if let Some(farewell) = stage.farewell {
            let last = farewell(code, reason);
            let last = match std::str::from_utf8(&last) {
                Ok(text) => Message::text(text),
                Err(_) => Message::binary(&last),
            };
            stage.write_message(last, outbox, pool);
        }
        if stage.chunked {
            outbox.append(LAST_CHUNK, pool);
        }
        self.end_with(code);
        if let Some(extras) = self.extras_mut() {
            extras.close_reason = reason.into();
        }
        self.finish(cx);
    }
}
