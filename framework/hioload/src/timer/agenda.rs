//! What a shard is to do later, at the app's wish.

use hioload_platform::Nanos;
use thiserror::Error;

use super::slab::{Slab, TimerId};
use super::wheel::Wheel;
use crate::shard::{Deferred, Owned, Recurring};

/// Timers of the app that may be pending on a shard: for each of a million
/// connections one, and three times as many more. Four million take 400 MiB
/// with small closures, so this is a bound, not a budget.
const TIMERS: usize = 1 << 22;

/// Names a timer, also after it has fired or was cancelled: it never comes to
/// mean another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Once(TimerId),
    Every(TimerId),
}

/// Refused: as many timers are pending as may be, 4,194,304 on a shard and 16
/// on a connection. Nothing was scheduled; cancel some, or wait until some
/// have fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many timers are pending; cancel some, or wait until some have fired")]
pub struct TimersFull;

/// The timers of the app on one shard, by time. Apart from the deadlines of
/// connections, whose entries are smaller.
pub(crate) struct Agenda {
    wheel: Wheel<Entry>,
    repeating: Slab<Repeating>,
}

/// What is due.
pub(crate) enum Due {
    /// The app's `timer`, with this key.
    Key(Owned),
    /// A closure.
    Task(Box<dyn Deferred>),
    /// Offloaded work that should be done by now.
    Work(u64),
    /// A closure that is called again and again.
    Again(Running),
}

/// A repeating closure, out of the agenda while it is called.
pub(crate) struct Running {
    id: TimerId,
    pub(crate) job: Box<dyn Recurring>,
}

struct Repeating {
    /// `None` while it is called.
    job: Option<Box<dyn Recurring>>,
    period: Nanos,
    /// When it is, or was, due.
    due: Nanos,
    /// `None` while it is called, unless that re-armed it.
    timer: Option<TimerId>,
}

/// As it lies in the wheel.
enum Entry {
    Key(Owned),
    Task(Box<dyn Deferred>),
    Work(u64),
    Again(TimerId),
}

impl Agenda {
    pub(crate) fn new(now: Nanos) -> Self {
        Self {
            wheel: Wheel::new(now),
            repeating: Slab::new(),
        }
    }

