//! The WebSocket stage: from received bytes to the app's callbacks.

use hioload_platform::Token;
use hioload_protocol::{Connection, Event, KeepaliveAction};

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
        let mut at = 0;
        while at < bytes.len() {
            let Some(Entry { link, state }) = self.slab.get(token) else {
                return bytes.len();
            };
            if link.is_paused() {
                return at;
            }
            let Some((start, consumed, event)) = link.read(&mut bytes[at..], at, &mut self.cx)
            else {
                return at;
            };
            at += consumed;
            let Some(event) = event else { return at };
            let input = &bytes[start..];
            match event {
                Event::Message { kind, payload } => {
                    self.cx.metrics().messages_received.add(1);
                    if !link.is(Flags::CLOSING) {
                        let message = Message::received(kind, payload.bytes(input));
                        self.app.message(
                            &mut Conn {
                                link,
                                cx: &mut self.cx,
                            },
                            state,
                            message,
                        );
                    }
                    payload.recycle(&mut self.cx.resources.pool);
                    self.deliver();
                }
                Event::Ping(payload) => {
                    link.answered(&mut self.cx);
                    payload.recycle(&mut self.cx.resources.pool);
                }
                Event::Pong(payload) => payload.recycle(&mut self.cx.resources.pool),
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
        at
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
        match link.keepalive.poll(self.cx.now, &self.cx.rules.keepalive) {
            KeepaliveAction::Wait(deadline) | KeepaliveAction::Ping(deadline) => {
                link.arm(deadline, &mut self.cx);
            }
            _ => link.disarm(&mut self.cx),
        }
        self.cx.metrics().connections.add(1);
        self.app.open(
            &mut Conn {
                link,
                cx: &mut self.cx,
            },
            &mut entry.state,
        );
        self.deliver();
    }
}

impl Link {
    /// One event of the protocol. `None` when this is no WebSocket (any more);
    /// else where the bytes began, how many were consumed, and the event.
    fn read(
        &mut self,
        bytes: &mut [u8],
        start: usize,
        cx: &mut Context,
    ) -> Option<(usize, usize, Option<Event>)> {
        let Stage::WebSocket(websocket) = &mut self.stage else {
            return None;
        };
        let mut out = self.outbox.writer(&mut cx.outboxes);
        let received = websocket.receive(bytes, &mut cx.resources, &mut out);
        Some((start, received.consumed, received.event))
    }

    /// Queues a ping.
    pub(super) fn ping(&mut self, cx: &mut Context) {
        let Stage::WebSocket(websocket) = &mut self.stage else {
            return;
        };
        let mut out = self.outbox.writer(&mut cx.outboxes);
        if websocket.ping(&[], &mut cx.resources, &mut out).is_ok() {
            self.touch(cx);
        }
    }
}
