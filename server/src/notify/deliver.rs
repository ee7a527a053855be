//! Trying until it is delivered, or until there is no use in it.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::stats::Stats;

/// What a receiver may ask for at most with `Retry-After`.
const MAX_ASKED: Duration = Duration::from_secs(60);

/// While the server stops there is not time for more.
const LAST_DELAY: Duration = Duration::from_millis(250);

/// Between two lines of the log about what one sink could not deliver.
const QUIET: Duration = Duration::from_secs(60);

/// How often, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Tries after the first one.
    pub(crate) retries: u32,
    /// Before the first of them; each next one waits twice as long.
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

impl Backoff {
    /// Before a retry, the first of which is 0: half of it is chance, so that
    /// what failed together does not come back together.
    fn delay(&self, retry: u32, random: u64) -> Duration {
        let doubled = self.least.saturating_mul(1 << retry.min(30));
        let whole = doubled.min(self.most);
        let half = whole / 2;
        let part = u32::try_from(random % 1024).unwrap_or(0);
        half + half * part / 1024
    }
}

/// What came of a try.
#[derive(Debug)]
pub(super) enum Tried {
    Delivered,
    /// It may be delivered later, at the receiver's wish after a time.
    NotYet {
        why: String,
        after: Option<Duration>,
    },
    /// The receiver will not have it.
    Never(String),
}

/// Whether the server stops.
#[derive(Debug, Default)]
pub(super) struct Closing {
    begun: AtomicBool,
    told: Notify,
}

impl Closing {
    /// Who waits for a next try has it now.
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    async fn sleep(&self, delay: Duration) {
        let told = self.told.notified();
        if self.begun.load(Ordering::Acquire) {
            return tokio::time::sleep(delay.min(LAST_DELAY)).await;
        }
        // Whether it is late or the end has come: the next try is due.
        let _due = timeout(delay, told).await;
    }
}

/// Tries until it is delivered, which it says.
pub(super) async fn deliver<T: Future<Output = Tried>>(
    backoff: Backoff,
    closing: &Closing,
    stats: &Stats,
    mut attempt: impl FnMut() -> T,
) -> Result<(), String> {
    let random = RandomState::new();
    let mut retry = 0;
    loop {
        let (why, after) = match attempt().await {
            Tried::Delivered => return Ok(()),
            Tried::Never(why) => return Err(why),
            Tried::NotYet { why, after } => (why, after),
        };
        if retry >= backoff.retries {
            return Err(why);
        }
        let own = backoff.delay(retry, random.hash_one(retry));
        let asked = after.map_or(Duration::ZERO, |after| after.min(MAX_ASKED));
        closing.sleep(own.max(asked)).await;
        stats.retries.add(1);
        retry += 1;
    }
}

/// Keeps what fails again and again from filling the log.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<(Option<Instant>, usize)>);

impl Complaints {
    /// How much is to be said to have failed. `None`: it was said not long ago.
    pub(super) fn due(&self, failed: usize, now: Instant) -> Option<usize> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, untold) = &mut *state;
        *untold += failed;
        if said.is_some_and(|said| now.saturating_duration_since(said) < QUIET) {
            return None;
        }
        *said = Some(now);
        Some(std::mem::take(untold))
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::super::testing::paused;
    use super::*;

    const BACKOFF: Backoff = Backoff {
        retries: 3,
        least: Duration::from_secs(1),
        most: Duration::from_secs(3),
    };

    fn not_yet(after: Option<u64>) -> Tried {
        Tried::NotYet {
            why: "down".into(),
            after: after.map(Duration::from_secs),
        }
    }

    #[test]
    fn delays_double_up_to_the_most_and_half_of_them_is_chance() {
        for (retry, random, millis) in [
            (0, 0, 500),
            (0, 512, 750),
            (1, 0, 1000),
            (2, 0, 1500),
            (40, 1023, 2998),
        ] {
            let delay = BACKOFF.delay(retry, random);
            assert_eq!(delay.as_millis(), millis, "{retry} {random}");
        }
    }

    #[test]
    fn it_is_tried_until_it_is_delivered_or_all_tries_have_failed() {
        paused(async {
            let (closing, stats) = (Closing::default(), Stats::default());
            let began = Instant::now();
            let mut answers = [not_yet(None), not_yet(None), Tried::Delivered].into_iter();
            let next = || ready(answers.next().expect("no more tries"));
            assert_eq!(deliver(BACKOFF, &closing, &stats, next).await, Ok(()));
            let took = began.elapsed().as_millis();
            assert!((1500..3010).contains(&took), "{took}");
            assert_eq!(stats.retries.get(), 2);

            let mut tries = 0;
            let down = || {
                tries += 1;
                ready(not_yet(None))
            };
            let failed = deliver(BACKOFF, &closing, &stats, down).await;
            assert_eq!((failed, tries), (Err("down".into()), 4));
            let never = || ready(Tried::Never("no".into()));
            let never = deliver(BACKOFF, &closing, &stats, never).await;
            assert_eq!(never, Err("no".into()));
        });
    }

    #[test]
    fn a_receiver_may_ask_for_time_but_not_for_any() {
        paused(async {
            let (closing, stats) = (Closing::default(), Stats::default());
            for (asked, waited) in [(10, 10), (3600, 60)] {
                let began = Instant::now();
                let mut answers = [not_yet(Some(asked)), Tried::Delivered].into_iter();
                let next = || ready(answers.next().expect("no more tries"));
                assert_eq!(deliver(BACKOFF, &closing, &stats, next).await, Ok(()));
                assert_eq!(began.elapsed().as_secs(), waited);
            }
        });
    }

    #[test]
    fn at_the_end_nobody_waits_long() {
        paused(async {
            let (closing, stats) = (Closing::default(), Stats::default());
            let hour = Duration::from_secs(3600);
            let backoff = Backoff {
                least: hour,
                most: hour,
                ..BACKOFF
            };
            let began = Instant::now();
            let mut tries = 0;
            let down = || {
                tries += 1;
                ready(not_yet(None))
            };
            let mut delivery = Box::pin(deliver(backoff, &closing, &stats, down));
            let waits = timeout(Duration::from_secs(1), &mut delivery).await;
            assert!(waits.is_err(), "it waits for its next try");
            closing.begin();
            assert_eq!(delivery.await, Err("down".into()));
            assert_eq!(tries, 4);
            assert!(began.elapsed() < Duration::from_secs(2));
        });
    }

    #[test]
    fn complaints_are_summed_up_once_in_a_minute() {
        paused(async {
            let complaints = Complaints::default();
            let now = Instant::now();
            assert_eq!(complaints.due(2, now), Some(2));
            assert_eq!(complaints.due(3, now + QUIET / 2), None);
            assert_eq!(complaints.due(1, now + QUIET), Some(4));
        });
    }
}
