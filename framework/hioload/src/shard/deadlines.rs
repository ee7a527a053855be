//! What the one timer of an open WebSocket is armed for.
//!
//! Activity does not move it: it fires at the earliest deadline as of when it
//! was armed, and what has happened meanwhile is looked at then.

use std::num::NonZeroU32;

use hioload_platform::{Nanos, Token};
use hioload_protocol::{CloseCode, KeepaliveAction};

use super::context::Context;
use super::core::ShardCore;
use super::link::{Flags, Link};
use crate::app::App;

/// When a connection's time is over, in units of a quarter of a second: four
/// bytes of each connection, and 36 years of the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LifeEnd(NonZeroU32);

const UNIT_BITS: u32 = 28;

impl LifeEnd {
    /// The first unit at or after `deadline`.
    fn at(deadline: Nanos) -> Self {
        let units = deadline.div_ceil(1 << UNIT_BITS).max(1);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(units).unwrap_or(NonZeroU32::MIN))
    }

    fn deadline(self) -> Nanos {
        Nanos::from(self.0.get()) << UNIT_BITS
    }
}

/// The part of a life that chance takes away at most: connections that came
/// together, after a restart, do not all leave together.
const LIFE_JITTER: u64 = 10;

/// What ends a connection.
pub(super) enum Due {
    Nothing,
    /// It took nothing of what it was sent for too long.
    Stalled,
    /// It has lived as long as it may.
    Old,
}

impl<A: App> ShardCore<A> {
    /// The timer of a WebSocket has fired.
    pub(super) fn websocket_timeout(&mut self, token: Token) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        let (link, cx) = (&mut entry.link, &mut self.cx);
        let (due, deadline) = link.due(cx);
        match due {
            Due::Nothing => {}
            Due::Stalled => {
                cx.metrics().send_stalls.add(1);
                return self.lost(token);
            }
            Due::Old => return link.close(CloseCode::GOING_AWAY, "connected for too long", cx),
        }
        self.go_on(token, deadline);
    }

    /// The timer of a WebSocket that has just opened.
    pub(super) fn begin_life(&mut self, token: Token) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        let deadline = entry.link.begin_life(&mut self.cx);
        self.go_on(token, deadline);
    }

    /// Arms the timer for `deadline`, or for what the keep-alive wants before.
    fn go_on(&mut self, token: Token, deadline: Nanos) {
        let Some(entry) = self.slab.get(token) else {
            return;
        };
        let (link, cx) = (&mut entry.link, &mut self.cx);
        match link.keepalive.poll(cx.now, &cx.rules.keepalive) {
            KeepaliveAction::Wait(at) => link.arm(deadline.min(at), cx),
            KeepaliveAction::Ping(at) => {
                link.ping(&[], cx);
                link.arm(deadline.min(at), cx);
            }
            KeepaliveAction::IdleTimeout => {
                link.close(CloseCode::GOING_AWAY, "idle for too long", cx);
            }
            KeepaliveAction::PongTimeout => self.lost(token),
            KeepaliveAction::Disabled if deadline < Nanos::MAX => link.arm(deadline, cx),
            KeepaliveAction::Disabled => link.disarm(cx),
        }
    }
}

impl Link {
    /// Decides when this life is over; the first time to look at it.
    pub(super) fn begin_life(&mut self, cx: &mut Context) -> Nanos {
        if let Some(life) = cx.rules.max_lifetime {
            let jitter = cx.draw() % (life / LIFE_JITTER).max(1);
            self.ends = Some(LifeEnd::at(cx.now.saturating_add(life - jitter)));
        }
        let life = self.ends.map_or(Nanos::MAX, LifeEnd::deadline);
        let patience = cx.rules.send_timeout.unwrap_or(Nanos::MAX);
        life.min(cx.now.saturating_add(patience))
    }

    /// Whether one of the deadlines beside the keep-alive's has come, and when
    /// the earliest comes otherwise.
    pub(super) fn due(&mut self, cx: &Context) -> (Due, Nanos) {
        let life = self.ends.map_or(Nanos::MAX, LifeEnd::deadline);
        if life <= cx.now {
            return (Due::Old, life);
        }
        let Some(patience) = cx.rules.send_timeout else {
            return (Due::Nothing, life);
        };
        let stall = self.stall_since(cx.now).saturating_add(patience);
        if stall <= cx.now {
            return (Due::Stalled, stall);
        }
        (Due::Nothing, stall.min(life))
    }

    /// Since when it is known that no send has ended; now, if one has since
    /// this was asked last, or nothing waits.
    ///
    /// Sends themselves note nothing but that they have ended, so a stall is
    /// seen to begin when this first looks: at most one timeout later.
    fn stall_since(&mut self, now: Nanos) -> Nanos {
        if self.pending() == 0 {
            if let Some(extras) = self.extras_mut()
                && extras.stalled_since.take().is_some()
            {
                self.drop_empty_extras();
            }
            return now;
        }
        let stalled = self.is(Flags::STALLED);
        self.set(Flags::STALLED);
        let since = self.extras().stalled_since.get_or_insert(now);
        if !stalled {
            *since = now;
        }
        *since
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_life_is_not_cut_short_and_not_a_unit_longer(deadline in 1..1u64 << 59) {
            let kept = LifeEnd::at(deadline).deadline();
            prop_assert!(kept >= deadline && kept - deadline < 1 << UNIT_BITS);
        }
    }
}
