//! What an operation was: packed into the 64 bits the kernel hands back.

use crate::driver::Token;

/// What a completion completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Multishot accept of a listener.
    Accept = 1,
    /// Multishot receive of a socket.
    Recv = 2,
    /// Plain send of a socket.
    Send = 3,
    /// Zero-copy send; the token names an entry of the zero-copy table.
    SendZc = 4,
    /// Connect of a socket.
    Connect = 5,
    /// The timeout linked to a connect.
    ConnectTimeout = 6,
    /// Multishot poll of a watched source.
    Poll = 7,
    /// Close of a descriptor.
    Close = 8,
    /// Cancels everything on a descriptor.
    CancelAll = 9,
    /// Cancels one operation of a socket.
    CancelOne = 10,
    /// The read armed on this driver's own eventfd.
    Doorbell = 11,
    /// A message to another driver's ring; the token names an entry of the
    /// table of wakes under way.
    Ring = 12,
    /// A message another driver's ring sent here: not our operation.
    Rung = 13,
    /// Housekeeping whose completion says nothing.
    Sweep = 14,
}

/// kind (4 bits) | generation (28 bits) | slot (32 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u64);

const _: () = assert!(
    Token::GENERATIONS == 1 << 28,
    "a generation fits between kind and slot"
);

impl Tag {
    pub(super) const fn new(kind: Kind, token: Token) -> Self {
        Self((kind as u64) << 60 | (token.generation() as u64) << 32 | token.slot() as u64)
    }

    /// A tag of an operation that belongs to no slot.
    pub(super) const fn global(kind: Kind) -> Self {
        Self::new(kind, Token::new(0, 0))
    }

    /// A tag as the kernel returned it.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// `None` for bits this driver never wrote.
    pub(super) const fn kind(self) -> Option<Kind> {
        Some(match self.0 >> 60 {
            1 => Kind::Accept,
            2 => Kind::Recv,
            3 => Kind::Send,
            4 => Kind::SendZc,
            5 => Kind::Connect,
            6 => Kind::ConnectTimeout,
            7 => Kind::Poll,
            8 => Kind::Close,
            9 => Kind::CancelAll,
            10 => Kind::CancelOne,
            11 => Kind::Doorbell,
            12 => Kind::Ring,
            13 => Kind::Rung,
            14 => Kind::Sweep,
            _ => return None,
        })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low 32 bits are the slot"
    )]
    pub(super) const fn token(self) -> Token {
        Token::new(self.0 as u32, (self.0 >> 32) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 14] = [
        Kind::Accept,
        Kind::Recv,
        Kind::Send,
        Kind::SendZc,
        Kind::Connect,
        Kind::ConnectTimeout,
        Kind::Poll,
        Kind::Close,
        Kind::CancelAll,
        Kind::CancelOne,
        Kind::Doorbell,
        Kind::Ring,
        Kind::Rung,
        Kind::Sweep,
    ];

    #[test]
    fn every_kind_and_token_comes_back() {
        for kind in KINDS {
            for slot in [0, 1, 0x8000_0000, u32::MAX] {
                for generation in [0, 1, Token::GENERATIONS - 1] {
                    let token = Token::new(slot, generation);
                    let tag = Tag::from_bits(Tag::new(kind, token).bits());
                    assert_eq!(tag.kind(), Some(kind));
                    assert_eq!(tag.token(), token);
                }
            }
        }
    }

    #[test]
    fn foreign_bits_are_no_kind() {
        assert_eq!(Tag::from_bits(0).kind(), None);
        assert_eq!(Tag::from_bits(u64::MAX).kind(), None);
    }
}
