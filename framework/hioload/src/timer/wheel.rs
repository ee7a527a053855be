//! The wheel: time to ticks, ticks to places, and the order of firing.

use hioload_platform::Nanos;

use super::levels::{Levels, Place};
use super::slab::{List, Slab, TimerId};

/// A point in time, in units of [`TICK`].
pub(super) type Tick = u64;

/// Length of a tick in nanoseconds.
///
/// 1024 and not 1000: time becomes a tick by a shift, not a 64-bit division,
/// and the 2^54 ticks of all time divide into levels of 6 and 12 bits.
const TICK: Nanos = 1 << TICK_BITS;
pub(super) const TICK_BITS: u32 = 10;

/// A hierarchical timing wheel.
///
/// **When a timer fires.** A deadline is rounded up to the next tick of 1024
/// nanoseconds: a timer never fires early, and is due at most 1023 nanoseconds
/// late. A deadline at or before the latest `now` that [`pop`](Self::pop) has
/// seen is not rounded, it is due at the next `pop`, after those already due.
/// Timers fire in the order of their ticks, and within a tick in the order they
/// were inserted; those that were re-armed come anywhere among them. Deadlines in the last tick of the 64-bit range
/// (584 years) do not fire: `Nanos::MAX` is "never".
///
/// **Time** is monotonic: a `now` smaller than an earlier one counts as the
/// earlier one.
///
/// **Memory** is 37 KiB, plus 24 bytes and an `Option<T>` per timer (32 bytes for
/// a `u32`) at the highest number of timers ever pending. Places of fired and
/// cancelled timers are used again. Memory is returned to the allocator when the
/// wheel is dropped, not before: the places carry the generations that make a
/// stale [`TimerId`] harmless.
///
/// # Structure
///
/// The tick is a number with a digit per level, of 64 values each, in one level
/// 4096. A timer lies in the level of the highest digit in which its tick
/// differs from `current`, in the slot of its own digit there. Hence, and the
/// code leans on this everywhere:
///
/// - where a timer lies follows from its tick and `current`, nothing is stored;
/// - in every occupied slot the digit is larger than that of `current`, so the
///   lowest bit of a level's bitmap is its earliest slot;
/// - every timer of a level is earlier than every timer of the levels above,
///   so the earliest slot of the lowest occupied level holds the earliest timer;
/// - `current` may move anywhere before the start of that slot, however far,
///   without moving a single timer.
///
/// When `current` enters a slot above the lowest level, the timers of that slot
/// move down (the slot cascades). A timer moves at most once per level, three
/// times if its delay is below 18 minutes, so `pop` is O(1) amortised; but the
/// one call that enters a crowded slot pays for all of its timers at once.
#[derive(Debug)]
pub struct Wheel<T> {
    slab: Slab<T>,
    levels: Levels,
    /// Timers with a tick `<= current`, to be popped next.
    due: List,
    /// The tick the wheel has reached; `<= now / TICK`, behind it while timers
    /// are still to be popped.
    current: Tick,
    /// The latest time seen.
    now: Nanos,
}

impl<T> Wheel<T> {
    /// An empty wheel whose time starts at `now`.
    #[must_use]
    pub fn new(now: Nanos) -> Self {
        Self {
            slab: Slab::new(),
            levels: Levels::new(),
            due: List::EMPTY,
            current: now >> TICK_BITS,
            now,
        }
    }

    /// Number of pending timers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether no timer is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a timer that fires at `deadline`, or at the next [`pop`](Self::pop)
    /// if that is in the past.
    ///
    /// # Panics
    ///
    /// With `u32::MAX` timers pending, which takes at least 100 GiB.
    pub fn insert(&mut self, deadline: Nanos, value: T) -> TimerId {
        let id = self.slab.insert(value);
        self.link(id.index(), self.firing_tick(deadline));
        id
    }

