//! What ends with a connection: its timers, the work it has offloaded.

use super::context::Context;
use super::link::Link;
use crate::timer::Timer;

/// Timers a connection may have pending; a peer that makes the app set one
/// with each message should not fill the shard's.
const TIMERS: usize = 16;

/// Offloaded work a connection may have on the way, for the same reason.
const WORK: usize = 16;

/// What is attached to a connection. Names of what has happened already are
/// harmless: they never mean anything else, and make room when that is needed.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    timers: Vec<Timer>,
    work: Vec<u64>,
}

impl Link {
    /// Whether one timer more may be attached.
    pub(crate) fn takes_timer(&mut self, cx: &Context) -> bool {
        let timers = &mut self.attached().timers;
        if timers.len() >= TIMERS {
            timers.retain(|&timer| cx.agenda.is_pending(timer));
        }
        self.is_reachable() && self.attached().timers.len() < TIMERS
    }

    pub(crate) fn attach_timer(&mut self, timer: Timer) {
        self.attached().timers.push(timer);
    }

    /// Whether one piece of offloaded work more may be attached.
    pub(crate) fn takes_work(&mut self, cx: &Context) -> bool {
        let work = &mut self.attached().work;
        if work.len() >= WORK {
            work.retain(|&id| cx.offload.is_pending(id));
        }
        self.is_reachable() && self.attached().work.len() < WORK
    }

    pub(crate) fn attach_work(&mut self, id: u64) {
        self.attached().work.push(id);
    }

    /// The WebSocket has ended, and with it all that is attached.
    pub(super) fn detach_all(&mut self, cx: &mut Context) {
        let Some(attached) = self.extras_mut().and_then(|extras| extras.attached.take()) else {
            return;
        };
        self.drop_empty_extras();
        for timer in attached.timers {
            cx.agenda.cancel(timer);
        }
        for id in attached.work {
            cx.give_up(id);
        }
    }

    fn attached(&mut self) -> &mut Attached {
        self.extras().attached.get_or_insert_default()
    }
}
