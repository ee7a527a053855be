//! One connection, without the app's state.

use hioload_platform::{Frame, Nanos, Token};
use hioload_protocol::{CloseCode, Keepalive};

use super::chain::{Stage, Transport};
use super::context::Context;
use super::outbox::Outbox;
use crate::app::{Message, SendOutcome};
use crate::config::Backpressure;
use crate::hub::Encoded;
use crate::metrics::BackpressureAction;
use crate::timer::TimerId;

/// A connection as its shard sees it: the stages, what waits to be sent, one
/// timer, and what the driver is to do for it at the next flush.
#[derive(Debug)]
pub(crate) struct Link {
    token: Token,
    flags: Flags,
    /// The code of our Close frame; 1006 until there is one.
    close_code: CloseCode,
    backpressure: Backpressure,
    pub(super) transport: Transport,
    pub(super) stage: Stage,
    pub(super) outbox: Outbox,
    pub(super) keepalive: Keepalive,
    timer: Option<TimerId>,
    /// Received while reading was paused. The driver's stream stops within a
    /// turn, so its receive pool bounds this, for one connection; see
    /// [`hold`](Self::hold) for all of them.
    #[expect(
        clippy::box_collection,
        reason = "16 bytes less in every idle connection"
    )]
    held: Option<Box<Vec<u8>>>,
}

// An idle connection costs this and the app's state. Growth is a decision.
const _: () = assert!(size_of::<Link>() <= 184);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// In the list of touched connections.
    const DIRTY: Self = Self(1);
    /// The driver's receive stream runs.
    const RECEIVING: Self = Self(1 << 1);
    /// Reading is paused: the peer does not take what it is sent.
    pub(super) const PAUSED_BACKPRESSURE: Self = Self(1 << 2);
    /// Reading is paused: what it publishes cannot be delivered yet.
    pub(super) const PAUSED_CONGESTED: Self = Self(1 << 3);
    const PAUSED: Self = Self(Self::PAUSED_BACKPRESSURE.0 | Self::PAUSED_CONGESTED.0);
    /// More than half of the backpressure limit waits to be sent.
    pub(super) const HIGH: Self = Self(1 << 4);
    /// The end is decided: nothing new is sent.
    pub(super) const CLOSING: Self = Self(1 << 5);
    /// The timer is the deadline of the end.
    pub(super) const DEADLINE: Self = Self(1 << 12);
    /// When the outbox is empty, end our sending direction.
    pub(super) const FINISH: Self = Self(1 << 6);
    /// Our sending direction has ended.
    const SHUT: Self = Self(1 << 7);
    /// The peer's sending direction has ended.
    pub(super) const EOF: Self = Self(1 << 8);
    /// Close now, whatever is pending.
    pub(super) const ABORT: Self = Self(1 << 9);
    /// Dialled from here.
    pub(super) const OUTBOUND: Self = Self(1 << 13);
    /// The driver was told to close.
    const CLOSED: Self = Self(1 << 10);
    /// The app's `open` was called, its `close` not yet.
    pub(super) const APP_OPEN: Self = Self(1 << 11);

    fn any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    fn set(&mut self, flags: Self) {
        self.0 |= flags.0;
    }

    fn clear(&mut self, flags: Self) {
        self.0 &= !flags.0;
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the driver is to do for a connection, beside sending its outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Start (or resume) or pause the receive stream.
    pub(crate) receive: Option<bool>,
    pub(crate) shutdown: bool,
    pub(crate) close: bool,
}

/// A connection's limit while its shard holds more than `send_memory`: a
/// receive buffer's worth, which a peer that reads takes within a round trip.
const PRESSED_LIMIT: usize = 64 << 10;

/// The bytes that may wait for one connection now. Those that are behind pay
/// for a shard that holds too much, not those that keep up.
fn limit(cx: &Context) -> usize {
    let limit = cx.rules.backpressure_limit;
    if cx.outboxes.pending() > cx.rules.send_memory {
        limit.min(PRESSED_LIMIT)
    } else {
        limit
    }
}

