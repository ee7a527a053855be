//! The table of attached sockets.

use super::op::Descriptor;
use super::world::EndId;
use crate::backend::batch::Batch;
pub(super) use crate::backend::slots::Role;
use crate::backend::slots::{Slot, Slots};
use crate::driver::Token;
use crate::error::DriverError;

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
    pub(super) op: Option<Batch>,
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
    /// A closing listener has accepted what was waiting.
    pub(super) accepted_last: bool,
}

impl Entry {
    /// The end of a connection, when it is one.
    pub(super) fn end(&self) -> Option<EndId> {
        match self.descriptor {
            Some(Descriptor::End(end)) => Some(end),
            _ => None,
        }
    }
}

/// The slots of a driver.
pub(super) type Table = Slots<Entry>;

impl Slot for Entry {
    fn generation(&self) -> u32 {
        self.generation
    }

    fn is_occupied(&self) -> bool {
        self.role != Role::Free
    }

    fn vacate(&mut self, next: u32) {
        debug_assert_eq!(self.ops, 0, "a freed slot has nothing in flight");
        *self = Self {
            generation: next,
            leases: self.leases,
            stalled: self.stalled,
            ..Self::default()
        };
    }
}

impl Table {
    /// Attaches a descriptor.
    pub(super) fn attach(
        &mut self,
        role: Role,
        descriptor: Option<Descriptor>,
    ) -> Result<Token, DriverError> {
        self.insert(|entry| {
            entry.descriptor = descriptor;
            entry.role = role;
        })
    }

    /// The entry of a token that is not stale and not being closed.
    pub(super) fn open_mut(&mut self, token: Token) -> Option<&mut Entry> {
        self.get_mut(token).filter(|entry| !entry.closing)
    }
}
