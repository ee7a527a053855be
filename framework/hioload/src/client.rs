//! WebSockets dialled from here: the client role, on the same shards.
//!
//! A dialled connection is a connection like any other: the same [`App`]
//! callbacks, limits, timers and backpressure. What it is dialled with is a
//! [`Dial`]; [`Turn::connect`](crate::Turn::connect) and
//! [`Handle::connect`](crate::Handle::connect) dial it, and the app hears of
//! the outcome in [`App::connected`] (then [`App::open`]) or
//! [`App::dial_failed`]. The key given with it says which one it was.
//!
//! A [`Client`] is a set of shards that listen to nothing. A [`Server`] may
//! dial as well, to relay between servers, say.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use hioload::client::{Client, Dial, DialError};
//! use hioload::{App, Close, CloseCode, Conn, Message, Turn};
//!
//! struct Greeter(Arc<Dial>);
//!
//! impl App for Greeter {
//!     type State = ();
//!
//!     fn started(&mut self, turn: &mut Turn<'_, ()>) {
//!         turn.connect(&self.0, 1).expect("one dial fits");
//!     }
//!
//!     fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
//!         conn.send("hello");
//!     }
//!
//!     fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
//!         println!("{}", message.as_text().unwrap_or("(binary)"));
//!         conn.close(CloseCode::NORMAL, "");
//!     }
//!
//!     fn close(&mut self, conn: &mut Conn<'_>, (): &mut (), _close: &Close<'_>) {
//!         conn.stop_server();
//!     }
//!
//!     fn dial_failed(&mut self, turn: &mut Turn<'_, ()>, _key: u64, error: &DialError) {
//!         eprintln!("{error}");
//!         turn.stop_server();
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let dial = Arc::new(Dial::new("ws://127.0.0.1:8000/echo")?);
//!     Client::new().start(move |_shard| Greeter(Arc::clone(&dial)))?.join()?;
//!     Ok(())
//! }
//! ```
//!
//! Not here: proxies, redirects, cookies. A server that redirects is reported
//! as [`DialError::Refused`] with its status.

mod dial;
mod error;
mod target;
mod tls;
mod wire;

pub use dial::{Accepted, Dial, DialsFull};
pub use error::DialError;
pub use target::{Target, TargetError};
pub use tls::ClientTls;
pub use wire::{TlsPool, TlsWire};

use crate::app::App;
use crate::config::Config;
use crate::error::Result;
use crate::server::{Running, Server, Shard};

/// Builds shards that only dial. Nothing happens before
/// [`start`](Self::start), which reports every error.
#[derive(Clone, Debug, Default)]
pub struct Client {
    config: Config,
}

impl Client {
    /// One shard, which serves some hundred thousand messages per second, and
    /// the other defaults of [`Config`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: Config {
                shards: 1,
                ..Config::default()
            },
        }
    }

    /// Replaces the whole configuration. Limits and timeouts mean the same in
    /// both roles; `handshake_timeout` is [`Dial::timeout`]'s here.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets [`Config::shards`].
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.config.shards = shards;
        self
    }

    /// Starts the shards, each with an app of its own.
    ///
    /// # Errors
    /// Whatever keeps a shard from running; nothing is left running then.
    pub fn start<A, F>(self, app: F) -> Result<Running>
    where
        A: App,
        F: Fn(&Shard) -> A + Send + Sync + 'static,
    {
        Server::without_address(self.config).start(app)
    }
}