impl Link {
    pub(super) fn new(token: Token, transport: Transport, stage: Stage, now: Nanos) -> Self {
        Self {
            token,
            flags: Flags::default(),
            close_code: CloseCode::ABNORMAL,
            // A client that does not take its HTTP responses is not read from.
            backpressure: Backpressure::PauseReading,
            transport,
            stage,
            outbox: Outbox::default(),
            keepalive: Keepalive::new(now),
            timer: None,
            held: None,
        }
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    pub(super) fn close_code(&self) -> CloseCode {
        self.close_code
    }

    pub(super) fn is(&self, flags: Flags) -> bool {
        self.flags.any(flags)
    }

    pub(super) fn set(&mut self, flags: Flags) {
        self.flags.set(flags);
    }

    pub(super) fn unset(&mut self, flags: Flags) {
        self.flags.clear(flags);
    }

    pub(super) fn set_backpressure(&mut self, policy: Backpressure) {
        self.backpressure = policy;
    }

    /// Notes that the driver has something to do for this connection.
    pub(super) fn touch(&mut self, cx: &mut Context) {
        if !self.is(Flags::DIRTY) {
            self.set(Flags::DIRTY);
            cx.dirty.push(self.token);
        }
    }

    /// Queues a message.
    pub(crate) fn send(&mut self, message: Message<'_>, cx: &mut Context) -> SendOutcome {
        if !self.admits(cx) {
            return SendOutcome::Dropped;
        }
        let Stage::WebSocket(websocket) = &mut self.stage else {
            return SendOutcome::Dropped;
        };
        let mut out = self.outbox.writer(&mut cx.outboxes);
        let sent = websocket.send(
            message.kind(),
            message.payload(),
            &mut cx.resources,
            &mut out,
        );
        if sent.is_err() {
            return SendOutcome::Dropped;
        }
        self.queued(cx)
    }

    /// Queues a message encoded for many, in the form this peer takes.
    pub(crate) fn send_encoded(&mut self, encoded: &Encoded, cx: &mut Context) -> SendOutcome {
        let Stage::WebSocket(websocket) = &self.stage else {
            return SendOutcome::Dropped;
        };
        if !websocket.has_deflate() {
            return self.send_frame(encoded.plain(), cx);
        }
        if websocket.takes_shared_deflate(&cx.resources.deflate) {
            return self.send_frame(encoded.deflated(&mut cx.resources.deflate), cx);
        }
        // Its window is its own: a foreign one would corrupt it.
        self.send(encoded.message(), cx)
    }

    /// Queues a frame encoded for many.
    pub(crate) fn send_frame(&mut self, frame: &Frame, cx: &mut Context) -> SendOutcome {
        if !self.admits(cx) {
            return SendOutcome::Dropped;
        }
        self.outbox.append_frame(frame, &mut cx.outboxes);
        self.queued(cx)
    }

    /// Whether one more message may be queued; applies the policy if not.
    fn admits(&mut self, cx: &mut Context) -> bool {
        let open = matches!(&self.stage, Stage::WebSocket(websocket) if websocket.is_open());
        if !open || self.is(Flags::CLOSING) {
            return false;
        }
        let limit = match self.backpressure {
            // What it is sent is bounded by what is read from it.
            Backpressure::PauseReading => cx.rules.backpressure_limit,
            Backpressure::Drop | Backpressure::Close(_) => limit(cx),
        };
        if self.pending() <= limit {
            return true;
        }
        match self.backpressure {
            Backpressure::Drop => cx.metrics().backpressure(BackpressureAction::Dropped),
            Backpressure::Close(code) => self.overflow(code, cx),
            Backpressure::PauseReading => self.overflow(CloseCode::TRY_AGAIN, cx),
        }
        false
    }

    fn overflow(&mut self, code: CloseCode, cx: &mut Context) {
        cx.metrics().backpressure(BackpressureAction::Closed);
        self.close(code, "reads too slowly", cx);
    }

    fn queued(&mut self, cx: &mut Context) -> SendOutcome {
        cx.metrics().messages_sent.add(1);
        self.touch(cx);
        if self.note_pending(cx) {
            SendOutcome::AboveHighMark
        } else {
            SendOutcome::Queued
        }
    }

    /// After anything was queued: notes the high mark and pauses reading if
    /// that is the policy. Returns whether the outbox is above the mark.
    pub(super) fn note_pending(&mut self, cx: &mut Context) -> bool {
        if self.pending() <= limit(cx) / 2 {
            return false;
        }
        self.set(Flags::HIGH);
        if self.backpressure == Backpressure::PauseReading
            && !self.is(Flags::PAUSED_BACKPRESSURE)
            && !self.is(Flags::CLOSING)
        {
            cx.metrics().backpressure(BackpressureAction::Paused);
            self.pause(Flags::PAUSED_BACKPRESSURE, cx);
        }
        true
    }

    /// An automatic answer (a pong) was queued: a peer that floods pings and
    /// does not read must not fill the outbox, whatever the policy.
    pub(super) fn answered(&mut self, cx: &mut Context) {
        self.touch(cx);
        self.note_pending(cx);
        if self.pending() > 2 * cx.rules.backpressure_limit {
            self.overflow(CloseCode::POLICY, cx);
        }
    }

    /// Starts the close handshake; a second call does nothing. What is queued
    /// still leaves, then the Close frame; after `close_timeout` the connection
    /// ends whatever the peer does.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str, cx: &mut Context) {
        let Stage::WebSocket(websocket) = &mut self.stage else {
            return;
        };
        let mut out = self.outbox.writer(&mut cx.outboxes);
        if websocket.close(code, reason, &mut cx.resources, &mut out) {
            self.close_code = code;
            self.begin_closing(cx);
        }
    }

    /// The end is decided: reads on to see the peer's answer, and starts the
    /// deadline.
    pub(super) fn begin_closing(&mut self, cx: &mut Context) {
        self.set(Flags::CLOSING);
        if !self.is(Flags::DEADLINE) {
            self.set(Flags::DEADLINE);
            self.arm(cx.now.saturating_add(cx.rules.close_timeout), cx);
        }
        self.resume(Flags::PAUSED, cx);
        self.touch(cx);
    }

