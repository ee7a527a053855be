//! Spans of the connections that are sampled.
//!
//! One in so many WebSockets that are accepted gets a span, entered around its
//! callbacks, so that what the app logs belongs to it too. All others cost a
//! test of a flag.

use hioload_protocol::CloseCode;
use tracing::field::{self, Empty};
use tracing::span::EnteredSpan;
use tracing::{Span, info, info_span};

use super::context::Context;
use super::link::{Flags, Link};
use crate::app::Close;
use crate::http::Request;

impl Context {
    /// The span of a WebSocket that is granted, if it is one of those that are
    /// sampled: evenly, every tenth for 0.1.
    pub(super) fn sample(&mut self, request: &Request<'_>, protocol: Option<&str>) -> Option<Span> {
        if self.rules.trace_sample <= 0.0 {
            return None;
        }
        self.sampled += self.rules.trace_sample;
        if self.sampled < 1.0 {
            return None;
        }
        self.sampled -= 1.0;
        let span = info_span!(
            target: "hioload::connection",
            "connection",
            peer = request.peer().map(field::display),
            path = request.path(),
            protocol,
            shard = self.shard,
            close_code = Empty,
        );
        // Nobody listens: as if it was not chosen.
        (!span.is_disabled()).then_some(span)
    }
}

impl Link {
    pub(super) fn set_span(&mut self, span: Option<Span>) {
        if let Some(span) = span {
            self.set(Flags::TRACED);
            self.extras().span = Some(span);
        }
    }

    /// Its span, entered until the result is dropped.
    #[inline]
    pub(super) fn entered(&self) -> Option<EnteredSpan> {
        if self.is(Flags::TRACED) {
            self.span().map(|span| span.clone().entered())
        } else {
            None
        }
    }

    fn span(&self) -> Option<&Span> {
        self.extras_ref()?.span.as_ref()
    }

    pub(super) fn trace_open(&self) {
        if let Some(_entered) = self.entered() {
            info!(target: "hioload::connection", "open");
        }
    }

    pub(super) fn trace_close(&self, close: &Close<'_>) {
        if let Some(entered) = self.entered() {
            let (code, reason, clean) = (close.code.0, close.reason, close.clean);
            entered.record("close_code", code);
            info!(target: "hioload::connection", code, reason, clean, "close");
        }
    }

    /// `action`: what was done about a peer that is behind.
    pub(super) fn trace_backpressure(&self, action: &'static str) {
        if let Some(_entered) = self.entered() {
            let pending = self.pending();
            info!(target: "hioload::connection", action, pending, "backpressure");
        }
    }

    /// The transport failed, or the peer broke the protocol.
    pub(super) fn trace_error(&self, error: &dyn std::error::Error, code: CloseCode) {
        if let Some(_entered) = self.entered() {
            info!(target: "hioload::connection", %error, code = code.0, "error");
        }
    }
}
