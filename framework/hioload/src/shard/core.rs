//! The shard without I/O: what happens to connections, and in which order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hioload_platform::{DriverStats, Nanos, RecvEnd, Token};
use hioload_protocol::CloseCode;

use super::chain::Stage;
use super::context::{Context, ContextParts};
use super::drain::Stopping;
use super::link::{Flags, Link};
use super::slab::{Entry, Slab};
use crate::app::{App, Close, Conn, Turn};
use crate::client::DialError;
use crate::tls::TlsFailure;

/// Inbox entries taken per turn, so that publishes from other shards cannot
/// starve this shard's own connections; a rest makes the next turn start at
/// once.
const INBOX_PER_TURN: usize = 1024;

/// The connections, topics and timers of one shard, and its app. The driver's
/// events come in through the methods; afterwards [`next_touched`]
/// (Self::next_touched) says which connections have something for the driver.
pub(crate) struct ShardCore<A: App> {
    pub(super) app: A,
    pub(super) slab: Slab<A::State>,
    pub(super) cx: Context,
    pub(super) stopping: Stopping,
    /// What was asked and is answered at the end of the turn.
    pub(super) question: Option<u64>,
    pub(super) answered: u64,
    /// The next slot to look at after the rules of silence have changed.
    pub(super) sweep: Option<usize>,
    /// Accepted sockets of all shards, against `max_connections`.
    pub(super) sockets: Arc<AtomicUsize>,
}

impl<A: App> ShardCore<A> {
    pub(crate) fn new(app: A, parts: ContextParts) -> Self {
        let sockets = parts.handle.socket_count();
        Self {
            app,
            slab: Slab::new(),
            cx: Context::new(parts),
            stopping: Stopping::default(),
            question: None,
            answered: 0,
            sweep: None,
            sockets,
        }
    }

    /// Gives the homes what they had before the start.
    pub(crate) fn restore(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.cx.restore()
    }

    /// A turn begins at `now`.
    pub(crate) fn begin(&mut self, now: Nanos) {
        self.cx.now = now;
        self.cx.tasks.local().set_now(now);
        self.cx.metrics().turns.add(1);
        self.look_at_notice();
    }