    /// Removes a timer and returns its value; `None` if it has fired or was
    /// cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let index = self.slab.find(id)?;
        self.unlink(index);
        self.slab.remove(index).map(|(_, value)| value)
    }

    /// Moves a timer to a new deadline, its id stays. One that is later (by up to
    /// 73 minutes) is only noted, which touches no other timer: the timer moves
    /// when its old deadline comes. `false` if it has fired or was cancelled
    /// before.
    pub fn rearm(&mut self, id: TimerId, deadline: Nanos) -> bool {
        let Some(index) = self.slab.find(id) else {
            return false;
        };
        let tick = self.firing_tick(deadline);
        // One that is due moves: it comes after those already due.
        let lies_ahead = self.slab.tick(index) > self.current;
        if !(lies_ahead && self.slab.put_off(index, tick)) {
            self.unlink(index);
            self.link(index, tick);
        }
        true
    }

    /// Whether a timer has neither fired nor been cancelled.
    #[must_use]
    pub fn is_pending(&self, id: TimerId) -> bool {
        self.slab.find(id).is_some()
    }

    /// When [`pop`](Self::pop) should be called next; `None` without timers.
    ///
    /// Never later than the moment the earliest timer fires. It may be earlier,
    /// at most once per level and timer, when a slot cascades, and at the old
    /// deadline of one that was re-armed: `pop` then returns `None` and the next deadline lies later. After `pop` has returned
    /// `None` it is always later than the `now` given there.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        if !self.due.is_empty() {
            return Some(time(self.current));
        }
        let place = self.levels.earliest()?;
        Some(time(place.start(self.current)))
    }

    /// Takes one timer that is due at `now`, the earliest first.
    ///
    /// A timer added or re-armed between two calls with a deadline `<= now` is
    /// due at the second one, so a loop until `None` ends only if its body stops
    /// adding such timers; a caller that runs foreign code bounds the loop.
    /// What is left stays due.
    pub fn pop(&mut self, now: Nanos) -> Option<(TimerId, T)> {
        self.now = self.now.max(now);
        let target = self.now >> TICK_BITS;
        loop {
            while self.due.is_empty() {
                let earliest = self.levels.earliest();
                let start = earliest.map(|place| place.start(self.current));
                match (earliest, start) {
                    (Some(place), Some(start)) if start <= target => self.enter(place, start),
                    _ => {
                        self.current = target;
                        return None;
                    }
                }
            }
            let index = self.slab.pop_front(&mut self.due)?;
            if !self.slab.is_put_off(index) {
                return self.slab.remove(index);
            }
            self.link(index, self.slab.due(index));
        }
    }

    /// The first tick at which a timer with this deadline may fire.
    fn firing_tick(&self, deadline: Nanos) -> Tick {
        let rounded = deadline.div_ceil(TICK);
        if deadline <= self.now {
            rounded.min(self.now >> TICK_BITS)
        } else {
            rounded
        }
    }

    /// Moves `current` to the start of the earliest slot and empties that slot.
    fn enter(&mut self, place: Place, start: Tick) {
        debug_assert!(self.due.is_empty() && start > self.current);
        let list = self.levels.take(place);
        self.current = start;
        if place.is_tick() {
            self.due = list;
            return;
        }
        let mut next = list.front();
        while let Some(index) = next {
            next = self.slab.next(index);
            self.link(index, self.slab.due(index));
        }
    }

    /// Appends an unlinked entry where `tick` belongs.
    fn link(&mut self, index: u32, tick: Tick) {
        let list = if tick <= self.current {
            &mut self.due
        } else {
            self.levels.occupy(Place::of(tick, self.current))
        };
        self.slab.push_back(list, index, tick);
    }

    fn unlink(&mut self, index: u32) {
        let tick = self.slab.tick(index);
        if tick <= self.current {
            self.slab.unlink(&mut self.due, index);
            return;
        }
        let place = Place::of(tick, self.current);
        let list = self.levels.list(place);
        self.slab.unlink(list, index);
        if list.is_empty() {
            self.levels.vacate(place);
        }
    }
}

/// The first nanosecond of a tick; the end of time for the tick after the last.
fn time(tick: Tick) -> Nanos {
    tick.saturating_mul(TICK)
}
