//! Times that vary: think times, stays.

use std::fmt;

use hioload_platform::Nanos;

use crate::random::mix;

/// An exponential time is cut at so many times its mean, which one in 20,000
/// would exceed, so that no plan waits for ever.
const MOST_MEANS: f64 = 10.0;

/// How a time varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Any time from the first to the second is as likely.
    Uniform {
        /// The shortest.
        from: Nanos,
        /// The longest.
        to: Nanos,
    },
    /// As between events that do not know of each other.
    Exponential {
        /// The average.
        mean: Nanos,
    },
}

impl Spread {
    /// The time that `seed` stands for.
    pub(crate) fn pick(self, seed: u64) -> Nanos {
        let share = (mix(seed) >> 11) as f64 / (1_u64 << 53) as f64;
        let nanos = match self {
            Self::Uniform { from, to } => from as f64 + share * (to - from) as f64,
            Self::Exponential { mean } => mean as f64 * (-(1.0 - share).ln()).min(MOST_MEANS),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and at most 300 days"
        )]
        let nanos = nanos as Nanos;
        nanos
    }

    /// The longest time.
    pub(crate) fn longest(self) -> Nanos {
        match self {
            Self::Uniform { to, .. } => to,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, and at most 300 days"
            )]
            Self::Exponential { mean } => (mean as f64 * MOST_MEANS) as Nanos,
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |nanos: Nanos| nanos / 1_000_000;
        match *self {
            Self::Uniform { from, to } => write!(f, "{}ms..{}ms", millis(from), millis(to)),
            Self::Exponential { mean } => write!(f, "{}ms on average", millis(mean)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(spread: Spread) -> f64 {
        let sum: u64 = (0..10_000).map(|seed| spread.pick(seed)).sum();
        sum as f64 / 10_000.0
    }

    #[test]
    fn a_uniform_time_keeps_its_bounds() {
        let spread = Spread::Uniform { from: 100, to: 300 };
        assert!((0..10_000).all(|seed| (100..=300).contains(&spread.pick(seed))));
        assert!((195.0..205.0).contains(&mean(spread)));
        let one = Spread::Uniform { from: 7, to: 7 };
        assert_eq!(one.pick(3), 7);
    }

    #[test]
    fn an_exponential_time_has_its_mean_and_an_end() {
        let spread = Spread::Exponential { mean: 1_000_000 };
        assert!((0.95e6..1.05e6).contains(&mean(spread)));
        assert!((0..10_000).all(|seed| spread.pick(seed) <= spread.longest()));
    }
}
