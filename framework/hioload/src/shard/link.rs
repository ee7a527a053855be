//! One connection, without the app's state.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use hioload_platform::{Frame, Nanos, Token};
use hioload_protocol::{CloseCode, Keepalive, Kind};

use super::chain::{Stage, Transport};
use super::context::Context;
use super::deadlines::LifeEnd;
use super::extras::Extras;
use super::outbox::Outbox;
use crate::app::{Message, SendOutcome};
use crate::config::Backpressure;
use crate::hub::{Encoded, Publication, Slow};
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
    /// When its time is over, where that is limited.
    pub(super) ends: Option<LifeEnd>,
    /// What few connections have.
    extras: Option<Box<Extras>>,
    /// The other side, if four bytes hold its address; or [`NOBODY`].
    peer: SocketAddrV4,
    /// When it came, in whole seconds of the driver's clock.
    came: u32,
}

/// No address of a peer: 8 bytes hold it and a close code, where an `Option`
/// would take them alone.
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

// An idle connection costs this and the app's state. Growth is a decision.
const _: () = assert!(size_of::<Link>() <= 104);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u32);

impl Flags {
    /// In the list of touched connections.
    const DIRTY: Self = Self(1);
    /// The driver's receive stream runs.
    const RECEIVING: Self = Self(1 << 1);
    /// Reading is paused: the peer does not take what it is sent.
    pub(super) const PAUSED_BACKPRESSURE: Self = Self(1 << 2);
    /// Reading is paused: what it publishes cannot be delivered yet.
    pub(super) const PAUSED_CONGESTED: Self = Self(1 << 3);
    /// Reading is paused: the app wants it so.
    pub(super) const PAUSED_BY_APP: Self = Self(1 << 14);
    /// Reading is paused: the app has a whole body, and has not answered yet.
    pub(super) const PAUSED_ANSWER: Self = Self(1 << 19);
    const PAUSED: Self = Self(
        Self::PAUSED_BACKPRESSURE.0
            | Self::PAUSED_CONGESTED.0
            | Self::PAUSED_BY_APP.0
            | Self::PAUSED_ANSWER.0,
    );
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
    /// No send has ended since this was set.
    pub(super) const STALLED: Self = Self(1 << 15);
    /// An event stream, until it has left its topics.
    pub(super) const STREAM: Self = Self(1 << 17);
    /// Counted among the connections of its address.
    pub(super) const COUNTED: Self = Self(1 << 18);
    /// The app's `open` was called, its `close` not yet.
    pub(super) const APP_OPEN: Self = Self(1 << 11);
    /// It has a span.
    pub(super) const TRACED: Self = Self(1 << 16);
    /// The app was asked to take a body and has neither answered nor heard of
    /// its end.
    pub(super) const UPLOAD: Self = Self(1 << 20);
    /// The app has answered an upload, and its state is to be dropped.
    pub(super) const ANSWERED: Self = Self(1 << 21);

    /// Each once, in the order of their bits.
    const ALL: [Self; 22] = [
        Self::DIRTY,
        Self::RECEIVING,
        Self::PAUSED_BACKPRESSURE,
        Self::PAUSED_CONGESTED,
        Self::HIGH,
        Self::CLOSING,
        Self::FINISH,
        Self::SHUT,
        Self::EOF,
        Self::ABORT,
        Self::CLOSED,
        Self::APP_OPEN,
        Self::DEADLINE,
        Self::OUTBOUND,
        Self::PAUSED_BY_APP,
        Self::STALLED,
        Self::TRACED,
        Self::STREAM,
        Self::COUNTED,
        Self::PAUSED_ANSWER,
        Self::UPLOAD,
        Self::ANSWERED,
    ];

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

const _: () = {
    let mut bit = 0;
    while bit < Flags::ALL.len() {
        assert!(Flags::ALL[bit].0 == 1 << bit, "a bit has one meaning");
        bit += 1;
    }
};

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Enough for an age: 136 years of a monotonic clock.
fn seconds(now: Nanos) -> u32 {
    u32::try_from(now / 1_000_000_000).unwrap_or(u32::MAX)
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
            ends: None,
            extras: None,
            peer: NOBODY,
            came: seconds(now),
        }
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    pub(super) fn close_code(&self) -> CloseCode {
        self.close_code
    }

