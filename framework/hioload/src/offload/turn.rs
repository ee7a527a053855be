//! How callbacks offload work.

use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use hioload_platform::Token;
use hioload_platform::clock::nanos;
use thiserror::Error;

use super::desk::{Done, Outcome};
use super::error::OffloadError;
use super::job::{Cancel, Job};
use super::retry::Retry;
use crate::app::{Conn, Turn};
use crate::shard::{Context, Links, Owner, with_conn, with_turn};

/// Names offloaded work of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkId(u64);

/// All attempts of retried work have failed; this is the last one's failure.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RetryError<E> {
    /// What the work said.
    #[error("{0}")]
    Failed(E),
    /// The pool refused it or had no result.
    #[error(transparent)]
    Offload(OffloadError),
}

struct TurnDone<F, S, T> {
    call: F,
    owner: Owner,
    types: PhantomData<fn(S, T)>,
}

impl<F, S, T> Done for TurnDone<F, S, T>
where
    F: FnOnce(&mut Turn<'_, S>, Result<T, OffloadError>),
    S: 'static,
    T: 'static,
{
    fn call(self: Box<Self>, links: &mut dyn Links, cx: &mut Context, outcome: Outcome) {
        if let Some(outcome) = typed(outcome) {
            with_turn(links, cx, self.owner, |turn| (self.call)(turn, outcome));
        }
    }
}

struct ConnDone<F, T> {
    call: F,
    token: Token,
    types: PhantomData<fn(T)>,
}

impl<F, T> Done for ConnDone<F, T>
where
    F: FnOnce(&mut Conn<'_>, Result<T, OffloadError>),
    T: 'static,
{
    fn call(self: Box<Self>, links: &mut dyn Links, cx: &mut Context, outcome: Outcome) {
        if let Some(outcome) = typed(outcome) {
            with_conn(links, cx, self.token, |conn| (self.call)(conn, outcome));
        }
    }
}

/// The outcome as the type that the work with this number returns.
fn typed<T: 'static>(outcome: Outcome) -> Option<Result<T, OffloadError>> {
    match outcome {
        Ok(value) => {
            let value = value.downcast::<T>();
            debug_assert!(value.is_ok(), "a number names one piece of work");
            value.ok().map(|value| Ok(*value))
        }
        Err(error) => Some(Err(error)),
    }
}

impl<S: 'static> Turn<'_, S> {
    /// Runs `work` on a thread of the offload pool and then `done` on this
    /// shard, with the result or with why there is none. Only `work` and its
    /// result cross threads; `done` may hold what never leaves the shard.
    ///
    /// `done` is called once, in a later turn, unless the work was
    /// [given up](Self::give_up) or the shard has ended before.
    ///
    /// # Errors
    /// A refusal: [`OffloadError::Full`], [`OffloadError::NoWorkers`],
    /// [`OffloadError::Stopped`]. Nothing will run, and `done` is not called.
    pub fn offload<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Cancel) -> T + Send + 'static,
        done: impl FnOnce(&mut Turn<'_, S>, Result<T, OffloadError>) + 'static,
    ) -> Result<WorkId, OffloadError> {
        self.offload_job(Job::new(work), done)
    }

    /// As [`offload`](Self::offload), with a priority, a timeout, or a count
    /// of failures.
    ///
    /// # Errors
    /// As [`offload`](Self::offload).
    pub fn offload_job<T: Send + 'static>(
        &mut self,
        job: Job<T>,
        done: impl FnOnce(&mut Turn<'_, S>, Result<T, OffloadError>) + 'static,
    ) -> Result<WorkId, OffloadError> {
        let done = TurnDone {
            call: done,
            owner: self.cx.owner,
            types: PhantomData,
        };
        submit(self.cx, job, Box::new(done))
    }

    /// Offloads `work` until it succeeds or `retry` ends it, and waits on the
    /// shard's timers in between, which occupies no worker. Refusals for want
    /// of room, timeouts and panics are failures too; a server that stops ends
    /// it at once. `done` is called in a later turn, or in this call when the
    /// only attempt is refused.
    pub fn offload_retrying<T, E>(
        &mut self,
        retry: Retry,
        work: impl Fn(&Cancel) -> Result<T, E> + Send + Sync + 'static,
        done: impl FnOnce(&mut Turn<'_, S>, Result<T, RetryError<E>>) + 'static,
    ) where
        T: Send + 'static,
        E: Send + 'static,
    {
        let retried = Retried {
            retry,
            work: Arc::new(work),
            done: Box::new(done),
            failed: 0,
        };
        retried.attempt(self);
    }

    /// Gives offloaded work up: it is not begun any more, or told by its
    /// [`Cancel`] token, and nobody hears of its end. `false` if it has ended.
    pub fn give_up(&mut self, work: WorkId) -> bool {
        self.cx.give_up(work.0)
    }
}

impl Conn<'_> {
    /// As [`Turn::offload`], with a result for this connection. When the
    /// connection ends before, the work is given up and `done` is not called.
    ///
    /// # Errors
    /// As [`Turn::offload`]; [`OffloadError::Full`] also when 16 pieces of
    /// work of this connection are on the way or it has ended.
    pub fn offload<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Cancel) -> T + Send + 'static,
        done: impl FnOnce(&mut Conn<'_>, Result<T, OffloadError>) + 'static,
    ) -> Result<WorkId, OffloadError> {
        self.offload_job(Job::new(work), done)
    }

    /// As [`offload`](Self::offload), with a priority, a timeout, or a count
    /// of failures.
    ///
    /// # Errors
    /// As [`offload`](Self::offload).
    pub fn offload_job<T: Send + 'static>(
        &mut self,
        job: Job<T>,
        done: impl FnOnce(&mut Conn<'_>, Result<T, OffloadError>) + 'static,
    ) -> Result<WorkId, OffloadError> {
        let token = self.link.token();
        if !self.link.takes_work(self.cx) {
            return Err(OffloadError::Full);
        }
        let done = ConnDone {
            call: done,
            token,
            types: PhantomData,
        };
        let id = submit(self.cx, job, Box::new(done))?;
        self.link.attach_work(id.0);
        Ok(id)
    }
}

