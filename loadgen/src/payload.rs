//! What the messages say, so that each receipt can be verified to the byte.
//!
//! A payload of at least [`Codec::stamp_len`] bytes starts with a stamp:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..4 | magic | `HIOL` |
//! | 4..8 | checksum | over everything below and the payload's length |
//! | 8..12 | run | random per run, so that strangers are recognised |
//! | 12..16 | sender | index of the connection or publisher |
//! | 16..24 | sequence | counts from 0 per sender |
//! | 24..32 | planned | nanoseconds on the generator's clock |
//!
//! Integers are little-endian; in text messages the stamp is written as 64
//! hexadecimal digits. The rest is pseudo-random, a function of run, sender and
//! sequence, and compared byte for byte. A shorter payload has no room for a
//! stamp: it consists of pseudo-random bytes only, and the receiver, which
//! knows what it sent, checks order and content.

use hioload_platform::Nanos;
use hioload_protocol::Kind;

use crate::random::{message_seed, mix};

const MAGIC: u32 = u32::from_le_bytes(*b"HIOL");

/// Bytes of a stamp before hexadecimal encoding.
const STAMP: usize = 32;

/// A body is cut from a table of random bytes in blocks of this size, each at
/// its own offset: producing is copying and checking is comparing, at memory
/// speed. Table and block together stay within a 256 KiB second-level cache.
const BLOCK: usize = 16 << 10;
const OFFSETS: usize = 64 << 10;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";

/// Who sent a message, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Index of the connection or publisher within the run.
    pub(crate) sender: u32,
    /// Counts from 0 per sender.
    pub(crate) sequence: u64,
    /// When it was to be sent.
    pub(crate) planned: Nanos,
}

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Corruption {
    #[error("it has {0} bytes, too few for a stamp")]
    Short(usize),
    #[error("its stamp is damaged")]
    Stamp,
    #[error("it belongs to another run")]
    Foreign,
    #[error("sequence {sequence} of sender {sender} differs from byte {at} on", sender = stamp.sender, sequence = stamp.sequence)]
    Body {
        /// The intact stamp.
        stamp: Stamp,
        /// The first byte that differs.
        at: usize,
    },
}

/// Writes and verifies the payloads of one run.
#[derive(Debug)]
pub(crate) struct Codec {
    run: u32,
    kind: Kind,
    table: Box<[u8]>,
}

impl Codec {
    /// The payloads of run `run`, all of one kind.
    pub(crate) fn new(run: u32, kind: Kind) -> Self {
        let mut table = Vec::with_capacity(OFFSETS + BLOCK);
        let mut state = 0;
        while table.len() < OFFSETS + BLOCK {
            state = mix(state);
            table.extend_from_slice(&letters(kind, state));
        }
        table.truncate(OFFSETS + BLOCK);
        Self {
            run,
            kind,
            table: table.into(),
        }
    }

    /// Text or binary.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The smallest payload that carries a stamp, in bytes.
    pub(crate) fn stamp_len(&self) -> usize {
        stamp_len(self.kind)
    }

    /// Replaces `out` by a payload of `len` bytes, stamped if it has room.
    pub(crate) fn write(&self, stamp: &Stamp, len: usize, out: &mut Vec<u8>) {
        out.clear();
        let seed = message_seed(self.run, stamp.sender, stamp.sequence);
        if len < self.stamp_len() {
            let prefix = letters(self.kind, seed);
            out.extend_from_slice(&prefix[..len.min(prefix.len())]);
        } else {
            let bytes = self.encode(stamp, len);
            match self.kind {
                Kind::Binary => out.extend_from_slice(&bytes),
                Kind::Text => out.extend(bytes.iter().flat_map(|&byte| hex(byte))),
            }
        }
        for block in 0.. {
            let room = len - out.len();
            if room == 0 {
                break;
            }
            out.extend_from_slice(self.block(seed, block, room));
        }
    }

    /// The stamp of a payload, after every byte was verified.
    pub(crate) fn read(&self, payload: &[u8]) -> Result<Stamp, Corruption> {
        let len = self.stamp_len();
        let head = payload.get(..len).ok_or(Corruption::Short(payload.len()))?;
        let mut bytes = [0; STAMP];
        match self.kind {
            Kind::Binary => bytes.copy_from_slice(head),
            Kind::Text => unhex(head, &mut bytes).ok_or(Corruption::Stamp)?,
        }
        let stamp = self.decode(&bytes, payload.len())?;
        let seed = message_seed(self.run, stamp.sender, stamp.sequence);
        match self.first_difference(seed, payload, len) {
            None => Ok(stamp),
            Some(at) => Err(Corruption::Body { stamp, at }),
        }
    }

    /// Whether an unstamped payload is the one with this sender and sequence.
    pub(crate) fn matches(&self, sender: u32, sequence: u64, payload: &[u8]) -> bool {
        let seed = message_seed(self.run, sender, sequence);
        let prefix = letters(self.kind, seed);
        let split = payload.len().min(prefix.len());
        payload[..split] == prefix[..split] && self.first_difference(seed, payload, split).is_none()
    }

    fn first_difference(&self, seed: u64, payload: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        for block in 0.. {
            let rest = &payload[at..];
            if rest.is_empty() {
                break;
            }
            let expected = self.block(seed, block, rest.len());
            if rest[..expected.len()] != *expected {
                let same = rest
                    .iter()
                    .zip(expected)
                    .take_while(|(one, other)| one == other);
                return Some(at + same.count());
            }
            at += expected.len();
        }
        None
    }