    /// Nothing more will be sent: end the sending direction when the outbox is
    /// empty, drop what still arrives, close when the peer ends too.
    pub(super) fn finish(&mut self, cx: &mut Context) {
        self.stage = Stage::Draining;
        self.set(Flags::FINISH);
        self.begin_closing(cx);
    }

    /// Ends the connection now, without a close handshake.
    pub(crate) fn abort(&mut self, cx: &mut Context) {
        self.set(Flags::ABORT);
        self.set(Flags::CLOSING);
        self.touch(cx);
    }

    /// Whether messages may be exchanged.
    pub(crate) fn is_open(&self) -> bool {
        self.is(Flags::APP_OPEN)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is(Flags::PAUSED)
    }

    pub(super) fn pause(&mut self, why: Flags, cx: &mut Context) {
        self.set(why);
        self.touch(cx);
    }

    /// Pauses a publisher until the congestion is over.
    pub(crate) fn pause_congested(&mut self, cx: &mut Context) {
        if !self.is(Flags::PAUSED_CONGESTED) && !self.is(Flags::CLOSING) {
            cx.wait_for_relief(self.token);
            self.pause(Flags::PAUSED_CONGESTED, cx);
        }
    }

    pub(super) fn resume(&mut self, why: Flags, cx: &mut Context) {
        let was_paused = self.is_paused();
        self.unset(why);
        if was_paused && !self.is_paused() {
            self.touch(cx);
            if self.held.is_some() || self.is(Flags::EOF) {
                cx.resumed.push(self.token);
            }
        }
    }

    /// Keeps bytes for when reading resumes.
    ///
    /// A peer that sends fast gets megabytes in before its stream has stopped,
    /// whatever its own limit, and each turn can do that for another peer. Once
    /// a shard holds `send_memory` of it, the next ones are closed.
    pub(super) fn hold(&mut self, bytes: &[u8], cx: &mut Context) {
        let held = self.held.get_or_insert_default();
        let before = held.capacity();
        held.extend_from_slice(bytes);
        cx.held += held.capacity() - before;
        if cx.held > cx.rules.send_memory {
            match self.stage {
                Stage::WebSocket(_) => self.overflow(CloseCode::TRY_AGAIN, cx),
                Stage::Http(_) | Stage::Dialling(_) | Stage::Draining => self.finish(cx),
            }
        }
    }

    pub(super) fn holds_bytes(&self) -> bool {
        self.held.is_some()
    }

    /// Whether bytes that arrive have to wait: reading is paused, or was until
    /// a moment ago, and what is held from then comes first.
    pub(super) fn must_hold(&self) -> bool {
        self.is_paused() || self.holds_bytes()
    }

    /// Whether the peer has ended and what it had sent is not dealt with yet.
    pub(super) fn owes_eof(&self) -> bool {
        self.is(Flags::EOF) && !self.is_paused() && !self.is(Flags::FINISH)
    }

    pub(super) fn take_held(&mut self, cx: &mut Context) -> Option<Vec<u8>> {
        let held = *self.held.take()?;
        cx.held -= held.capacity();
        Some(held)
    }

    /// Sets the one timer.
    pub(super) fn arm(&mut self, deadline: Nanos, cx: &mut Context) {
        match self.timer {
            Some(timer) if cx.wheel.rearm(timer, deadline) => {}
            _ => self.timer = Some(cx.wheel.insert(deadline, self.token)),
        }
    }

    pub(super) fn disarm(&mut self, cx: &mut Context) {
        if let Some(timer) = self.timer.take() {
            cx.wheel.cancel(timer);
        }
    }

    /// What the driver is to do now; noted as done.
    pub(crate) fn orders(&mut self) -> Orders {
        self.unset(Flags::DIRTY);
        let mut orders = Orders::default();
        if self.is(Flags::CLOSED) {
            return orders;
        }
        let flushed = self.pending() == 0;
        let finished = self.is(Flags::FINISH) && flushed;
        if self.is(Flags::ABORT) || (finished && self.is(Flags::EOF)) {
            self.set(Flags::CLOSED);
            orders.close = true;
            return orders;
        }
        // The server ends TCP first, and keeps the TIME_WAIT state (RFC 6455
        // section 7.1.1); one that does not is cut at the deadline.
        if finished && !self.is(Flags::SHUT | Flags::OUTBOUND) {
            self.set(Flags::SHUT);
            orders.shutdown = true;
        }
        let wanted = !self.is_paused() && !self.is(Flags::EOF);
        if wanted != self.is(Flags::RECEIVING) && !self.is(Flags::EOF) {
            orders.receive = Some(wanted);
            if wanted {
                self.set(Flags::RECEIVING);
            } else {
                self.unset(Flags::RECEIVING);
            }
        }
        orders
    }

    /// Whether the driver may be given the outbox.
    pub(crate) fn may_send(&self) -> bool {
        !self.is(Flags::CLOSED)
    }
}
