//! A shard's side of the pool: who waits for which work.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;

use hioload_platform::Nanos;

use super::error::OffloadError;
use super::job::{Priority, Work};
use super::pool::{Pool, Submission};
use super::state::Reason;
use crate::server::{Handle, PostError};
use crate::shard::{Context, Links};
use crate::timer::Timer;

/// What became of a piece of work, on its way to the shard that submitted it.
pub(crate) struct Completion {
    pub(super) id: u64,
    pub(super) outcome: Outcome,
}

pub(super) type Outcome = Result<Box<dyn Any + Send>, OffloadError>;

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("id", &self.id)
            .field("error", &self.outcome.as_ref().err())
            .finish()
    }
}

/// What is called with an outcome, on the shard; it never leaves it.
pub(super) trait Done {
    fn call(self: Box<Self>, links: &mut dyn Links, cx: &mut Context, outcome: Outcome);
}

/// Work that a shard has submitted and not taken back.
pub(crate) struct Desk {
    pool: Pool,
    pending: HashMap<u64, Pending>,
}

struct Pending {
    done: Box<dyn Done>,
    timeout: Timer,
}

impl Desk {
    pub(crate) fn new(handle: &Handle) -> Self {
        Self {
            pool: handle.offload(),
            pending: HashMap::new(),
        }
    }

    pub(crate) fn is_pending(&self, id: u64) -> bool {
        self.pending.contains_key(&id)
    }
}

/// The shard has ended: nobody takes the results.
impl Drop for Desk {
    fn drop(&mut self) {
        for &id in self.pending.keys() {
            self.pool.abandon(id, Reason::Unwanted);
        }
    }
}

impl Context {
    pub(super) fn submit(
        &mut self,
        work: Work,
        priority: Priority,
        timeout: Nanos,
        done: Box<dyn Done>,
    ) -> Result<u64, OffloadError> {
        let desk = &mut self.offload;
        // The place of the result: what was accepted is never refused later.
        let back = match self.handle.reserve(self.shard) {
            Ok(back) => back,
            Err(PostError::Full) => return Err(OffloadError::Full),
            Err(_) => return Err(OffloadError::Stopped),
        };
        let submission = Submission {
            work,
            priority,
            shard: self.shard,
            outstanding: desk.pending.len(),
            back,
        };
        let id = desk.pool.submit(submission)?;
        let timeout = self.agenda.work(self.now.saturating_add(timeout), id);
        desk.pending.insert(id, Pending { done, timeout });
        Ok(id)
    }

    /// The time of a piece of work is over.
    pub(crate) fn work_timed_out(&mut self, id: u64, links: &mut dyn Links) {
        if !self.offload.pool.abandon(id, Reason::TimedOut) {
            // It ended in time: its result is on the way.
            return;
        }
        if let Some(pending) = self.offload.pending.remove(&id) {
            let outcome = Err(OffloadError::TimedOut);
            pending.done.call(links, self, outcome);
        }
    }

    pub(crate) fn work_ended(&mut self, completion: Completion, links: &mut dyn Links) {
        let Completion { id, outcome } = completion;
        // Not there: given up after it had ended.
        if let Some(pending) = self.offload.pending.remove(&id) {
            self.agenda.cancel(pending.timeout);
            pending.done.call(links, self, outcome);
        }
    }

    /// Nobody wants the result any more; false if it was there already.
    pub(crate) fn give_up(&mut self, id: u64) -> bool {
        let Some(pending) = self.offload.pending.remove(&id) else {
            return false;
        };
        self.agenda.cancel(pending.timeout);
        self.offload.pool.abandon(id, Reason::Unwanted);
        true
    }
}
