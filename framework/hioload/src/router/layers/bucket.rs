//! Token buckets.

use hioload_platform::Nanos;

/// Units of a bucket's level per token: a rate of one per second then gains
/// one unit per nanosecond, so that no arithmetic rounds.
const UNIT: u64 = 1_000_000_000;

/// How many tokens come per second, and how many may be saved up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    /// The most of both numbers: what fits 64 bits in billionths.
    const MOST: u64 = u64::MAX / UNIT;

    /// `n` per second, and up to one second's worth at once. At least 1; more
    /// than 18 billion are not a limit and count as so many.
    #[must_use]
    pub fn per_second(n: u64) -> Self {
        let n = n.clamp(1, Self::MOST);
        Self {
            per_second: n,
            burst: n,
        }
    }

    /// So many at once after a silence, at least 1. What asks for more than
    /// this at once, such as a larger message, is always refused.
    #[must_use]
    pub fn burst(mut self, n: u64) -> Self {
        self.burst = n.clamp(1, Self::MOST);
        self
    }

    /// Nanoseconds until an empty bucket is full.
    pub(super) fn to_full(self) -> Nanos {
        (self.burst * UNIT).div_ceil(self.per_second)
    }
}

/// What is left of a [`Rate`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// In billionths of tokens.
    level: u64,
    /// When the level was right.
    at: Nanos,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Nanos) -> Self {
        Self {
            level: rate.burst * UNIT,
            at: now,
        }
    }

    /// Gains what came since the last time. Time that seems to go back, as
    /// between the turns of two shards, gains nothing.
    pub(super) fn refill(&mut self, rate: Rate, now: Nanos) {
        let elapsed = now.saturating_sub(self.at);
        let gained = elapsed.saturating_mul(rate.per_second);
        self.level = self.level.saturating_add(gained).min(rate.burst * UNIT);
        self.at = self.at.max(now);
    }

    /// Whether `n` tokens are there, as of the last refill; else the
    /// nanoseconds until they are. `None`: they never fit.
    pub(super) fn holds(&self, rate: Rate, n: u64) -> Result<(), Option<Nanos>> {
        if n > rate.burst {
            return Err(None);
        }
        match (n * UNIT).checked_sub(self.level) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(Some(missing.div_ceil(rate.per_second))),
        }
    }

    /// Takes tokens that are there.
    pub(super) fn take(&mut self, n: u64) {
        debug_assert!(n <= self.level / UNIT, "asked before");
        self.level = self.level.saturating_sub(n.saturating_mul(UNIT));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_refusal_says_exactly_when_there_is_enough() {
        let rate = Rate::per_second(3).burst(2);
        let mut bucket = Bucket::full(rate, 0);
        bucket.take(2);
        let wait = bucket.holds(rate, 1).unwrap_err().expect("it will fit");
        assert_eq!(wait, 333_333_334);
        bucket.refill(rate, wait - 1);
        assert_eq!(bucket.holds(rate, 1), Err(Some(1)));
        bucket.refill(rate, wait);
        assert_eq!(bucket.holds(rate, 1), Ok(()));
        assert_eq!(bucket.holds(rate, 3), Err(None));
    }

    proptest! {
        /// Whatever is asked and whenever, what is given in all never exceeds
        /// the burst and what came since, and what is refused would.
        #[test]
        fn no_more_is_given_than_came(
            per_second in 1..u64::MAX,
            burst in 1..u64::MAX,
            asks in prop::collection::vec((0..u64::MAX / 64, 0..u64::MAX), 1..50),
            scale in 0..60_u32,
        ) {
            let rate = Rate::per_second(per_second >> scale).burst(burst >> (scale / 2));
            let mut bucket = Bucket::full(rate, 0);
            let (mut now, mut given) = (0_u64, 0_u128);
            for (step, n) in asks {
                now += step >> scale;
                let n = n >> (scale / 2);
                bucket.refill(rate, now);
                match bucket.holds(rate, n) {
                    Ok(()) => {
                        bucket.take(n);
                        given += u128::from(n);
                    }
                    Err(None) => prop_assert!(n > rate.burst),
                    Err(Some(wait)) => {
                        prop_assert!(wait > 0 && wait <= rate.to_full());
                        let mut early = bucket;
                        early.refill(rate, now.saturating_add(wait - 1));
                        prop_assert!(early.holds(rate, n).is_err());
                        if let Some(then) = now.checked_add(wait) {
                            early.refill(rate, then);
                            prop_assert!(early.holds(rate, n).is_ok());
                        }
                    }
                }
                let came = u128::from(now) * u128::from(rate.per_second);
                let most = u128::from(rate.burst) * u128::from(UNIT) + came;
                prop_assert!(given * u128::from(UNIT) <= most);
            }
        }
    }
}
