//! The frame header (RFC 6455 section 5.2).
//!
//! ```text
//!  byte 0            byte 1            0, 2 or 8 bytes     0 or 4 bytes
//! +-+---+---------+ +-+-------------+ +-----------------+ +-----------+
//! |F|RSV| opcode  | |M| length (7)  | | longer length   | | mask key  |
//! +-+---+---------+ +-+-------------+ +-----------------+ +-----------+
//! ```
//! A length of 126 or 127 says that 2 or 8 bytes of length follow.

use crate::error::ProtocolError;
use crate::message::Kind;

/// The longest header: two bytes, an eight-byte length and a mask key.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (section 5.5).
pub const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// The first reserved bit: compressed, if that was agreed on (RFC 7692 section 6).
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
/// The first bytes of whole, uncompressed messages.
const TEXT: u8 = FIN | OpCode::Text as u8;
const BINARY: u8 = FIN | OpCode::Binary as u8;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpCode {
    /// A further fragment of a message.
    Continuation = 0,
    /// A text message or its first fragment.
    Text = 1,
    /// A binary message or its first fragment.
    Binary = 2,
    /// The close handshake.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping, or comes unasked.
    Pong = 10,
}

impl OpCode {
    /// Whether frames of this kind may interleave with the fragments of a message.
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    #[inline]
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

impl From<Kind> for OpCode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

/// Writes a frame header and returns the number of bytes used.
///
/// The length takes its shortest form. Lengths of 2^63 and more do not exist
/// in the protocol; no buffer can have them.
#[inline]
pub fn encode_header(
    out: &mut [u8; MAX_HEADER],
    fin: bool,
    opcode: OpCode,
    len: u64,
    mask: Option<[u8; 4]>,
) -> usize {
    debug_assert!(
        len < 1 << 63,
        "a length with its highest bit set is not encodable"
    );
    out[0] = if fin { FIN } else { 0 } | opcode as u8;
    let mask_bit = if mask.is_some() { MASKED } else { 0 };
    let used = if len <= 125 {
        out[1] = mask_bit | len.to_le_bytes()[0];
        2
    } else if let Ok(len) = u16::try_from(len) {
        out[1] = mask_bit | 126;
        out[2..4].copy_from_slice(&len.to_be_bytes());
        4
    } else {
        out[1] = mask_bit | 127;
        out[2..10].copy_from_slice(&len.to_be_bytes());
        10
    };
    match mask {
        Some(key) => {
            out[used..used + 4].copy_from_slice(&key);
            used + 4
        }
        None => used,
    }
}

/// The header of an unmasked frame that ends a message, of up to 125 bytes.
#[inline]
pub(crate) fn encode_short(opcode: OpCode, len: usize) -> Option<[u8; 2]> {
    let len = u8::try_from(len).ok().filter(|&len| len <= 125)?;
    Some([FIN | opcode as u8, len])
}

/// Marks the message that an encoded header begins as compressed.
#[inline]
pub(crate) fn mark_compressed(header: &mut [u8; MAX_HEADER]) {
    header[0] |= RSV1;
}

/// A whole message as one unmasked frame, as a server sends it: for a
/// broadcast, encoded once and queued to every subscriber.
pub fn encode_message(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    append_message(kind, payload, &mut frame);
    frame
}

/// Appends what [`encode_message`] makes to `out`, whose memory may be of an
/// earlier frame.
pub fn append_message(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    let mut header = [0; MAX_HEADER];
    let used = encode_header(&mut header, true, kind.into(), payload.len() as u64, None);
    out.reserve_exact(used + payload.len());
    out.extend_from_slice(&header[..used]);
    out.extend_from_slice(payload);
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    /// The message that this frame begins is compressed.
    pub(crate) compressed: bool,
    pub(crate) opcode: OpCode,
    pub(crate) len: u64,
    /// Zero in an unmasked frame.
    pub(crate) mask: [u8; 4],
}

/// The outcome of looking for a header at the start of some bytes.
pub(crate) enum Decoded {
    Header {
        header: Header,
        /// Bytes that the header takes.
        size: usize,
    },
    Partial {
        /// Bytes to have before it is worth looking again; more than there are
        /// now, at most [`MAX_HEADER`].
        needed: usize,
    },
}

/// Decodes the header at the start of `bytes`; `masked` is what the role of
/// the sender requires, `deflate` whether messages may be compressed.
/// Violations show as soon as their byte is there.
#[inline]
pub(crate) fn decode_header(
    bytes: &[u8],
    masked: bool,
    deflate: bool,
) -> Result<Decoded, ProtocolError> {
    let [first, second, rest @ ..] = bytes else {
        return decode_start(bytes, deflate);
    };
    let First {
        fin,
        compressed,
        opcode,
    } = decode_first(*first, deflate)?;
    if (second & MASKED != 0) != masked {
        return Err(wrong_masking(masked));
    }
    let short_len = second & !MASKED;
    if opcode.is_control() && usize::from(short_len) > MAX_CONTROL {
        return Err(ProtocolError::ControlTooLong);
    }
    let (len, rest) = match short_len {
        126 => {
            let Some((len, rest)) = rest.split_first_chunk() else {
                return Ok(length_missing(4, masked));
            };
            (shortest(u16::from_be_bytes(*len).into(), 126)?, rest)
        }
        127 => {
            let Some((len, rest)) = rest.split_first_chunk() else {
                return Ok(length_missing(10, masked));
            };
            (shortest(u64::from_be_bytes(*len), 1 << 16)?, rest)
        }
        len => (u64::from(len), rest),
    };
    let before_mask = bytes.len() - rest.len();
    if !masked {
        let header = Header {
            fin,
            compressed,
            opcode,
            len,
            mask: [0; 4],
        };
        return Ok(Decoded::Header {
            header,
            size: before_mask,
        });
    }
    match rest.first_chunk() {
        Some(&mask) => {
            let header = Header {
                fin,
                compressed,
                opcode,
                len,
                mask,
            };
            Ok(Decoded::Header {
                header,
                size: before_mask + 4,
            })
        }
        None => Ok(Decoded::Partial {
            needed: before_mask + 4,
        }),
    }
}

/// The header of an uncompressed message in one frame.
pub(crate) struct Whole {
    pub(crate) kind: Kind,
    /// Bytes that the header takes.
    pub(crate) size: usize,
    /// Bytes of the payload.
    pub(crate) len: u64,
    /// Zero in an unmasked frame.
    pub(crate) mask: [u8; 4],
}

/// The header of an uncompressed message of up to 125 bytes in one frame,
/// which most messages are. Of all others nothing is said.
#[inline]
pub(crate) fn decode_short(bytes: &[u8], masked: bool) -> Option<Whole> {
    let (first, len, size, mask) = if masked {
        let &[first, second, a, b, c, d, ..] = bytes else {
            return None;
        };
        (first, second ^ MASKED, 6, [a, b, c, d])
    } else {
        let &[first, second, ..] = bytes else {
            return None;
        };
        (first, second, 2, [0; 4])
    };
    let kind = whole_kind(first)?;
    if len > 125 {
        return None;
    }
    Some(Whole {
        kind,
        size,
        len: len.into(),
        mask,
    })
}

/// What the first byte begins, if that is a whole, uncompressed message.
#[inline]
fn whole_kind(first: u8) -> Option<Kind> {
    match first {
        TEXT => Some(Kind::Text),
        BINARY => Some(Kind::Binary),
        _ => None,
    }
}

/// As [`decode_short`], of up to 65,535 bytes.
#[inline]
pub(crate) fn decode_usual(bytes: &[u8], masked: bool) -> Option<Whole> {
    let &[first, second, high, low, ref rest @ ..] = bytes else {
        return None;
    };
    if second != 126 | if masked { MASKED } else { 0 } {
        return decode_short(bytes, masked);
    }
    let kind = whole_kind(first)?;
    let len = u16::from_be_bytes([high, low]);
    if len < 126 {
        return None;
    }
    let (size, mask) = if masked {
        (8, *rest.first_chunk()?)
    } else {
        (4, [0; 4])
    };
    Some(Whole {
        kind,
        size,
        len: len.into(),
        mask,
    })
}

/// What the first byte of a header says.
struct First {
    fin: bool,
    compressed: bool,
    opcode: OpCode,
}

#[inline]
fn decode_first(first: u8, deflate: bool) -> Result<First, ProtocolError> {
    let fin = first & FIN != 0;
    let compressed = first & RESERVED == RSV1 && deflate;
    if first & RESERVED != 0 && !compressed {
        return Err(ProtocolError::ReservedBits);
    }
    let Some(opcode) = OpCode::from_bits(first & 0x0F) else {
        return Err(ProtocolError::UnknownOpcode(first & 0x0F));
    };
    if compressed && !matches!(opcode, OpCode::Text | OpCode::Binary) {
        return Err(ProtocolError::ReservedBits);
    }
    if opcode.is_control() && !fin {
        return Err(ProtocolError::FragmentedControl);
    }
    Ok(First {
        fin,
        compressed,
        opcode,
    })
}

/// Fewer than two bytes.
#[cold]
fn decode_start(bytes: &[u8], deflate: bool) -> Result<Decoded, ProtocolError> {
    if let Some(&first) = bytes.first() {
        decode_first(first, deflate)?;
    }
    Ok(Decoded::Partial { needed: 2 })
}

/// A longer length follows, to byte `end`, that is not all there.
#[cold]
fn length_missing(end: usize, masked: bool) -> Decoded {
    Decoded::Partial {
        needed: if masked { end + 4 } else { end },
    }
}

#[inline]
fn shortest(len: u64, from: u64) -> Result<u64, ProtocolError> {
    if len < from {
        Err(ProtocolError::NonMinimalLength)
    } else if len >> 63 != 0 {
        Err(ProtocolError::LengthHighBit)
    } else {
        Ok(len)
    }
}

#[cold]
fn wrong_masking(masked: bool) -> ProtocolError {
    if masked {
        ProtocolError::Unmasked
    } else {
        ProtocolError::Masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], masked: bool) -> (Header, usize) {
        match decode_header(bytes, masked, false).unwrap() {
            Decoded::Header { header, size } => (header, size),
            Decoded::Partial { needed } => panic!("{needed} bytes needed of {bytes:x?}"),
        }
    }

