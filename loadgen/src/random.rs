//! Reproducible randomness: the same arguments give the same number in every
//! thread, so that a receiver can recompute what a sender chose.

/// `SplitMix64` (Steele, Lea, Flood 2014): one multiplication-xorshift round of
/// `state`, good enough to spread sizes and payloads, not for secrets.
pub(crate) const fn mix(state: u64) -> u64 {
    let mut word = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The seed of message `sequence` of `sender` in run `run`.
pub(crate) const fn message_seed(run: u32, sender: u32, sequence: u64) -> u64 {
    mix(mix(((run as u64) << 32) | sender as u64) ^ sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_get_unrelated_seeds() {
        let seeds = [
            message_seed(1, 1, 0),
            message_seed(1, 1, 1),
            message_seed(1, 2, 0),
            message_seed(2, 1, 0),
        ];
        for (index, one) in seeds.iter().enumerate() {
            for other in &seeds[index + 1..] {
                assert!(
                    (one ^ other).count_ones() > 12,
                    "{one:x} and {other:x} are alike"
                );
            }
        }
    }
}
