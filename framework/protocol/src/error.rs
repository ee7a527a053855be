//! What a peer can do wrong after the handshake, and which code answers it.

use thiserror::Error;

use crate::close::CloseCode;
use crate::deflate::Corrupt;
use crate::utf8::InvalidUtf8;

/// The peer violated RFC 6455, RFC 7692 or a limit of this endpoint. The connection has
/// failed (section 7.1.7): its Close frame is in the output and nothing more
/// is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set that no agreed extension gives a meaning here.
    #[error("reserved bits set")]
    ReservedBits,
    /// The opcode is one of the reserved ones.
    #[error("unknown opcode {0}")]
    UnknownOpcode(u8),
    /// A client sent a frame without a mask.
    #[error("frame from a client is not masked")]
    Unmasked,
    /// A server sent a frame with a mask.
    #[error("frame from a server is masked")]
    Masked,
    /// A control frame without FIN.
    #[error("fragmented control frame")]
    FragmentedControl,
    /// A control frame longer than 125 bytes.
    #[error("control frame longer than 125 bytes")]
    ControlTooLong,
    /// A continuation without a message to continue.
    #[error("continuation without a message")]
    UnexpectedContinuation,
    /// A new message inside an unfinished one.
    #[error("new message inside an unfinished one")]
    ExpectedContinuation,
    /// A text message or close reason that is not UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// A Close frame of one byte.
    #[error("close frame of one byte")]
    BadClosePayload,
    /// A Close frame with a code that must not be sent.
    #[error("close code {0} must not be sent")]
    BadCloseCode(u16),
    /// A single frame announced more than a whole message may have.
    #[error("frame of {len} bytes exceeds the limit of {limit}")]
    FrameTooLarge {
        /// The announced payload length in bytes.
        len: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// The fragments of a message add up to more than it may have.
    #[error("message exceeds the limit of {limit} bytes")]
    MessageTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A message came in more fragments than allowed.
    #[error("message exceeds the limit of {limit} fragments")]
    TooManyFragments {
        /// The limit.
        limit: u32,
    },
    /// A compressed message is not a deflate stream.
    #[error("compressed message is corrupt")]
    BadDeflate,
    /// A compressed message inflates to too many times its size.
    #[error("message inflates to more than {limit} times its size")]
    RatioExceeded {
        /// The limit.
        limit: u32,
    },
    /// A length written in more bytes than it needs.
    #[error("length not in its shortest form")]
    NonMinimalLength,
    /// A 64-bit length with the highest bit set.
    #[error("length has its highest bit set")]
    LengthHighBit,
}

impl ProtocolError {
    /// The code to close with: 1002, 1007 or 1009.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::BadDeflate => CloseCode::INVALID_PAYLOAD,
            Self::FrameTooLarge { .. }
            | Self::MessageTooLarge { .. }
            | Self::RatioExceeded { .. }
            | Self::TooManyFragments { .. } => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl From<Corrupt> for ProtocolError {
    fn from(Corrupt: Corrupt) -> Self {
        Self::BadDeflate
    }
}

impl From<InvalidUtf8> for ProtocolError {
    fn from(InvalidUtf8: InvalidUtf8) -> Self {
        Self::InvalidUtf8
    }
}

/// Nothing can be sent any more: this endpoint has already sent its Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the connection is closing")]
pub struct Closing;
