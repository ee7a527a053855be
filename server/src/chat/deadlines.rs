//! What time does to connections: pings, tokens that end, silence. Each
//! connection has one timer, for the nearest of its deadlines; it is put off
//! only when it fires.

use std::time::Duration;

use hioload::{Conn, Nanos, Turn};
use hioload_centrifugo::{Disconnect, Unsubscribed, ping};

use super::client::{Client, PingState, Stage};
use super::{Chat, disconnect, found, message};
use crate::site::Service;

/// The key of the timer that looks at the outbox again.
pub(super) const FLUSH: u64 = 0;

/// How long what found an inbox full waits.
const FLUSH_DELAY: Nanos = 5_000_000;

/// A time so long after another.
pub(super) fn after(now: Nanos, span: Duration) -> Nanos {
    let span = Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX);
    now.saturating_add(span)
}

impl Chat {
    /// Sees to it that the connection's timer fires at its next deadline, or
    /// before.
    pub(super) fn arm(&mut self, conn: &mut Conn<'_>, client: &mut Client) {
        let deadline = client.deadline();
        if client.timer.is_some_and(|(_, due)| due <= deadline) || deadline == Nanos::MAX {
            return;
        }
        if let Some((timer, _)) = client.timer.take() {
            conn.cancel(timer);
        }
        match conn.schedule(deadline.saturating_sub(conn.now()), client.key) {
            Ok(timer) => client.timer = Some((timer, deadline)),
            // Without timers it would stay for ever.
            Err(_full) => disconnect(conn, Disconnect::Internal),
        }
    }

    pub(crate) fn timer(&mut self, turn: &mut Turn<'_, Service>, key: u64) {
        self.rules.follow();
        if key == FLUSH {
            self.flushing = false;
            self.outbox.flush(&self.handle);
            if !self.outbox.is_empty() {
                self.flushing = turn.schedule(FLUSH_DELAY, FLUSH).is_ok();
            }
            return;
        }
        let Some(&id) = self.timers.get(&key) else {
            return;
        };
        let Some((mut conn, client)) = found(turn, id) else {
            return;
        };
        client.timer = None;
        match self.pass(&mut conn, client) {
            Ok(()) => self.arm(&mut conn, client),
            Err(why) => disconnect(&mut conn, why),
        }
    }

    /// Does what is due.
    fn pass(&mut self, conn: &mut Conn<'_>, client: &mut Client) -> Result<(), Disconnect> {
        let now = conn.now();
        let must_go = match &client.stage {
            Stage::New { until } | Stage::Refused { until } => *until <= now,
            Stage::Asking(asking) => asking.until <= now,
            Stage::Connecting(_) | Stage::In => false,
        };
        if must_go {
            return Err(Disconnect::Stale);
        }
        if client.expires.is_some_and(|at| at <= now) && !self.ask_to_stay(conn, client) {
            return Err(Disconnect::Expired);
        }
        match client.ping {
            PingState::Sent { until } if until <= now => return Err(Disconnect::NoPong),
            PingState::Idle { next } if next <= now => {
                conn.send(message(ping(client.encoding)));
                let pong = self.rules.settings().client.pong();
                client.ping = PingState::Sent {
                    until: after(now, pong),
                };
            }
            PingState::Sent { .. } | PingState::Idle { .. } => {}
        }
        let expired = |sub: &super::client::Sub| sub.expires.is_some_and(|at| at <= now);
        let expired: Vec<Box<str>> = client
            .subs
            .iter()
            .filter(|(_, sub)| expired(sub))
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in expired {
            if self.ask_to_stay_subscribed(conn, client, &channel) {
                continue;
            }
            self.end(conn, client, &channel, Some(Unsubscribed::Expired));
        }
        Ok(())
    }

    /// The answer to a ping. One that was not asked for is no answer.
    pub(super) fn pong(&self, conn: &Conn<'_>, client: &mut Client) -> Result<(), Disconnect> {
        match client.ping {
            PingState::Idle { .. } => Err(Disconnect::BadRequest),
            PingState::Sent { .. } => {
                let ping = self.rules.settings().client.ping();
                client.ping = PingState::Idle {
                    next: after(conn.now(), ping),
                };
                Ok(())
            }
        }
    }

    /// Looks at the outbox again soon, if something is left in it.
    pub(super) fn flush_later(&mut self, conn: &mut Conn<'_>) {
        if !self.flushing && !self.outbox.is_empty() {
            self.flushing = conn.schedule(FLUSH_DELAY, FLUSH).is_ok();
        }
    }
}
