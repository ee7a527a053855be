//! Levels of slots, with bitmaps of the occupied ones.

use super::chunks::{Chunks, List, Seated, Swept};
use super::wheel::{TICK_BITS, Tick};

/// Bits of the tick that each level stands for, lowest first.
///
/// All have 64 slots but the fourth, which has 4096 of 268 milliseconds, 18
/// minutes together: this is where idle and ping deadlines of minutes lie. Were
/// it two levels of 64, its upper slots would span 17 seconds; to move the timers
/// of one such slot, with a million timers spread over 30 seconds, took 50
/// milliseconds in one call. For 268 milliseconds it takes less than 1.
const BITS: [u32; LEVELS] = [6, 6, 6, 12, 6, 6, 6, 6, 1];
const LEVELS: usize = 9;

/// One more tick than 64 bits of nanoseconds hold: deadlines round up. As the
/// levels span all of time, none needs clamping.
pub(super) const LAST_TICK: Tick = 1 << (u64::BITS - TICK_BITS);

/// Slots of one word of the bitmap.
const WORD: usize = u64::BITS as usize;
const WORDS: usize = FIRST_WORD[LEVELS];

/// Where each level starts in the tick.
const SHIFT: [u32; LEVELS + 1] = {
    let mut shift = [0; LEVELS + 1];
    let mut level = 0;
    while level < LEVELS {
        shift[level + 1] = shift[level] + BITS[level];
        level += 1;
    }
    shift
};

/// Where each level starts among the words of the bitmap.
const FIRST_WORD: [usize; LEVELS + 1] = {
    let mut first = [0; LEVELS + 1];
    let mut level = 0;
    while level < LEVELS {
        first[level + 1] = first[level] + (1_usize << BITS[level]).div_ceil(WORD);
        level += 1;
    }
    first
};

/// The level of each bit of the tick.
const LEVEL_OF_BIT: [u8; SHIFT[LEVELS] as usize] = {
    let mut levels = [0; SHIFT[LEVELS] as usize];
    let mut level = 0_u8;
    let mut bit = 0;
    while bit < SHIFT[LEVELS] {
        if bit == SHIFT[level as usize + 1] {
            level += 1;
        }
        levels[bit as usize] = level;
        bit += 1;
    }
    levels
};

const _: () = assert!(LAST_TICK.ilog2() + 1 == SHIFT[LEVELS]);
const _: () = assert!(WORDS <= u128::BITS as usize);

/// A slot of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    level: usize,
    /// Among the slots of all levels.
    slot: usize,
}

impl Place {
    /// Where a timer for `tick` lies while the wheel is at `current < tick`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a digit has at most 12 bits"
    )]
    pub(super) fn of(tick: Tick, current: Tick) -> Self {
        debug_assert!(tick > current && tick <= LAST_TICK);
        let level = usize::from(LEVEL_OF_BIT[(tick ^ current).ilog2() as usize]);
        let digit = (tick >> SHIFT[level]) & mask(level);
        Self {
            level,
            slot: FIRST_WORD[level] * WORD + digit as usize,
        }
    }

    /// The first tick of the slot, for a wheel at `current`.
    pub(super) fn start(self, current: Tick) -> Tick {
        let above = SHIFT[self.level + 1];
        let digit = (self.slot - FIRST_WORD[self.level] * WORD) as Tick;
        (current >> above << above) | (digit << SHIFT[self.level])
    }

    /// Whether the slot is a single tick.
    pub(super) fn is_tick(self) -> bool {
        self.level == 0
    }
}

fn mask(level: usize) -> Tick {
    (1 << BITS[level]) - 1
}

/// All slots, and the timers in them.
#[derive(Debug)]
pub(super) struct Levels {
    /// A bit per word that is not 0.
    words: u128,
    /// A bit per slot whose list has chunks; it may be without timers.
    slots: [u64; WORDS],
    lists: Box<[List]>,
    /// Timers with a tick that was reached.
    due: List,
    chunks: Chunks,
    /// The slot that is being swept, and how far.
    sweeping: usize,
    swept: Swept,
}