/// Needs neither the turn nor a connection.
struct TaskDone<F, T> {
    call: F,
    types: PhantomData<fn(T)>,
}

impl<F, T> Done for TaskDone<F, T>
where
    F: FnOnce(Result<T, OffloadError>),
    T: 'static,
{
    fn call(self: Box<Self>, _: &mut dyn Links, _: &mut Context, outcome: Outcome) {
        if let Some(outcome) = typed(outcome) {
            (self.call)(outcome);
        }
    }
}

impl Context {
    /// As [`Turn::offload_job`], for a task.
    pub(crate) fn offload_for_task<T: Send + 'static>(
        &mut self,
        job: Job<T>,
        done: impl FnOnce(Result<T, OffloadError>) + 'static,
    ) -> Result<WorkId, OffloadError> {
        let done = TaskDone {
            call: done,
            types: PhantomData,
        };
        submit(self, job, Box::new(done))
    }

    /// As [`Turn::give_up`], for a task.
    pub(crate) fn give_up_for_task(&mut self, work: WorkId) {
        self.give_up(work.0);
    }
}

fn submit<T: Send + 'static>(
    cx: &mut Context,
    job: Job<T>,
    done: Box<dyn Done>,
) -> Result<WorkId, OffloadError> {
    let timeout = job.timeout.map_or(cx.rules.offload_timeout, nanos);
    let priority = job.priority;
    cx.submit(job.erase(), priority, timeout, done).map(WorkId)
}

type RetryWork<T, E> = Arc<dyn Fn(&Cancel) -> Result<T, E> + Send + Sync>;

type RetryDone<S, T, E> = Box<dyn FnOnce(&mut Turn<'_, S>, Result<T, RetryError<E>>)>;

/// Work that is tried again when it fails.
struct Retried<S, T, E> {
    retry: Retry,
    work: RetryWork<T, E>,
    done: RetryDone<S, T, E>,
    failed: u32,
}

impl<S, T, E> Retried<S, T, E>
where
    S: 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    fn attempt(self, turn: &mut Turn<'_, S>) {
        let work = Arc::clone(&self.work);
        // A refusal drops the closure, and this must outlive it.
        let kept = Rc::new(Cell::new(Some(self)));
        let retried = Rc::clone(&kept);
        let job = Job::fallible(move |cancel: &Cancel| work(cancel));
        let offloaded = turn.offload_job(job, move |turn, outcome| {
            let Some(retried) = retried.take() else {
                return;
            };
            match outcome {
                Ok(Ok(value)) => (retried.done)(turn, Ok(value)),
                Ok(Err(error)) => retried.again(turn, RetryError::Failed(error)),
                Err(error) => retried.again(turn, RetryError::Offload(error)),
            }
        });
        if let Err(error) = offloaded
            && let Some(retried) = kept.take()
        {
            retried.again(turn, RetryError::Offload(error));
        }
    }

    fn again(mut self, turn: &mut Turn<'_, S>, error: RetryError<E>) {
        self.failed += 1;
        let random = turn.cx.draw();
        let is_over = matches!(error, RetryError::Offload(OffloadError::Stopped));
        let delay = self.retry.delay(self.failed, random);
        let (Some(delay), false) = (delay, is_over) else {
            return (self.done)(turn, Err(error));
        };
        let kept = Rc::new(Cell::new(Some(self)));
        let retried = Rc::clone(&kept);
        let waiting = turn.after(delay, move |turn| {
            if let Some(retried) = retried.take() {
                retried.attempt(turn);
            }
        });
        if waiting.is_err()
            && let Some(retried) = kept.take()
        {
            (retried.done)(turn, Err(error));
        }
    }
}
