//! What the fuzz targets run: `cargo +nightly fuzz run frames`, and so on.
//!
//! The same functions run under proptest in the tests of the crate, for
//! machines without a nightly compiler.

#![forbid(unsafe_code)]

mod targets;

pub use targets::{deflate, differential, frames, request, response, utf8};
