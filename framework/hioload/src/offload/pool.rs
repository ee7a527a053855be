//! The pool: admission, workers, stop.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::desk::Completion;
use super::error::OffloadError;
use super::job::{Priority, Work};
use super::seats::Seats;
use super::state::{Abandoned, Queued, Reason, State, Task};
use super::stats::Stats;
use super::worker::{Worker, deliver, discard};
use crate::error::ConfigError;
use crate::server::Reservation;

/// The most workers of a pool: far more threads than this share CPUs badly,
/// and a typing error should not start them.
pub(crate) const MOST_WORKERS: usize = 1024;

/// The offload pool of a server, for any thread. Cheap to clone.
///
/// Its workers are threads, started one by one as work comes and nobody is
/// idle, up to the number wanted; a server that offloads nothing has none.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

/// What the handles and the workers of a pool share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// A worker has gone.
    left: Condvar,
    capacity: usize,
    seats: Seats,
    /// Whether there are threads; else somebody steps it, by [`Pool::take`]
    /// and [`Pool::execute`].
    threads: bool,
}

/// Work that a shard offers.
pub(super) struct Submission {
    pub(super) work: Work,
    pub(super) priority: Priority,
    pub(super) shard: usize,
    /// What it waits for already.
    pub(super) outstanding: usize,
    /// The place of the completion.
    pub(super) back: Reservation,
}

/// How a stop went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Work that waited and was dropped.
    pub dropped: usize,
    /// Work that ran on at the deadline: it was told by its
    /// [`Cancel`](super::Cancel) token, and its thread was left to itself.
    pub abandoned: usize,
}

impl Pool {
    /// A pool of threads that starts none yet.
    pub(crate) fn new(workers: usize, capacity: usize, seats: Seats) -> Self {
        Self::with(workers, capacity, seats, true)
    }

    /// A pool without threads, for the simulation.
    pub(crate) fn stepped(workers: usize, capacity: usize, shards: usize) -> Self {
        Self::with(workers, capacity, Seats::anywhere(shards), false)
    }

