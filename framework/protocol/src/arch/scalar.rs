//! Masking sixteen bytes at a time, for every CPU and for short payloads.

use crate::mask::advance;

/// The highest bits, which no byte of ASCII has.
const HIGH_BITS: u128 = u128::from_ne_bytes([0x80; 16]);

/// XORs `data` with `key`, whose first byte belongs to `data[0]`; whether what
/// becomes of it is ASCII.
///
/// The last bytes are one word, which overlaps those before it, so it is read
/// before they are written.
// A call of its own is as long as the masking of a short payload.
#[inline(always)]
pub(crate) fn apply(data: &mut [u8], key: [u8; 4]) -> bool {
    let word = u32::from_ne_bytes(key);
    let double = u64::from(word) << 32 | u64::from(word);
    let behind = advance(key, data.len());
    let word_behind = u32::from_ne_bytes(behind);
    let double_behind = u64::from(word_behind) << 32 | u64::from(word_behind);
    let seen = if let Some(&last) = data.last_chunk::<16>() {
        let block = u128::from(double) << 64 | u128::from(double);
        let block_behind = u128::from(double_behind) << 64 | u128::from(double_behind);
        let last = u128::from_ne_bytes(last) ^ block_behind;
        let mut seen = last;
        let (blocks, _) = data.as_chunks_mut::<16>();
        for bytes in blocks {
            let masked = u128::from_ne_bytes(*bytes) ^ block;
            seen |= masked;
            *bytes = masked.to_ne_bytes();
        }
        if let Some(bytes) = data.last_chunk_mut() {
            *bytes = last.to_ne_bytes();
        }
        seen
    } else if let (Some(&first), Some(&last)) = (data.first_chunk::<8>(), data.last_chunk::<8>()) {
        let first = u64::from_ne_bytes(first) ^ double;
        let last = u64::from_ne_bytes(last) ^ double_behind;
        write_both(data, first.to_ne_bytes(), last.to_ne_bytes());
        u128::from(first | last)
    } else if let (Some(&first), Some(&last)) = (data.first_chunk::<4>(), data.last_chunk::<4>()) {
        let first = u32::from_ne_bytes(first) ^ word;
        let last = u32::from_ne_bytes(last) ^ word_behind;
        write_both(data, first.to_ne_bytes(), last.to_ne_bytes());
        u128::from(first | last)
    } else {
        let mut seen = 0;
        for (byte, key) in data.iter_mut().zip(key) {
            *byte ^= key;
            seen |= *byte;
        }
        u128::from(seen)
    };
    seen & HIGH_BITS == 0
}

/// Writes the first and the last `N` bytes, which may overlap.
#[inline(always)]
fn write_both<const N: usize>(data: &mut [u8], first: [u8; N], last: [u8; N]) {
    if let Some(bytes) = data.first_chunk_mut() {
        *bytes = first;
    }
    if let Some(bytes) = data.last_chunk_mut() {
        *bytes = last;
    }
}
