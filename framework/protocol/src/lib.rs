//! The WebSocket protocol (RFC 6455) with permessage-deflate (RFC 7692), without
//! any I/O.
//!
//! Bytes go in, events and bytes to send come out. The crate opens no socket,
//! reads no clock, starts no thread and draws no randomness of its own: time,
//! mask keys and buffers are arguments, so the same code runs under io_uring,
//! in a simulation and in a fuzzer.
//!
//! - [`handshake`]: the HTTP/1.1 opening handshake of both roles.
//! - [`Connection`]: everything after it; frames, fragments, control frames and
//!   the close handshake, strict in both roles.
//! - [`DeflateConfig`], [`DeflatePool`]: compressed messages.
//! - [`body`]: the body of a plain request.
//! - [`keepalive`]: when to ping, and when to give a silent peer up.
//! - [`frame`], [`mask`], [`utf8`]: the parts, for callers that need only one.
//!
//! A message that arrives within one buffer is unmasked and validated in place
//! and handed out as a range of that buffer: nothing is allocated or copied.
//!
//! ```
//! use hioload_protocol::{
//!     Connection, DeflateConfig, Event, Kind, Limits, MaskKeys, Resources, Role,
//! };
//!
//! let masks = MaskKeys::from_seed(7);
//! let mut shared = Resources::new(Limits::default(), masks, DeflateConfig::default());
//! let mut client = Connection::new(Role::Client);
//! let mut server = Connection::new(Role::Server);
//!
//! let mut wire = Vec::new();
//! client.send(Kind::Text, b"hello", &mut shared, &mut wire).unwrap();
//!
//! let mut answers = Vec::new();
//! let received = server.receive(&mut wire, &mut shared, &mut answers);
//! let Some(Event::Message { kind: Kind::Text, payload }) = received.event else { panic!() };
//! assert_eq!(payload.bytes(&wire), b"hello");
//! ```

#![deny(unsafe_code)]

#[allow(
    unsafe_code,
    reason = "SIMD loads and stores take raw pointers, and code compiled for a detected CPU \
              feature is unsafe to call; text that was validated is not validated again"
)]
mod arch;
pub mod body;
mod close;
mod connection;
mod deflate;
mod error;
pub mod event_stream;
pub mod frame;
pub mod handshake;
pub mod keepalive;
mod limits;
pub mod mask;
mod mask_keys;
mod message;
mod output;
pub mod proxy;
mod resources;
pub mod utf8;

pub use close::{CloseCode, CloseReason};
pub use connection::{Connection, Role};
pub use deflate::{
    DeflateConfig, DeflateMode, DeflateParams, DeflatePool, encode_message_deflated,
};
pub use error::{Closing, ProtocolError};
pub use keepalive::*;
pub use limits::Limits;
pub use mask_keys::MaskKeys;
pub use message::{Content, Event, Kind, MessagePool, Payload, Received};
pub use output::Output;
pub use resources::Resources;

// The code of the readme is run like an example of the docs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
