//! One event, or a batch of them, at several endpoints: whom to ask, in which
//! order, how often, how long.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::chance;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::wire::{Letter, Said};
use crate::config::Mode;

/// What requests go through.
pub(super) trait Transport: Send + Sync + 'static {
    /// Posts a letter to an endpoint; the body of the answer, whose status is
    /// 200.
    fn post(
        &self,
        endpoint: usize,
        letter: &Letter,
    ) -> impl Future<Output = Result<Vec<u8>, Failure>> + Send;

    /// Whether an endpoint is well.
    fn look(&self, endpoint: usize) -> impl Future<Output = bool> + Send;
}

/// How often and how long an endpoint is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the answer to one request.
    pub(super) timeout: Duration,
    pub(super) retries: u32,
    pub(super) backoff: Duration,
    pub(super) backoff_max: Duration,
}

impl Patience {
    /// The pause before a retry, which are counted from 0: twice as long each
    /// time, and half of it by chance (from 0 to 1), so that what failed
    /// together does not come back together.
    fn pause(&self, retry: u32, chance: f64) -> Duration {
        let doubled = self.backoff.saturating_mul(2_u32.saturating_pow(retry));
        doubled.min(self.backoff_max).mul_f64(0.5 + 0.5 * chance)
    }
}

/// Asks endpoints.
pub(super) struct Caller<T> {
    pub(super) transport: T,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) mode: Mode,
    pub(super) patience: Patience,
}

/// What was said to each part of a letter.
type Answers = Vec<Said>;

impl<T: Transport> Caller<T> {
    /// The answers to a letter, by then.
    pub(super) async fn call(
        self: &Arc<Self>,
        letter: Arc<Letter>,
        deadline: Instant,
    ) -> Result<Answers, Failure> {
        // In the mode that asks all, those that have answered are not asked again.
        let mut heard = vec![None; self.endpoints.len()];
        let mut retry = 0;
        loop {
            let failure = match self.round(&letter, deadline, &mut heard).await {
                Ok(answers) => return Ok(answers),
                Err(failure) => failure,
            };
            let pause = self.patience.pause(retry, chance());
            let is_over = retry >= self.patience.retries || Instant::now() + pause >= deadline;
            if is_over || !failure.is_passing() {
                return Err(failure);
            }
            sleep(pause).await;
            retry += 1;
        }
    }

    async fn round(
        self: &Arc<Self>,
        letter: &Arc<Letter>,
        deadline: Instant,
        heard: &mut [Option<Answers>],
    ) -> Result<Answers, Failure> {
        match self.mode {
            Mode::Failover => self.one_after_another(letter, deadline).await,
            Mode::Fastest => self.the_fastest(letter, deadline).await,
            Mode::All => self.each(letter, deadline, heard).await,
        }
    }

    async fn one_after_another(
        &self,
        letter: &Letter,
        deadline: Instant,
    ) -> Result<Answers, Failure> {
        let mut worst = Failure::Unavailable;
        for index in 0..self.endpoints.len() {
            match self.ask(index, letter, deadline).await {
                Ok(answers) => return Ok(answers),
                Err(failure) => worst = worse(worst, failure),
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(worst)
    }

    async fn the_fastest(
        self: &Arc<Self>,
        letter: &Arc<Letter>,
        deadline: Instant,
    ) -> Result<Answers, Failure> {
        let mut asked = self.spawn(letter, deadline, 0..self.endpoints.len());
        let mut worst = Failure::Unavailable;
        while let Some(ended) = asked.join_next().await {
            match ended {
                // The others are given up with the set.
                Ok((_, Ok(answers))) => return Ok(answers),
                Ok((_, Err(failure))) => worst = worse(worst, failure),
                Err(_panicked) => worst = worse(worst, Failure::GivenUp),
            }
        }
        Err(worst)
    }

    async fn each(
        self: &Arc<Self>,
        letter: &Arc<Letter>,
        deadline: Instant,
        heard: &mut [Option<Answers>],
    ) -> Result<Answers, Failure> {
        let missing = heard.iter().enumerate().filter(|(_, one)| one.is_none());
        let missing: Vec<usize> = missing.map(|(index, _)| index).collect();
        // One that is not asked could not agree.
        if !missing
            .iter()
            .all(|&one| self.endpoints[one].is_available())
        {
            return Err(Failure::Unavailable);
        }
        let mut asked = self.spawn(letter, deadline, missing);
        let mut worst = None;
        while let Some(ended) = asked.join_next().await {
            let failure = match ended {
                Ok((index, Ok(answers))) => {
                    heard[index] = Some(answers);
                    continue;
                }
                Ok((_, Err(failure))) => failure,
                Err(_panicked) => Failure::GivenUp,
            };
            worst = Some(worst.map_or(failure.clone(), |worst| worse(worst, failure)));
        }
        match worst {
            Some(failure) => Err(failure),
            None => Ok(agreed(heard.iter_mut().filter_map(Option::take))),
        }
    }

    fn spawn(
        self: &Arc<Self>,
        letter: &Arc<Letter>,
        deadline: Instant,
        endpoints: impl IntoIterator<Item = usize>,
    ) -> JoinSet<(usize, Result<Answers, Failure>)> {
        let mut asked = JoinSet::new();
        for index in endpoints {
            let (caller, letter) = (Arc::clone(self), Arc::clone(letter));
            asked.spawn(async move { (index, caller.ask(index, &letter, deadline).await) });
        }
        asked
    }

    /// Asks one endpoint once.
    async fn ask(
        &self,
        index: usize,
        letter: &Letter,
        deadline: Instant,
    ) -> Result<Answers, Failure> {
        let endpoint = &self.endpoints[index];
        let Some(pass) = endpoint.admit() else {
            return Err(Failure::Unavailable);
        };
        let by = deadline.min(Instant::now() + self.patience.timeout);
        let answers = match timeout_at(by, self.transport.post(index, letter)).await {
            Ok(body) => body.and_then(|body| letter.read(body)),
            Err(_elapsed) => Err(Failure::Timeout),
        };
        pass.settle(answers.as_ref().map(|_| ()));
        if let Err(failure) = &answers {
            tracing::debug!(
                endpoint = endpoint.name,
                event = letter.event.name(),
                %failure,
                "an endpoint of the application gave no answer"
            );
        }
        answers
    }

    /// Looks at an endpoint's health again and again.
    pub(super) async fn watch(&self, index: usize, interval: Duration) {
        loop {
            let looked = timeout_at(
                Instant::now() + self.patience.timeout,
                self.transport.look(index),
            );
            let is_well = looked.await.unwrap_or(false);
            self.endpoints[index].looked_at(is_well);
            sleep(interval.mul_f64(0.9 + 0.2 * chance())).await;
        }
    }
}

/// Of two failures the one that says more: that some endpoint was not asked says
/// least, and what may pass is tried again.
fn worse(one: Failure, other: Failure) -> Failure {
    let weight = |failure: &Failure| match failure {
        Failure::Unavailable | Failure::GivenUp => 0,
        failure if failure.is_passing() => 2,
        _ => 1,
    };
    if weight(&other) >= weight(&one) {
        other
    } else {
        one
    }
}

/// What several said to the same letter: the first one's result where all agree,
/// else the first refusal.
fn agreed(mut all: impl Iterator<Item = Answers>) -> Answers {
    let mut answers = all.next().unwrap_or_default();
    for others in all {
        for (answer, other) in answers.iter_mut().zip(others) {
            if matches!(answer, Said::Result(_)) && !matches!(other, Said::Result(_)) {
                *answer = other;
            }
        }
    }
    answers
}

#[cfg(test)]
mod tests;
