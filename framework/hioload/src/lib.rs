//! An io_uring-first, shard-per-core WebSocket server framework.
//!
//! Write an [`App`], give it to a [`Server`]. Each shard is one thread with
//! its own ring, connections, timers and app instance; nothing is shared, so an
//! app needs no locks and every callback runs to its end.
//!
//! ```no_run
//! use hioload::{App, Conn, Message, Server};
//!
//! struct Shout;
//!
//! impl App for Shout {
//!     type State = ();
//!
//!     fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
//!         if let Some(text) = message.as_text() {
//!             conn.send(text.to_uppercase().as_str());
//!         }
//!     }
//! }
//!
//! fn main() -> hioload::Result<()> {
//!     Server::bind("127.0.0.1:8000").run(|_shard| Shout)
//! }
//! ```
//!
//! Limits, timeouts and policies are in [`Config`]; topics are
//! [`Conn::subscribe`] and [`Conn::publish`], and more of them in [`hub`]; [`Handle`] stops a server and
//! publishes from any thread. [`testing`] runs an app on several shards, with
//! its clients and everything that can go wrong, in one thread of a test.

#![forbid(unsafe_code)]

mod address;
mod app;
pub mod client;
mod config;
pub mod control;
mod error;
pub mod http;
pub mod hub;
mod metrics;
pub mod offload;
pub mod router;
mod server;
mod shard;
pub mod source;
pub mod task;
pub mod testing;
pub mod timer;
pub mod tls;

pub use app::{
    App, Close, Conn, ConnId, ConnRef, Echo, Message, Prepared, PublishOutcome, SendError,
    SendFailed, SendOutcome, Tracked, Turn, Upgrade,
};
pub use config::{Backpressure, Config, ListenerMode, Network, NetworkError, Networks};
pub use error::{ConfigError, Error, Fault, Result};
pub use hioload_platform::hand_over::HandOverError;
pub use hioload_platform::{Nanos, placement, probe, topology};

/// Sockets this process was started with, see
/// [`Server::listen_inherited`].
pub mod inherit {
    pub use hioload_platform::inherit::{InheritError, names};
}
// The code of readme and guide is compiled like the examples of the docs. The
// guide is a copy of docs/guide.md, as packages hold nothing from outside.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../guide.md")]
struct Guide;

/// What the shards' drivers stand on.
pub mod backend {
    pub use hioload_platform::backend::{Backend, Choice, UnknownBackend};
}
pub use hioload_protocol::{CloseCode, DeflateConfig, DeflateMode, Kind};
pub use http::{Refusal, Request, Response};
pub use metrics::{Metrics, Pool, PoolKind};
pub use router::Router;
pub use server::{
    Handle, InboxFull, InheritedSocket, Opened, PostError, Reservation, Running, Server, Shard,
};
