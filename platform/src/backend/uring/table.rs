//! The entries of attached sockets, kept small.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::send::SendOp;
pub(super) use crate::backend::slots::Role;
use crate::backend::slots::{Slot, Slots};
use crate::driver::Token;
use crate::error::DriverError;

/// States of a slot that are not exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u32);

impl Flags {
    /// `close` was called.
    pub(super) const CLOSING: Self = Self(1);
    /// The close of the descriptor is with the kernel.
    pub(super) const CLOSE_SENT: Self = Self(1 << 1);
    /// The owner wants to receive.
    pub(super) const RECV_WANTED: Self = Self(1 << 2);
    /// A receive is with the kernel.
    pub(super) const RECV_ARMED: Self = Self(1 << 3);
    /// The armed receive was told to stop.
    pub(super) const RECV_CANCELLED: Self = Self(1 << 4);
    /// The stream ended and said so.
    pub(super) const RECV_ENDED: Self = Self(1 << 5);
    /// Holds its share of the pool: armed again when leases return.
    pub(super) const RECV_CAPPED: Self = Self(1 << 6);
    /// A send is in flight.
    pub(super) const SENDING: Self = Self(1 << 7);
    /// `shutdown` waits for the send in flight.
    pub(super) const SHUT_WANTED: Self = Self(1 << 8);
    /// The listener ran out of descriptors and has not accepted since.
    pub(super) const STARVED: Self = Self(1 << 9);
    /// In the list of receives stalled by an empty pool.
    pub(super) const LISTED_STALLED: Self = Self(1 << 10);
    /// In the list of sockets to check against their share of the pool.
    pub(super) const LISTED_SHARE: Self = Self(1 << 11);
    /// In the list of paused listeners.
    pub(super) const LISTED_PAUSED: Self = Self(1 << 12);
    /// In the list of cancels to repeat.
    pub(super) const LISTED_CANCEL: Self = Self(1 << 13);
    /// In the list of sockets to look at for a reset.
    pub(super) const LISTED_HEARD: Self = Self(1 << 14);

    /// A non-blocking listener waits for a connection before it accepts again.
    pub(super) const ACCEPT_AWAITS: Self = Self(1 << 15);
    /// A closing listener has accepted what was waiting.
    pub(super) const ACCEPTED_LAST: Self = Self(1 << 16);

    /// Membership of a list outlives the slot's occupant: the lists hold slots,
    /// each at most once, and skip those that no longer need them. That bounds
    /// every list by the table.
    const LISTED: Self = Self(
        Self::LISTED_STALLED.0
            | Self::LISTED_SHARE.0
            | Self::LISTED_PAUSED.0
            | Self::LISTED_CANCEL.0
            | Self::LISTED_HEARD.0,
    );

    pub(super) const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) const fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub(super) const fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }

    /// Sets the flag; whether it was clear.
    pub(super) const fn raise(&mut self, flag: Self) -> bool {
        let was_clear = !self.has(flag);
        self.set(flag);
        was_clear
    }
}

/// One slot. Small, because idle connections cost exactly this.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) fd: Option<OwnedFd>,
    generation: u32,
    /// The plain send in flight: memory the kernel reads.
    pub(super) op: Option<Box<SendOp>>,
    /// Leases out on bytes this slot received. Not reset when the slot is
    /// freed: leases return by slot number, whoever lives there then.
    pub(super) leases: u32,
    /// Operations of this slot the kernel has not finished.
    pub(super) ops: u16,
    pub(super) flags: Flags,
    pub(super) role: Role,
    /// Cancels sent since `close`.
    pub(super) cancels: u8,
}

const _: () = assert!(size_of::<Entry>() <= 32, "an idle socket stays small");

impl Entry {
    /// The descriptor's number; -1 once it is gone.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    pub(super) fn has(&self, flag: Flags) -> bool {
        self.flags.has(flag)
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
    /// Attaches a descriptor.
    pub(super) fn attach(&mut self, role: Role, fd: OwnedFd) -> Result<Token, DriverError> {
        self.insert(|entry| {
            entry.fd = Some(fd);
            entry.role = role;
        })
    }

    /// The entry of a token that is not stale and not being closed.
    pub(super) fn open_mut(&mut self, token: Token) -> Option<&mut Entry> {
        self.get_mut(token)
            .filter(|entry| !entry.has(Flags::CLOSING))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null")
            .expect("/dev/null opens")
            .into()
    }

    #[test]
    fn lists_and_leases_survive_the_occupant_and_nothing_else_does() {
        let mut table = Table::new(1);
        let token = table.attach(Role::Stream, fd()).expect("room");
        let entry = table.get_mut(token).expect("occupied");
        entry.leases = 3;
        entry.flags.set(Flags::RECV_WANTED);
        assert!(entry.flags.raise(Flags::LISTED_STALLED));
        assert!(!entry.flags.raise(Flags::LISTED_STALLED));
        table.remove(token);
        table.release();
        let token = table.attach(Role::Stream, fd()).expect("room");
        let entry = table.get(token).expect("occupied");
        assert_eq!(entry.leases, 3);
        assert!(entry.has(Flags::LISTED_STALLED));
        assert!(!entry.has(Flags::RECV_WANTED));
    }
}
