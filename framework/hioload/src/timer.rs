//! Deadlines of one shard, by the million.
//!
//! [`Wheel`] is a hierarchical timing wheel: insert, cancel and re-arm cost
//! O(1) whatever the number of timers, and it never asks for the time: the
//! clock is passed in. It holds values, not callbacks; the caller decides what
//! a fired value means.
//!
//! Non-goals: no thread, no waiting (the driver waits until
//! [`Wheel::next_deadline`]), no periodic timers (insert again when one fires).

mod levels;
mod slab;
mod wheel;

#[cfg(test)]
mod edges;
#[cfg(test)]
mod model;

pub use slab::TimerId;
pub use wheel::Wheel;
