//! How shards are asked for their state, and who waits for it.
//!
//! A question is a number; a shard that sees a new one answers at the end of
//! its turn, into a place of its own. Whoever asks may wait; shards never do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::debug::{DebugState, ShardReport, ShardState, largest};

/// Answers older than this are not given to who cannot wait for newer ones.
const STALE: Duration = Duration::from_secs(5);

/// The least time between two questions of those who cannot wait: a shard looks
/// at all its connections to answer one.
const PAUSE: Duration = Duration::from_millis(100);

/// What was asked, and what the shards have answered.
pub(crate) struct Questions {
    latest: AtomicU64,
    start: Instant,
    /// Microseconds from `start` to the latest question; 0: none.
    asked_at: AtomicU64,
    answers: Box<[Place]>,
}

#[derive(Default)]
struct Place {
    answer: Mutex<Option<Answer>>,
    written: Condvar,
}

struct Answer {
    question: u64,
    at: Instant,
    state: ShardState,
}

impl Questions {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            latest: AtomicU64::new(0),
            start: Instant::now(),
            asked_at: AtomicU64::new(0),
            answers: (0..shards).map(|_| Place::default()).collect(),
        }
    }

    /// Asks all shards; returns the question's number.
    pub(super) fn ask(&self) -> u64 {
        let since = self.start.elapsed().as_micros();
        let micros = u64::try_from(since).unwrap_or(u64::MAX).max(1);
        self.asked_at.store(micros, Ordering::Relaxed);
        self.latest.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The latest question.
    pub(crate) fn latest(&self) -> u64 {
        self.latest.load(Ordering::Relaxed)
    }

    /// A shard answers.
    pub(crate) fn answer(&self, shard: usize, question: u64, state: ShardState) {
        let place = &self.answers[shard];
        *place.lock() = Some(Answer {
            question,
            at: Instant::now(),
            state,
        });
        place.written.notify_all();
    }

    /// Waits for a shard's answer to a question, until `deadline`.
    pub(super) fn wait(&self, shard: usize, question: u64, deadline: Instant) {
        let place = &self.answers[shard];
        let left = deadline.saturating_duration_since(Instant::now());
        let missing = |answer: &mut Option<Answer>| {
            let answered = answer.as_ref().map_or(0, |answer| answer.question);
            answered < question
        };
        // Whether it has come is seen by who reads it.
        let _timeout = place
            .written
            .wait_timeout_while(place.lock(), left, missing);
    }

    /// What the shards have said, of which the answers to `question` and later
    /// ones are up to date.
    pub(super) fn collect(&self, question: u64) -> DebugState {
        let places = self.answers.iter().enumerate();
        let shards: Vec<_> = places
            .map(|(shard, place)| {
                let answer = place.lock();
                let answer = answer.as_ref();
                let age = answer.map(|answer| answer.at.elapsed().as_millis());
                ShardReport {
                    shard,
                    answered: answer.is_some_and(|answer| answer.question >= question),
                    age_ms: age.map(|age| u64::try_from(age).unwrap_or(u64::MAX)),
                    state: answer.map(|answer| answer.state.clone()),
                }
            })
            .collect();
        let states = shards.iter().filter_map(|report| report.state.as_ref());
        let slow = states.flat_map(|state| state.slowest.iter().cloned());
        let slowest = largest(slow, |connection| connection.pending);
        DebugState { shards, slowest }
    }

    /// For who cannot wait: how long ago the latest question was, if its
    /// answers can still be given, and whether to ask again.
    pub(super) fn standing(&self) -> (bool, bool) {
        let asked = self.asked_at.load(Ordering::Relaxed);
        if asked == 0 {
            return (false, true);
        }
        let since = self.start.elapsed();
        let age = since.saturating_sub(Duration::from_micros(asked));
        (age < STALE, age >= PAUSE)
    }
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<Answer>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
