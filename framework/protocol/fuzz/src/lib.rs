//! What the fuzz targets run: `cargo +nightly fuzz run frames`, and so on.
//!
//! The same functions run under proptest in the tests of the crates, for
//! machines without a nightly compiler.

#![forbid(unsafe_code)]

#[path = "../../../../server/centrifugo/tests/any_input/target.rs"]
mod chat;
mod targets;

pub use targets::{body, deflate, differential, frames, proxy, request, response, utf8};

/// A frame of the chat's protocol.
pub fn commands(data: &[u8]) {
    chat::frame(data);
}
