//! The receive buffers lent to the simulated kernel.

use std::rc::Rc;

use super::config::SimConfig;
use super::op::Request;
use crate::buffer::{Growth, Lease, RecvPool, Returned};
use crate::clock::Nanos;

/// The pool, and how much of it the kernel has.
#[derive(Debug)]
pub(super) struct Buffers {
    pool: Rc<RecvPool>,
    /// Buffers the kernel may fill.
    posted: usize,
    /// Kept for its allocation.
    scratch: Vec<Returned>,
    growth: Growth,
}

impl Buffers {
    /// Lends all of a new pool.
    pub(super) fn new(config: &SimConfig, now: Nanos, requests: &mut Vec<Request>) -> Self {
        let (count, most) = (config.recv_buffers, config.recv_buffers_max);
        let mut buffers = Self {
            pool: RecvPool::new(count, most, config.recv_buffer_size),
            posted: 0,
            scratch: Vec::new(),
            growth: Growth::new(config.recv_shrink_after, now),
        };
        for buffer in 0..count {
            buffers.lend(buffer, requests);
        }
        buffers
    }

    /// Makes the pool larger, if it may be.
    pub(super) fn grow(&mut self, now: Nanos, requests: &mut Vec<Request>) -> bool {
        let new = self.pool.grow();
        if new.is_empty() {
            return false;
        }
        for buffer in new {
            self.lend(buffer, requests);
        }
        self.growth.grew(now);
        true
    }

    /// When the pool may have become too large.
    pub(super) fn shrink_due(&self) -> Option<Nanos> {
        self.pool.has_grown().then(|| self.growth.due())
    }

    /// Makes the pool smaller if it is too large and the kernel lets go of what
    /// is too much: it is asked for all buffers from a number on.
    pub(super) fn shrink(&mut self, now: Nanos, withdraw: impl FnOnce(u16) -> bool) {
        if !self.growth.too_large(self.pool.count(), now) {
            return;
        }
        let Some(left) = self.pool.after_shrinking() else {
            return;
        };
        if self.in_use() > 0 || self.pool.out() > 0 || !withdraw(left) {
            self.growth.postpone(now);
            return;
        }
        for buffer in left..self.pool.count() {
            self.pool.reclaim(buffer);
            self.posted -= 1;
        }
        // SAFETY: the simulated kernel has just forgotten these buffers.
        if unsafe { self.pool.shrink() } {
            self.growth.shrank(now);
        }
    }

    /// Buffers the kernel has left and not got back.
    pub(super) fn in_use(&self) -> u16 {
        // Not more than the pool has, of which there are at most 2^16 - 1.
        self.pool.count() - u16::try_from(self.posted).unwrap_or(u16::MAX)
    }

    pub(super) fn growth(&self) -> &Growth {
        &self.growth
    }

    pub(super) fn pool(&self) -> &RecvPool {
        &self.pool
    }

    pub(super) fn has_returned(&self) -> bool {
        self.pool.has_returned()
    }

    /// Buffers the kernel may fill.
    pub(super) fn posted(&self) -> usize {
        self.posted
    }

    /// The bytes a completion carries, in the buffer it names.
    pub(super) fn take(&mut self, owner: u32, buffer: u16, bytes: &[u8]) -> Lease {
        self.posted -= 1;
        // SAFETY: the simulated kernel names a buffer that was lent to it and
        // forgets it by doing so. It never touches its memory: nobody does
        // before it is lent anew, and this lease is its only one.
        let mut lease = unsafe { self.pool.lease(owner, buffer, 0, bytes.len(), false) };
        lease.copy_from_slice(bytes);
        lease
    }

    /// Lends again what dropped leases gave back, and tells `each` the owners.
    pub(super) fn restock(&mut self, requests: &mut Vec<Request>, mut each: impl FnMut(u32)) {
        self.growth.note(self.in_use());
        let mut returned = std::mem::take(&mut self.scratch);
        self.pool.take_returned(&mut returned);
        for lease in returned.drain(..) {
            each(lease.owner);
            if let Some(buffer) = lease.buffer {
                self.lend(buffer, requests);
            }
        }
        self.scratch = returned;
    }

    fn lend(&mut self, buffer: u16, requests: &mut Vec<Request>) {
        self.pool.lend(buffer);
        self.posted += 1;
        requests.push(Request::Post(buffer));
    }
}