impl Levels {
    pub(super) fn new() -> Self {
        Self {
            words: 0,
            slots: [0; WORDS],
            lists: vec![List::EMPTY; WORDS * WORD].into_boxed_slice(),
            due: List::EMPTY,
            chunks: Chunks::new(),
            sweeping: 0,
            swept: Swept::NOTHING,
        }
    }

    /// The slot with the earliest timer, or one before it without timers: the
    /// first of the lowest level.
    pub(super) fn earliest(&self) -> Option<Place> {
        if self.words == 0 {
            return None;
        }
        let word = self.words.trailing_zeros() as usize;
        let slot = word * WORD + self.slots[word].trailing_zeros() as usize;
        let level = FIRST_WORD.partition_point(|&first| first <= word) - 1;
        Some(Place { level, slot })
    }

    /// Appends a timer to a slot; its seat there.
    pub(super) fn push(&mut self, place: Place, timer: u32) -> u32 {
        let word = place.slot / WORD;
        self.words |= 1 << word;
        self.slots[word] |= 1 << (place.slot % WORD);
        self.chunks.push(&mut self.lists[place.slot], timer)
    }

    /// Empties a slot: its list, to be [popped](Self::pop).
    pub(super) fn take(&mut self, place: Place) -> List {
        if self.sweeping == place.slot {
            self.swept = Swept::NOTHING;
        }
        self.vacate(place.slot);
        std::mem::replace(&mut self.lists[place.slot], List::EMPTY)
    }

    /// Takes the first timer off a list.
    pub(super) fn pop(&mut self, list: &mut List, timers: &impl Seated) -> Option<u32> {
        self.chunks.pop(list, timers)
    }

    /// Takes a timer from its seat, wherever that is.
    pub(super) fn remove(&mut self, seat: u32) {
        self.chunks.vacate(seat);
    }

    /// Whether no timer is due. It may be that none is, and this is false.
    pub(super) fn none_due(&self) -> bool {
        self.due.is_empty()
    }

    /// Appends a timer to those that are due.
    pub(super) fn push_due(&mut self, timer: u32) -> u32 {
        self.chunks.push(&mut self.due, timer)
    }

    /// As [`pop`](Self::pop), of the timers that are due.
    pub(super) fn pop_due(&mut self, timers: &impl Seated) -> Option<u32> {
        self.chunks.pop(&mut self.due, timers)
    }

    /// The timers of a slot are due now; none was before.
    pub(super) fn fall_due(&mut self, place: Place) {
        debug_assert!(self.none_due());
        self.due = self.take(place);
    }

    /// Seats that take memory, with a timer or not.
    pub(super) fn seats(&self) -> usize {
        self.chunks.seats()
    }

    /// Looks at one chunk more and frees it if it can; of all slots in turn.
    pub(super) fn sweep(&mut self, timers: &mut impl Seated) {
        let list = &mut self.lists[self.sweeping];
        if let Some(swept) = self.chunks.sweep(list, self.swept, timers) {
            self.swept = swept;
            return;
        }
        if list.is_empty() {
            self.vacate(self.sweeping);
        }
        self.sweeping = self.occupied_after(self.sweeping);
        self.swept = Swept::NOTHING;
    }

    /// The next slot with chunks, the first one after the last; any if none has.
    fn occupied_after(&self, slot: usize) -> usize {
        let (word, bit) = (slot / WORD, slot % WORD);
        let here = self.slots[word] & (!1 << bit);
        if here != 0 {
            return word * WORD + here.trailing_zeros() as usize;
        }
        let above = self.words & (!1 << word);
        let words = if above == 0 { self.words } else { above };
        if words == 0 {
            return slot;
        }
        let word = words.trailing_zeros() as usize;
        word * WORD + self.slots[word].trailing_zeros() as usize
    }

    /// Notes that the list of a slot has become empty.
    fn vacate(&mut self, slot: usize) {
        let word = slot / WORD;
        self.slots[word] &= !(1 << (slot % WORD));
        if self.slots[word] == 0 {
            self.words &= !(1 << word);
        }
    }
}
