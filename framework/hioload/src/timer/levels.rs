//! Levels of slots, with bitmaps of the occupied ones.

use super::slab::List;
use super::wheel::{TICK_BITS, Tick};

/// Bits of the tick that each level stands for, lowest first.
///
/// All have 64 slots but the fourth, which has 4096 of 268 milliseconds, 18
/// minutes together: this is where idle and ping deadlines of minutes lie. Were
/// it two levels of 64, its upper slots would span 17 seconds; to move the timers
/// of one such slot, with a million timers spread over 30 seconds, took 50
/// milliseconds in one call. For 268 milliseconds it takes 2.
const BITS: [u32; LEVELS] = [6, 6, 6, 12, 6, 6, 6, 6, 1];
const LEVELS: usize = 9;

/// One more tick than 64 bits of nanoseconds hold: deadlines round up. As the
/// levels span all of time, none needs clamping.
const LAST_TICK: Tick = 1 << (u64::BITS - TICK_BITS);

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

/// All slots.
#[derive(Debug)]
pub(super) struct Levels {
    /// A bit per word that is not 0.
    words: u128,
    /// A bit per slot whose list is not empty.
    slots: [u64; WORDS],
    lists: Box<[List]>,
}

impl Levels {
    pub(super) fn new() -> Self {
        let lists = vec![List::EMPTY; WORDS * WORD].into_boxed_slice();
        Self {
            words: 0,
            slots: [0; WORDS],
            lists,
        }
    }

    /// The slot with the earliest timer: the first of the lowest level.
    pub(super) fn earliest(&self) -> Option<Place> {
        if self.words == 0 {
            return None;
        }
        let word = self.words.trailing_zeros() as usize;
        let slot = word * WORD + self.slots[word].trailing_zeros() as usize;
        let level = FIRST_WORD.partition_point(|&first| first <= word) - 1;
        Some(Place { level, slot })
    }

    /// The list of a slot that is about to get a timer.
    pub(super) fn occupy(&mut self, place: Place) -> &mut List {
        let word = place.slot / WORD;
        self.words |= 1 << word;
        self.slots[word] |= 1 << (place.slot % WORD);
        self.list(place)
    }

    /// Notes that the list of a slot has become empty.
    pub(super) fn vacate(&mut self, place: Place) {
        let word = place.slot / WORD;
        self.slots[word] &= !(1 << (place.slot % WORD));
        if self.slots[word] == 0 {
            self.words &= !(1 << word);
        }
    }

    /// Empties a slot.
    pub(super) fn take(&mut self, place: Place) -> List {
        self.vacate(place);
        std::mem::replace(self.list(place), List::EMPTY)
    }

    pub(super) fn list(&mut self, place: Place) -> &mut List {
        &mut self.lists[place.slot]
    }
}
