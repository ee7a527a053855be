//! One wait: submit, enter, and turn completions into events.

use std::mem::MaybeUninit;

use super::UringDriver;
use super::complete::Completion;
use super::ring::{Block, CHUNK};
use crate::clock::Nanos;
use crate::driver::{Driver, Event};
use crate::error::DriverError;
use crate::socket::Socket;

impl UringDriver {
    pub(super) fn turn(
        &mut self,
        deadline: Option<Nanos>,
        events: &mut Vec<Event<Socket>>,
    ) -> Result<(), DriverError> {
        let before = events.len();
        self.table.release();
        self.woken = false;
        loop {
            self.restock();
            self.retry()?;
            let block = if self.ring.has_completions() {
                Block::No
            } else {
                self.block(deadline)
            };
            self.ring.enter(block)?;
            self.reap(events, before + Self::BATCH);
            // An entry may end early, and completions need not make events: the
            // clock alone says whether the deadline has passed.
            if events.len() > before || deadline.is_some_and(|deadline| self.now() >= deadline) {
                return Ok(());
            }
        }
    }

    /// How long the kernel may wait: until the caller's deadline or the
    /// driver's own.
    fn block(&self, deadline: Option<Nanos>) -> Block {
        let due = [
            deadline,
            self.accept_retry,
            self.cancel_retry,
            self.hangups.due,
            self.buffers.shrink_due(),
        ]
        .into_iter()
        .flatten()
        .min();
        let Some(due) = due else {
            return Block::Forever;
        };
        match due.saturating_sub(self.now()) {
            0 => Block::No,
            nanos => Block::For(nanos),
        }
    }

    /// Does what the driver itself had put off.
    fn retry(&mut self) -> Result<(), DriverError> {
        if let Some(due) = self.cancel_retry
            && due <= self.now()
        {
            self.repeat_cancels();
        }
        if let Some(due) = self.hangups.due
            && due <= self.now()
        {
            self.find_hangups();
        }
        if let Some(due) = self.accept_retry
            && due <= self.now()
        {
            self.resume_accepts();
        }
        if let Some(due) = self.buffers.shrink_due()
            && due <= self.now()
        {
            let all_read = !self.ring.has_completions();
            let now = self.clock.now();
            self.buffers
                .shrink(self.ring.io(), all_read, now)
                .map_err(|error| DriverError::system("replacing the receive buffers", error))?;
        }
        Ok(())
    }

    /// Reads completions until there are `limit` events; the rest stays in the
    /// queue. A completion makes at most one event.
    pub(super) fn reap(&mut self, events: &mut Vec<Event<Socket>>, limit: usize) {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        while events.len() < limit {
            let taken = self.ring.take(&mut chunk, limit - events.len());
            if taken.is_empty() {
                return;
            }
            for entry in taken {
                self.complete(Completion::read(entry), events);
            }
        }
    }
}
