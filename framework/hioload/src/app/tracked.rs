//! Sends whose outcome somebody waits for.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hioload_protocol::CloseCode;
use thiserror::Error;

/// A message was not taken by the kernel, and will not be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendFailed {
    /// It was not queued: the connection is above its backpressure limit.
    #[error("the peer reads too slowly, the message was dropped")]
    Dropped,
    /// The connection ended first.
    #[error("the connection ended before the message was sent: {code} {reason}")]
    Closed {
        /// As in [`Close::code`](super::Close::code); 1006 when it was lost.
        code: CloseCode,
        /// As in [`Close::reason`](super::Close::reason).
        reason: Box<str>,
    },
    /// The shard ended before it got to the message.
    #[error("the server stopped before the message was sent")]
    Stopped,
}

impl SendFailed {
    /// The connection had ended before, unnoticed.
    pub(crate) fn gone() -> Self {
        Self::Closed {
            code: CloseCode::ABNORMAL,
            reason: Box::default(),
        }
    }
}

/// A message on its way: resolves when the kernel has taken its last byte, or
/// when it is known that it will not.
///
/// Await it on any executor, [`wait`](Self::wait) for it on a thread that may
/// block (not a shard's), or leave a callback with [`then`](Self::then).
/// Dropping it changes nothing for the message.
///
/// That the kernel has a message does not mean that the peer has it: only an
/// answer of the peer's says that.
#[must_use = "nobody hears what became of the message; send it without tracking"]
pub struct Tracked(Arc<Shared>);

/// Resolves a [`Tracked`]; dropping it does, too.
pub(crate) struct Completion(Option<Arc<Shared>>);

type Outcome = Result<(), SendFailed>;
type Callback = Box<dyn FnOnce(Outcome) + Send>;

struct Shared {
    state: Mutex<State>,
    resolved: Condvar,
}

enum State {
    Waiting,
    Polled(Waker),
    Calls(Callback),
    Resolved(Outcome),
}

impl Shared {
    /// Whoever panicked with the lock held left a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tracked {
    pub(crate) fn new() -> (Self, Completion) {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Waiting),
            resolved: Condvar::new(),
        });
        (Self(Arc::clone(&shared)), Completion(Some(shared)))
    }

    /// What became of the message, if that is known.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<(), SendFailed>> {
        match &*self.0.lock() {
            State::Resolved(outcome) => Some(outcome.clone()),
            State::Waiting | State::Polled(_) | State::Calls(_) => None,
        }
    }

    /// Calls `callback` with the outcome: at once if it is known, else on the
    /// shard's thread, so it must not block.
    pub fn then(self, callback: impl FnOnce(Result<(), SendFailed>) + Send + 'static) {
        let mut state = self.0.lock();
        if let State::Resolved(outcome) = &*state {
            let outcome = outcome.clone();
            drop(state);
            callback(outcome);
        } else {
            *state = State::Calls(Box::new(callback));
        }
    }

    /// Blocks until the outcome is known, at most so long; gives the handle
    /// back if it is not. A shard's thread must not call it: it would wait for
    /// itself.
    ///
    /// # Errors
    /// The handle, when the time is over.
    pub fn wait(self, most: Duration) -> Result<Result<(), SendFailed>, Self> {
        let until = Instant::now() + most;
        let mut state = self.0.lock();
        loop {
            if let State::Resolved(outcome) = &*state {
                return Ok(outcome.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                return Err(self);
            }
            let waited = self.0.resolved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Future for Tracked {
    type Output = Result<(), SendFailed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        if let State::Resolved(outcome) = &*state {
            return Poll::Ready(outcome.clone());
        }
        *state = State::Polled(cx.waker().clone());
        Poll::Pending
    }
}

impl Completion {
    pub(crate) fn resolve(mut self, outcome: Result<(), SendFailed>) {
        self.set(outcome);
    }

    fn set(&mut self, outcome: Result<(), SendFailed>) {
        let Some(shared) = self.0.take() else { return };
        let mut state = shared.lock();
        let before = mem::replace(&mut *state, State::Resolved(outcome.clone()));
        drop(state);
        shared.resolved.notify_all();
        match before {
            State::Polled(waker) => waker.wake(),
            State::Calls(callback) => callback(outcome),
            State::Waiting | State::Resolved(_) => {}
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.set(Err(SendFailed::Stopped));
    }
}

impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = self.outcome();
        f.debug_struct("Tracked")
            .field("outcome", &outcome)
            .finish()
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_way_to_wait_hears_the_outcome() {
        let (tracked, completion) = Tracked::new();
        assert_eq!(tracked.outcome(), None);
        let tracked = tracked.wait(Duration::ZERO).unwrap_err();
        let (tell, told) = mpsc::channel();
        let later = tell.clone();
        tracked.then(move |outcome| later.send(outcome).unwrap());
        completion.resolve(Ok(()));
        assert_eq!(told.try_recv(), Ok(Ok(())));

        let (tracked, completion) = Tracked::new();
        drop(completion);
        assert_eq!(tracked.outcome(), Some(Err(SendFailed::Stopped)));
        tracked.then(move |outcome| tell.send(outcome).unwrap());
        assert_eq!(told.try_recv(), Ok(Err(SendFailed::Stopped)));
    }

    #[test]
    fn a_future_is_woken_once_it_is_resolved() {
        let (mut tracked, completion) = Tracked::new();
        let (waker, woken) = counting();
        let mut cx = Context::from_waker(&waker);
        assert_eq!(Pin::new(&mut tracked).poll(&mut cx), Poll::Pending);
        assert_eq!(Arc::strong_count(&woken), 3, "it keeps the waker");
        completion.resolve(Err(SendFailed::Dropped));
        assert_eq!(woken.count(), 1);
        let outcome = Pin::new(&mut tracked).poll(&mut cx);
        assert_eq!(outcome, Poll::Ready(Err(SendFailed::Dropped)));
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicUsize);

    impl Woken {
        fn count(&self) -> usize {
            self.0.load(std::sync::atomic::Ordering::SeqCst)
        }
    }

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    fn counting() -> (Waker, Arc<Woken>) {
        let woken = Arc::new(Woken::default());
        (Waker::from(Arc::clone(&woken)), woken)
    }
}
