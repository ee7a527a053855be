//! Waking a driver from another thread.

/// Wakes the driver it came from: [`Driver::wait`](crate::Driver::wait)
/// returns with [`Event::Woken`](crate::Event::Woken).
///
/// Coalesced: wakes before the driver's next turn cost one. A wake after the
/// driver is gone does nothing. What was written to memory before `wake` is
/// visible to the driver's thread after `Woken`.
pub trait Wake: Clone + Send + Sync + 'static {
    /// Wakes the driver. Never blocks.
    fn wake(&self);
}
