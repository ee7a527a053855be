//! What topics are hashed with.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

/// Keys of the topics' hash: from the system, so that no client can choose
/// topics that collide, or given, so that a run can be repeated.
#[derive(Clone, Debug)]
pub(crate) enum HashSeed {
    /// Keys nobody knows.
    Random(RandomState),
    /// The same hashes on every run.
    Given(u64),
}

impl HashSeed {
    pub(crate) fn random() -> Self {
        Self::Random(RandomState::new())
    }
}

impl BuildHasher for HashSeed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        match self {
            Self::Random(keys) => keys.build_hasher(),
            Self::Given(seed) => {
                let mut hasher = DefaultHasher::new();
                hasher.write_u64(*seed);
                hasher
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_seed_decides_and_a_random_one_does_not_repeat() {
        let hash = |seed: &HashSeed| seed.hash_one("topic");
        assert_eq!(hash(&HashSeed::Given(1)), hash(&HashSeed::Given(1)));
        assert_ne!(hash(&HashSeed::Given(1)), hash(&HashSeed::Given(2)));
        let random = HashSeed::random();
        assert_eq!(hash(&random), hash(&random.clone()));
        assert_ne!(hash(&random), hash(&HashSeed::random()));
    }
}
