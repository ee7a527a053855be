//! Deadlines of one shard, by the million.
//!
//! [`Wheel`] is a hierarchical timing wheel: insert, cancel and re-arm cost
//! O(1) whatever the number of timers, and it never asks for the time: the
//! clock is passed in. It holds values, not callbacks; the caller decides what
//! a fired value means.
//!
//! Non-goals of the wheel: no thread, no waiting (the driver waits until
//! [`Wheel::next_deadline`]), no periodic timers (insert again when one fires).
//!
//! Apps use it through the [`Scheduler`] of their shard, which holds closures,
//! repeats them, and has a bound.

mod agenda;
mod batch;
mod chunks;
mod closures;
mod levels;
mod scheduler;
mod slab;
mod wheel;

#[cfg(test)]
mod edges;
#[cfg(test)]
mod model;

pub(crate) use agenda::{Agenda, Due};
pub use agenda::{Timer, TimersFull};
pub use scheduler::Scheduler;
pub use slab::TimerId;
pub use wheel::Wheel;
