//! What the micro-benchmarks of hioload share: input of a fixed shape, and a
//! transport without a kernel.
//!
//! The benchmarks are in `micro/`, one file per subject; `README.md` says how to
//! run them and holds measured numbers. Each compares with what a reader could
//! use instead: the `tungstenite` crate where its API reaches, else the standard
//! library. Nothing here measures sockets.

#![forbid(unsafe_code)]

mod random;
mod text;
mod transport;

pub use random::Random;
pub use text::{ascii, multilingual};
pub use transport::Transport;
