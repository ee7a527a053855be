//! Entries by index, in doubly linked lists through indices.

use std::num::NonZeroU32;

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
    pub(super) fn index(self) -> u32 {
        self.index
    }
}

/// No entry. The largest index is one less, the number of entries at most this.
const NIL: u32 = u32::MAX;

/// A list of entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self {
        head: NIL,
        tail: NIL,
    };

    pub(super) fn is_empty(self) -> bool {
        self.head == NIL
    }

    pub(super) fn front(self) -> Option<u32> {
        some(self.head)
    }
}

fn some(index: u32) -> Option<u32> {
    (index != NIL).then_some(index)
}

#[derive(Debug)]
struct Entry<T> {
    /// Where it lies.
    tick: Tick,
    /// `None` if the entry is free.
    value: Option<T>,
    /// Of the current value, or of the next one if the entry is free.
    generation: NonZeroU32,
    prev: u32,
    /// In a list of timers, or in the free list.
    next: u32,
    /// Ticks by which it was put off since it came to where it lies.
    later: u32,
}

// A connection has one: what it takes is paid a million times.
const _: () = assert!(size_of::<Entry<hioload_platform::Token>>() <= 32);

#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// The free entry to use next: the one freed last, likely still in cache.
    free: u32,
    len: usize,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: NIL,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Stores a value in an entry that is in no list yet.
    pub(super) fn insert(&mut self, value: T) -> TimerId {
        self.len += 1;
        let Some(index) = some(self.free) else {
            return self.grow(value);
        };
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        entry.value = Some(value);
        TimerId {
            index,
            generation: entry.generation,
        }
    }

    fn grow(&mut self, value: T) -> TimerId {
        let generation = NonZeroU32::MIN;
        let index = u32::try_from(self.entries.len()).ok().and_then(some);
        let index = index.expect("fewer than u32::MAX timers");
        self.entries.push(Entry {
            tick: 0,
            value: Some(value),
            generation,
            prev: NIL,
            next: NIL,
            later: 0,
        });
        TimerId { index, generation }
    }

    /// The index of a timer that is still there.
    pub(super) fn find(&self, id: TimerId) -> Option<u32> {
        let entry = self.entries.get(id.index as usize)?;
        (entry.generation == id.generation && entry.value.is_some()).then_some(id.index)
    }

    /// The value of a timer that is still there.
    pub(super) fn get_mut(&mut self, id: TimerId) -> Option<&mut T> {
        let index = self.find(id)?;
        self.entries[index as usize].value.as_mut()
    }

    /// Frees an entry that is in no list. One that has used up its generations
    /// is never used again: 32 bytes per 4 billion timers, and no id recurs.
    pub(super) fn remove(&mut self, index: u32) -> Option<(TimerId, T)> {
        let entry = &mut self.entries[index as usize];
        let value = entry.value.take()?;
        let id = TimerId {
            index,
            generation: entry.generation,
        };
        self.len -= 1;
        if let Some(generation) = entry.generation.checked_add(1) {
            entry.generation = generation;
            entry.next = self.free;
            self.free = index;
        }
        Some((id, value))
    }

    pub(super) fn tick(&self, index: u32) -> Tick {
        self.entries[index as usize].tick
    }

    /// Notes that a timer is due later than where it lies says, and leaves it
    /// there; `false` when it is not later, or so much that it cannot be noted.
    pub(super) fn put_off(&mut self, index: u32, tick: Tick) -> bool {
        let entry = &mut self.entries[index as usize];
        let later = tick.checked_sub(entry.tick);
        let later = later.and_then(|later| u32::try_from(later).ok());
        entry.later = later.unwrap_or(entry.later);
        later.is_some()
    }

    /// Whether a timer was put off.
    pub(super) fn is_put_off(&self, index: u32) -> bool {
        self.entries[index as usize].later > 0
    }

    /// When a timer is due.
    pub(super) fn due(&self, index: u32) -> Tick {
        let entry = &self.entries[index as usize];
        entry.tick + Tick::from(entry.later)
    }

    pub(super) fn next(&self, index: u32) -> Option<u32> {
        some(self.entries[index as usize].next)
    }

    pub(super) fn push_back(&mut self, list: &mut List, index: u32, tick: Tick) {
        let entry = &mut self.entries[index as usize];
        entry.tick = tick;
        entry.later = 0;
        entry.prev = list.tail;
        entry.next = NIL;
        match some(list.tail) {
            Some(tail) => self.entries[tail as usize].next = index,
            None => list.head = index,
        }
        list.tail = index;
    }

    pub(super) fn pop_front(&mut self, list: &mut List) -> Option<u32> {
        let index = list.front()?;
        self.unlink(list, index);
        Some(index)
    }

    /// Takes an entry out of the list it is in.
    pub(super) fn unlink(&mut self, list: &mut List, index: u32) {
        let Entry { prev, next, .. } = self.entries[index as usize];
        match some(prev) {
            Some(prev) => self.entries[prev as usize].next = next,
            None => list.head = next,
        }
        match some(next) {
            Some(next) => self.entries[next as usize].prev = prev,
            None => list.tail = prev,
        }
    }
}

#[cfg(test)]
mod tests {
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
        slab.entries[first.index as usize].generation = NonZeroU32::MAX;
        let last = TimerId {
            generation: NonZeroU32::MAX,
            ..first
        };
        assert_eq!(slab.remove(first.index), Some((last, 'a')));
        assert_eq!(slab.find(last), None);
        assert_ne!(slab.insert('b').index, first.index);
    }
}
