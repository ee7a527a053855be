//! The receive buffers lent to the simulated kernel.

use std::rc::Rc;

use super::op::Request;
use crate::buffer::{Lease, RecvPool, Returned};

/// The pool, and how much of it the kernel has.
#[derive(Debug)]
pub(super) struct Buffers {
    pool: Rc<RecvPool>,
    /// Buffers the kernel may fill.
    posted: usize,
    /// Kept for its allocation.
    scratch: Vec<Returned>,
}

impl Buffers {
    /// Lends all of a new pool.
    pub(super) fn new(count: u16, size: usize, requests: &mut Vec<Request>) -> Self {
        let mut buffers = Self {
            pool: RecvPool::new(count, size),
            posted: 0,
            scratch: Vec::new(),
        };
        for buffer in 0..count {
            buffers.lend(buffer, requests);
        }
        buffers
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
