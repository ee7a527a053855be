//! Timers by index, and when they are due.

use std::num::NonZeroU32;

use hioload_platform::memory::prefetch;

use super::chunks::Seated;
use super::levels::LAST_TICK;
use super::wheel::Tick;

/// Names one timer of one wheel, also after it has fired or was cancelled: the
/// id of a timer that is gone never means another timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    index: u32,
    generation: NonZeroU32,
}

const _: () = assert!(size_of::<TimerId>() == 8 && size_of::<Option<TimerId>>() == 8);

impl TimerId {
    pub(super) const FIRST: Self = Self {
        index: 0,
        generation: NonZeroU32::MIN,
    };

    pub(super) fn index(self) -> u32 {
        self.index
    }
}

/// No entry. The largest index is one less, the number of entries at most this.
const NIL: u32 = u32::MAX;

fn some(index: u32) -> Option<u32> {
    (index != NIL).then_some(index)
}

/// Free entries that are known without looking at one: enough that the next is
/// in a cache by the time it is used.
const AHEAD: usize = 8;

#[derive(Debug)]
struct Entry<T> {
    due: Due,
    /// `None` if the entry is free or about to be.
    value: Option<T>,
    /// Of the current value, or of the next one if there is none. That of an
    /// entry that has used up its generations is no id's.
    generation: NonZeroU32,
    /// Where it lies; if it is free, the free entry that comes [`AHEAD`] after it.
    seat: u32,
}

// A connection has one: what it takes is paid a million times.
const _: () = assert!(size_of::<Entry<hioload_platform::Token>>() <= 24);

/// When a timer is due, and from when on it may be due without being moved.
///
/// A timer that was put off lies where an earlier tick belongs. How much
/// earlier is kept in what its tick leaves of a word, counted in
/// [spans](SPAN): the tick of the place itself is rounded up to a whole span,
/// and 68 seconds ahead of the timer is as much as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due(u64);

/// Of the word, the tick, which includes the one after the last.
const TICK_BITS: u32 = LAST_TICK.ilog2() + 1;
const MASK: u64 = (1 << TICK_BITS) - 1;

/// 134 milliseconds, in ticks.
const SPAN: Tick = 1 << 17;
const MOST_SPANS: u64 = u64::MAX >> TICK_BITS;

impl Due {
    /// Of a timer that lies where it belongs.
    fn at(tick: Tick) -> Self {
        debug_assert!(tick <= LAST_TICK);
        Self(tick)
    }

    fn tick(self) -> Tick {
        self.0 & MASK
    }

    /// The whole span at whose start, or before, the place of the timer comes.
    fn reached(self) -> u64 {
        self.tick() / SPAN + 1 - (self.0 >> TICK_BITS)
    }

    /// Of the same place, if a timer due then may lie there.
    fn put_off(self, tick: Tick) -> Option<Self> {
        let reached = self.reached();
        // One comparison: which of the two is less, nobody can predict.
        if tick < self.tick().min(reached * SPAN) {
            return None;
        }
        let spans = (tick / SPAN + 1 - reached).min(MOST_SPANS);
        Some(Self(spans << TICK_BITS | tick))
    }
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// The free entries to use next, those freed last first: the next one is at
    /// `top`, those after it before it.
    free: [u32; AHEAD],
    top: usize,
    len: usize,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: [NIL; AHEAD],
            top: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether the next insert takes memory.
    pub(super) fn is_full(&self) -> bool {
        self.free[self.top] == NIL
    }

    /// Stores a value in an entry that has no seat yet.
    pub(super) fn insert(&mut self, value: T) -> TimerId {
        self.len += 1;
        let Some(index) = some(self.free[self.top]) else {
            return self.grow(value);
        };
        let entry = &mut self.entries[index as usize];
        let (next, generation) = (entry.seat, entry.generation);
        entry.value = Some(value);
        self.free[self.top] = next;
        self.top = self.top.wrapping_sub(1) % AHEAD;
        if let Some(next) = self.entries.get(next as usize) {
            prefetch(next);
        }
        TimerId { index, generation }
    }

    #[inline(never)]
    fn grow(&mut self, value: T) -> TimerId {
        let generation = NonZeroU32::MIN;
        let index = u32::try_from(self.entries.len()).ok().and_then(some);
        let index = index.expect("fewer than u32::MAX timers");
        self.entries.push(Entry {
            due: Due::at(0),
            value: Some(value),
            generation,
            seat: NIL,
        });
        TimerId { index, generation }
    }

    /// The index of a timer that is still there.
    #[inline]
    pub(super) fn find(&self, id: TimerId) -> Option<u32> {
        let entry = self.entries.get(id.index as usize)?;
        prefetch(&entry.due);
        (entry.generation == id.generation).then_some(id.index)
    }

