//! The heap of this process, counted byte by byte.

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

/// Counts what is asked for, not what the system's allocator makes of it. It
/// grows a buffer by way of a new one, so both are counted: the worst case.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What the first use of a library keeps for the life of the process.
const STATICS: usize = 64 << 10;

static ALONE: Mutex<()> = Mutex::new(());

/// One test at a time, from its beginning: the heap is the whole process's, and
/// what a test prepares is on it.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has stopped its server.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Growth since it was made.
pub(crate) struct Growth {
    before: usize,
}

impl Growth {
    pub(crate) fn from_now() -> Self {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        Self { before }
    }

    /// The most that was allocated at once, beyond what was at the start.
    pub(crate) fn peak(&self) -> usize {
        HEAP.peak_usage().saturating_sub(self.before)
    }

    /// What is allocated now beyond what was at the start.
    pub(crate) fn left(&self) -> usize {
        HEAP.current_usage().saturating_sub(self.before)
    }

    /// The server is gone, and so is its memory.
    pub(crate) fn expect_none(&self, name: &str) {
        let left = self.left();
        assert!(left < STATICS, "{name}: {left} bytes are left for ever");
    }
}