    #[test]
    fn every_header_decodes_to_what_was_encoded_in_its_shortest_form() {
        let lens = [
            0,
            1,
            125,
            126,
            127,
            65_535,
            65_536,
            (1 << 32) + 1,
            (1 << 63) - 1,
        ];
        for len in lens {
            for mask in [None, Some([1, 2, 3, 4])] {
                for fin in [true, false] {
                    for opcode in [OpCode::Continuation, OpCode::Text, OpCode::Binary] {
                        let mut out = [0; MAX_HEADER];
                        let used = encode_header(&mut out, fin, opcode, len, mask);
                        let length_size = match len {
                            0..=125 => 2,
                            126..=65_535 => 4,
                            _ => 10,
                        };
                        assert_eq!(used, length_size + if mask.is_some() { 4 } else { 0 });
                        let (header, size) = decode(&out, mask.is_some());
                        let mask = mask.unwrap_or_default();
                        assert_eq!(
                            header,
                            Header {
                                fin,
                                compressed: false,
                                opcode,
                                len,
                                mask
                            }
                        );
                        assert_eq!(size, used);
                    }
                }
            }
        }
    }

    fn assert_is_the_rule(whole: &Whole, bytes: &[u8], masked: bool) {
        let Ok(Decoded::Header { header, size }) = decode_header(bytes, masked, true) else {
            panic!("{bytes:?} is no header");
        };
        assert!(header.fin && !header.compressed);
        assert_eq!(header.opcode, whole.kind.into());
        assert_eq!((header.len, header.mask), (whole.len, whole.mask));
        assert_eq!(size, whole.size);
    }

