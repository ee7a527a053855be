//! What a shard is to do later, at the app's wish.

use hioload_platform::Nanos;
use thiserror::Error;

use super::closures::{Closures, Places, Stored};
use super::slab::{Slab, TimerId};
use super::wheel::Wheel;
use crate::shard::{Deferred, Owned, Recurring};

/// Timers of the app that may be pending on a shard: for each of a million
/// connections one, and three times as many more. Four million take 200 MiB
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
    closures: Closures,
    keys: Places<Owned>,
    works: Places<u64>,
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

/// What lies in the wheel: where to find the rest. To cancel a timer touches
/// this and that, and the less room both take, the more of them is in a cache.
enum Entry {
    Key(u32),
    Task {
        store: u16,
        place: u32,
    },
    Work(u32),
    /// By its index in `repeating`, where it stays for as long as this does.
    Again(u32),
}

const _: () = assert!(size_of::<Option<Entry>>() == 8);

impl Agenda {
    pub(crate) fn new(now: Nanos) -> Self {
        Self {
            wheel: Wheel::new(now),
            closures: Closures::new(),
            keys: Places::new(),
            works: Places::new(),
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
        self.admits()?;
        let entry = Entry::Key(self.keys.insert(key));
        Ok(self.once(deadline, entry))
    }

    pub(crate) fn task(
        &mut self,
        deadline: Nanos,
        task: impl Deferred + 'static,
    ) -> Result<Timer, TimersFull> {
        self.admits()?;
        let Stored { store, place } = self.closures.insert(task);
        Ok(self.once(deadline, Entry::Task { store, place }))
    }

    /// For offloaded work, whose number is bounded by its pool.
    pub(crate) fn work(&mut self, deadline: Nanos, id: u64) -> Timer {
        let entry = Entry::Work(self.works.insert(id));
        self.once(deadline, entry)
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
            Kind::Once(id) => self.cancel_once(id),
            Kind::Every(id) => self.cancel_every(id),
        }
    }

    /// Drops what was cancelled since the last time.
    pub(crate) fn settle(&mut self) {
        self.closures.settle();
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
            let due = match entry {
                Entry::Key(place) => self.keys.remove(place).map(Due::Key),
                Entry::Task { store, place } => {
                    self.closures.take(Stored { store, place }).map(Due::Task)
                }
                Entry::Work(place) => self.works.remove(place).map(Due::Work),
                Entry::Again(index) => self.again(index).map(Due::Again),
            };
            if due.is_some() {
                return due;
            }
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

    fn again(&mut self, index: u32) -> Option<Running> {
        let id = self.repeating.id(index)?;
        let repeating = self.repeating.get_mut(id)?;
        repeating.timer = None;
        let job = repeating.job.take()?;
        Some(Running { id, job })
    }

    fn cancel_once(&mut self, id: TimerId) -> bool {
        let cancelled = self.wheel.cancel(id);
        match cancelled {
            Some(Entry::Task { store, place }) => self.closures.discard(Stored { store, place }),
            Some(Entry::Key(place)) => drop(self.keys.remove(place)),
            Some(Entry::Work(place)) => drop(self.works.remove(place)),
            Some(Entry::Again(_)) | None => {}
        }
        cancelled.is_some()
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
        let timer = self.wheel.insert(due, Entry::Again(id.index()));
        if let Some(repeating) = self.repeating.get_mut(id) {
            repeating.timer = Some(timer);
        }
    }

    fn once(&mut self, deadline: Nanos, entry: Entry) -> Timer {
        Timer(Kind::Once(self.wheel.insert(deadline, entry)))
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
    use std::cell::Cell;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    struct Nothing;

    impl Recurring for Nothing {
        fn run(&mut self, _: &mut dyn crate::shard::Links, _: &mut crate::shard::Context) {}
    }

    /// A closure of this many bytes that says when it is dropped.
    struct Told<const SIZE: usize>(Rc<Cell<u32>>, [u8; SIZE]);

    impl<const SIZE: usize> Deferred for Told<SIZE> {
        fn run(self: Box<Self>, _: &mut dyn crate::shard::Links, _: &mut crate::shard::Context) {}
    }

    impl<const SIZE: usize> Drop for Told<SIZE> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_cancelled_closure_is_dropped_soon_and_a_due_one_comes_out() {
        let dropped = Rc::new(Cell::new(0));
        let mut agenda = Agenda::new(0);
        let mut timers = Vec::new();
        for at in 0..2000_u64 {
            let due = 10_000 + at * 2048;
            timers.push(agenda.task(due, Told(Rc::clone(&dropped), [0; 8])).unwrap());
            timers.push(
                agenda
                    .task(due, Told(Rc::clone(&dropped), [0; 400]))
                    .unwrap(),
            );
            let owner = crate::shard::Owner::default();
            timers.push(agenda.key(due, Owned { key: at, owner }).unwrap());
        }
        for &timer in &timers[..3000] {
            assert!(agenda.cancel(timer) && !agenda.cancel(timer));
        }
        agenda.settle();
        assert_eq!((dropped.get(), agenda.len()), (2000, 3000));
        for key in 1000..2000 {
            let now = 10_000 + key * 2048 + 1024;
            for _ in 0..2 {
                assert!(matches!(agenda.pop(now), Some(Due::Task(_))));
            }
            assert!(matches!(agenda.pop(now), Some(Due::Key(owned)) if owned.key == key));
            assert!(agenda.pop(now).is_none());
        }
        assert_eq!((dropped.get(), agenda.len()), (4000, 0));
        agenda
            .task(u64::MAX, Told(Rc::clone(&dropped), [0; 8]))
            .unwrap();
        drop(agenda);
        assert_eq!(dropped.get(), 4001);
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
