//! Mask keys for the client role (RFC 6455 sections 5.3 and 10.3).

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};

/// The source of mask keys for frames that a client sends.
///
/// RFC 6455 section 5.3 asks for keys that a script which chooses the payload
/// cannot predict, so that it cannot choose the bytes on the wire. This is
/// ChaCha with 8 rounds: no distinguisher better than guessing the seed is
/// known for 8 rounds, observed keys say nothing about later ones, and at one
/// block per 16 keys it costs a few nanoseconds a frame. A counter or an
/// xorshift would be faster and predictable from a single captured frame.
///
/// One generator serves all connections of a shard. The server role never
/// draws from it.
pub struct MaskKeys {
    chacha: ChaCha8Rng,
}

impl MaskKeys {
    /// A generator seeded by the caller: from the operating system's random
    /// source in production, from the run's seed in a simulation.
    pub fn from_seed(seed: u64) -> Self {
        Self {
            chacha: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The key of the next frame.
    #[expect(
        clippy::should_implement_trait,
        reason = "an endless source, not an iterator"
    )]
    pub fn next(&mut self) -> [u8; 4] {
        self.chacha.next_u32().to_ne_bytes()
    }

    /// The nonce of a request for an upgrade (RFC 6455 section 4.1, item 7).
    pub fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        self.chacha.fill_bytes(&mut nonce);
        nonce
    }
}

impl std::fmt::Debug for MaskKeys {
    /// Does not print the state: whoever reads it knows every later key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaskKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::MaskKeys;
    use std::collections::HashSet;

    #[test]
    fn one_seed_gives_one_sequence_and_keys_do_not_repeat() {
        let draw = |seed| {
            let mut keys = MaskKeys::from_seed(seed);
            (0..1000).map(|_| keys.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).into_iter().collect::<HashSet<_>>().len() > 990);
    }
}