    pub(super) fn end_with(&mut self, code: CloseCode) {
        self.close_code = code;
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
    #[inline]
    pub(super) fn touch(&mut self, cx: &mut Context) {
        if !self.is(Flags::DIRTY) {
            self.touch_first(cx);
        }
    }

    #[inline(never)]
    fn touch_first(&mut self, cx: &mut Context) {
        self.set(Flags::DIRTY);
        cx.dirty.push(self.token);
    }

    /// Queues a message.
    #[inline]
    pub(crate) fn send(&mut self, message: Message<'_>, cx: &mut Context) -> SendOutcome {
        if !self.admits(cx) {
            return SendOutcome::Dropped;
        }
        self.append_message(message, cx)
    }

    #[inline]
    fn append_message(&mut self, message: Message<'_>, cx: &mut Context) -> SendOutcome {
        let Stage::WebSocket(websocket) = &mut self.stage else {
            return self.append_streamed(message, cx);
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

    /// Queues what was published, in the form this peer takes, unless `slow`
    /// has other plans for one that is behind.
    pub(crate) fn send_published(
        &mut self,
        publication: &Publication,
        slow: Slow,
        cx: &mut Context,
    ) -> SendOutcome {
        let policy = match slow {
            Slow::AsConnection => self.backpressure,
            Slow::Drop => Backpressure::Drop,
            Slow::Close(code) => Backpressure::Close(code),
            Slow::Latest if self.is(Flags::HIGH) && (self.is_open() || self.is_stream()) => {
                cx.keep_latest(self.token, publication);
                return SendOutcome::Dropped;
            }
            Slow::Latest => Backpressure::Drop,
        };
        if self.admits_under(policy, cx) {
            if self.is_stream() {
                return self.append_event(publication, cx);
            }
            self.append_encoded(&publication.encoded, cx)
        } else {
            SendOutcome::Dropped
        }
    }

    /// Queues what was kept while it was behind, as far as there is room.
    pub(super) fn send_latest(&mut self, cx: &mut Context) {
        for publication in cx.take_latest(self.token).into_iter().flatten() {
            self.send_published(&publication, Slow::Latest, cx);
        }
    }

    /// Queues a message in fragments.
    pub(crate) fn send_fragmented<P: AsRef<[u8]>>(
        &mut self,
        kind: Kind,
        parts: impl Iterator<Item = P>,
        cx: &mut Context,
    ) -> SendOutcome {
        if !self.admits(cx) {
            return SendOutcome::Dropped;
        }
        let Stage::WebSocket(websocket) = &mut self.stage else {
            let mut whole = Vec::new();
            parts.for_each(|part| whole.extend_from_slice(part.as_ref()));
            return self.append_streamed(Message::received(kind, &whole), cx);
        };
        let mut out = self.outbox.writer(&mut cx.outboxes);
        let mut parts = parts.peekable();
        let mut first = true;
        loop {
            let part = parts.next();
            let bytes = part.as_ref().map_or(&[][..], AsRef::as_ref);
            let fin = parts.peek().is_none();
            let resources = &mut cx.resources;
            let sent = websocket.send_fragment(kind, bytes, first, fin, resources, &mut out);
            if sent.is_err() {
                return SendOutcome::Dropped;
            }
            first = false;
            if fin {
                break;
            }
        }
        self.queued(cx)
    }

    /// Queues a message encoded for many, in the form this peer takes.
    pub(crate) fn send_encoded(&mut self, encoded: &Encoded, cx: &mut Context) -> SendOutcome {
        if !self.admits(cx) {
            return SendOutcome::Dropped;
        }
        self.append_encoded(encoded, cx)
    }

    fn append_encoded(&mut self, encoded: &Encoded, cx: &mut Context) -> SendOutcome {
        let Stage::WebSocket(websocket) = &self.stage else {
            return self.append_streamed_encoded(encoded, cx);
        };
        if !websocket.has_deflate() {
            return self.append_frame(encoded.plain(), cx);
        }
        if websocket.takes_shared_deflate(&cx.resources.deflate)
            && let Some(frame) = encoded.deflated(&mut cx.resources.deflate)
        {
            return self.append_frame(frame, cx);
        }
        // Its window is its own: a foreign or a larger one would corrupt it.
        self.append_message(encoded.message(), cx)
    }

    pub(super) fn append_frame(&mut self, frame: &Frame, cx: &mut Context) -> SendOutcome {
        self.outbox.append_frame(frame, &mut cx.outboxes);
        self.queued(cx)
    }

    /// Whether one more message may be queued; applies the policy if not.
    #[inline]
    fn admits(&mut self, cx: &mut Context) -> bool {
        self.admits_under(self.backpressure, cx)
    }

    #[inline]
    fn admits_under(&mut self, policy: Backpressure, cx: &mut Context) -> bool {
        let open = match &self.stage {
            Stage::WebSocket(websocket) => websocket.is_open(),
            Stage::Stream(_) | Stage::Messages(_) => true,
            _ => false,
        };
        if !open || self.is(Flags::CLOSING) {
            return false;
        }
        let limit = match policy {
            // What it is sent is bounded by what is read from it.
            Backpressure::PauseReading => cx.rules.backpressure_limit,
            Backpressure::Drop | Backpressure::Close(_) => limit(cx),
        };
        if self.pending() <= limit {
            return true;
        }
        self.refuse(policy, cx);
        false
    }

    /// There is too much for this peer already.
    #[cold]
    fn refuse(&mut self, policy: Backpressure, cx: &mut Context) {
        match policy {
            Backpressure::Drop => {
                cx.metrics().backpressure(BackpressureAction::Dropped);
                self.trace_backpressure("dropped");
            }
            Backpressure::Close(code) => self.overflow(code, cx),
            Backpressure::PauseReading => self.overflow(CloseCode::TRY_AGAIN, cx),
        }
    }

    fn overflow(&mut self, code: CloseCode, cx: &mut Context) {
        cx.metrics().backpressure(BackpressureAction::Closed);
        self.trace_backpressure("closed");
        if self.is_stream() {
            return self.finish(cx);
        }
        self.close(code, "reads too slowly", cx);
    }

    #[inline]
    pub(super) fn queued(&mut self, cx: &mut Context) -> SendOutcome {
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
    #[inline]
    pub(super) fn note_pending(&mut self, cx: &mut Context) -> bool {
        if self.pending() <= limit(cx) / 2 {
            return false;
        }
        self.note_high(cx);
        true
    }

    /// It is above the mark.
    #[cold]
    fn note_high(&mut self, cx: &mut Context) {
        self.set(Flags::HIGH);
        if self.backpressure == Backpressure::PauseReading
            && !self.is(Flags::PAUSED_BACKPRESSURE)
            // To see a stream's end it is read, and there is nothing else.
            && !self.is(Flags::CLOSING | Flags::STREAM)
            && !matches!(self.stage, Stage::Messages(_))
        {
            cx.metrics().backpressure(BackpressureAction::Paused);
            self.trace_backpressure("paused");
            self.pause(Flags::PAUSED_BACKPRESSURE, cx);
        }
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
    /// still leaves, then the Close frame or the farewell; after `close_timeout` the connection
    /// ends whatever the peer does.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str, cx: &mut Context) {
        let Stage::WebSocket(websocket) = &mut self.stage else {
            return self.close_messages(code, reason, cx);
        };
        let mut out = self.outbox.writer(&mut cx.outboxes);
        if websocket.close(code, reason, &mut cx.resources, &mut out) {
            self.close_code = code;
            if let Some(extras) = self.extras_mut() {
                extras.close_reason = reason.into();
            }
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
        self.drop_body(cx);
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

    /// The rare parts, made when they are needed.
    pub(super) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    pub(super) fn extras_ref(&self) -> Option<&Extras> {
        self.extras.as_deref()
    }

    pub(super) fn extras_mut(&mut self) -> Option<&mut Extras> {
        self.extras.as_deref_mut()
    }

    pub(super) fn drop_empty_extras(&mut self) {
        if self.extras_ref().is_some_and(Extras::is_empty) {
            self.extras = None;
        }
    }

    pub(super) fn set_peer(&mut self, peer: Option<SocketAddr>) {
        match peer {
            Some(SocketAddr::V4(peer)) => {
                self.peer = peer;
                if let Some(extras) = self.extras_mut() {
                    extras.peer = None;
                    self.drop_empty_extras();
                }
            }
            Some(SocketAddr::V6(_)) => {
                self.peer = NOBODY;
                self.extras().peer = peer;
            }
            None => {}
        }
    }

    /// The client, as the latest request says.
    pub(super) fn set_client(&mut self, client: Option<SocketAddr>) {
        if client != self.source() {
            self.extras().client = client;
        } else if let Some(extras) = self.extras_mut() {
            extras.client = None;
            self.drop_empty_extras();
        }
    }

    /// The client's address, when it was known at the start.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        let client = self.extras_ref().and_then(|extras| extras.client);
        client.or_else(|| self.source())
    }

    /// Whether it was dialled from here, not accepted.
    pub(crate) fn is_dialled(&self) -> bool {
        self.is(Flags::OUTBOUND)
    }

    /// Where the connection comes from, the client or the last proxy that does
    /// not send the PROXY header.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        let short = (self.peer != NOBODY).then_some(SocketAddr::V4(self.peer));
        short.or_else(|| self.extras_ref()?.peer)
    }

    /// Whole seconds since it came.
    pub(super) fn age_s(&self, now: Nanos) -> u32 {
        seconds(now).saturating_sub(self.came)
    }

    /// Bytes it sent that are kept.
    pub(super) fn held(&self) -> usize {
        let held = self.extras_ref().and_then(|extras| extras.held.as_ref());
        held.map_or(0, Vec::len)
    }

    /// Whether messages may be exchanged.
    pub(crate) fn is_open(&self) -> bool {
        self.is(Flags::APP_OPEN)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is(Flags::CLOSING)
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

    pub(crate) fn pause_by_app(&mut self, cx: &mut Context) {
        if !self.is(Flags::CLOSING) {
            self.pause(Flags::PAUSED_BY_APP, cx);
        }
    }

    pub(crate) fn resume_by_app(&mut self, cx: &mut Context) {
        self.resume(Flags::PAUSED_BY_APP, cx);
    }

    pub(super) fn resume(&mut self, why: Flags, cx: &mut Context) {
        let was_paused = self.is_paused();
        self.unset(why);
        if was_paused && !self.is_paused() {
            self.touch(cx);
            if self.holds_bytes() || self.is(Flags::EOF) || self.owes_body_end() {
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
        if matches!(self.stage, Stage::Messages(_)) {
            // It means nothing, now or later.
            return;
        }
        let held = self.extras().held.get_or_insert_default();
        let before = held.capacity();
        held.extend_from_slice(bytes);
        cx.held += held.capacity() - before;
        if cx.held > cx.rules.send_memory {
            match self.stage {
                Stage::WebSocket(_) => self.overflow(CloseCode::TRY_AGAIN, cx),
                Stage::Http(_)
                | Stage::Dialling(_)
                | Stage::Stream(_)
                | Stage::Messages(_)
                | Stage::Draining => self.finish(cx),
            }
        }
    }

    pub(super) fn holds_bytes(&self) -> bool {
        self.extras
            .as_ref()
            .is_some_and(|extras| extras.held.is_some())
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
        let held = self.extras.as_mut()?.held.take()?;
        cx.held -= held.capacity();
        self.drop_empty_extras();
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
