//! Masking sixteen bytes at a time, for every CPU and for short payloads.

/// XORs `data` with `key`, whose first byte belongs to `data[0]`.
#[inline]
pub(crate) fn apply(data: &mut [u8], key: [u8; 4]) {
    let word = u32::from_ne_bytes(key);
    let double = u64::from(word) << 32 | u64::from(word);
    let block = u128::from(double) << 64 | u128::from(double);
    let (blocks, rest) = data.as_chunks_mut::<16>();
    for bytes in blocks {
        *bytes = (u128::from_ne_bytes(*bytes) ^ block).to_ne_bytes();
    }
    let (doubles, rest) = rest.as_chunks_mut::<8>();
    for bytes in doubles {
        *bytes = (u64::from_ne_bytes(*bytes) ^ double).to_ne_bytes();
    }
    let (words, rest) = rest.as_chunks_mut::<4>();
    for bytes in words {
        *bytes = (u32::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}
