//! The search for the highest rate that meets a goal, without the runs.

use serde::Serialize;

/// Growth while nothing failed, and its inverse while nothing passed.
const GROWTH: f64 = 2.0;

/// The search ends when the lowest rate that failed is at most this much above
/// the highest that passed.
const CLOSE: f64 = 1.05;

/// The most rounds. From 1,000 per second 10 lead to a million, 5 bisect what
/// is then between, and some are repeated.
pub(crate) const MAX_ROUNDS: usize = 24;

/// The highest rate to try, per second.
const FASTEST: f64 = 1e9;

/// What a round at some rate came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All messages came back, within the goals.
    Met,
    /// The server missed a goal, or lost messages.
    Missed,
    /// The generator was its own bottleneck, which says nothing of the server.
    GeneratorLimit,
}

/// Grows the rate until a round fails, then bisects; shrinks it until a round
/// passes when the first one fails. A round that fails is repeated once, other
/// than in shrinking: a hiccup of the machine is not the server's limit.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    next: Option<f64>,
    /// Whether `next` has failed once.
    failed_once: bool,
    /// The highest rate that passed.
    met: Option<f64>,
    /// The lowest rate that failed twice, and how.
    failed: Option<(f64, Verdict)>,
    /// The lowest rate to try.
    slowest: f64,
    rounds: usize,
}

impl Search {
    /// Begins at `rate` and goes down to `slowest` at most.
    pub(crate) fn new(rate: f64, slowest: f64) -> Self {
        Self {
            next: Some(rate.min(FASTEST)),
            slowest,
            failed_once: false,
            met: None,
            failed: None,
            rounds: 0,
        }
    }

    /// The rate to try next; `None` when the search is over.
    pub(crate) fn next(&self) -> Option<f64> {
        self.next.filter(|_| self.rounds < MAX_ROUNDS)
    }

    /// The highest rate that passed.
    pub(crate) fn met(&self) -> Option<f64> {
        self.met
    }

    /// The lowest rate that failed, and how.
    pub(crate) fn failed(&self) -> Option<(f64, Verdict)> {
        self.failed
    }

    /// What the round at [`next`](Self::next) came to.
    pub(crate) fn note(&mut self, verdict: Verdict) {
        let Some(rate) = self.next() else { return };
        self.rounds += 1;
        let shrinking = self.met.is_none() && self.failed.is_some();
        if verdict != Verdict::Met && !self.failed_once && !shrinking {
            self.failed_once = true;
            return;
        }
        self.failed_once = false;
        if verdict == Verdict::Met {
            self.met = Some(rate);
        } else {
            self.failed = Some((rate, verdict));
        }
        self.next = match (self.met, self.failed) {
            (Some(met), None) => Some(even(met * GROWTH)).filter(|&next| next <= FASTEST),
            (None, Some((failed, _))) => {
                Some(even(failed / GROWTH)).filter(|&next| next >= self.slowest)
            }
            (Some(met), Some((failed, _))) if failed > met * CLOSE => {
                Some(even(f64::midpoint(met, failed))).filter(|&next| met < next && next < failed)
            }
            _ => None,
        };
    }
}

/// A rate that is easy to read: whole from 100 on.
fn even(rate: f64) -> f64 {
    if rate >= 100.0 { rate.round() } else { rate }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Searches a server that meets its goal up to `limit` per second; the
    /// rates tried.
    fn tried(first: f64, limit: f64, failing: Verdict) -> (Search, Vec<f64>) {
        let mut search = Search::new(first, 1.0);
        let mut rates = Vec::new();
        while let Some(rate) = search.next() {
            rates.push(rate);
            search.note(if rate <= limit { Verdict::Met } else { failing });
        }
        (search, rates)
    }

    #[test]
    fn it_grows_repeats_the_failure_and_bisects() {
        let (search, rates) = tried(1000.0, 3300.0, Verdict::Missed);
        let first = [1000.0, 2000.0, 4000.0, 4000.0, 3000.0, 3500.0, 3500.0];
        assert_eq!(rates[..7], first);
        assert_eq!(search.met(), Some(3250.0));
        assert_eq!(search.failed(), Some((3375.0, Verdict::Missed)));
    }

    #[test]
    fn it_shrinks_when_the_first_rate_is_too_high_already() {
        let (search, rates) = tried(1000.0, 200.0, Verdict::Missed);
        let first = [1000.0, 1000.0, 500.0, 250.0, 125.0];
        assert_eq!(rates[..5], first);
        assert!(search.met().unwrap() > 190.0);
    }

    #[test]
    fn a_hiccup_does_not_end_the_growth() {
        let mut search = Search::new(1000.0, 1.0);
        search.note(Verdict::GeneratorLimit);
        assert_eq!(search.next(), Some(1000.0));
        search.note(Verdict::Met);
        assert_eq!((search.next(), search.failed()), (Some(2000.0), None));
    }

    #[test]
    fn what_nothing_meets_and_what_everything_meets_ends() {
        let (search, rates) = tried(1000.0, 0.0, Verdict::Missed);
        assert_eq!(search.met(), None);
        assert!(rates.len() <= MAX_ROUNDS);
        let (search, rates) = tried(1000.0, f64::INFINITY, Verdict::Missed);
        assert_eq!(search.failed(), None);
        assert!(rates.len() <= MAX_ROUNDS);
    }

    proptest! {
        #[test]
        fn the_limit_is_found_to_within_a_twentieth(
            first in 1.0..1e6_f64,
            limit in 1.0..1e6_f64,
        ) {
            prop_assume!(limit / first < 2000.0 && first / limit < 64.0);
            let (search, rates) = tried(first, limit, Verdict::GeneratorLimit);
            prop_assert!(rates.len() <= MAX_ROUNDS);
            let (failed, how) = search.failed().unwrap();
            prop_assert_eq!(how, Verdict::GeneratorLimit);
            prop_assert!(failed > limit);
            match search.met() {
                Some(met) => prop_assert!(met <= limit && failed <= met * CLOSE + 1.0),
                None => prop_assert!(limit < 2.0),
            }
        }
    }
}
