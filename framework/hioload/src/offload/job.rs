//! A piece of work: what to run, how urgent, how long it may take.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How urgent work is. Higher work comes first; a lower class is passed over
/// at most 4 times (normal) or 16 times (low) in a row, so that none starves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Somebody waits for it.
    High,
    /// As most.
    #[default]
    Normal,
    /// Whenever there is time.
    Low,
}

impl Priority {
    pub(super) const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

/// Tells work that nobody wants its result any more. Work that takes long asks
/// now and then, and returns early; work that does not ask runs to its end,
/// for nothing, and occupies its worker until then.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Whether the result is of no use any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What work gave, and whether it counts as done rather than failed.
pub(super) struct Finished {
    pub(super) value: Box<dyn Any + Send>,
    pub(super) succeeded: bool,
}

/// Work without its type.
pub(super) type Work = Box<dyn FnOnce(&Cancel) -> Finished + Send>;

/// Work with what is to be known about it, for
/// [`Turn::offload_job`](crate::Turn::offload_job).
#[must_use = "a job does nothing until it is offloaded"]
pub struct Job<T> {
    pub(super) work: Box<dyn FnOnce(&Cancel) -> T + Send>,
    pub(super) succeeded: fn(&T) -> bool,
    pub(super) priority: Priority,
    pub(super) timeout: Option<Duration>,
}

impl<T: Send + 'static> Job<T> {
    /// Work of normal priority, with the timeout of the pool.
    pub fn new(work: impl FnOnce(&Cancel) -> T + Send + 'static) -> Self {
        Self {
            work: Box::new(work),
            succeeded: |_| true,
            priority: Priority::default(),
            timeout: None,
        }
    }

    /// How urgent it is.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// From its submission to its result, instead of
    /// [`Config::offload_timeout`](crate::Config::offload_timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(super) fn erase(self) -> Work {
        let Self {
            work, succeeded, ..
        } = self;
        Box::new(move |cancel| {
            let value = work(cancel);
            Finished {
                succeeded: succeeded(&value),
                value: Box::new(value),
            }
        })
    }
}

impl<T: Send + 'static, E: Send + 'static> Job<Result<T, E>> {
    /// As [`new`](Self::new), and an `Err` is counted as failed.
    pub fn fallible(work: impl FnOnce(&Cancel) -> Result<T, E> + Send + 'static) -> Self {
        Self {
            succeeded: Result::is_ok,
            ..Self::new(work)
        }
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("priority", &self.priority)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
