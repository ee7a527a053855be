//! Graceful stop of a shard.

use hioload_platform::Nanos;

use super::chain::Stage;
use super::core::ShardCore;
use super::link::Flags;
use crate::app::App;
use crate::client::DialError;

/// Whether, and until when, the shard is stopping.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Stopping {
    #[default]
    Running,
    /// Connections may end in peace until this time.
    Draining(Nanos),
    /// The time is over, everything was told to close.
    Forced,
}

impl Stopping {
    pub(super) fn is_stopping(self) -> bool {
        !matches!(self, Self::Running)
    }

    pub(super) fn deadline(self) -> Option<Nanos> {
        match self {
            Self::Draining(deadline) => Some(deadline),
            Self::Running | Self::Forced => None,
        }
    }
}

impl<A: App> ShardCore<A> {
    /// Closes every WebSocket with the app's code, lets what is queued leave,
    /// and ends the rest. Connections that are not gone by the drain deadline
    /// are cut.
    pub(crate) fn stop(&mut self) {
        if self.stopping.is_stopping() {
            return;
        }
        self.stopping = Stopping::Draining(self.cx.now.saturating_add(self.cx.rules.drain_timeout));
        let (code, reason) = self.app.stopping();
        for token in self.slab.tokens() {
            self.dial_failed(token, &DialError::Stopping);
            self.with(token, |link, cx| match &link.stage {
                Stage::WebSocket(_) => link.close(code, reason, cx),
                Stage::Http(_) => link.finish(cx),
                Stage::Draining if link.is(Flags::OUTBOUND) && !link.is(Flags::CLOSING) => {
                    link.abort(cx);
                }
                Stage::Draining | Stage::Dialling(_) => {}
            });
        }
    }

    /// Whether every connection is gone.
    pub(crate) fn is_drained(&self) -> bool {
        self.slab.len() == 0
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_stopping()
    }

    /// Cuts everything now.
    pub(crate) fn force_stop(&mut self) {
        self.stopping = Stopping::Forced;
        for token in self.slab.tokens() {
            self.lost(token);
        }
    }

    pub(super) fn enforce_drain_deadline(&mut self) {
        if self
            .stopping
            .deadline()
            .is_some_and(|deadline| deadline <= self.cx.now)
        {
            let left = self.slab.len();
            if left > 0 {
                tracing::warn!(
                    shard = self.cx.shard,
                    left,
                    "the drain deadline cuts connections"
                );
            }
            self.force_stop();
        }
    }
}
