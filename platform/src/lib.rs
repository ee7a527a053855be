//! The only code of hioload that touches the kernel.
//!
//! Everything above this crate speaks to one trait, [`Driver`]: completion
//! based, batch in, batch out, owned by one thread. A backend exists when it
//! honours the invariants D1 to D10 written there; [`backend`] is the one
//! place that chooses it.
//!
//! Non-goals: no protocol, no timers beyond the deadline of one wait, no
//! executor. Those live above, where they can be tested without a kernel.

#![expect(
    unsafe_code,
    reason = "system calls, the io_uring queues and memory shared with the kernel; every block names its invariant"
)]

pub mod affinity;
pub mod backend;
pub mod buffer;
pub mod clock;
pub mod driver;
pub mod error;
pub mod hand_over;
pub mod inherit;
pub mod limits;
pub mod memory;
pub mod placement;
pub mod probe;
pub mod signals;
pub mod socket;
pub mod source;
pub mod thread_time;
pub mod topology;
pub mod wake;

pub use buffer::{Chunk, ChunkPool, Frame, Lease, Segment};
pub use clock::Nanos;
pub use driver::{Connect, Driver, DriverStats, Event, RecvEnd, Token};
pub use error::{BindError, DriverError};
pub use socket::{ListenOptions, Listener, Socket};
pub use source::Source;
pub use wake::Wake;
