//! Asynchronous handlers: a task per connection, on the connection's shard.
//!
//! ```no_run
//! use hioload::Server;
//! use hioload::task::{self, WebSocket};
//!
//! async fn echo(mut ws: WebSocket) -> task::Result {
//!     while let Some(message) = ws.recv().await {
//!         ws.send(message).await?;
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> hioload::Result<()> {
//!     Server::bind("127.0.0.1:8000").run(|_shard| task::service(echo))
//! }
//! ```
//!
//! Tasks are polled once per turn and wake-up, after what arrived and before
//! what is sent leaves, so an answer leaves in the turn of its question. Where
//! much arrives in a turn they are polled in between, each time 64 messages
//! have come. They never leave their shard and need not be `Send`. What arrives is copied for
//! them, since no received memory outlives a turn, and bounded; a task that is
//! behind lets its peer wait.
//!
//! Futures of any library can be awaited that need no runtime of their own
//! (channels, `select!`, streams); those that do go to one with `on_tokio`
//! (feature `tokio`). Work that blocks or computes for long goes to the
//! [offload pool](offload()).

mod local;
mod message;
mod offload;
mod payloads;
mod port;
mod service;
mod spawn;
mod time;
#[cfg(feature = "tokio")]
mod tokio;
mod waker;
mod websocket;

pub(crate) use local::{Ended, Local, POLLS_PER_TURN, TaskId};
pub use message::Message;
pub use offload::{Offload, offload, offload_job};
pub use port::Closed;
pub(crate) use port::Port;
pub use service::{Attached, Result, Service, service};
pub use spawn::{Aborted, JoinHandle, TooManyTasks, spawn_local};
pub use time::{Elapsed, Interval, Sleep, interval, now, sleep, timeout};
#[cfg(feature = "tokio")]
pub use tokio::{OnTokio, TokioError, on_tokio, use_tokio};
pub use websocket::{Receiver, Sender, WebSocket};

use std::rc::Rc;

/// A shard's tasks, which end with it.
#[derive(Debug)]
pub(crate) struct Tasks(Rc<Local>);

impl Tasks {
    pub(crate) fn new(local: Rc<Local>) -> Self {
        Self(local)
    }

    pub(crate) fn local(&self) -> &Rc<Local> {
        &self.0
    }
}

impl Drop for Tasks {
    /// Tasks refer to the shard's tasks: nothing else would end that.
    fn drop(&mut self) {
        self.0.clear();
    }
}
