//! When to try again.

use std::time::Duration;

/// Exponential backoff with jitter: each wait is `factor` times the one before,
/// up to `max`, and then shortened by a random part of it, so that those who
/// failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// How often to try in all, the first time included.
    pub attempts: u32,
    /// The wait after the first failure.
    pub base: Duration,
    /// What each wait is multiplied by; below 1 is 1.
    pub factor: f64,
    /// The longest wait.
    pub max: Duration,
    /// The largest part of a wait that chance takes away, 0 to 1.
    pub jitter: f64,
}

impl Default for Retry {
    /// 5 attempts; waits of 100 ms, 200 ms, 400 ms and 800 ms, each shortened
    /// by up to a half; 30 seconds at most.
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(100),
            factor: 2.0,
            max: Duration::from_secs(30),
            jitter: 0.5,
        }
    }
}

impl Retry {
    /// How long to wait when `failed` attempts have failed; `None`: that was
    /// the last. `random` is any number, drawn anew each time.
    #[must_use]
    pub fn delay(&self, failed: u32, random: u64) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        let max = self.max.as_secs_f64();
        // `max` and `clamp` turn what is no number into a bound.
        let factor = self.factor.max(1.0);
        let exponent = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
        // Zero times infinity is no number, and zero is meant.
        let wait = if self.base.is_zero() {
            0.0
        } else {
            self.base.as_secs_f64() * factor.powi(exponent)
        };
        // The upper 53 bits are exact in a float.
        let unit = (random >> 11) as f64 / (1u64 << 53) as f64;
        let jitter = if self.jitter.is_nan() {
            0.0
        } else {
            self.jitter.clamp(0.0, 1.0)
        };
        let wait = wait.min(max) * (1.0 - jitter * unit);
        Some(
            Duration::try_from_secs_f64(wait)
                .unwrap_or(self.max)
                .min(self.max),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_attempts() {
        let retry = Retry {
            attempts: 6,
            max: Duration::from_millis(500),
            ..Retry::default()
        };
        let waits: Vec<_> = (1..=6)
            .map(|failed| retry.delay(failed, 0).map(|wait| wait.as_millis()))
            .collect();
        let expected = [Some(100), Some(200), Some(400), Some(500), Some(500), None];
        assert_eq!(waits, expected);
        let half = retry.delay(1, u64::MAX).expect("a second attempt");
        assert!(half.as_micros().abs_diff(50_000) <= 1, "{half:?}");
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest_or_shorter_than_chance_may_make_it(
            attempts in 0..100u32,
            base in 0..=u64::MAX,
            factor in prop::num::f64::ANY,
            max in 0..=u64::MAX,
            jitter in prop::num::f64::ANY,
            failed in 0..u32::MAX,
            random: u64,
        ) {
            let (base, max) = (Duration::from_nanos(base), Duration::from_nanos(max));
            let retry = Retry { attempts, base, factor, max, jitter };
            let wait = retry.delay(failed, random);
            prop_assert_eq!(wait.is_some(), failed < attempts);
            if let Some(wait) = wait {
                prop_assert!(wait <= max);
                if jitter <= 0.0 {
                    // Less what a float can not tell apart.
                    prop_assert!(wait.as_secs_f64() >= base.min(max).as_secs_f64() * 0.999_999);
                }
            }
        }
    }
}
