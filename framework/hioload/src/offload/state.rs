//! The books of a pool: what waits, what runs, who works. No threads, no
//! clock; everything here happens under the pool's lock and runs no foreign
//! code.

use std::collections::HashMap;
use std::thread::JoinHandle;

use super::error::OffloadError;
use super::job::{Cancel, Priority, Work};
use super::queue::Queue;
use super::worker::Bench;
use crate::server::Reservation;

/// Work that waits or runs.
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) work: Work,
    pub(super) cancel: Cancel,
    /// The place of its completion.
    pub(super) back: Reservation,
}

/// What is done with work that waits when a pool stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It is dropped; its submitters are told
    /// [`Stopped`](OffloadError::Stopped).
    Drop,
    /// It is done first, as far as the deadline lets it.
    Finish,
}

/// How work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    Failed,
    Panicked,
}

/// Work that was given up by its submitter.
pub(super) enum Abandoned {
    /// It had not begun; it is dropped outside the lock, since that is foreign
    /// code.
    Unrun(Task),
    /// It runs and was told so.
    Running,
    /// It has ended, and its completion is on the way.
    Ended,
}

/// Why work was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    TimedOut,
    /// Nobody is there any more to take the result.
    Unwanted,
}

/// What has ended so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) timed_out: u64,
    pub(super) panicked: u64,
    pub(super) refused: u64,
}

pub(super) struct State {
    pub(super) queue: Queue<Task>,
    running: HashMap<u64, Cancel>,
    /// Work that runs on although it was given up.
    strays: usize,
    /// The workers there are to be.
    pub(super) wanted: usize,
    /// Those there are, by node: started, and not on their way out.
    pub(super) workers: Box<[usize]>,
    pub(super) bench: Bench,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) stopping: Option<Queued>,
    pub(super) totals: Totals,
    next: u64,
}

impl State {
    pub(super) fn new(nodes: usize, wanted: usize) -> Self {
        Self {
            queue: Queue::new(nodes),
            running: HashMap::new(),
            strays: 0,
            wanted,
            workers: vec![0; nodes].into(),
            bench: Bench::new(nodes),
            threads: Vec::new(),
            stopping: None,
            totals: Totals::default(),
            next: 0,
        }
    }

    pub(super) fn live(&self) -> usize {
        self.workers.iter().sum()
    }

    /// What occupies a worker, wanted or not.
    pub(super) fn running(&self) -> usize {
        self.running.len() + self.strays
    }

    /// Whether work may be submitted now, by a shard that waits for so much
    /// already; a refusal is counted.
    pub(super) fn admits(
        &mut self,
        capacity: usize,
        outstanding: usize,
    ) -> Result<(), OffloadError> {
        let refusal = if self.stopping.is_some() {
            OffloadError::Stopped
        } else if self.wanted == 0 {
            OffloadError::NoWorkers
        } else if self.queue.len() >= capacity || outstanding >= capacity + self.wanted {
            OffloadError::Full
        } else {
            return Ok(());
        };
        self.totals.refused += 1;
        Err(refusal)
    }

    /// Queues admitted work.
    pub(super) fn push(
        &mut self,
        work: Work,
        priority: Priority,
        node: usize,
        back: Reservation,
    ) -> u64 {
        let id = self.next;
        self.next += 1;
        let cancel = Cancel::default();
        let task = Task {
            id,
            work,
            cancel,
            back,
        };
        self.queue.push(priority, node, task);
        id
    }

    /// Whether a worker is to end instead of taking work.
    pub(super) fn is_over(&self) -> bool {
        match self.stopping {
            None => self.live() > self.wanted,
            Some(Queued::Finish) => self.queue.is_empty(),
            Some(Queued::Drop) => true,
        }
    }

    /// A worker of this node goes.
    pub(super) fn leave(&mut self, node: usize) {
        self.workers[node] -= 1;
        // It may have been woken for work that another one is to do now.
        if !self.queue.is_empty() {
            self.bench.wake_one(node);
        }
    }

    /// What a worker of this node runs next.
    pub(super) fn begin(&mut self, node: usize) -> Option<Task> {
        let task = self.queue.pop(node)?;
        self.running.insert(task.id, task.cancel.clone());
        Some(task)
    }

    /// Work has ended; whether its submitter still wants to know.
    pub(super) fn end(&mut self, id: u64, ended: Ended) -> bool {
        if self.running.remove(&id).is_none() {
            self.strays -= 1;
            return false;
        }
        match ended {
            Ended::Done => self.totals.done += 1,
            Ended::Failed => self.totals.failed += 1,
            Ended::Panicked => self.totals.panicked += 1,
        }
        true
    }

    /// The submitter gives work up.
    pub(super) fn abandon(&mut self, id: u64, reason: Reason) -> Abandoned {
        let abandoned = if let Some(cancel) = self.running.remove(&id) {
            cancel.cancel();
            self.strays += 1;
            Abandoned::Running
        } else {
            match self.queue.remove(|task| task.id == id) {
                Some(task) => Abandoned::Unrun(task),
                None => return Abandoned::Ended,
            }
        };
        match reason {
            Reason::TimedOut => self.totals.timed_out += 1,
            Reason::Unwanted => self.totals.failed += 1,
        }
        abandoned
    }

    /// Drops what waits: it counts as failed.
    pub(super) fn give_up_queue(&mut self) -> Vec<Task> {
        let left = self.queue.take_all();
        self.totals.failed += left.len() as u64;
        left
    }

    /// Tells everything that runs that its result is of no use.
    pub(super) fn cancel_running(&mut self) {
        self.running.values().for_each(Cancel::cancel);
    }
}
