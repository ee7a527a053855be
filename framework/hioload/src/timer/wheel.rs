//! The wheel: time to ticks, ticks to places, and the order of firing.

use hioload_platform::Nanos;

use super::batch::Batch;
use super::chunks::SEATS;
use super::levels::{Levels, Place};
use super::slab::{Slab, TimerId};

/// A point in time, in units of [`TICK`].
pub(super) type Tick = u64;

/// Length of a tick in nanoseconds.
///
/// 1024 and not 1000: time becomes a tick by a shift, not a 64-bit division,
/// and the 2^54 ticks of all time divide into levels of 6 and 12 bits.
const TICK: Nanos = 1 << TICK_BITS;
pub(super) const TICK_BITS: u32 = 10;

/// Seats per timer from which on chunks are joined. With fewer, timers take less
/// memory, and an insert has more of them to move.
const CROWD: usize = 4;
/// Seats beyond that: in a wheel of few timers most have a slot to themselves,
/// and no chunks to join.
const SPARE: usize = 256;

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
/// **Memory** is 38 KiB, plus 16 bytes and an `Option<T>` per timer (24 bytes for
/// a `u32`) at the highest number of timers ever pending, plus its seat in a slot:
/// 5 bytes for timers that are only put off, up to 18 where many are cancelled,
/// as the seat of one that was cancelled stays empty until the time of its slot,
/// or until most are. Places of fired and cancelled timers are used again. Memory is returned to the allocator when the wheel is dropped, not
/// before: the places carry the generations that make a stale [`TimerId`]
/// harmless.
///
/// # Structure
///
/// The tick is a number with a digit per level, of 64 values each, in one level
/// 4096. A timer lies in the level of the highest digit in which its tick
/// differs from `current`, in the slot of its own digit there. Hence, and the
/// code leans on this everywhere:
///
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
    /// Those with a tick `<= current` are in no slot but due, to be popped next.
    levels: Levels,
    /// The tick the wheel has reached; `<= now / TICK`, behind it while timers
    /// are still to be popped.
    current: Tick,
    /// The latest time seen.
    now: Nanos,
    /// Entries of cancelled timers that are to be freed.
    cancelled: Batch<u32>,
    /// Timers that were re-armed, and when they are due if they still are.
    rearmed: Batch<(TimerId, Nanos)>,
}

impl<T> Wheel<T> {
    /// An empty wheel whose time starts at `now`.
    #[must_use]
    pub fn new(now: Nanos) -> Self {
        Self {
            slab: Slab::new(),
            levels: Levels::new(),
            current: now >> TICK_BITS,
            now,
            cancelled: Batch::new(0),
            rearmed: Batch::new((TimerId::FIRST, 0)),
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
    /// With over a billion timers pending, which take at least 26 GiB.
    pub fn insert(&mut self, deadline: Nanos, value: T) -> TimerId {
        if self.slab.is_full() {
            self.free_cancelled();
        }
        let id = self.slab.insert(value);
        self.seat(id.index(), self.firing_tick(deadline));
        id
    }

    /// Removes a timer and returns its value; `None` if it has fired or was
    /// cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let value = self.slab.take(id)?;
        if self.cancelled.push(id.index()) {
            self.free_cancelled();
        }
        Some(value)
    }

    /// Moves a timer to a new deadline, its id stays. One that is later is only
    /// noted, which touches no other timer: the timer moves when its old deadline
    /// comes. `false` if it has fired or was cancelled before.
    pub fn rearm(&mut self, id: TimerId, deadline: Nanos) -> bool {
        if self.slab.find(id).is_none() {
            return false;
        }
        if self.rearmed.push((id, deadline)) {
            self.move_rearmed();
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
    /// deadline of one that was re-armed or cancelled: `pop` then returns `None`
    /// and the next deadline lies later. After `pop` has returned `None` it is
    /// always later than the `now` given there.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        if self.is_empty() {
            return None;
        }
        if !self.levels.none_due() {
            return Some(time(self.current));
        }
        let place = self.levels.earliest()?;
        let rearmed = self.rearmed.items().iter();
        let ticks = rearmed.map(|&(_, deadline)| self.firing_tick(deadline).max(self.current));
        let earliest = ticks.fold(place.start(self.current), Tick::min);
        Some(time(earliest))
    }

    /// Takes one timer that is due at `now`, the earliest first.
    ///
    /// A timer added or re-armed between two calls with a deadline `<= now` is
    /// due at the second one, so a loop until `None` ends only if its body stops
    /// adding such timers; a caller that runs foreign code bounds the loop.
    /// What is left stays due.
    pub fn pop(&mut self, now: Nanos) -> Option<(TimerId, T)> {
        if !self.cancelled.is_empty() {
            self.free_cancelled();
        }
        if !self.rearmed.is_empty() {
            self.move_rearmed();
        }
        self.now = self.now.max(now);
        let target = self.now >> TICK_BITS;
        loop {
            while self.levels.none_due() {
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
            let Some(index) = self.levels.pop_due(&self.slab) else {
                continue;
            };
            let due = self.slab.due(index);
            if due <= self.current {
                return self.slab.remove(index);
            }
            self.link(index, due);
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
        debug_assert!(self.levels.none_due() && start > self.current);
        self.current = start;
        if place.is_tick() {
            self.levels.fall_due(place);
            return;
        }
        let mut list = self.levels.take(place);
        while let Some(index) = self.levels.pop(&mut list, &self.slab) {
            self.link(index, self.slab.due(index));
        }
    }

    /// Appends a timer where `tick` belongs; its seat there.
    fn link(&mut self, index: u32, tick: Tick) -> u32 {
        let seat = if tick <= self.current {
            self.levels.push_due(index)
        } else {
            let place = Place::of(tick, self.current);
            self.levels.push(place, index)
        };
        self.slab.lay(index, tick, seat);
        seat
    }

    /// As [`link`](Self::link), of a timer that takes one seat more: now and
    /// then empty ones are to go.
    fn seat(&mut self, index: u32, tick: Tick) {
        if self.link(index, tick).is_multiple_of(SEATS) {
            self.tidy();
        }
    }

    /// Frees the seats and the entries of cancelled timers.
    #[inline(never)]
    fn free_cancelled(&mut self) {
        for at in 0..self.cancelled.len() {
            let index = self.cancelled.items()[at];
            self.levels.remove(self.slab.seat(index));
            self.slab.free(index);
        }
        self.cancelled.clear();
    }

    /// Notes for re-armed timers when they are due, and moves those that would
    /// come too late.
    #[inline(never)]
    fn move_rearmed(&mut self) {
        for at in 0..self.rearmed.len() {
            let (id, deadline) = self.rearmed.items()[at];
            let tick = self.firing_tick(deadline);
            if let Some(index) = self.slab.find(id)
                && !self.slab.put_off(index, tick)
            {
                self.levels.remove(self.slab.seat(index));
                self.seat(index, tick);
            }
        }
        self.rearmed.clear();
    }

    /// With each new chunk, sweeps two others if seats are too many. Once around
    /// takes half as many new chunks as there are, and frees more.
    #[inline(never)]
    fn tidy(&mut self) {
        if self.levels.seats() > CROWD * self.len() + SPARE {
            self.levels.sweep(&mut self.slab);
            self.levels.sweep(&mut self.slab);
        }
    }
}

/// The first nanosecond of a tick; the end of time for the tick after the last.
fn time(tick: Tick) -> Nanos {
    tick.saturating_mul(TICK)
}