    /// Timers that are pending.
    pub(crate) fn len(&self) -> usize {
        self.wheel.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<Nanos> {
        self.wheel.next_deadline()
    }

    pub(crate) fn key(&mut self, deadline: Nanos, key: Owned) -> Result<Timer, TimersFull> {
        self.insert(deadline, Entry::Key(key))
    }

    pub(crate) fn task(
        &mut self,
        deadline: Nanos,
        task: impl Deferred + 'static,
    ) -> Result<Timer, TimersFull> {
        self.admits()?;
        self.insert(deadline, Entry::Task(Box::new(task)))
    }

    /// For offloaded work, whose number is bounded by its pool.
    pub(crate) fn work(&mut self, deadline: Nanos, id: u64) -> Timer {
        Timer(Kind::Once(self.wheel.insert(deadline, Entry::Work(id))))
    }

    /// First at `due`.
    pub(crate) fn every(
        &mut self,
        due: Nanos,
        period: Nanos,
        job: impl Recurring + 'static,
    ) -> Result<Timer, TimersFull> {
        self.admits()?;
        let id = self.repeating.insert(Repeating {
            job: Some(Box::new(job)),
            period: period.max(1),
            due,
            timer: None,
        });
        self.arm(id, due);
        Ok(Timer(Kind::Every(id)))
    }

    /// False if it has fired for the last time or was cancelled.
    pub(crate) fn cancel(&mut self, timer: Timer) -> bool {
        match timer.0 {
            Kind::Once(id) => self.wheel.cancel(id).is_some(),
            Kind::Every(id) => self.cancel_every(id),
        }
    }

    /// Moves a timer; false if it has fired for the last time or was cancelled.
    pub(crate) fn rearm(&mut self, timer: Timer, deadline: Nanos) -> bool {
        match timer.0 {
            Kind::Once(id) => self.wheel.rearm(id, deadline),
            Kind::Every(id) => {
                let Some(repeating) = self.repeating.get_mut(id) else {
                    return false;
                };
                repeating.due = deadline;
                match repeating.timer {
                    Some(timer) => self.wheel.rearm(timer, deadline),
                    None => {
                        self.arm(id, deadline);
                        true
                    }
                }
            }
        }
    }

    /// Whether a timer has not fired for the last time and was not cancelled.
    pub(crate) fn is_pending(&self, timer: Timer) -> bool {
        match timer.0 {
            Kind::Once(id) => self.wheel.is_pending(id),
            Kind::Every(id) => self.repeating.find(id).is_some(),
        }
    }

    /// What is due at `now`, the earliest first. A repeating closure comes
    /// back with [`put_back`](Self::put_back).
    pub(crate) fn pop(&mut self, now: Nanos) -> Option<Due> {
        loop {
            let (_, entry) = self.wheel.pop(now)?;
            return Some(match entry {
                Entry::Key(key) => Due::Key(key),
                Entry::Task(task) => Due::Task(task),
                Entry::Work(id) => Due::Work(id),
                Entry::Again(id) => {
                    let Some(repeating) = self.repeating.get_mut(id) else {
                        continue;
                    };
                    repeating.timer = None;
                    let Some(job) = repeating.job.take() else {
                        continue;
                    };
                    Due::Again(Running { id, job })
                }
            });
        }
    }

    /// A repeating closure was called, and waits for its next time unless it
    /// was cancelled meanwhile.
    pub(crate) fn put_back(&mut self, running: Running, now: Nanos) {
        let Running { id, job } = running;
        let Some(repeating) = self.repeating.get_mut(id) else {
            return;
        };
        repeating.job = Some(job);
        if repeating.timer.is_none() {
            repeating.due = next(repeating.due, repeating.period, now);
            let due = repeating.due;
            self.arm(id, due);
        }
    }

    fn cancel_every(&mut self, id: TimerId) -> bool {
        let Some(index) = self.repeating.find(id) else {
            return false;
        };
        let removed = self.repeating.remove(index);
        if let Some(timer) = removed.and_then(|(_, repeating)| repeating.timer) {
            self.wheel.cancel(timer);
        }
        true
    }

    fn arm(&mut self, id: TimerId, due: Nanos) {
        let timer = self.wheel.insert(due, Entry::Again(id));
        if let Some(repeating) = self.repeating.get_mut(id) {
            repeating.timer = Some(timer);
        }
    }

    fn insert(&mut self, deadline: Nanos, entry: Entry) -> Result<Timer, TimersFull> {
        self.admits()?;
        Ok(Timer(Kind::Once(self.wheel.insert(deadline, entry))))
    }

    fn admits(&self) -> Result<(), TimersFull> {
        if self.len() < TIMERS {
            Ok(())
        } else {
            Err(TimersFull)
        }
    }
}

/// When something that was due at `due` is due again after `now`: whole periods
/// later, so that it does not drift, and once, however many it has missed.
fn next(due: Nanos, period: Nanos, now: Nanos) -> Nanos {
    let missed = now.saturating_sub(due) / period;
    due.saturating_add(period.saturating_mul(missed.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Nothing;

    impl Recurring for Nothing {
        fn run(&mut self, _: &mut dyn crate::shard::Links, _: &mut crate::shard::Context) {}
    }

    fn take(agenda: &mut Agenda, now: Nanos) -> Running {
        match agenda.pop(now) {
            Some(Due::Again(running)) => running,
            _ => panic!("nothing repeats at {now}"),
        }
    }

    #[test]
    fn what_repeats_keeps_its_beat_and_misses_what_it_slept_through() {
        let mut agenda = Agenda::new(0);
        let every = agenda.every(10_000, 10_000, Nothing).unwrap();
        let mut at = |now, next: Nanos| {
            let running = take(&mut agenda, now);
            agenda.put_back(running, now);
            assert!(agenda.pop(next - 1).is_none(), "once, whatever was missed");
        };
        at(10_600, 20_000);
        at(25_000, 30_000);
        at(79_999, 80_000);
        at(140_800, 150_000);
        at(151_023, 160_000);
        assert!(agenda.cancel(every) && !agenda.cancel(every));
        assert_eq!((agenda.len(), agenda.next_deadline()), (0, None));
    }

    #[test]
    fn what_repeats_can_cancel_and_move_itself() {
        let mut agenda = Agenda::new(0);
        let every = agenda.every(1000, 1_000_000, Nothing).unwrap();
        let running = take(&mut agenda, 5000);
        assert!(agenda.is_pending(every));
        assert!(agenda.rearm(every, 50_000));
        agenda.put_back(running, 5000);
        assert_eq!(agenda.len(), 1);
        let running = take(&mut agenda, 60_000);
        assert!(agenda.cancel(every));
        agenda.put_back(running, 60_000);
        assert_eq!(agenda.len(), 0);
        assert!(!agenda.is_pending(every) && !agenda.rearm(every, 70_000));
    }

    proptest! {
        #[test]
        fn the_next_time_is_the_first_whole_period_after_now(
            due in 0..1u64 << 62,
            period in 1..1u64 << 40,
            late in 0..1u64 << 50,
        ) {
            let now = due + late;
            let next = next(due, period, now);
            prop_assert!(next > now && next - now <= period);
            prop_assert_eq!((next - due) % period, 0);
        }

        #[test]
        fn the_end_of_time_is_no_overflow(due: u64, period in 1..=u64::MAX, now: u64) {
            prop_assert!(next(due, period, now) >= due);
        }
    }
}