    #[test]
    fn the_shortcut_for_short_messages_says_what_the_rule_says() {
        let mut taken = 0;
        for (first, second) in (0..=255).flat_map(|one| (0..=255).map(move |two| (one, two))) {
            for masked in [false, true] {
                let bytes = [first, second, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
                for bytes in [&bytes[..], &bytes[..5]] {
                    let Some(short) = decode_short(bytes, masked) else {
                        continue;
                    };
                    taken += 1;
                    assert_is_the_rule(&short, bytes, masked);
                }
            }
        }
        // Text and binary, of 0 to 125 bytes; a masked header is longer than 5.
        assert_eq!(taken, 2 * 126 * 3);
    }

    #[test]
    fn the_shortcut_for_usual_messages_says_what_the_rule_says() {
        let mut taken = 0;
        for (first, second) in (0..=255).flat_map(|one| (0..=255).map(move |two| (one, two))) {
            for (masked, len) in [false, true]
                .into_iter()
                .flat_map(|masked| [0u16, 125, 126, 256, 0xFFFF].map(|len| (masked, len)))
            {
                let [high, low] = len.to_be_bytes();
                let bytes = [first, second, high, low, 5, 6, 7, 8];
                for bytes in (0..=bytes.len()).map(|cut| &bytes[..cut]) {
                    let Some(usual) = decode_usual(bytes, masked) else {
                        continue;
                    };
                    taken += 1;
                    assert_is_the_rule(&usual, bytes, masked);
                }
            }
        }
        // Text and binary; 0 to 125 bytes in 4 or more and 6 or more, five
        // times; three longer lengths in 4 or more and in 8.
        assert_eq!(taken, 2 * (126 * 5 * (5 + 3) + 3 * (5 + 1)));
    }

    #[test]
    fn a_partial_header_says_how_many_bytes_it_needs() {
        let mut out = [0; MAX_HEADER];
        for (len, size) in [(5, 6), (300, 8), (70_000, 14)] {
            let used = encode_header(&mut out, true, OpCode::Binary, len, Some([9; 4]));
            assert_eq!(used, size);
            for have in 0..used {
                let Decoded::Partial { needed } = decode_header(&out[..have], true, false).unwrap()
                else {
                    panic!("complete at {have} of {used}");
                };
                assert!(
                    needed > have && needed <= used,
                    "{needed} at {have} of {used}"
                );
            }
        }
    }

    #[test]
    fn the_short_header_is_what_the_rule_makes() {
        for len in 0..=200 {
            for opcode in [OpCode::Text, OpCode::Binary, OpCode::Ping] {
                let mut out = [0; MAX_HEADER];
                let used = encode_header(&mut out, true, opcode, len as u64, None);
                match encode_short(opcode, len) {
                    Some(short) => assert_eq!(short, out[..used]),
                    None => assert!(len > 125),
                }
            }
        }
    }

    #[test]
    fn a_broadcast_frame_is_what_a_server_would_send() {
        assert_eq!(encode_message(Kind::Text, b"Hello"), b"\x81\x05Hello");
        let long = encode_message(Kind::Binary, &[7; 300]);
        assert_eq!(long[..4], [0x82, 126, 1, 44]);
        assert_eq!(long[4..], [7; 300]);
    }

    #[test]
    fn only_the_first_frame_of_a_message_may_be_compressed_and_only_if_agreed() {
        for first in 0..=0xFF {
            let frame = [first, 0];
            let compressed = match decode_header(&frame, false, true) {
                Ok(Decoded::Header { header, .. }) => header.compressed,
                _ => false,
            };
            let expected = first & RESERVED == RSV1 && matches!(first & 0x0F, 1 | 2);
            assert_eq!(compressed, expected, "{first:x}");
            assert!(first & RESERVED == 0 || decode_header(&frame, false, false).is_err());
        }
    }
}
