//! What is known of one endpoint.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, Shown, Verdict};
use super::chance;
use super::failure::Failure;

/// Looks at its health that fail in a row before it counts as down.
const FALL: u64 = 2;

/// An endpoint's state and counters.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// For people: no password is in it.
    pub(super) name: String,
    breaker: Mutex<Breaker>,
    is_up: AtomicBool,
    /// Looks at its health that failed in a row.
    falls: AtomicU64,
    pub(super) in_flight: AtomicU64,
    /// Requests that ended, by [`outcome`].
    ended: [AtomicU64; OUTCOMES.len()],
    /// Of those that were answered.
    pub(super) micros: AtomicU64,
}

/// How requests end.
pub(super) const OUTCOMES: [&str; 8] = [
    "answered",
    "connection",
    "timeout",
    "status_4xx",
    "status_5xx",
    "status_other",
    "garbled",
    "given_up",
];

fn outcome(ended: Result<(), &Failure>) -> usize {
    match ended {
        Ok(()) => 0,
        Err(Failure::Connection) => 1,
        Err(Failure::Timeout) => 2,
        Err(Failure::Status(400..500)) => 3,
        Err(Failure::Status(500..600)) => 4,
        Err(Failure::Status(_)) => 5,
        Err(Failure::Garbled(_) | Failure::TooBig) => 6,
        Err(Failure::Unavailable | Failure::GivenUp) => 7,
    }
}

/// A request to the endpoint that was admitted. Dropped, nobody waits for it.
pub(super) struct Pass<'e> {
    endpoint: &'e Endpoint,
    began: Instant,
    settled: bool,
}

impl Endpoint {
    pub(super) fn new(name: String, failures: u32, cooldown: Duration) -> Self {
        Self {
            name,
            breaker: Mutex::new(Breaker::new(failures, cooldown)),
            is_up: AtomicBool::new(true),
            falls: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            ended: Default::default(),
            micros: AtomicU64::new(0),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // Each change of it is a single assignment.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it would be asked now.
    pub(super) fn is_available(&self) -> bool {
        self.is_up() && self.breaker().would_admit(Instant::now())
    }

    /// Leave to ask it. `None`: it is not well.
    pub(super) fn admit(&self) -> Option<Pass<'_>> {
        let began = Instant::now();
        if !self.is_up() || !self.breaker().admit(began) {
            return None;
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Pass {
            endpoint: self,
            began,
            settled: false,
        })
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// How it was found.
    pub(super) fn looked_at(&self, is_well: bool) {
        let falls = if is_well {
            self.falls.store(0, Ordering::Relaxed);
            0
        } else {
            self.falls.fetch_add(1, Ordering::Relaxed) + 1
        };
        let is_up = is_well || (self.is_up() && falls < FALL);
        if self.is_up.swap(is_up, Ordering::Relaxed) != is_up {
            let how = if is_up { "well again" } else { "down" };
            tracing::warn!(
                endpoint = self.name,
                "an endpoint of the application is {how}"
            );
        }
    }

    pub(super) fn shown(&self) -> Shown {
        self.breaker().shown(Instant::now())
    }

    /// How many requests ended so.
    pub(super) fn ended(&self, outcome: usize) -> u64 {
        self.ended[outcome].load(Ordering::Relaxed)
    }
}

impl Pass<'_> {
    pub(super) fn settle(mut self, ended: Result<(), &Failure>) {
        self.settled = true;
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        if ended.is_ok() {
            self.endpoint.micros.fetch_add(micros, Ordering::Relaxed);
        }
        let verdict = match ended {
            Err(failure) if failure.is_the_endpoints() => Verdict::Failed,
            _ => Verdict::Well,
        };
        self.end(verdict, outcome(ended));
    }

    fn end(&self, verdict: Verdict, outcome: usize) {
        let before = self.endpoint.shown();
        let now = Instant::now();
        self.endpoint.breaker().settle(verdict, now, chance());
        let after = self.endpoint.shown();
        if after != before && after != Shown::HalfOpen {
            tracing::warn!(
                endpoint = self.endpoint.name,
                "an endpoint of the application is {}",
                if after == Shown::Open {
                    "left alone for a while"
                } else {
                    "asked again"
                }
            );
        }
        self.endpoint.ended[outcome].fetch_add(1, Ordering::Relaxed);
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.end(Verdict::Unknown, outcome(Err(&Failure::GivenUp)));
        }
    }
}
