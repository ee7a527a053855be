//! The table of a driver's attached sockets: dense slots with generations.

use crate::driver::Token;
use crate::error::DriverError;

/// What a slot is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    #[default]
    Free,
    Listener,
    Connecting,
    Stream,
    Source,
}

/// What one slot holds, in this life or between two.
pub(super) trait Slot: Default {
    /// Which life this is, or was.
    fn generation(&self) -> u32;

    /// Whether someone lives here.
    fn is_occupied(&self) -> bool;

    /// Frees the slot for its life `next`. What lists and leases still say of
    /// it stays.
    fn vacate(&mut self, next: u32);
}

/// The slots.
#[derive(Debug)]
pub(super) struct Slots<S> {
    slots: Vec<S>,
    /// Free slots, the last freed on top: its entry is the one in cache.
    free: Vec<u32>,
    /// Slots freed since the last [`release`](Self::release).
    resting: Vec<u32>,
    limit: u32,
}

impl<S: Slot> Slots<S> {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            resting: Vec::new(),
            limit,
        }
    }

    /// Occupied slots.
    pub(super) fn occupied(&self) -> usize {
        self.slots.len() - self.free.len() - self.resting.len()
    }

    /// Fails when no slot is left.
    pub(super) fn check_room(&self) -> Result<(), DriverError> {
        if self.free.is_empty() && self.slots.len() >= self.limit as usize {
            return Err(DriverError::TableFull { limit: self.limit });
        }
        Ok(())
    }

    /// Gives a free slot to whom `move_in` makes of it.
    pub(super) fn insert(&mut self, move_in: impl FnOnce(&mut S)) -> Result<Token, DriverError> {
        self.check_room()?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(S::default());
            // The limit is a u32, so the length fits.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.slots[slot as usize];
        move_in(entry);
        debug_assert!(entry.is_occupied());
        Ok(Token::new(slot, entry.generation()))
    }

    /// Frees a slot none of whose operations is in flight. It is given out
    /// again after the next [`release`](Self::release): whoever serves the
    /// events of one wait may adopt a socket before it comes to the close that
    /// freed the slot.
    pub(super) fn remove(&mut self, token: Token) {
        let entry = &mut self.slots[token.index()];
        debug_assert_eq!(entry.generation(), token.generation());
        entry.vacate((entry.generation() + 1) % Token::GENERATIONS);
        self.resting.push(token.slot());
    }

    /// What was freed before has been told of: it can be given out.
    pub(super) fn release(&mut self) {
        self.free.append(&mut self.resting);
    }

    /// The entry of a token that is not stale.
    pub(super) fn get(&self, token: Token) -> Option<&S> {
        self.slots
            .get(token.index())
            .filter(|entry| lives_in(*entry, token))
    }

    /// The entry of a token that is not stale.
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut S> {
        self.slots
            .get_mut(token.index())
            .filter(|entry| lives_in(&**entry, token))
    }

    /// A slot from a list, whoever lives there now.
    pub(super) fn slot_mut(&mut self, slot: u32) -> &mut S {
        &mut self.slots[slot as usize]
    }

    /// The token of a slot's occupant.
    pub(super) fn occupant(&self, slot: u32) -> Option<Token> {
        let entry = &self.slots[slot as usize];
        entry
            .is_occupied()
            .then(|| Token::new(slot, entry.generation()))
    }

    /// All occupants.
    pub(super) fn tokens(&self) -> Vec<Token> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(slot, _)| self.occupant(slot))
            .collect()
    }
}

fn lives_in(entry: &impl Slot, token: Token) -> bool {
    entry.generation() == token.generation() && entry.is_occupied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Room {
        generation: u32,
        occupied: bool,
    }

    impl Slot for Room {
        fn generation(&self) -> u32 {
            self.generation
        }

        fn is_occupied(&self) -> bool {
            self.occupied
        }

        fn vacate(&mut self, next: u32) {
            self.generation = next;
            self.occupied = false;
        }
    }

    fn insert(slots: &mut Slots<Room>) -> Result<Token, DriverError> {
        slots.insert(|room| room.occupied = true)
    }

    #[test]
    fn a_slot_is_reused_last_freed_first_with_a_new_generation() {
        let mut slots = Slots::new(8);
        let first = insert(&mut slots).expect("room");
        let second = insert(&mut slots).expect("room");
        slots.remove(first);
        slots.remove(second);
        slots.release();
        let third = insert(&mut slots).expect("room");
        assert_eq!((third.slot(), third.generation()), (second.slot(), 1));
        assert!(slots.get(second).is_none());
        assert!(slots.get(third).is_some());
        assert_eq!(slots.tokens(), [third]);
        assert_eq!(slots.occupied(), 1);
    }

    #[test]
    fn the_limit_holds() {
        let mut slots = Slots::new(1);
        let only = insert(&mut slots).expect("room");
        assert!(matches!(
            insert(&mut slots),
            Err(DriverError::TableFull { limit: 1 })
        ));
        slots.remove(only);
        assert!(insert(&mut slots).is_err(), "nobody has heard of it yet");
        slots.release();
        assert!(insert(&mut slots).is_ok());
    }

    #[test]
    fn generations_wrap() {
        let mut slots = Slots::new(1);
        let token = insert(&mut slots).expect("room");
        slots.get_mut(token).expect("occupied").generation = Token::GENERATIONS - 1;
        slots.remove(Token::new(0, Token::GENERATIONS - 1));
        slots.release();
        let token = insert(&mut slots).expect("room");
        assert_eq!(token.generation(), 0);
    }
}