    /// Bytes arrived.
    pub(crate) fn received(&mut self, token: Token, bytes: &mut [u8]) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        self.cx.metrics().bytes_received.add(bytes.len() as u64);
        entry.link.keepalive.heard(self.cx.now);
        self.arrived(token, bytes);
        self.relieve_tasks();
    }

    /// Bytes for the transport.
    pub(super) fn arrived(&mut self, token: Token, bytes: &mut [u8]) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        if entry.link.is_proxied() {
            return self.received_proxied(token, bytes);
        }
        if entry.link.is_tls() {
            return self.received_sealed(token, bytes);
        }
        if entry.link.must_hold() {
            entry.link.hold(bytes, &mut self.cx);
            return;
        }
        self.ingest(token, bytes);
    }

    /// Gives bytes to the connection's stage, and to the next one when that
    /// changes.
    pub(super) fn ingest(&mut self, token: Token, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let Some(entry) = self.slab.get(token) else {
                return;
            };
            let rest = &mut bytes[at..];
            if entry.link.is_paused() {
                entry.link.hold(rest, &mut self.cx);
                return;
            }
            at += match entry.link.stage {
                Stage::Http(_) => self.http_bytes(token, rest),
                Stage::Dialling(_) => self.dial_bytes(token, rest),
                Stage::WebSocket(_) => self.websocket_bytes(token, rest),
                // What comes after the request of a stream means nothing.
                Stage::Stream(_) | Stage::Messages(_) | Stage::Draining => return,
            };
        }
    }

    /// The peer sends nothing more, or the connection is lost.
    pub(crate) fn receive_ended(&mut self, token: Token, end: &RecvEnd) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        entry.link.fail_handshake(TlsFailure::Eof, &self.cx);
        match end {
            RecvEnd::Eof => self.peer_ended(token),
            RecvEnd::Failed(error) => {
                entry.link.trace_error(error, CloseCode::ABNORMAL);
                entry.link.set(Flags::EOF);
                self.lost(token);
            }
        }
    }

    /// The peer has ended its sending direction.
    pub(super) fn peer_ended(&mut self, token: Token) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        entry.link.set(Flags::EOF);
        // What it sent before comes first.
        if !entry.link.holds_bytes() && !entry.link.is_answered_later() {
            self.end_of_stream(token);
        }
    }

    fn end_of_stream(&mut self, token: Token) {
        self.ended(token, None);
        self.with(token, |link, cx| link.finish(cx));
    }

    /// The kernel took what was sent, or will take nothing more.
    pub(crate) fn sent(&mut self, token: Token, outcome: &std::io::Result<usize>) {
        let Some(Entry { link, state }) = self.slab.get(token) else {
            return;
        };
        let Ok(bytes) = *outcome else {
            return self.lost(token);
        };
        self.cx.metrics().bytes_sent.add(bytes as u64);
        link.sent(bytes, &mut self.cx.outboxes);
        link.unset(Flags::STALLED);
        link.touch(&mut self.cx);
        if link.is_paused() {
            // A peer that is not read from cannot be heard; that it takes
            // bytes shows it alive.
            link.keepalive.heard(self.cx.now);
        }
        if link.is(Flags::HIGH) && link.pending() <= self.cx.rules.backpressure_limit / 4 {
            link.unset(Flags::HIGH);
            link.resume(Flags::PAUSED_BACKPRESSURE, &mut self.cx);
            link.send_latest(&mut self.cx);
            if link.is(Flags::APP_OPEN) && !link.is(Flags::CLOSING) {
                let _span = link.entered();
                self.app.drain(
                    &mut Conn {
                        link,
                        cx: &mut self.cx,
                    },
                    state,
                );
                self.deliver();
            }
        }
    }

    /// The driver is done with a connection.
    pub(crate) fn closed(&mut self, token: Token) {
        self.ended(token, None);
        let Some(mut entry) = self.slab.remove(token) else {
            return;
        };
        entry.link.disarm(&mut self.cx);
        drop(entry.link.take_held(&mut self.cx));
        entry.link.drop_body(&mut self.cx);
        entry.link.clear(&mut self.cx.outboxes);
        entry.link.fail_tracked();
        self.uncount_address(&entry.link);
        self.sockets.fetch_sub(1, Ordering::Relaxed);
        self.cx.metrics().sockets.sub(1);
    }

    /// Fires what is due.
    pub(crate) fn fire_timers(&mut self) {
        self.sweep();
        while let Some((_, token)) = self.cx.wheel.pop(self.cx.now) {
            self.fire(token);
        }
        self.fire_scheduled();
        self.cx.tasks.local().fire_timers();
        self.drain_on();
    }

    /// Before the first turn.
    pub(crate) fn started(&mut self) {
        let mut turn = Turn {
            slab: &mut self.slab,
            cx: &mut self.cx,
        };
        self.app.started(&mut turn);
    }

    /// Whether a callback asked to stop all shards; said once.
    pub(crate) fn take_stop_asked(&mut self) -> bool {
        std::mem::take(&mut self.cx.stop_asked)
    }

    pub(super) fn fire(&mut self, token: Token) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        let link = &mut entry.link;
        if link.is(Flags::DEADLINE) {
            return self.lost(token);
        }
        if link.is(Flags::PAUSED_CONGESTED | Flags::PAUSED_BY_APP) {
            // Not read from, through no fault of the peer.
            link.keepalive.heard(self.cx.now);
        }
        match link.stage {
            Stage::Http(_) => return self.http_timeout(token),
            Stage::Dialling(_) => {
                link.fail_handshake(TlsFailure::Timeout, &self.cx);
                self.dial_failed(token, &DialError::TimedOut);
                return self.lost(token);
            }
            Stage::Stream(_) => return self.stream_timeout(token),
            Stage::Messages(_) => return self.messages_timeout(token),
            Stage::WebSocket(_) | Stage::Draining => {}
        }
        self.websocket_timeout(token);
    }

    /// Takes what other shards have sent, resumes who may read again, and
    /// hands on what did not fit before.
    pub(crate) fn exchange(&mut self) {
        for _ in 0..INBOX_PER_TURN {
            let Some(entry) = self.cx.outgoing.inbox().pop() else {
                break;
            };
            self.take_in(entry);
            // What callbacks have left, and the rest of an earlier turn.
            self.deliver();
        }
        self.tell_of_sources();
        let relieved = self.cx.relieve();
        // After that: who waits for this shard to catch up is woken, too.
        self.cx.outgoing.wake_starving();
        for token in relieved {
            self.with(token, |link, cx| link.resume(Flags::PAUSED_CONGESTED, cx));
        }
        for token in std::mem::take(&mut self.cx.resumed) {
            self.body_resumed(token);
            let Some(entry) = self.slab.get(token) else {
                continue;
            };
            if let Some(mut held) = entry.link.take_held(&mut self.cx) {
                self.ingest(token, &mut held);
            }
            if self
                .slab
                .get(token)
                .is_some_and(|entry| entry.link.owes_eof())
            {
                self.end_of_stream(token);
            }
        }
        self.cx
            .metrics()
            .send_bytes_pending
            .set(self.cx.outboxes.pending() as u64);
    }

    /// The shards that got something this turn.
    pub(crate) fn take_wakes(&mut self) -> impl Iterator<Item = usize> + use<A> {
        self.cx.outgoing.take_wakes()
    }

    /// When the next turn must start: `Some(now)` or earlier means at once.
    pub(crate) fn next_deadline(&self) -> Option<Nanos> {
        if !self.cx.outgoing.inbox().is_empty() || !self.cx.resumed.is_empty() {
            return Some(self.cx.now);
        }
        if !self.cx.dials.is_empty()
            || !self.cx.work.is_empty()
            || self.cx.sources.has_events()
            || self.cx.tasks.local().is_ready()
            || self.sweep.is_some()
        {
            return Some(self.cx.now);
        }
        let deadlines = [
            self.cx.wheel.next_deadline(),
            self.cx.agenda.next_deadline(),
            self.cx.tasks.local().next_deadline(),
            self.stopping.deadline(self.cx.now),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// What the driver and the pools came to in this turn.
    pub(crate) fn report(&mut self, driver: &DriverStats) {
        let metrics = self.cx.metrics();
        metrics.driver(driver);
        metrics.pools.send(self.cx.outboxes.chunks());
        self.tell_state(driver);
    }

    /// A connection with something for the driver; each once.
    pub(crate) fn next_touched(&mut self) -> Option<Token> {
        self.cx.dirty.pop()
    }

    pub(crate) fn link(&mut self, token: Token) -> Option<(&mut Link, &mut Context)> {
        let entry = self.slab.get(token)?;
        Some((&mut entry.link, &mut self.cx))
    }

    pub(crate) fn app(&self) -> &A {
        &self.app
    }

    /// Connections in its table.
    pub(crate) fn connections(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn context(&self) -> &Context {
        &self.cx
    }

    /// The WebSocket ended: with what the peer said, or with our own code. The
    /// app hears of it once.
    pub(super) fn ended(&mut self, token: Token, heard: Option<Close<'_>>) {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        if matches!(link.stage, Stage::Dialling(_)) {
            return self.dial_failed(token, &DialError::Ended);
        }
        self.upload_ended(token);
        if self.stream_ended(token) {
            return;
        }
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        if !link.is(Flags::APP_OPEN) {
            return;
        }
        link.set(Flags::CLOSING);
        self.leave_hubs(token);
        let Some(Entry { link, state }) = self.slab.get(token) else {
            return;
        };
        link.unset(Flags::APP_OPEN);
        let ours = Close {
            code: link.close_code(),
            reason: "",
            clean: false,
        };
        let close = heard.unwrap_or(ours);
        link.note_end(&close);
        self.cx.metrics().connections.sub(1);
        self.cx.metrics().closed(close.code);
        link.trace_close(&close);
        let span = link.entered();
        self.app.close(
            &mut Conn {
                link,
                cx: &mut self.cx,
            },
            state,
            &close,
        );
        drop(span);
        // What was subscribed while it left: the next connection in this slot
        // must not inherit it.
        self.cx.topics.leave_all(token);
        link.detach_all(&mut self.cx);
        drop(self.cx.take_latest(token));
        self.deliver();
    }

    /// The connection is beyond repair: ends it without a handshake.
    pub(super) fn lost(&mut self, token: Token) {
        self.ended(token, None);
        self.with(token, |link, cx| link.abort(cx));
    }

    pub(super) fn with(&mut self, token: Token, act: impl FnOnce(&mut Link, &mut Context)) {
        if let Some(entry) = self.slab.get(token) {
            act(&mut entry.link, &mut self.cx);
        }
    }
}
