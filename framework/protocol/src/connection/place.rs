//! Where in the stream of frames the next byte belongs.

use crate::frame::{Header, MAX_HEADER, OpCode};

/// In bytes, so that a connection is no larger for their alignment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// In a header, of which `len` bytes were cut off by the end of the input.
    Header {
        partial: [u8; MAX_HEADER],
        len: u8,
    },
    Payload(InPayload),
}

/// In the payload of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct InPayload {
    remaining: [u8; 8],
    /// The frame's key, rotated to its next payload byte.
    pub(super) mask: [u8; 4],
    pub(super) opcode: OpCode,
}

impl Place {
    /// Before a frame.
    pub(super) const START: Self = Self::Header {
        partial: [0; MAX_HEADER],
        len: 0,
    };

    /// Behind a frame's header.
    #[inline]
    pub(super) fn behind(header: &Header) -> Self {
        Self::Payload(InPayload {
            remaining: header.len.to_ne_bytes(),
            mask: header.mask,
            opcode: header.opcode,
        })
    }

    /// Whether nothing of the next frame has arrived.
    #[inline]
    pub(super) fn is_start(&self) -> bool {
        matches!(self, Self::Header { len: 0, .. })
    }

    /// The current frame, while in its payload.
    #[inline]
    pub(super) fn frame(&self) -> Option<OpCode> {
        match self {
            Self::Payload(payload) => Some(payload.opcode),
            Self::Header { .. } => None,
        }
    }

    /// Payload bytes of the current frame that have not arrived; 0 behind it.
    #[inline]
    pub(super) fn remaining(&self) -> u64 {
        match self {
            Self::Payload(payload) => payload.remaining(),
            Self::Header { .. } => 0,
        }
    }
}

impl InPayload {
    /// In a data frame at most `Limits::max_message`.
    #[inline]
    pub(super) fn remaining(&self) -> u64 {
        u64::from_ne_bytes(self.remaining)
    }

    #[inline]
    pub(super) fn took(&mut self, bytes: usize) {
        self.remaining = (self.remaining() - bytes as u64).to_ne_bytes();
    }
}
