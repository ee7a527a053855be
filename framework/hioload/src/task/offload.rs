//! Work on the offload pool, awaited.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::local::Local;
use super::time::here;
use super::waker::enter;
use crate::offload::{Cancel, Job, OffloadError, WorkId};

/// Runs `work` on a thread of the [offload pool](crate::offload) and awaits its
/// result: for whatever blocks or computes for long. It is submitted when it
/// is first polled. Dropping the future gives the work up: it is not begun, or
/// told by its [`Cancel`] token.
///
/// The future resolves to an [`OffloadError`] when the work was refused, timed
/// out or panicked.
///
/// # Panics
/// When it is polled outside of a shard's tasks.
///
/// ```no_run
/// # use hioload::task::{self, WebSocket};
/// async fn sums(mut ws: WebSocket) -> task::Result {
///     while let Some(message) = ws.recv().await {
///         let bytes = message.payload().to_vec();
///         let sum = task::offload(move |_| bytes.iter().map(|&b| u64::from(b)).sum::<u64>());
///         ws.send(sum.await?.to_string()).await?;
///     }
///     Ok(())
/// }
/// ```
pub fn offload<T: Send + 'static>(work: impl FnOnce(&Cancel) -> T + Send + 'static) -> Offload<T> {
    offload_job(Job::new(work))
}

/// As [`offload`], with a priority or a timeout.
pub fn offload_job<T: Send + 'static>(job: Job<T>) -> Offload<T> {
    Offload(Stage::New(Some(job)))
}

/// The future of [`offload`].
#[must_use = "nothing is submitted before it is awaited"]
pub struct Offload<T>(Stage<T>);

enum Stage<T> {
    New(Option<Job<T>>),
    Submitted { local: Rc<Local>, state: Shared<T> },
}

type Shared<T> = Rc<RefCell<State<T>>>;

struct State<T> {
    work: Option<WorkId>,
    result: Option<Result<T, OffloadError>>,
    waker: Option<Waker>,
    /// Nobody waits any more.
    dropped: bool,
}

impl<T> Unpin for Offload<T> {}

impl<T: Send + 'static> Future for Offload<T> {
    type Output = Result<T, OffloadError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::New(job) = &mut self.0 {
            let local = here();
            let state = Rc::new(RefCell::new(State {
                work: None,
                result: None,
                waker: None,
                dropped: false,
            }));
            if let Some(job) = job.take() {
                submit(&local, &state, job);
            }
            self.0 = Stage::Submitted { local, state };
        }
        let Stage::Submitted { state, .. } = &self.0 else {
            return Poll::Pending;
        };
        let mut state = state.borrow_mut();
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The shard submits it, right after the poll.
fn submit<T: Send + 'static>(local: &Rc<Local>, state: &Shared<T>, job: Job<T>) {
    let (told, shared) = (Rc::clone(local), Rc::clone(state));
    local.ask(Box::new(move |cx| {
        if shared.borrow().dropped {
            return;
        }
        let (waiting, told_later) = (Rc::clone(&shared), Rc::clone(&told));
        let done = move |result| tell(&told_later, &waiting, result);
        match cx.offload_for_task(job, done) {
            Ok(work) => shared.borrow_mut().work = Some(work),
            Err(error) => tell(&told, &shared, Err(error)),
        }
    }));
}

fn tell<T>(local: &Rc<Local>, state: &Shared<T>, result: Result<T, OffloadError>) {
    let mut state = state.borrow_mut();
    state.work = None;
    state.result = Some(result);
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        enter(local, || waker.wake());
    }
}

impl<T> Drop for Offload<T> {
    fn drop(&mut self) {
        let Stage::Submitted { local, state } = &self.0 else {
            return;
        };
        let mut state = state.borrow_mut();
        state.dropped = true;
        if let Some(work) = state.work.take() {
            local.ask(Box::new(move |cx| {
                cx.give_up_for_task(work);
            }));
        }
    }
}

impl<T> fmt::Debug for Offload<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload").finish_non_exhaustive()
    }
}
