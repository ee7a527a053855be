//! The WebSocket stage: from received bytes to the app's callbacks.

use hioload_platform::Token;
use hioload_protocol::{Connection, Content, Event, Received};

use super::chain::Stage;
use super::context::Context;
use super::core::ShardCore;
use super::link::{Flags, Link};
use super::slab::Entry;
use crate::app::{App, Close, Conn, Message};

impl<A: App> ShardCore<A> {
    /// Consumes bytes until they are used up, reading is paused, or the stage
    /// changes; returns how many.
    pub(super) fn websocket_bytes(&mut self, token: Token, bytes: &mut [u8]) -> usize {
        let mut messages = 0;
        let consumed = self.websocket_events(token, bytes, &mut messages);
        self.cx.metrics().messages_received.add(messages);
        consumed
    }

    fn websocket_events(&mut self, token: Token, bytes: &mut [u8], messages: &mut u64) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let Some(Entry { link, state }) = self.slab.get(token) else {
                return bytes.len();
            };
            if link.is_paused() {
                return at;
            }
            let before = at;
            let span = link.entered();
            while at < bytes.len()
                && let Some((content, size)) = link.read_whole(&mut bytes[at..], &self.cx)
            {
                at += size;
                *messages += 1;
                if !link.is(Flags::CLOSING) {
                    let message = Message::whole(content);
                    let cx = &mut self.cx;
                    self.app.message(&mut Conn { link, cx }, state, message);
                }
                if link.is_paused() || !self.cx.work.is_empty() {
                    break;
                }
            }
            drop(span);
            if at > before {
                self.deliver();
                continue;
            }
            let Some(received) = link.read(&mut bytes[at..], &mut self.cx) else {
                return at;
            };
            let input = &bytes[at..];
            at += received.consumed;
            let Some(event) = received.event else {
                return at;
            };
            if let Event::Message { kind, payload } = event {
                *messages += 1;
                if !link.is(Flags::CLOSING) {
                    let message = Message::received(kind, payload.bytes(input));
                    let _span = link.entered();
                    let cx = &mut self.cx;
                    self.app.message(&mut Conn { link, cx }, state, message);
                }
                payload.recycle(&mut self.cx.resources.pool);
                self.deliver();
            } else {
                self.control_event(token, event, input);
            }
        }
        at
    }

    /// An event that is no message; `input` is what it lies in.
    fn control_event(&mut self, token: Token, event: Event, input: &[u8]) {
        match event {
            Event::Message { payload, .. } => payload.recycle(&mut self.cx.resources.pool),
            Event::Ping(payload) => {
                self.with(token, Link::answered);
                self.control(token, App::ping, payload.bytes(input));
                payload.recycle(&mut self.cx.resources.pool);
            }
            Event::Pong(payload) => {
                self.control(token, App::pong, payload.bytes(input));
                payload.recycle(&mut self.cx.resources.pool);
            }
            Event::Closed { code, reason, .. } => {
                let close = Close {
                    code,
                    reason: reason.as_str(),
                    clean: true,
                };
                self.ended(token, Some(close));
                self.with(token, |link, cx| link.finish(cx));
            }
            Event::Failed(error) => {
                self.with(token, |link, _| {
                    link.trace_error(&error, error.close_code());
                });
                tracing::debug!(?token, %error, "protocol violation");
                let reason = error.to_string();
                let close = Close {
                    code: error.close_code(),
                    reason: &reason,
                    clean: false,
                };
                self.ended(token, Some(close));
                self.with(token, |link, cx| link.finish(cx));
            }
        }
    }

    /// Tells the app of a control frame.
    fn control(
        &mut self,
        token: Token,
        callback: fn(&mut A, &mut Conn<'_>, &mut A::State, &[u8]),
        payload: &[u8],
    ) {
        let Some(Entry { link, state }) = self.slab.get(token) else {
            return;
        };
        if !link.is(Flags::CLOSING) {
            let cx = &mut self.cx;
            let _span = link.entered();
            callback(&mut self.app, &mut Conn { link, cx }, state, payload);
            self.deliver();
        }
    }

    /// The handshake is complete on our side: the WebSocket begins.
    pub(super) fn open_websocket(&mut self, token: Token, state: A::State, websocket: Connection) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        entry.state = state;
        let link = &mut entry.link;
        link.stage = Stage::WebSocket(websocket);
        link.keepalive.heard(self.cx.now);
        link.set(Flags::APP_OPEN);
        self.begin_life(token);
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        let link = &mut entry.link;
        self.cx.metrics().connections.add(1);
        link.trace_open();
        let span = link.entered();
        self.app.open(
            &mut Conn {
                link,
                cx: &mut self.cx,
            },
            &mut entry.state,
        );
        self.stopping.opened(token, self.cx.now);
        drop(span);
        self.deliver();
    }
}

impl Link {
    /// A message that lies whole at the start of the bytes; nothing else is
    /// touched.
    #[inline]
    fn read_whole<'b>(
        &mut self,
        bytes: &'b mut [u8],
        cx: &Context,
    ) -> Option<(Content<'b>, usize)> {
        match &mut self.stage {
            Stage::WebSocket(websocket) => websocket.receive_whole(bytes, &cx.resources.limits),
            _ => None,
        }
    }

    /// One event of the protocol. `None` when this is no WebSocket (any more).
    fn read(&mut self, bytes: &mut [u8], cx: &mut Context) -> Option<Received> {
        let Stage::WebSocket(websocket) = &mut self.stage else {
            return None;
        };
        let mut out = self.outbox.writer(&mut cx.outboxes);
        Some(websocket.receive(bytes, &mut cx.resources, &mut out))
    }

    /// Queues a ping.
    pub(crate) fn ping(&mut self, payload: &[u8], cx: &mut Context) {
        let Stage::WebSocket(websocket) = &mut self.stage else {
            return;
        };
        let mut out = self.outbox.writer(&mut cx.outboxes);
        if websocket.ping(payload, &mut cx.resources, &mut out).is_ok() {
            self.touch(cx);
        }
    }
}