    /// The id of the timer with this index.
    pub(super) fn id(&self, index: u32) -> Option<TimerId> {
        let entry = self.entries.get(index as usize)?;
        entry.value.as_ref().map(|_| TimerId {
            index,
            generation: entry.generation,
        })
    }

    /// The value of a timer that is still there.
    pub(super) fn get_mut(&mut self, id: TimerId) -> Option<&mut T> {
        let index = self.find(id)?;
        self.entries[index as usize].value.as_mut()
    }

    /// Takes a value and frees its entry, which has no seat any more.
    pub(super) fn remove(&mut self, index: u32) -> Option<(TimerId, T)> {
        let generation = self.entries[index as usize].generation;
        let id = TimerId { index, generation };
        let value = self.take(id)?;
        self.free(index);
        Some((id, value))
    }

    /// Takes a value. Its entry is to be [freed](Self::free).
    #[inline]
    pub(super) fn take(&mut self, id: TimerId) -> Option<T> {
        let entry = self.entries.get_mut(id.index as usize)?;
        prefetch(&entry.due);
        if entry.generation != id.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.saturating_add(1);
        self.len -= 1;
        Some(value)
    }

    /// Frees an entry without a value. One that has used up its generations is
    /// never used again: 24 bytes per 4 billion timers, and no id recurs.
    pub(super) fn free(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        debug_assert!(entry.value.is_none());
        if entry.generation != NonZeroU32::MAX {
            self.top = (self.top + 1) % AHEAD;
            entry.seat = std::mem::replace(&mut self.free[self.top], index);
        }
    }

    /// Where a timer lies.
    pub(super) fn seat(&self, index: u32) -> u32 {
        self.entries[index as usize].seat
    }

    /// When a timer is due.
    pub(super) fn due(&self, index: u32) -> Tick {
        self.entries[index as usize].due.tick()
    }

    /// Notes where a timer lies, which is where this tick belongs.
    pub(super) fn lay(&mut self, index: u32, tick: Tick, seat: u32) {
        let entry = &mut self.entries[index as usize];
        entry.due = Due::at(tick);
        entry.seat = seat;
    }

    /// Notes that a timer is due at another time than where it lies says, and
    /// leaves it there; `false` when that may come too late.
    pub(super) fn put_off(&mut self, index: u32, tick: Tick) -> bool {
        let entry = &mut self.entries[index as usize];
        let due = entry.due.put_off(tick);
        entry.due = due.unwrap_or(entry.due);
        due.is_some()
    }
}

impl<T> Seated for Slab<T> {
    fn move_to(&mut self, timer: u32, seat: u32) {
        self.entries[timer as usize].seat = seat;
    }

    fn prefetch(&self, timer: u32) {
        prefetch(&self.entries[timer as usize]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_stale_after_its_entry_is_used_again() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first.index), Some((first, 'a')));
        let second = slab.insert('b');
        assert_eq!(second.index, first.index);
        assert_eq!(slab.find(first), None);
        assert_eq!(slab.find(second), Some(second.index));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn an_entry_without_generations_left_is_retired() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        let generation = NonZeroU32::new(u32::MAX - 1).unwrap();
        slab.entries[first.index as usize].generation = generation;
        let last = TimerId {
            generation,
            ..first
        };
        assert_eq!(slab.remove(first.index), Some((last, 'a')));
        assert_eq!(slab.find(last), None);
        assert_ne!(slab.insert('b').index, first.index);
    }

    #[test]
    fn a_timer_is_put_off_by_anything_and_brought_forward_to_its_place() {
        let due = Due::at(5 * SPAN + 1);
        assert_eq!(due.put_off(5 * SPAN), None);
        let due = due.put_off(400 * SPAN + 7).unwrap();
        assert_eq!(due.tick(), 400 * SPAN + 7);
        let due = due.put_off(6 * SPAN).unwrap();
        assert_eq!(due.put_off(6 * SPAN - 1), None);
        let due = due.put_off(LAST_TICK).unwrap();
        assert_eq!(due.tick(), LAST_TICK);
        assert_eq!(due.put_off(LAST_TICK - MOST_SPANS * SPAN), None);
        assert!(due.put_off(LAST_TICK - (MOST_SPANS - 1) * SPAN).is_some());
    }

    proptest! {
        #[test]
        fn no_timer_lies_where_it_would_be_late(
            place in 0..=LAST_TICK,
            moves in prop::collection::vec(0..=LAST_TICK, 0..20),
            near in prop::collection::vec(0..1_u64 << 28, 0..20),
        ) {
            let mut due = Due::at(place);
            let near = near.iter().map(|&near| (place + near).saturating_sub(1 << 27).min(LAST_TICK));
            for tick in near.chain(moves) {
                let later = tick >= due.tick();
                match due.put_off(tick) {
                    Some(put_off) => {
                        prop_assert!(tick >= place && put_off.tick() == tick);
                        due = put_off;
                    }
                    None => prop_assert!(!later),
                }
            }
        }
    }
}
