//! The TLS transport: what a shard does between the socket and the stage.
//!
//! rustls is driven through its unbuffered interface, which has no buffers of
//! its own that an idle connection would keep (the buffered one keeps 4 KiB),
//! and opens records in the receive buffer, where the buffered one copies them
//! out first. rustls then hands each record's plaintext out in memory of its
//! own, read-only; the stage unmasks in place, so it is copied once, into
//! memory that all connections of the shard share. That copy also joins the
//! records of one receive, so that a message in several records is still read
//! in one piece.
//!
//! Sending, plaintext waits in the outbox as it would without TLS, shared
//! frames by reference. When the driver can take a send, up to four full
//! records are sealed from it into one pooled chunk.

mod records;
mod session;

use std::collections::VecDeque;

use hioload_platform::{Segment, Token};
use hioload_protocol::handshake::Refusal;

use super::chain::Layer;
use super::context::Context;
use super::core::ShardCore;
use super::link::{Flags, Link};
use super::outbox::OutboxPool;
use crate::app::App;
use crate::tls::TlsFailure;

pub(crate) use session::Session;

/// Memory the TLS connections of a shard share, used within one call. It grows
/// to a receive buffer and a record.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Opened bytes.
    plain: Vec<u8>,
    /// Small segments, to be sealed as one record.
    gather: Vec<u8>,
}

impl<A: App> ShardCore<A> {
    /// Ciphertext arrived.
    pub(super) fn received_sealed(&mut self, token: Token, bytes: &mut [u8]) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        let link = &mut entry.link;
        let Some(session) = link.transport.session_mut() else {
            return;
        };
        let mut plain = std::mem::take(&mut self.cx.tls.plain);
        let opened = session.open(bytes, &mut plain, &mut self.cx.outboxes);
        if link.pending() > 0 {
            link.touch(&mut self.cx);
        }
        if matches!(&opened, Ok(opened) if opened.established) {
            self.cx.metrics().tls_handshakes.add(1);
        }
        if link.must_hold() && !plain.is_empty() {
            link.hold(&plain, &mut self.cx);
        } else {
            self.ingest(token, &mut plain);
        }
        plain.clear();
        self.cx.tls.plain = plain;
        match opened {
            Ok(opened) if opened.ended => self.peer_ended(token),
            Ok(_) => {}
            Err(failure) => self.tls_failed(token, failure),
        }
    }

    /// The session is over: its alert leaves, then the connection ends.
    fn tls_failed(&mut self, token: Token, failure: TlsFailure) {
        self.cx.metrics().tls_failed(failure);
        if self.dial_tls_failed(token, failure) {
            return self.with(token, |link, cx| link.finish(cx));
        }
        self.ended(token, None);
        self.with(token, |link, cx| {
            if failure == TlsFailure::PlainHttp
                && let Some(session) = link.transport.session_mut()
            {
                let mut answer = Vec::new();
                Refusal::BadRequest("this port speaks TLS: use https:// or wss://")
                    .write(&mut answer);
                session.wire.append(&answer, &mut cx.outboxes);
            }
            link.finish(cx);
        });
    }
}

impl Link {
    pub(super) fn is_tls(&self) -> bool {
        self.transport.session().is_some()
    }

    /// The handshake can not be completed any more, if it is not yet; returns
    /// whether that is so.
    pub(super) fn fail_handshake(&mut self, failure: TlsFailure, cx: &Context) -> bool {
        let Some(session) = self.transport.session_mut() else {
            return false;
        };
        let failed = session.is_handshaking();
        if failed {
            session.end();
            cx.metrics().tls_failed(failure);
        }
        failed
    }

    /// Prepares what the driver may be given now; call it before
    /// [`orders`](Self::orders) when no send is in flight.
    pub(crate) fn seal(&mut self, cx: &mut Context) {
        let finish = self.is(Flags::FINISH);
        let Some(session) = self.transport.session_mut() else {
            return;
        };
        let gather = &mut cx.tls.gather;
        let before = self.outbox.pending();
        let sealed = session.seal(&mut self.outbox, finish, gather, &mut cx.outboxes);
        let (taken, pending) = (before - self.outbox.pending(), session.wire.pending());
        if sealed.is_err() {
            self.set(Flags::ABORT);
        }
        if let Some(tracking) = self.tracking() {
            tracking.sealed(taken, pending);
        }
    }

    /// Bytes queued or with the kernel: plaintext until it is sealed.
    pub(crate) fn pending(&self) -> usize {
        match self.transport.layer() {
            None | Some(Layer::Proxied(_)) => self.outbox.pending(),
            Some(Layer::Tls(session)) => self.outbox.pending() + session.wire.pending(),
        }
    }

    /// What the driver may be given, if there is anything.
    pub(crate) fn queue(&mut self) -> Option<&mut VecDeque<Segment>> {
        match self.transport.layer_mut() {
            None => self.outbox.queue(),
            // Not before it is known how: the header comes first.
            Some(Layer::Proxied(_)) => None,
            Some(Layer::Tls(session)) => session.wire.queue(),
        }
    }

    /// The driver sent `bytes`.
    pub(super) fn sent(&mut self, bytes: usize, pool: &mut OutboxPool) {
        match self.transport.layer_mut() {
            None | Some(Layer::Proxied(_)) => self.outbox.sent(bytes, pool),
            Some(Layer::Tls(session)) => session.wire.sent(bytes, pool),
        }
        if let Some(tracking) = self.tracking() {
            tracking.sent(bytes);
        }
    }

    /// The connection is gone: nothing is pending any more.
    pub(super) fn clear(&mut self, pool: &mut OutboxPool) {
        self.outbox.clear(pool);
        if let Some(session) = self.transport.session_mut() {
            session.clear(pool);
        }
    }
}
