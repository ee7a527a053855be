//! The entries of attached sockets.

use compio_driver::{Key, SharedFd};

use super::system::{Owned, ReadyOp, SendOp};
pub(super) use crate::backend::slots::Role;
use crate::backend::slots::{Slot, Slots};
use crate::driver::Token;

/// States of a slot that are not exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// `close` was called.
    pub(super) const CLOSING: Self = Self(1);
    /// The descriptor is closed; the event that says so is on its way.
    pub(super) const CLOSED: Self = Self(1 << 1);
    /// The owner wants to receive.
    pub(super) const RECV_WANTED: Self = Self(1 << 2);
    /// The stream ended and said so.
    pub(super) const RECV_ENDED: Self = Self(1 << 3);
    /// Holds its share of the pool: goes on when leases return.
    pub(super) const RECV_CAPPED: Self = Self(1 << 4);
    /// The event that ends a send is outstanding.
    pub(super) const SENDING: Self = Self(1 << 5);
    /// `shutdown` waits for the send in flight.
    pub(super) const SHUT_WANTED: Self = Self(1 << 6);
    /// The listener ran out of descriptors and has not accepted since.
    pub(super) const STARVED: Self = Self(1 << 7);
    /// In the list of what can be received from, or accepted, at once.
    pub(super) const LISTED_DUE: Self = Self(1 << 8);
    /// In the list of receives stalled by an empty pool.
    pub(super) const LISTED_STALLED: Self = Self(1 << 9);
    /// In the list of paused listeners.
    pub(super) const LISTED_PAUSED: Self = Self(1 << 10);
    /// In the list of sources to watch again.
    pub(super) const LISTED_WATCH: Self = Self(1 << 11);

    /// Received up to its share of the pool. What an earlier occupant of the
    /// slot still holds does not stop the next one before it has received.
    pub(super) const SHARE_TAKEN: Self = Self(1 << 12);

    /// The source is watched again when its readiness has been delivered.
    pub(super) const WATCH_AGAIN: Self = Self(1 << 13);

    /// Membership of a list outlives the slot's occupant: the lists hold slots,
    /// each at most once, and skip those that no longer need them. That bounds
    /// every list by the table.
    const LISTED: Self = Self(
        Self::LISTED_DUE.0 | Self::LISTED_STALLED.0 | Self::LISTED_PAUSED.0 | Self::LISTED_WATCH.0,
    );

    pub(super) const fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub(super) const fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }

    /// Sets the flag; whether it was clear.
    pub(super) const fn raise(&mut self, flag: Self) -> bool {
        let was_clear = self.0 & flag.0 == 0;
        self.set(flag);
        was_clear
    }
}

/// One slot.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) fd: Option<SharedFd<Owned>>,
    /// Waits until there is something to receive.
    pub(super) ready: Option<Key<ReadyOp>>,
    /// The send that had to wait, with its segments.
    pub(super) send: Option<Key<SendOp>>,
    generation: u32,
    /// Leases out on bytes this slot received. Not reset when the slot is
    /// freed: leases return by slot number, whoever lives there then.
    pub(super) leases: u32,
    /// Operations of this slot that are not over.
    pub(super) ops: u16,
    pub(super) flags: Flags,
    pub(super) role: Role,
}

const _: () = assert!(size_of::<Entry>() <= 48, "an idle socket stays small");

impl Entry {
    pub(super) fn has(&self, flag: Flags) -> bool {
        self.flags.0 & flag.0 != 0
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
            flags: Flags(self.flags.0 & Flags::LISTED.0),
            ..Self::default()
        };
    }
}

impl Table {
    /// The entry, unless it is being closed or the token is stale.
    pub(super) fn open_mut(&mut self, token: Token) -> Option<&mut Entry> {
        self.get_mut(token)
            .filter(|entry| !entry.has(Flags::CLOSING))
    }
}