    fn with(workers: usize, capacity: usize, seats: Seats, threads: bool) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State::new(seats.nodes(), workers)),
            left: Condvar::new(),
            capacity,
            seats,
            threads,
        }))
    }

    /// Whether it is a simulation's.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_stepped(&self) -> bool {
        !self.0.threads
    }

    /// Work that waits at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// What it does and has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.0.lock();
        Stats {
            workers: state.live(),
            wanted: state.wanted,
            capacity: self.0.capacity,
            queued: state.queue.len(),
            running: state.running(),
            done: state.totals.done,
            failed: state.totals.failed,
            timed_out: state.totals.timed_out,
            panicked: state.totals.panicked,
            refused: state.totals.refused,
        }
    }

    /// Whether work that comes now may count on being done: there are to be
    /// workers, and less than nine tenths of the queue is full.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let state = self.0.lock();
        state.stopping.is_none() && state.wanted > 0 && state.queue.len() * 10 < self.0.capacity * 9
    }

    /// Sets the number of workers. More are started as work comes. Of those
    /// that are too many the idle ones end at once, the others after what they
    /// do. With 0 nothing more is done or accepted until there are some again;
    /// what waits is kept, for its timeouts.
    ///
    /// # Errors
    /// More than 1024; nothing changes.
    pub fn resize(&self, workers: usize) -> Result<(), ConfigError> {
        if workers > MOST_WORKERS {
            return Err(ConfigError::TooLarge {
                field: "offload_workers",
                value: workers,
                most: MOST_WORKERS,
            });
        }
        let mut state = self.0.lock();
        state.wanted = workers;
        let surplus = state.live().saturating_sub(workers);
        for node in 0..surplus {
            let node = node % self.0.seats.nodes();
            state.bench.wake_one(node);
        }
        let room = workers.saturating_sub(state.live());
        let starting = state.queue.len().min(room);
        drop(state);
        for _ in 0..starting {
            self.hire();
        }
        Ok(())
    }

    /// Ends the pool: nothing more is accepted, work that waits is dropped or
    /// done first, and the workers end. Returns when they have, or after
    /// `within`. A second call waits again, with its own deadline.
    pub fn stop(&self, within: Duration, queued: Queued) -> Stopped {
        let deadline = Instant::now().checked_add(within);
        let mut left = self.end(queued);
        let mut state = self.0.lock();
        while state.live() > 0 {
            let rest = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            state = match rest {
                Some(Duration::ZERO) => break,
                Some(rest) => {
                    let waited = self.0.left.wait_timeout(state, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.0.left.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
        state.stopping = Some(Queued::Drop);
        left.extend(state.give_up_queue());
        state.cancel_running();
        let abandoned = if state.live() > 0 { state.running() } else { 0 };
        let threads = std::mem::take(&mut state.threads);
        let all_left = state.live() == 0;
        drop(state);
        // A thread that has left its seat ends within microseconds.
        for thread in threads
            .into_iter()
            .filter(|thread| all_left || thread.is_finished())
        {
            // A worker outlives the panics of its work.
            let _panicked = thread.join();
        }
        let dropped = left.len();
        for task in left {
            reject(task);
        }
        Stopped { dropped, abandoned }
    }

    /// Ends the pool without waiting for its workers.
    pub(crate) fn close(&self) {
        self.end(Queued::Drop).into_iter().for_each(reject);
    }

    /// Accepts nothing more; what waits, if it is dropped.
    fn end(&self, queued: Queued) -> Vec<Task> {
        let mut state = self.0.lock();
        state.stopping = Some(queued);
        let left = match queued {
            Queued::Drop => state.give_up_queue(),
            Queued::Finish => Vec::new(),
        };
        state.bench.wake_all();
        left
    }

    /// Queues work; its number, under which its completion comes back.
    pub(super) fn submit(&self, submission: Submission) -> Result<u64, OffloadError> {
        let Submission {
            work,
            priority,
            shard,
            outstanding,
            back,
        } = submission;
        let node = self.0.seats.of_shard(shard);
        let mut state = self.0.lock();
        state.admits(self.0.capacity, outstanding)?;
        let id = state.push(work, priority, node, back);
        let woken = state.bench.wake_one(node);
        let hires = !woken && self.0.threads && state.live() < state.wanted;
        drop(state);
        if hires && !self.hire() {
            return self.keep_if_served(id);
        }
        Ok(id)
    }

    /// Gives work up. False: it has ended, and its completion is on the way.
    pub(super) fn abandon(&self, id: u64, reason: Reason) -> bool {
        let abandoned = self.0.lock().abandon(id, reason);
        match abandoned {
            Abandoned::Unrun(task) => {
                discard(task);
                true
            }
            Abandoned::Running => true,
            Abandoned::Ended => false,
        }
    }

    /// What would run next, were there a worker; for who steps the pool.
    pub(crate) fn take(&self) -> Option<Taken> {
        let mut state = self.0.lock();
        if state.running() >= state.wanted {
            return None;
        }
        state.begin(0).map(Taken)
    }

    /// Runs what was taken.
    pub(crate) fn execute(&self, taken: Taken) {
        self.0.execute(taken.0);
    }

    /// Starts a worker where one is missing; false when the system refuses.
    fn hire(&self) -> bool {
        if !self.0.threads {
            return true;
        }
        let mut state = self.0.lock();
        if state.stopping.is_some() || state.live() >= state.wanted {
            return true;
        }
        let node = self.0.seats.next(&state.workers);
        state.workers[node] += 1;
        let number = state.live();
        drop(state);
        // Gives the seat back if the thread does not start.
        let worker = Worker::new(Arc::clone(&self.0), node);
        let thread = std::thread::Builder::new()
            .name(format!("offload-{number}"))
            .spawn(move || worker.run());
        match thread {
            Ok(thread) => {
                let mut state = self.0.lock();
                state.threads.retain(|thread| !thread.is_finished());
                state.threads.push(thread);
                true
            }
            Err(error) => {
                tracing::error!(%error, "an offload worker does not start");
                false
            }
        }
    }

    /// No worker could be started for this work: it waits for another one, if
    /// there is any.
    fn keep_if_served(&self, id: u64) -> Result<u64, OffloadError> {
        let mut state = self.0.lock();
        if state.live() > 0 {
            return Ok(id);
        }
        let refused = state.queue.remove(|task| task.id == id);
        state.totals.refused += u64::from(refused.is_some());
        drop(state);
        match refused {
            Some(task) => {
                discard(task);
                Err(OffloadError::NoWorkers)
            }
            None => Ok(id),
        }
    }
}

/// Work taken to be run by who steps the pool.
pub(crate) struct Taken(Task);

/// Tells the submitter that its work was dropped.
fn reject(task: Task) {
    let Task { id, work, back, .. } = task;
    discard(work);
    let outcome = Err(OffloadError::Stopped);
    deliver(back, Completion { id, outcome });
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under it, so it is whole whatever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seats(&self) -> &Seats {
        &self.seats
    }

    pub(super) fn a_worker_left(&self) {
        self.left.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.stats()).finish()
    }
}
