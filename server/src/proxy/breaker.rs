//! Whether an endpoint is asked: one that fails again and again is left alone
//! for a while, and then tried with a single request.

use std::time::Duration;

use tokio::time::Instant;

/// By how much of itself a cool-down is longer at most, so that what failed
/// together is not tried together.
const SPREAD: f64 = 0.2;

/// How long what is known of an endpoint keeps it from being asked.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures in a row that open it.
    failures: u32,
    cooldown: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is asked; so many failures in a row.
    Closed { failed: u32 },
    /// It is not asked until then.
    Open { until: Instant },
    /// One request decides.
    Trying,
}

/// As [`State`], for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Closed,
    Open,
    HalfOpen,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Well,
    Failed,
    /// Nobody waited for the end.
    Unknown,
}

impl Breaker {
    pub(super) fn new(failures: u32, cooldown: Duration) -> Self {
        Self {
            failures,
            cooldown,
            state: State::Closed { failed: 0 },
        }
    }

    /// Whether a request may be made now.
    pub(super) fn would_admit(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } => until <= now,
            State::Trying => false,
        }
    }

    /// Admits a request, which is to be [settled](Self::settle).
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let admitted = self.would_admit(now);
        if admitted && matches!(self.state, State::Open { .. }) {
            self.state = State::Trying;
        }
        admitted
    }

    /// A request that was admitted has ended; `chance` is from 0 to 1.
    pub(super) fn settle(&mut self, verdict: Verdict, now: Instant, chance: f64) {
        self.state = match (self.state, verdict) {
            (State::Closed { .. } | State::Trying, Verdict::Well) => State::Closed { failed: 0 },
            (State::Closed { failed }, Verdict::Failed) if failed + 1 < self.failures => {
                State::Closed { failed: failed + 1 }
            }
            (State::Closed { .. } | State::Trying, Verdict::Failed) => State::Open {
                until: now + self.cooldown.mul_f64(1.0 + SPREAD * chance),
            },
            // The next one tries.
            (State::Trying, Verdict::Unknown) => State::Open { until: now },
            // What began before it opened says nothing new.
            (state @ (State::Open { .. } | State::Closed { .. }), _) => state,
        };
    }

    pub(super) fn shown(&self, now: Instant) -> Shown {
        match self.state {
            State::Closed { .. } => Shown::Closed,
            State::Open { until } if until > now => Shown::Open,
            State::Open { .. } | State::Trying => Shown::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(10);

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_one_that_goes_well() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, COOLDOWN);
        for verdict in [
            Verdict::Failed,
            Verdict::Failed,
            Verdict::Well,
            Verdict::Failed,
            Verdict::Unknown,
            Verdict::Failed,
        ] {
            assert!(breaker.admit(now));
            breaker.settle(verdict, now, 0.0);
        }
        assert_eq!(breaker.shown(now), Shown::Closed, "not three in a row");
        assert!(breaker.admit(now));
        breaker.settle(Verdict::Failed, now, 0.5);
        assert_eq!(breaker.shown(now), Shown::Open);
        let almost = now + Duration::from_millis(10_999);
        assert!(!breaker.admit(almost), "half of the spread more");
        let later = now + Duration::from_secs(11);
        assert_eq!(breaker.shown(later), Shown::HalfOpen);
        assert!(breaker.admit(later));
        assert!(!breaker.admit(later), "one at a time");
        breaker.settle(Verdict::Well, later, 0.0);
        assert_eq!(breaker.shown(later), Shown::Closed);
    }

    #[test]
    fn a_try_that_fails_opens_it_again_and_one_that_is_given_up_lets_the_next_one_try() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1, COOLDOWN);
        assert!(breaker.admit(now));
        breaker.settle(Verdict::Failed, now, 0.0);
        let later = now + COOLDOWN;
        assert!(breaker.admit(later));
        breaker.settle(Verdict::Unknown, later, 0.0);
        assert!(breaker.admit(later));
        breaker.settle(Verdict::Failed, later, 0.0);
        assert!(!breaker.admit(later + COOLDOWN - Duration::from_millis(1)));
        // One that began long ago ends well: it is not trusted yet.
        breaker.settle(Verdict::Well, later, 0.0);
        assert_eq!(breaker.shown(later), Shown::Open);
    }
}