    /// Block number `block` of the body, cut to `room` bytes.
    fn block(&self, seed: u64, block: u64, room: usize) -> &[u8] {
        let offset = usize::try_from(mix(seed ^ !block)).unwrap_or(usize::MAX) % OFFSETS;
        &self.table[offset..offset + room.min(BLOCK)]
    }

    fn encode(&self, stamp: &Stamp, len: usize) -> [u8; STAMP] {
        let mut bytes = [0; STAMP];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.checksum(stamp, len).to_le_bytes());
        bytes[8..12].copy_from_slice(&self.run.to_le_bytes());
        bytes[12..16].copy_from_slice(&stamp.sender.to_le_bytes());
        bytes[16..24].copy_from_slice(&stamp.sequence.to_le_bytes());
        bytes[24..].copy_from_slice(&stamp.planned.to_le_bytes());
        bytes
    }

    fn decode(&self, bytes: &[u8; STAMP], len: usize) -> Result<Stamp, Corruption> {
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let stamp = Stamp {
            sender: word(12),
            sequence: long(16),
            planned: long(24),
        };
        if word(0) != MAGIC {
            return Err(Corruption::Stamp);
        }
        let foreign = word(8) != self.run;
        let run = word(8);
        if word(4) != checksum(run, &stamp, len) {
            return Err(Corruption::Stamp);
        }
        if foreign {
            Err(Corruption::Foreign)
        } else {
            Ok(stamp)
        }
    }

    fn checksum(&self, stamp: &Stamp, len: usize) -> u32 {
        checksum(self.run, stamp, len)
    }
}

/// The smallest payload of this kind that carries a stamp, in bytes.
pub(crate) const fn stamp_len(kind: Kind) -> usize {
    match kind {
        Kind::Binary => STAMP,
        Kind::Text => 2 * STAMP,
    }
}

fn checksum(run: u32, stamp: &Stamp, len: usize) -> u32 {
    let words = [
        u64::from(run) << 32 | u64::from(stamp.sender),
        stamp.sequence,
        stamp.planned,
    ];
    let sum = words
        .iter()
        .fold(mix(len as u64), |sum, &word| mix(sum ^ word));
    (sum >> 32) as u32
}

/// Eight pseudo-random bytes; ASCII in text messages.
fn letters(kind: Kind, seed: u64) -> [u8; 8] {
    let bytes = seed.to_le_bytes();
    match kind {
        Kind::Binary => bytes,
        Kind::Text => bytes.map(|byte| ALPHABET[usize::from(byte & 63)]),
    }
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

fn unhex(text: &[u8], bytes: &mut [u8; STAMP]) -> Option<()> {
    let digit = |letter: u8| match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPED: Stamp = Stamp {
        sender: 7,
        sequence: 123_456,
        planned: 987_654_321,
    };

    fn payload(codec: &Codec, stamp: &Stamp, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        codec.write(stamp, len, &mut out);
        assert_eq!(out.len(), len);
        out
    }

    #[test]
    fn what_is_written_is_read_back() {
        for kind in [Kind::Binary, Kind::Text] {
            let codec = Codec::new(42, kind);
            for len in [codec.stamp_len(), 100, 16_384 + 32, 100_000, 1 << 20] {
                assert_eq!(codec.read(&payload(&codec, &STAMPED, len)), Ok(STAMPED));
            }
        }
    }

    #[test]
    fn text_is_ascii() {
        let codec = Codec::new(42, Kind::Text);
        for len in [0, 1, 8, 20, 64, 5000] {
            assert!(payload(&codec, &STAMPED, len).is_ascii());
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for kind in [Kind::Binary, Kind::Text] {
            let codec = Codec::new(42, kind);
            let original = payload(&codec, &STAMPED, 200);
            for bit in 0..200 * 8 {
                let mut damaged = original.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(codec.read(&damaged).is_err(), "bit {bit} went unnoticed");
            }
        }
    }

    #[test]
    fn a_damaged_body_keeps_its_stamp_and_names_the_byte() {
        let codec = Codec::new(42, Kind::Binary);
        let mut damaged = payload(&codec, &STAMPED, 40_000);
        damaged[33_333] ^= 1;
        assert_eq!(
            codec.read(&damaged),
            Err(Corruption::Body {
                stamp: STAMPED,
                at: 33_333
            })
        );
    }

    #[test]
    fn a_cut_or_grown_payload_is_found() {
        let codec = Codec::new(42, Kind::Binary);
        let mut grown = payload(&codec, &STAMPED, 100);
        assert_eq!(codec.read(&grown[..99]), Err(Corruption::Stamp));
        assert_eq!(codec.read(&grown[..5]), Err(Corruption::Short(5)));
        grown.push(0);
        assert_eq!(codec.read(&grown), Err(Corruption::Stamp));
    }

    #[test]
    fn a_stranger_is_told_from_a_damaged_message() {
        let (ours, theirs) = (Codec::new(1, Kind::Binary), Codec::new(2, Kind::Binary));
        assert_eq!(
            ours.read(&payload(&theirs, &STAMPED, 64)),
            Err(Corruption::Foreign)
        );
    }

    #[test]
    fn small_payloads_are_told_apart_by_content() {
        for kind in [Kind::Binary, Kind::Text] {
            let codec = Codec::new(42, kind);
            for len in [0, 1, 7, 8, 9, 20, codec.stamp_len() - 1] {
                let small = payload(&codec, &STAMPED, len);
                assert!(codec.matches(7, 123_456, &small));
                if len >= 8 {
                    assert!(!codec.matches(7, 123_457, &small));
                    assert!(!codec.matches(8, 123_456, &small));
                }
                for at in 0..len {
                    let mut damaged = small.clone();
                    damaged[at] ^= 1;
                    assert!(!codec.matches(7, 123_456, &damaged));
                }
            }
        }
    }
}
