//! What the micro-benchmarks of hioload share: input of a fixed shape, and a
//! transport without a kernel.
//!
//! The benchmarks are in `micro/`, one file per subject, and `icount/`, which counts
//! instructions; `README.md` says how to run them and holds measured numbers. Each compares with what a reader could
//! use instead: the crates `tungstenite`, `fastwebsockets` and `soketto` where
//! their APIs reach, else the standard library or `flate2`. Nothing here measures sockets.

#![forbid(unsafe_code)]

pub mod echo;
mod random;
mod stream;
mod text;
mod transport;

pub use random::Random;
pub use stream::{Stream, complete};
pub use text::{ascii, multilingual};
pub use transport::Transport;
