//! Whole servers in a simulation, for tests: an [`App`](crate::App) on several
//! shards, their network, their clients and their clock, all in one thread and
//! decided by one seed.
//!
//! The shards run the code they always run, on a simulated driver instead of
//! io_uring: turns, connections, timers, topics, inboxes, stop. Nothing waits
//! for real. When nobody has anything to do the clock goes on to whatever is
//! due next, so an hour of idling takes no time, and a server that hangs is
//! found by a clock that stands still or a wish that is not met in time.
//!
//! The same [seed](Simulation::new) and the same calls give the same run, down
//! to the last byte: [`Simulated::digest`] tells whether two runs were one.
//! Offloaded work runs in the same thread, as a whole, at a later time that the
//! seed decides. What is drawn at random in a real server is drawn from the seed: the order
//! of turns, the keys of topics' hashes, mask keys, and what goes wrong on the
//! network ([`Faults`]).
//!
//! ```
//! use std::time::Duration;
//! use hioload::Echo;
//! use hioload::testing::{Seen, Simulation};
//!
//! let mut server = Simulation::new(7).shards(2).start(|_shard| Echo)?;
//! let client = server.connect("/");
//! server.client(client).text("hello");
//! server.run_until(Duration::from_secs(1), |server| {
//!     server.client(client).next() == Some(Seen::Text("hello".into()))
//! })?;
//! let left = server.stop()?;
//! assert!(left.is_nothing());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Crowd`] is one shard with many connections and no network at all, to
//! measure an app's callbacks.
//!
//! Non-goals: TLS (its keys come from its library, which draws them itself);
//! threads (one turn runs at a time, so a data race between shards is not
//! found); what the app itself draws or asks the system for.

mod client;
mod crowd;
mod journal;
mod residue;
mod schedule;
mod simulation;
mod stuck;
mod workshop;

pub use client::{Client, End, Seen};
pub use crowd::Crowd;
pub use hioload_platform::backend::sim::{Fault, FaultCounts, Faults, SimConfig, SimSignal};
pub use residue::Residue;
pub use simulation::{ClientId, Simulated, Simulation};
pub use stuck::Stuck;
