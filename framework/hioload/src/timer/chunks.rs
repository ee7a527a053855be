//! Lists of timers in chunks of seats.
//!
//! A list through the timers themselves would have a cancel touch the two
//! neighbours, which among a million timers have long left the caches. Here a
//! list holds the numbers of timers, and a timer holds its seat. To take it off
//! the list is to clear a bit, and nothing waits for that bit: a chunk without
//! timers stays where it is until its list is emptied, or until chunks are
//! [swept](Chunks::sweep) because too many seats are empty.

/// No chunk.
const NIL: u32 = u32::MAX;

/// Seats of a chunk: two lines of a cache, which CPUs fetch in pairs.
pub(super) const SEATS: u32 = u32::BITS;

/// Seats are numbered through all chunks, and the end of the last has a number.
const CHUNKS: u32 = u32::MAX / SEATS;

/// Timers in the order in which they were appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    /// The first chunk, or `NIL`.
    head: u32,
    /// The seat after the last that was used; a multiple of [`SEATS`] when the
    /// next timer needs another chunk.
    end: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NIL, end: 0 };

    /// Whether it has no chunks; one without timers may have some.
    pub(super) fn is_empty(self) -> bool {
        self.head == NIL
    }

    /// The last chunk, of a list that is not empty.
    fn tail(self) -> u32 {
        (self.end - 1) / SEATS
    }
}

#[derive(Debug)]
pub(super) struct Chunks {
    seats: Vec<u32>,
    /// A bit per seat of a chunk that has a timer. Apart from the rest, as every
    /// operation touches one: those of a million timers fit into a cache.
    taken: Vec<u32>,
    /// The chunk after a chunk, in its list or among those that are free.
    next: Vec<u32>,
    free: u32,
    /// Chunks that are not free.
    used: usize,
}

/// Where sweeping goes on: after this chunk of a list, or at its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Swept(u32);

impl Swept {
    pub(super) const NOTHING: Self = Self(NIL);
}

