//! Time, as a task sees it: that of its shard's turns.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hioload_platform::Nanos;
use hioload_platform::clock::nanos;
use thiserror::Error;

use super::local::Local;
use super::waker::current;
use crate::timer::TimerId;

/// A time was over before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it took too long")]
pub struct Elapsed;

/// The shard that polls.
///
/// # Panics
/// Outside of a shard's tasks.
pub(super) fn here() -> Rc<Local> {
    current().expect("inside a task of a shard: sleep, spawn and offload are for those only")
}

/// The time of this turn: nanoseconds of the server's monotonic clock.
///
/// # Panics
/// Outside of a shard's tasks.
#[must_use]
pub fn now() -> Nanos {
    here().now()
}

/// Waits; never less, and more by at most a tick of 1024 nanoseconds and what
/// the turn before takes. Cancel safe.
///
/// # Panics
/// When it is polled outside of a shard's tasks.
#[must_use = "nothing waits before it is awaited"]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep {
        length: nanos(duration),
        set: None,
    }
}

/// The future of [`sleep`]; the time begins with the first poll.
#[derive(Debug)]
pub struct Sleep {
    length: Nanos,
    set: Option<Set>,
}

#[derive(Debug)]
struct Set {
    local: Rc<Local>,
    deadline: Nanos,
    timer: TimerId,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let length = self.length;
        let local = match &self.set {
            Some(set) => Rc::clone(&set.local),
            None => here(),
        };
        let deadline = match &self.set {
            Some(set) => set.deadline,
            None => local.now().saturating_add(length),
        };
        if deadline <= local.now() {
            return Poll::Ready(());
        }
        if let Some(set) = &self.set {
            // The waker may be another one than before.
            local.cancel_timer(set.timer);
        }
        let timer = local.set_timer(deadline, cx.waker().clone());
        self.set = Some(Set {
            local,
            deadline,
            timer,
        });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(set) = &self.set {
            set.local.cancel_timer(set.timer);
        }
    }
}

/// Waits for a future, at most so long; then it is dropped.
///
/// # Errors
/// [`Elapsed`].
///
/// # Panics
/// When it is polled outside of a shard's tasks.
pub async fn timeout<F: Future>(most: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut over = pin!(sleep(most));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        over.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// Ticks at a fixed rate, the first a period from now. A task that is late
/// gets one tick for all that have passed, and the next in step with the first.
///
/// # Panics
/// Outside of a shard's tasks, and when the period is zero.
#[must_use]
pub fn interval(period: Duration) -> Interval {
    let period = nanos(period);
    assert!(period > 0, "a period of zero never waits");
    Interval {
        period,
        next: now().saturating_add(period),
    }
}

/// What [`interval`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    period: Nanos,
    next: Nanos,
}

impl Interval {
    /// The next tick. Cancel safe: a tick is taken when this returns.
    pub async fn tick(&mut self) {
        let wait = self.next.saturating_sub(now());
        if wait > 0 {
            sleep(Duration::from_nanos(wait)).await;
        }
        let behind = now().saturating_sub(self.next) / self.period;
        self.next = self.next.saturating_add((behind + 1) * self.period);
    }
}
