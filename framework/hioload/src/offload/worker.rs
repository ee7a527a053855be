//! The threads that work, and where they wait.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, PoisonError};

use hioload_platform::affinity;

use super::desk::Completion;
use super::error::OffloadError;
use super::job::Finished;
use super::pool::Shared;
use super::state::{Ended, Task};
use crate::server::Reservation;
use crate::shard::InboxEntry;

/// Idle workers, by node. Each waits on a condition of its own and is woken by
/// name: two wake-ups never go to one worker while another one sleeps.
pub(super) struct Bench(Box<[Vec<Arc<Idle>>]>);

/// Where one worker waits.
#[derive(Default)]
pub(super) struct Idle {
    condition: Condvar,
    /// Written under the pool's lock.
    woken: AtomicBool,
}

impl Bench {
    pub(super) fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| Vec::new()).collect())
    }

    /// Wakes one worker, of this node if one is idle; whether there was any.
    pub(super) fn wake_one(&mut self, node: usize) -> bool {
        let own = self.0[node].pop();
        // The one that went idle last has the warmest cache.
        let idle = own.or_else(|| self.0.iter_mut().find_map(Vec::pop));
        idle.as_ref().inspect(|idle| idle.wake()).is_some()
    }

    pub(super) fn wake_all(&mut self) {
        self.0
            .iter_mut()
            .flat_map(|list| list.drain(..))
            .for_each(|idle| idle.wake());
    }
}

impl Idle {
    fn wake(&self) {
        self.woken.store(true, Ordering::Relaxed);
        self.condition.notify_one();
    }
}

/// A worker's seat at its pool. Given up when it goes, however it goes.
pub(super) struct Worker {
    pool: Arc<Shared>,
    node: usize,
    idle: Arc<Idle>,
    /// Whether it is counted among the workers of its node.
    seated: bool,
}

impl Worker {
    /// For a worker that is counted already.
    pub(super) fn new(pool: Arc<Shared>, node: usize) -> Self {
        Self {
            pool,
            node,
            idle: Arc::default(),
            seated: true,
        }
    }

    /// The life of a worker's thread.
    pub(super) fn run(mut self) {
        let cpus = self.pool.seats().cpus(self.node);
        // It inherits the CPU of the shard that started it.
        if !cpus.is_empty()
            && let Err(error) = affinity::confine(cpus)
        {
            tracing::warn!(%error, "an offload worker may run anywhere");
        }
        while let Some(task) = self.next() {
            self.pool.execute(task);
        }
    }

    /// The next work, when there is some; `None`: it is time to go.
    fn next(&mut self) -> Option<Task> {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        loop {
            if state.is_over() {
                // Under the same lock: or all would go when one is too many.
                self.seated = false;
                state.leave(self.node);
                return None;
            }
            if let Some(task) = state.begin(self.node) {
                return Some(task);
            }
            self.idle.woken.store(false, Ordering::Relaxed);
            state.bench.0[self.node].push(Arc::clone(&self.idle));
            while !self.idle.woken.load(Ordering::Relaxed) {
                state = self
                    .idle
                    .condition
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.seated {
            self.pool.lock().leave(self.node);
        }
        self.pool.a_worker_left();
    }
}

impl Shared {
    /// Runs work, and sends back what came of it if anybody wants it.
    pub(super) fn execute(&self, task: Task) {
        let Task {
            id,
            work,
            cancel,
            back,
        } = task;
        // Nothing of it is seen after a panic but the panic.
        let outcome = catch_unwind(AssertUnwindSafe(move || work(&cancel)));
        let (ended, outcome) = match outcome {
            Ok(Finished { value, succeeded }) => {
                let ended = if succeeded {
                    Ended::Done
                } else {
                    Ended::Failed
                };
                (ended, Ok(value))
            }
            Err(panic) => {
                let message = message(panic.as_ref());
                discard(panic);
                (Ended::Panicked, Err(OffloadError::Panicked { message }))
            }
        };
        let is_wanted = self.lock().end(id, ended);
        if is_wanted {
            deliver(back, Completion { id, outcome });
        } else {
            discard(outcome);
        }
    }
}

/// Sends back what became of work. A shard that has ended drops it.
pub(super) fn deliver(mut back: Reservation, completion: Completion) {
    let _ended = back.keep(InboxEntry::Worked(completion));
}

/// Drops what others made, whose destructor may panic too.
pub(super) fn discard<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(move || drop(value))) {
        // The third one in a row is not given a chance.
        std::mem::forget(panic);
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
