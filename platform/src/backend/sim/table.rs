//! The table of attached sockets.

use super::op::Descriptor;
use super::send::SendOp;
use super::world::EndId;
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

/// What goes on with the receive stream.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent: the owner's wish, the kernel's state, the pool's"
)]
pub(super) struct Receiving {
    /// The owner wants to receive.
    pub(super) wanted: bool,
    /// A receive is with the kernel.
    pub(super) armed: bool,
    /// The armed receive was told to stop.
    pub(super) cancelled: bool,
    /// The stream ended and said so.
    pub(super) ended: bool,
    /// Holds its share of the pool: armed again when leases return.
    pub(super) capped: bool,
}

/// One slot.
#[derive(Debug, Default)]
pub(super) struct Entry {
    generation: u32,
    pub(super) role: Role,
    pub(super) descriptor: Option<Descriptor>,
    pub(super) recv: Receiving,
    /// The send in flight.
    pub(super) op: Option<SendOp>,
    /// Leases out on bytes this slot received. Not reset when the slot is
    /// freed: leases return by slot number, whoever lives there then.
    pub(super) leases: u32,
    /// In the list of receives stalled by an empty pool. Not reset either: the
    /// list holds slots, each at most once, and skips those not waiting.
    pub(super) stalled: bool,
    /// Operations of this slot the kernel has not finished.
    pub(super) ops: u32,
    /// `shutdown` waits for the send in flight.
    pub(super) shut_wanted: bool,
    /// `close` was called.
    pub(super) closing: bool,
    /// The close of the descriptor is with the kernel.
    pub(super) close_sent: bool,
    /// The listener ran out of descriptors and has not accepted since.
    pub(super) starved: bool,
}

impl Entry {
    /// The end of a connection, when it is one.
    pub(super) fn end(&self) -> Option<EndId> {
        match self.descriptor {
            Some(Descriptor::End(end)) => Some(end),
            _ => None,
        }
    }

    fn is(&self, token: Token) -> bool {
        self.generation == token.generation() && self.role != Role::Free
    }
}

/// The slots.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Entry>,
    /// Free slots, the last freed on top.
    free: Vec<u32>,
    limit: u32,
}

impl Table {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            limit,
        }
    }

    /// Occupied slots.
    pub(super) fn occupied(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Fails when no slot is left.
    pub(super) fn check_room(&self) -> Result<(), DriverError> {
        if self.free.is_empty() && self.slots.len() >= self.limit as usize {
            return Err(DriverError::TableFull { limit: self.limit });
        }
        Ok(())
    }

    /// Occupies a slot; there is room.
    pub(super) fn insert(&mut self, role: Role, descriptor: Option<Descriptor>) -> Token {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Entry::default());
            // The limit is a u32, so the length fits.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.slots[slot as usize];
        entry.descriptor = descriptor;
        entry.role = role;
        Token::new(slot, entry.generation)
    }

    /// Frees a slot none of whose operations is in flight.
    pub(super) fn remove(&mut self, token: Token) {
        let entry = &mut self.slots[token.index()];
        debug_assert_eq!(entry.generation, token.generation());
        debug_assert_eq!(entry.ops, 0, "a freed slot has nothing in flight");
        *entry = Entry {
            generation: (entry.generation + 1) % Token::GENERATIONS,
            leases: entry.leases,
            stalled: entry.stalled,
            ..Entry::default()
        };
        self.free.push(token.slot());
    }

    /// The entry of a token that is not stale.
    pub(super) fn get(&self, token: Token) -> Option<&Entry> {
        self.slots
            .get(token.index())
            .filter(|entry| entry.is(token))
    }

    /// The entry of a token that is not stale.
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Entry> {
        self.slots
            .get_mut(token.index())
            .filter(|entry| entry.is(token))
    }

    /// The entry of a token that is not stale and not being closed.
    pub(super) fn open_mut(&mut self, token: Token) -> Option<&mut Entry> {
        self.get_mut(token).filter(|entry| !entry.closing)
    }

    /// A slot from a list, whoever lives there now.
    pub(super) fn slot_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.slots[slot as usize]
    }

    /// The token of a slot's occupant.
    pub(super) fn occupant(&self, slot: u32) -> Option<Token> {
        let entry = &self.slots[slot as usize];
        (entry.role != Role::Free).then(|| Token::new(slot, entry.generation))
    }

    /// All occupants.
    pub(super) fn tokens(&self) -> Vec<Token> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(slot, _)| self.occupant(slot))
            .collect()
    }
}
