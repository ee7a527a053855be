//! What two endpoints agreed on.

use crate::connection::Role;

/// The parameters of permessage-deflate that hold on a connection (RFC 7692
/// section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeflateParams {
    /// The server compresses each message on its own.
    pub server_no_context_takeover: bool,
    /// The client compresses each message on its own.
    pub client_no_context_takeover: bool,
    /// The server's messages refer back at most 2^bits bytes, 8 to 15.
    pub server_max_window_bits: u8,
    /// The client's messages refer back at most 2^bits bytes, 8 to 15.
    pub client_max_window_bits: u8,
}

impl Default for DeflateParams {
    /// What holds where the parameters are silent: context takeover and full
    /// windows.
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
        }
    }
}

impl DeflateParams {
    /// What holds for (sending, receiving) in this role.
    pub(crate) fn sides(&self, role: Role) -> (Side, Side) {
        let server = Side::new(
            !self.server_no_context_takeover,
            self.server_max_window_bits,
        );
        let client = Side::new(
            !self.client_no_context_takeover,
            self.client_max_window_bits,
        );
        match role {
            Role::Server => (server, client),
            Role::Client => (client, server),
        }
    }
}

/// One direction of a connection, in a byte: zero if never compressed, else
/// the window bits and whether the context is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side(u8);

impl Side {
    pub(crate) const OFF: Self = Self(0);
    const TAKEOVER: u8 = 0x80;

    fn new(takeover: bool, window_bits: u8) -> Self {
        let takeover = if takeover { Self::TAKEOVER } else { 0 };
        Self(window_bits.clamp(8, 15) | takeover)
    }

    /// Whether the extension was agreed on.
    #[inline]
    pub(crate) fn is_on(self) -> bool {
        self != Self::OFF
    }

    /// Whether zlib can compress for this window: not for 256 bytes.
    #[inline]
    pub(crate) fn can_compress(self) -> bool {
        self.window_bits() > 8
    }

    #[inline]
    pub(crate) fn takeover(self) -> bool {
        self.0 & Self::TAKEOVER != 0
    }

    #[inline]
    pub(crate) fn window_bits(self) -> u8 {
        self.0 & !Self::TAKEOVER
    }
}
