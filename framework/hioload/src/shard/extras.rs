//! What few connections have, apart from what all of them pay for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hioload_platform::Nanos;
use hioload_protocol::CloseCode;

use super::attached::Attached;
use super::link::Link;
use super::tracking::Tracking;
use crate::app::Close;

/// The rare parts of a connection. It is there while one of them is.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// Received while reading was paused. The driver's stream stops within a
    /// turn, so its receive pool bounds this, for one connection; see
    /// [`hold`](super::Link::hold) for all of them.
    pub(super) held: Option<Vec<u8>>,
    /// Messages whose sending somebody waits for.
    pub(super) tracking: Option<Tracking>,
    /// Shared with the references to this connection.
    pub(super) life: Option<Arc<Life>>,
    /// Timers and offloaded work that end with it.
    pub(super) attached: Option<Attached>,
    /// Since when no send has ended, while [`Flags::STALLED`](super::link::Flags)
    /// is set.
    pub(super) stalled_since: Option<Nanos>,
    /// The reason of the end, for those who wait for a message to be sent.
    pub(super) close_reason: Box<str>,
    /// What the upgrade chose and found.
    pub(super) terms: Option<Kept>,
    /// The other side, if its address takes more than four bytes.
    pub(super) peer: Option<SocketAddr>,
    /// The client, if a trusted proxy says that it is another.
    pub(super) client: Option<SocketAddr>,
    /// Of a connection that is sampled.
    pub(super) span: Option<tracing::Span>,
}

/// What an upgrade leaves to its connection.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) protocol: Option<Box<str>>,
    pub(crate) params: Box<[(Box<str>, Box<str>)]>,
}

impl Extras {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_none()
            && self.tracking.is_none()
            && self.life.is_none()
            && self.attached.is_none()
            && self.stalled_since.is_none()
            && self.terms.is_none()
            && self.peer.is_none()
            && self.client.is_none()
            && self.span.is_none()
    }
}

/// Whether a connection lives, for those that refer to it from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// 0 while it is open, then its close code.
    ended: AtomicU32,
}

impl Life {
    /// The code it ended with, if it has.
    pub(crate) fn ended(&self) -> Option<CloseCode> {
        let code = self.ended.load(Ordering::Acquire);
        (code != 0).then(|| CloseCode(u16::try_from(code).unwrap_or(CloseCode::ABNORMAL.0)))
    }

    pub(super) fn end(&self, code: CloseCode) {
        self.ended.store(code.0.max(1).into(), Ordering::Release);
    }
}

impl Link {
    /// What references to this connection look at.
    pub(crate) fn life(&mut self) -> Arc<Life> {
        if !self.is_open() {
            let over = Life::default();
            over.end(self.close_code());
            return Arc::new(over);
        }
        Arc::clone(self.extras().life.get_or_insert_default())
    }

    /// The WebSocket ended; references to it are told.
    pub(super) fn note_end(&mut self, close: &Close<'_>) {
        let theirs = close.code != self.close_code() || !close.reason.is_empty();
        self.end_with(close.code);
        if let Some(extras) = self.extras_mut() {
            if theirs {
                extras.close_reason = close.reason.into();
            }
            if let Some(life) = extras.life.take() {
                life.end(close.code);
            }
        }
    }

    /// Keeps what the upgrade chose and found, if there is anything.
    pub(super) fn keep(&mut self, kept: Kept) {
        if kept.protocol.is_some() || !kept.params.is_empty() {
            self.extras().terms = Some(kept);
        }
    }

    /// The subprotocol in use.
    pub(crate) fn protocol(&self) -> Option<&str> {
        self.extras_ref()?.terms.as_ref()?.protocol.as_deref()
    }

    /// A parameter of the route that the request took.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let params = &self.extras_ref()?.terms.as_ref()?.params;
        let (_, value) = params.iter().find(|(known, _)| **known == *name)?;
        Some(value)
    }
}
