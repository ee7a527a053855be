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
//! Limits, timeouts and policies are in [`Config`]; hubs are
//! [`Conn::subscribe`] and [`Conn::publish`]; [`Handle`] stops a server and
//! publishes from any thread. [`testing`] runs an app on several shards, with
//! its clients and everything that can go wrong, in one thread of a test.

#![forbid(unsafe_code)]

mod app;
pub mod client;
mod config;
mod error;
pub mod http;
mod hub;
mod metrics;
mod server;
mod shard;
pub mod testing;
pub mod timer;
pub mod tls;

pub use app::{
    App, Close, Conn, ConnId, Echo, Message, PublishOutcome, SendOutcome, Turn, Upgrade,
};
pub use config::{Backpressure, Config, ListenerMode};
pub use error::{ConfigError, Error, Result};
pub use hioload_platform::{Frame, Nanos, placement, probe, topology};

/// What the shards' drivers stand on.
pub mod backend {
    pub use hioload_platform::backend::{Backend, Choice, UnknownBackend};
}
pub use hioload_protocol::frame::encode_message;
pub use hioload_protocol::{CloseCode, DeflateConfig, DeflateMode, Kind};
pub use http::{Refusal, Request, Response};
pub use metrics::{Metrics, Pool, PoolKind};
pub use server::{Handle, InboxFull, Running, Server, Shard};