/// Those who sit there.
pub(super) trait Seated {
    fn move_to(&mut self, timer: u32, seat: u32);
    /// It is touched soon.
    fn prefetch(&self, timer: u32);
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self {
            seats: Vec::new(),
            taken: Vec::new(),
            next: Vec::new(),
            free: NIL,
            used: 0,
        }
    }

    /// Seats of all lists, with a timer or not.
    pub(super) fn seats(&self) -> usize {
        self.used * SEATS as usize
    }

    /// Appends a timer to a list; its seat.
    pub(super) fn push(&mut self, list: &mut List, timer: u32) -> u32 {
        if list.end.is_multiple_of(SEATS) {
            self.extend(list);
        }
        let seat = list.end;
        list.end += 1;
        self.sit(seat, timer);
        seat
    }

    /// Takes the first timer off a list.
    pub(super) fn pop(&mut self, list: &mut List, timers: &impl Seated) -> Option<u32> {
        while !list.is_empty() {
            let taken = self.taken[list.head as usize];
            let seat = list.head * SEATS + taken.trailing_zeros();
            if taken.count_ones() <= 1 {
                self.behead(list);
                self.prefetch(list.head, timers);
            }
            if taken != 0 {
                self.vacate(seat);
                return Some(self.seats[seat as usize]);
            }
        }
        None
    }

    /// Takes a timer off the list it is in.
    pub(super) fn vacate(&mut self, seat: u32) {
        self.taken[(seat / SEATS) as usize] &= !(1 << (seat % SEATS));
    }

    /// Looks at one more chunk of a list, and frees it if it has no timers, or
    /// if its timers find room in the chunk before, which after all chunks of a
    /// list leaves it half full at least. `None` after the last chunk.
    pub(super) fn sweep(
        &mut self,
        list: &mut List,
        swept: Swept,
        timers: &mut impl Seated,
    ) -> Option<Swept> {
        if list.is_empty() {
            return None;
        }
        let before = swept.0;
        if before == NIL {
            if self.taken[list.head as usize] != 0 {
                return Some(Swept(list.head));
            }
            self.behead(list);
            return Some(swept);
        }
        if before == list.tail() {
            return None;
        }
        let chunk = self.next[before as usize];
        if chunk != list.tail() {
            self.prefetch(self.next[chunk as usize], timers);
        }
        let (room, wanted) = (self.taken[before as usize], self.taken[chunk as usize]);
        if room.count_ones() + wanted.count_ones() > SEATS {
            return Some(Swept(chunk));
        }
        let mut to = before * SEATS;
        self.close_ranks(before, &mut to, timers);
        self.close_ranks(chunk, &mut to, timers);
        if chunk == list.tail() {
            // The chunk before is the last one also when it has no timers left.
            list.end = to.max(before * SEATS + 1);
        } else {
            self.next[before as usize] = self.next[chunk as usize];
        }
        self.release(chunk);
        Some(swept)
    }

    /// The timers of a chunk are touched soon: among a million they are not in a
    /// cache, and to wait for all of them together takes as long as for one.
    fn prefetch(&self, chunk: u32, timers: &impl Seated) {
        let Some(&taken) = self.taken.get(chunk as usize) else {
            return;
        };
        let mut taken = taken;
        while taken != 0 {
            timers.prefetch(self.seats[(chunk * SEATS + taken.trailing_zeros()) as usize]);
            taken &= taken - 1;
        }
    }

    /// Moves the timers of a chunk, in their order, to the seats from `to` on.
    fn close_ranks(&mut self, chunk: u32, to: &mut u32, timers: &mut impl Seated) {
        let mut taken = self.taken[chunk as usize];
        while taken != 0 {
            let seat = chunk * SEATS + taken.trailing_zeros();
            taken &= taken - 1;
            if seat != *to {
                let timer = self.seats[seat as usize];
                self.vacate(seat);
                self.sit(*to, timer);
                timers.move_to(timer, *to);
            }
            *to += 1;
        }
    }

    fn sit(&mut self, seat: u32, timer: u32) {
        self.seats[seat as usize] = timer;
        self.taken[(seat / SEATS) as usize] |= 1 << (seat % SEATS);
    }

    /// Frees the first chunk of a list.
    fn behead(&mut self, list: &mut List) {
        let chunk = list.head;
        if chunk == list.tail() {
            *list = List::EMPTY;
        } else {
            list.head = self.next[chunk as usize];
        }
        self.release(chunk);
    }

    fn release(&mut self, chunk: u32) {
        self.next[chunk as usize] = self.free;
        self.free = chunk;
        self.used -= 1;
    }

    /// Appends a chunk to a list. Apart from [`push`](Self::push), which seldom
    /// needs it and is inlined.
    #[inline(never)]
    fn extend(&mut self, list: &mut List) {
        let chunk = self.take();
        if list.is_empty() {
            list.head = chunk;
        } else {
            self.next[list.tail() as usize] = chunk;
        }
        list.end = chunk * SEATS;
    }

    /// A free chunk: the one freed last, likely still in cache, or a new one.
    fn take(&mut self) -> u32 {
        self.used += 1;
        if self.free != NIL {
            let chunk = self.free;
            self.free = self.next[chunk as usize];
            return chunk;
        }
        let chunk = u32::try_from(self.next.len()).ok();
        let chunk = chunk.filter(|&chunk| chunk < CHUNKS);
        let chunk = chunk.expect("fewer than a billion timers");
        self.seats.resize(self.seats.len() + SEATS as usize, 0);
        self.taken.push(0);
        self.next.push(NIL);
        chunk
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    impl Seated for HashMap<u32, u32> {
        fn move_to(&mut self, timer: u32, seat: u32) {
            self.insert(timer, seat);
        }

        fn prefetch(&self, _timer: u32) {}
    }

    fn sweep(chunks: &mut Chunks, list: &mut List, seats: &mut HashMap<u32, u32>) {
        let mut swept = Some(Swept::NOTHING);
        while let Some(at) = swept {
            swept = chunks.sweep(list, at, seats);
        }
    }

    fn retain(chunks: &mut Chunks, seats: &mut HashMap<u32, u32>, keep: impl Fn(u32) -> bool) {
        seats.retain(|&timer, &mut seat| {
            let kept = keep(timer);
            if !kept {
                chunks.vacate(seat);
            }
            kept
        });
    }

    #[test]
    fn a_swept_list_is_at_least_half_full() {
        let mut chunks = Chunks::new();
        let mut list = List::EMPTY;
        let mut seats = HashMap::new();
        for round in 0..100 {
            for timer in 0..1000 {
                seats.insert(timer, chunks.push(&mut list, timer));
            }
            let every = 1 + round % 40;
            retain(&mut chunks, &mut seats, |timer| timer % every == 0);
            sweep(&mut chunks, &mut list, &mut seats);
            assert!(chunks.seats() <= 2 * seats.len() + 2 * SEATS as usize);
            let left = std::iter::from_fn(|| chunks.pop(&mut list, &seats));
            assert!(left.eq((0..1000).filter(|timer| timer % every == 0)));
            assert_eq!(chunks.seats(), 0);
            seats.clear();
        }
        assert_eq!(chunks.next.len(), 1000_usize.div_ceil(SEATS as usize));
    }

    proptest! {
        #[test]
        fn a_list_keeps_its_order_whatever_is_swept_when(
            steps in prop::collection::vec((0..40_u32, 0..10_u32, 0..8_usize), 1..60),
        ) {
            let mut chunks = Chunks::new();
            let mut list = List::EMPTY;
            let mut seats = HashMap::new();
            let mut swept = Swept::NOTHING;
            let mut next = 0;
            for (pushed, cancelled, steps) in steps {
                for timer in next..next + pushed {
                    seats.insert(timer, chunks.push(&mut list, timer));
                }
                next += pushed;
                // Now and then nobody is left, but the chunks are.
                retain(&mut chunks, &mut seats, |timer| {
                    let some = timer.is_multiple_of(cancelled) || timer.is_multiple_of(7);
                    cancelled != 0 && some
                });
                for _ in 0..steps {
                    let next = chunks.sweep(&mut list, swept, &mut seats);
                    swept = next.unwrap_or(Swept::NOTHING);
                }
            }
            let mut expected: Vec<u32> = seats.keys().copied().collect();
            expected.sort_unstable();
            let left: Vec<u32> = std::iter::from_fn(|| chunks.pop(&mut list, &seats)).collect();
            prop_assert_eq!(left, expected);
            prop_assert_eq!(chunks.seats(), 0);
        }
    }
}
