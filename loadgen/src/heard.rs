//! What one member of a room heard from the others: order and duplicates.

use std::collections::HashMap;

use crate::sequence::{Arrival, Sequence};

/// What a user says in a room: who, in which of its visits, as which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Utterance {
    /// Nobody is demanded to receive it.
    pub(crate) late: bool,
    /// The room.
    pub(crate) room: u32,
    /// Counts the visits of the user, to whatever room.
    pub(crate) visit: u32,
    /// Counts the messages of the visit.
    pub(crate) number: u32,
}

const ROOM_BITS: u32 = 20;
const VISIT_BITS: u32 = 23;
const NUMBER_BITS: u32 = 20;

const _: () = assert!(1 + ROOM_BITS + VISIT_BITS + NUMBER_BITS == 64);

/// The most rooms.
pub(crate) const MAX_ROOMS: u32 = 1 << ROOM_BITS;
/// The most visits of a user: some three months at one per second.
pub(crate) const MAX_VISITS: u32 = 1 << VISIT_BITS;
/// The most messages of a visit; then its user says nothing more.
pub(crate) const MAX_NUMBERS: u32 = 1 << NUMBER_BITS;

impl Utterance {
    /// As the sequence number of a stamp.
    pub(crate) fn pack(self) -> u64 {
        debug_assert!(self.room < MAX_ROOMS && self.visit < MAX_VISITS);
        debug_assert!(self.number < MAX_NUMBERS);
        u64::from(self.late) << 63
            | u64::from(self.room) << (VISIT_BITS + NUMBER_BITS)
            | u64::from(self.visit) << NUMBER_BITS
            | u64::from(self.number)
    }

    /// From the sequence number of a stamp.
    pub(crate) fn unpack(sequence: u64) -> Self {
        let field = |shift: u32, bits: u32| {
            u32::try_from(sequence >> shift & ((1 << bits) - 1)).unwrap_or(0)
        };
        Self {
            late: sequence >> 63 == 1,
            room: field(VISIT_BITS + NUMBER_BITS, ROOM_BITS),
            visit: field(NUMBER_BITS, VISIT_BITS),
            number: field(0, NUMBER_BITS),
        }
    }
}

/// What one visit heard. Holds at most two visits of each other user: messages
/// of the one before may still come after the first of the next.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    from: HashMap<(u32, u32), Sequence>,
}

impl Heard {
    /// Takes note of a message of `user`. The first of a visit may have any
    /// number: one who enters a room has not heard those before.
    pub(crate) fn accept(&mut self, user: u32, said: Utterance) -> Arrival {
        let number = u64::from(said.number);
        if let Some(sequence) = self.from.get_mut(&(user, said.visit)) {
            return sequence.accept(number);
        }
        if let Some(before) = said.visit.checked_sub(2) {
            self.from.remove(&(user, before));
        }
        let mut sequence = Sequence::starting(number);
        let arrival = sequence.accept(number);
        self.from.insert((user, said.visit), sequence);
        arrival
    }

    /// Forgets everything, and its memory.
    pub(crate) fn clear(&mut self) {
        self.from = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(visit: u32, number: u32) -> Utterance {
        Utterance {
            late: false,
            room: 3,
            visit,
            number,
        }
    }

    #[test]
    fn an_utterance_survives_the_stamp() {
        let most = Utterance {
            late: true,
            room: MAX_ROOMS - 1,
            visit: MAX_VISITS - 1,
            number: MAX_NUMBERS - 1,
        };
        for utterance in [most, said(0, 0), said(7, 9)] {
            assert_eq!(Utterance::unpack(utterance.pack()), utterance);
        }
    }

    #[test]
    fn the_first_message_heard_may_have_any_number() {
        let mut heard = Heard::default();
        assert_eq!(heard.accept(5, said(0, 17)), Arrival::InOrder);
        assert_eq!(heard.accept(5, said(0, 18)), Arrival::InOrder);
        assert_eq!(heard.accept(5, said(0, 20)), Arrival::Skipped(1));
        assert_eq!(heard.accept(5, said(0, 19)), Arrival::Late);
        assert_eq!(heard.accept(5, said(0, 18)), Arrival::Duplicate);
        assert_eq!(heard.accept(6, said(0, 3)), Arrival::InOrder);
    }

    #[test]
    fn visits_of_a_user_are_told_apart_and_bounded() {
        let mut heard = Heard::default();
        for visit in 0..100 {
            assert_eq!(heard.accept(5, said(visit, 0)), Arrival::InOrder);
            assert_eq!(heard.accept(5, said(visit, 0)), Arrival::Duplicate);
        }
        assert_eq!(heard.accept(5, said(98, 1)), Arrival::InOrder);
        assert!(heard.from.len() <= 2);
    }
}
