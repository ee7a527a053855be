//! One wait: hand over what is queued, turn completions into events.

use super::SimDriver;
use super::kernel::Kernel;
use super::socket::SimSocket;
use crate::clock::Nanos;
use crate::driver::{Driver, Event};

/// What a wait takes whose deadline had passed before it began.
const POLL: Nanos = 1_000;

impl SimDriver {
    pub(super) fn turn(&mut self, deadline: Option<Nanos>, events: &mut Vec<Event<SimSocket>>) {
        let before = events.len();
        self.table.release();
        let start = self.now();
        self.woken = false;
        loop {
            self.restock();
            self.retry();
            let now = self.enter(before + Self::BATCH, events);
            // Completions need not make events: the clock alone says whether
            // the deadline has passed.
            let over = deadline.is_some_and(|deadline| now >= deadline);
            if events.len() > before || self.is_stepped() {
                return;
            }
            if over {
                // Whoever polls with a time long past would else stop the clock.
                if deadline.is_some_and(|deadline| deadline < start) {
                    self.net.advance_to(now + POLL);
                }
                return;
            }
            // What completions made necessary is done before waiting.
            if self.requests.is_empty() && !self.may_unstall() {
                let shrink = self.buffers.shrink_due();
                let until = [deadline, self.accept_retry, shrink];
                let until = until.into_iter().flatten().min();
                self.net.idle(self.id, until);
            }
        }
    }

    /// One entry: submits, and serves completions until there are `limit`
    /// events; a completion makes at most one. Returns the time.
    pub(super) fn enter(&mut self, limit: usize, events: &mut Vec<Event<SimSocket>>) -> Nanos {
        let (id, room) = (self.id, limit - events.len());
        let mut taken = std::mem::take(&mut self.taken);
        let now = self.net.with(|world| {
            for request in self.requests.drain(..) {
                world.submit(id, request);
            }
            if let Some(kernel) = world.drivers.get_mut(&id) {
                kernel.take(room, &mut taken);
            }
            world.now
        });
        self.stats.enters += 1;
        for completion in taken.drain(..) {
            self.complete(completion, events);
        }
        self.taken = taken;
        now
    }

    /// Does what the driver itself had put off.
    fn retry(&mut self) {
        if let Some(due) = self.accept_retry
            && due <= self.now()
        {
            self.resume_accepts();
        }
        if let Some(due) = self.buffers.shrink_due() {
            let now = self.now();
            if due <= now {
                let (net, id) = (&self.net, self.id);
                let count = self.buffers.pool().count();
                self.buffers.shrink(now, |first| {
                    net.with(|world| world.withdraw(id, first, count))
                });
            }
        }
    }

    fn is_stepped(&self) -> bool {
        self.net.with(|world| world.stepped)
    }

    pub(super) fn has_completions(&self) -> bool {
        self.net.with(|world| {
            let kernel = world.drivers.get(&self.id);
            kernel.is_some_and(Kernel::has_completions)
        })
    }

    pub(super) fn overflows(&self) -> u64 {
        self.net.with(|world| {
            world
                .drivers
                .get(&self.id)
                .map_or(0, |kernel| kernel.overflows)
        })
    }
}
