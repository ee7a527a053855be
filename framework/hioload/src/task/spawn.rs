//! Tasks beside those of connections.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use thiserror::Error;

use super::local::{Local, TaskId};
use super::time::here;

/// A shard runs 65,536 spawned tasks already; this one was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the shard has as many spawned tasks as it runs, 65536")]
pub struct TooManyTasks;

/// A spawned task ended without a result: it panicked, or was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the task was aborted, or panicked")]
pub struct Aborted;

/// Runs a future on this shard, beside the task that spawns it and for as long
/// as it takes, or until the shard ends. It is polled in this turn.
///
/// # Errors
/// [`TooManyTasks`].
///
/// # Panics
/// Outside of a shard's tasks.
pub fn spawn_local<F>(future: F) -> Result<JoinHandle<F::Output>, TooManyTasks>
where
    F: Future + 'static,
{
    let local = here();
    let state = Rc::new(State {
        output: RefCell::new(None),
        waiting: Cell::new(None),
    });
    let told = Told(Rc::clone(&state));
    let task = local.spawn(Box::pin(async move {
        let output = future.await;
        told.0.output.replace(Some(output));
    }));
    Ok(JoinHandle {
        task: task.ok_or(TooManyTasks)?,
        local,
        state,
    })
}

/// Awaits the output of a spawned task. Dropping it lets the task go on.
pub struct JoinHandle<T> {
    local: Rc<Local>,
    task: TaskId,
    state: Rc<State<T>>,
}

struct State<T> {
    output: RefCell<Option<T>>,
    waiting: Cell<Option<Waker>>,
}

/// The task's side: wakes who waits, however it ends.
struct Told<T>(Rc<State<T>>);

impl<T> Drop for Told<T> {
    fn drop(&mut self) {
        if let Some(waker) = self.0.waiting.take() {
            waker.wake();
        }
    }
}

impl<T> JoinHandle<T> {
    /// Drops the task now. Does nothing when it has ended. Not from within the
    /// task itself, which ends by returning.
    pub fn abort(&self) {
        self.local.cancel(self.task);
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Aborted>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(output) = self.state.output.take() {
            return Poll::Ready(Ok(output));
        }
        if Rc::strong_count(&self.state) == 1 {
            return Poll::Ready(Err(Aborted));
        }
        self.state.waiting.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinHandle").field(&self.task).finish()
    }
}
