//! The booleans of a connection, in a byte.

use super::Role;

/// A set of flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    /// The current frame is the last of its message.
    pub(super) const FIN: u8 = 1;
    /// The message that arrives is compressed.
    pub(super) const COMPRESSED: u8 = 2;
    /// A message was begun by `send_fragment` and not finished.
    pub(super) const SENDING: u8 = 4;
    /// The message that `send_fragment` sends is compressed.
    pub(super) const COMPRESSING: u8 = 8;
    /// This end is the client.
    const CLIENT: u8 = 16;

    pub(super) fn of(role: Role) -> Self {
        match role {
            Role::Server => Self(0),
            Role::Client => Self(Self::CLIENT),
        }
    }

    #[inline]
    pub(super) fn role(self) -> Role {
        if self.has(Self::CLIENT) {
            Role::Client
        } else {
            Role::Server
        }
    }

    #[inline]
    pub(super) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    pub(super) fn set(&mut self, flag: u8, on: bool) {
        if on {
            self.0 |= flag;
        } else {
            self.0 &= !flag;
        }
    }
}
