//! The app's timers.

use std::fmt;
use std::time::Duration;

use hioload_platform::Nanos;
use hioload_platform::clock::nanos;

use super::agenda::{Timer, TimersFull};
use crate::app::{Conn, Turn};
use crate::shard::{WithConn, WithTurn};

/// The timers of a shard, during a callback; see
/// [`Turn::scheduler`](crate::Turn::scheduler).
///
/// A timer is never early. It is late by at most a tick of 1024 nanoseconds,
/// by what the driver takes to wake up (tens of microseconds on Linux, up to a
/// millisecond on Windows), and by what its shard does just then. Timers fire
/// in the order of their ticks, those of one tick in the order they were set.
/// A turn fires at most 4096 of them, so that a million at once cannot starve
/// connections; the rest fires in the turns after.
///
/// A shard keeps at most 4,194,304 timers; see [`TimersFull`]. Pending timers
/// do not keep a stopping server: they are dropped with their shard.
pub struct Scheduler<'t, 'a, S> {
    turn: &'t mut Turn<'a, S>,
}

impl<S: 'static> Scheduler<'_, '_, S> {
    /// Calls `task` once, after `delay` nanoseconds.
    ///
    /// # Errors
    /// [`TimersFull`]; `task` is dropped.
    pub fn schedule(
        &mut self,
        delay: Nanos,
        task: impl FnOnce(&mut Turn<'_, S>) + 'static,
    ) -> Result<Timer, TimersFull> {
        let cx = &mut *self.turn.cx;
        let deadline = cx.now.saturating_add(delay);
        cx.agenda
            .task(deadline, WithTurn::<_, S>::new(task, cx.owner))
    }

    /// Calls `task` every `period` nanoseconds, first after one, until it is
    /// cancelled. It does not drift: each call is due whole periods after the
    /// first, however late the calls before were. Periods that pass while the
    /// shard is busy are skipped: there is one late call, no burst.
    ///
    /// # Errors
    /// [`TimersFull`]; `task` is dropped.
    pub fn every(
        &mut self,
        period: Nanos,
        task: impl FnMut(&mut Turn<'_, S>) + 'static,
    ) -> Result<Timer, TimersFull> {
        let cx = &mut *self.turn.cx;
        let due = cx.now.saturating_add(period);
        cx.agenda
            .every(due, period, WithTurn::<_, S>::new(task, cx.owner))
    }

    /// Cancels a timer; `false` if it has fired for the last time or was
    /// cancelled. One that repeats may cancel itself. Its closure is dropped by
    /// the end of the shard's turn.
    pub fn cancel(&mut self, timer: Timer) -> bool {
        self.turn.cx.agenda.cancel(timer)
    }

    /// Lets a timer fire `delay` nanoseconds from now instead, and if it
    /// repeats, in whole periods from then; `false` if it has fired for the
    /// last time or was cancelled.
    pub fn rearm(&mut self, timer: Timer, delay: Nanos) -> bool {
        let deadline = self.now().saturating_add(delay);
        self.turn.cx.agenda.rearm(timer, deadline)
    }

    /// The time of this turn: nanoseconds of the server's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.turn.cx.now
    }

    /// Timers of this shard that are pending, those of its connections
    /// included.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.turn.cx.agenda.len()
    }
}

impl<S> fmt::Debug for Scheduler<'_, '_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("now", &self.turn.cx.now)
            .field("pending", &self.turn.cx.agenda.len())
            .finish()
    }
}

impl<'a, S: 'static> Turn<'a, S> {
    /// The timers of this shard.
    pub fn scheduler(&mut self) -> Scheduler<'_, 'a, S> {
        Scheduler { turn: self }
    }

    /// Calls `task` once, after `delay`; see [`Scheduler`].
    ///
    /// # Errors
    /// [`TimersFull`]; `task` is dropped.
    pub fn after(
        &mut self,
        delay: Duration,
        task: impl FnOnce(&mut Turn<'_, S>) + 'static,
    ) -> Result<Timer, TimersFull> {
        self.scheduler().schedule(nanos(delay), task)
    }

    /// Calls `task` every `period`, first after one; see [`Scheduler::every`].
    ///
    /// # Errors
    /// [`TimersFull`]; `task` is dropped.
    pub fn every(
        &mut self,
        period: Duration,
        task: impl FnMut(&mut Turn<'_, S>) + 'static,
    ) -> Result<Timer, TimersFull> {
        self.scheduler().every(nanos(period), task)
    }

    /// Lets a timer fire after `delay` instead; see [`Scheduler::rearm`].
    pub fn rearm(&mut self, timer: Timer, delay: Duration) -> bool {
        self.scheduler().rearm(timer, nanos(delay))
    }
}

impl Conn<'_> {
    /// Calls `task` once, after `delay`, if the connection is still open then:
    /// its timers are cancelled when it ends, after
    /// [`App::close`](crate::App::close). How exact, see [`Scheduler`].
    ///
    /// # Errors
    /// [`TimersFull`], also when 16 timers of this connection are pending, or
    /// when it has ended; `task` is dropped.
    pub fn after(
        &mut self,
        delay: Duration,
        task: impl FnOnce(&mut Conn<'_>) + 'static,
    ) -> Result<Timer, TimersFull> {
        let token = self.link.token();
        if !self.link.takes_timer(self.cx) {
            return Err(TimersFull);
        }
        let deadline = self.cx.now.saturating_add(nanos(delay));
        let task = WithConn { call: task, token };
        let timer = self.cx.agenda.task(deadline, task)?;
        self.link.attach_timer(timer);
        Ok(timer)
    }

    /// As [`Turn::rearm`].
    pub fn rearm(&mut self, timer: Timer, delay: Duration) -> bool {
        let deadline = self.cx.now.saturating_add(nanos(delay));
        self.cx.agenda.rearm(timer, deadline)
    }
}
