//! Waking a driver from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use crate::wake::Wake;

/// Wakes a [`CompioDriver`](super::CompioDriver) from any thread.
#[derive(Clone, Debug)]
pub struct CompioWaker(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    /// Interrupts the poll.
    waker: Waker,
    /// Whether a wake is under way.
    ///
    /// No wake is lost: a waker stores what it has to say, then raises the
    /// flag. Found clear, it interrupts the poll, before or while that waits.
    /// Found raised, the driver has yet to lower it; both are
    /// read-modify-writes of one location, so the driver's lowering reads the
    /// waker's raising and with it everything stored before, and `Woken`
    /// follows the lowering.
    rung: AtomicBool,
}

impl CompioWaker {
    pub(super) fn new(waker: Waker) -> Self {
        let rung = AtomicBool::new(false);
        Self(Arc::new(Bell { waker, rung }))
    }

    /// Whether a wake is under way.
    pub(super) fn rung(&self) -> bool {
        self.0.rung.load(Ordering::Relaxed)
    }

    /// Whether a wake was under way; it has arrived now.
    pub(super) fn lower(&self) -> bool {
        self.0.rung.swap(false, Ordering::SeqCst)
    }
}

impl Wake for CompioWaker {
    fn wake(&self) {
        if !self.0.rung.swap(true, Ordering::SeqCst) {
            self.0.waker.wake_by_ref();
        }
    }
}
