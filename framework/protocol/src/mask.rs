//! Masking of payloads (RFC 6455 section 5.3).
//!
//! Masking and unmasking are the same XOR with a repeated four-byte key.

use crate::arch;

/// Below this many bytes the call into the vector loop costs more than it
/// saves: two AVX2 blocks, or eight scalar words.
pub(crate) const VECTOR_FROM: usize = 64;

/// XORs `data` in place with `key`.
///
/// `offset` is the number of payload bytes of this frame that were already
/// (un)masked, so a frame may be processed in pieces of any size.
#[inline]
pub fn apply(data: &mut [u8], key: [u8; 4], offset: usize) {
    let key = advance(key, offset);
    if data.len() < VECTOR_FROM {
        let _ascii = arch::apply_scalar(data, key);
    } else {
        arch::apply(data, key);
    }
}

/// The key as it applies `by` bytes further into the payload.
#[inline]
pub(crate) fn advance(key: [u8; 4], by: usize) -> [u8; 4] {
    #[expect(clippy::cast_possible_truncation, reason = "at most 24")]
    let bits = (by % 4 * 8) as u32;
    u32::from_le_bytes(key).rotate_right(bits).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::apply;

    #[test]
    fn a_payload_masked_in_pieces_equals_one_masked_whole() {
        let key = [0xde, 0xad, 0xbe, 0xef];
        let plain: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let mut whole = plain.clone();
        apply(&mut whole, key, 0);
        assert_eq!(whole[5], plain[5] ^ 0xad);
        for cut in 0..plain.len() {
            let mut pieces = plain.clone();
            apply(&mut pieces[..cut], key, 0);
            apply(&mut pieces[cut..], key, cut);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
        apply(&mut whole, key, 0);
        assert_eq!(whole, plain);
    }
}
