//! Dropping a driver: everything is cancelled and awaited, then the ring goes,
//! then the memory.

use std::mem::ManuallyDrop;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::CancelBuilder;

use super::UringDriver;
use super::ring::Block;
use super::table::{Flags, Table};
use super::tag::{Kind, Tag};
use super::zero_copy::ZeroCopy;
use crate::clock::Nanos;
use crate::driver::Event;
use crate::socket::Socket;

/// How long sockets may take to close, and again how long the rest may take.
const PATIENCE: Nanos = 1_000_000_000;

/// The longest single entry meanwhile, so that cancels are repeated.
const STEP: Nanos = 10_000_000;

impl Drop for UringDriver {
    fn drop(&mut self) {
        self.ending = true;
        // A peer that does not acknowledge would keep the memory of zero-copy
        // sends busy for minutes; a reset releases it at once.
        for token in self.zero_copy.owners() {
            if let Some(fd) = self.table.get(token).and_then(|entry| entry.fd.as_ref()) {
                let _ = socket2::SockRef::from(fd).set_linger(Some(Duration::ZERO));
            }
        }
        for token in self.table.tokens() {
            self.start_close(token);
        }
        self.drain(|driver| driver.table.occupied() == 0);
        let sweep = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        let sweep = sweep.user_data(Tag::global(Kind::Sweep).bits());
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(sweep) };
        self.drain(|driver| driver.ring.in_flight == 0);
        // A wake that never left still has to arrive.
        for peer in self.messages.drain() {
            peer.signal();
        }
        let left = self.ring.in_flight;
        if left > 0 || self.buffers.unregister(self.ring.io()).is_err() {
            tracing::warn!(left, "operations never completed; their memory is leaked");
            self.leak();
            return;
        }
        // SAFETY: dropped once, here, and not used again: nothing is in flight
        // and the kernel has let go of the ring of buffers.
        unsafe { ManuallyDrop::drop(&mut self.buffers) };
    }
}

impl UringDriver {
    /// Serves completions until `done`, for a bounded time.
    fn drain(&mut self, done: impl Fn(&Self) -> bool) {
        let deadline = self.clock.now().saturating_add(PATIENCE);
        let mut events: Vec<Event<Socket>> = Vec::new();
        while !done(self) && self.clock.now() < deadline {
            if self.cancel_retry.is_some_and(|due| due <= self.clock.now()) {
                self.repeat_cancels();
            }
            let block = if self.ring.has_completions() {
                Block::No
            } else {
                Block::For(STEP)
            };
            if let Err(error) = self.ring.enter(block) {
                tracing::warn!(%error, "a driver is dropped without its last completions");
                return;
            }
            self.reap(&mut events, usize::MAX);
            // Accepted sockets and received bytes go where they came from.
            events.clear();
        }
    }

    /// Gives up the memory the kernel may still touch; `buffers` is not dropped
    /// by itself. Descriptors are closed: that stops what still runs.
    fn leak(&mut self) {
        for token in self.table.tokens() {
            if let Some(entry) = self.table.get_mut(token) {
                let fd = entry.fd.take();
                if entry.has(Flags::CLOSE_SENT) {
                    // The kernel closes it, or has: the number is not ours.
                    std::mem::forget(fd);
                }
            }
        }
        std::mem::forget(std::mem::replace(&mut self.table, Table::new(0)));
        std::mem::forget(std::mem::replace(&mut self.zero_copy, ZeroCopy::new(None)));
        std::mem::forget(std::mem::take(&mut self.connects));
        std::mem::forget(std::mem::take(&mut self.doorbell));
    }
}
