//! A connection as other threads see it.

use std::fmt;
use std::sync::Arc;

use hioload_platform::Token;
use hioload_protocol::CloseCode;
use thiserror::Error;

use super::prepared::Prepared;
use super::tracked::{Completion, Tracked};
use super::{ConnId, Message};
use crate::server::Handle;
use crate::shard::{InboxEntry, Life, Outbound};

/// Refers to a connection from any thread, also after it has ended; then every
/// call says so. Made by [`Conn::reference`](super::Conn::reference). Cheap to
/// clone.
///
/// What is asked for goes through the inbox of the connection's shard and is
/// done in its next turn, in order for one caller. Nothing here blocks.
#[derive(Clone)]
pub struct ConnRef {
    pub(crate) handle: Handle,
    pub(crate) shard: usize,
    pub(crate) token: Token,
    pub(crate) life: Arc<Life>,
}

/// Nothing was sent, or asked of the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection has ended, with this code.
    #[error("the connection has ended ({0})")]
    Closed(CloseCode),
    /// The inbox of its shard is full: try again later, or drop it.
    #[error("the shard's inbox is full")]
    Full,
    /// Its shard has ended.
    #[error("the server has stopped")]
    Stopped,
}

impl ConnRef {
    /// Sends a message. It is dropped, as [`Conn::send`](super::Conn::send)
    /// does, when the connection ends or is above its backpressure limit by
    /// then; use [`send_tracked`](Self::send_tracked) to know.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        self.send_prepared(&Prepared::new(message))
    }

    /// Sends a message encoded once for many.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub fn send_prepared(&self, message: &Prepared) -> Result<(), SendError> {
        self.check()?;
        self.push(InboxEntry::Send(vec![self.outbound(message, None)]))
    }

    /// Sends a message and tells what becomes of it.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub fn send_tracked<'m>(&self, message: impl Into<Message<'m>>) -> Result<Tracked, SendError> {
        self.check()?;
        let (tracked, completion) = Tracked::new();
        let outbound = self.outbound(&Prepared::new(message), Some(completion));
        self.push(InboxEntry::Send(vec![outbound]))?;
        Ok(tracked)
    }

    /// Starts the close handshake, as [`Conn::close`](super::Conn::close).
    ///
    /// # Errors
    /// [`SendError`]; nothing happened.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.check()?;
        self.push(InboxEntry::Close {
            token: self.token,
            code: if code.is_sendable() {
                code
            } else {
                CloseCode::INTERNAL
            },
            reason: reason.into(),
        })
    }

    /// Ends the connection without a Close frame.
    ///
    /// # Errors
    /// [`SendError`]; nothing happened.
    pub fn terminate(&self) -> Result<(), SendError> {
        self.check()?;
        self.push(InboxEntry::Terminate(self.token))
    }

    /// Whether the connection is open; it may end at any moment.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.check().is_ok()
    }

    /// Its name on its [`shard`](Self::shard).
    #[must_use]
    pub fn id(&self) -> ConnId {
        ConnId(self.token)
    }

    /// The shard it lives on.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    pub(crate) fn check(&self) -> Result<(), SendError> {
        match self.life.ended() {
            Some(code) => Err(SendError::Closed(code)),
            None if self.handle.has_ended(self.shard) => Err(SendError::Stopped),
            None => Ok(()),
        }
    }

    pub(crate) fn outbound(&self, message: &Prepared, completion: Option<Completion>) -> Outbound {
        Outbound {
            token: self.token,
            encoded: message.0.clone(),
            completion,
        }
    }

    fn push(&self, entry: InboxEntry) -> Result<(), SendError> {
        self.handle.push(self.shard, entry)
    }
}

impl PartialEq for ConnRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.life, &other.life)
    }
}

impl Eq for ConnRef {}

impl fmt::Debug for ConnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnRef")
            .field("shard", &self.shard)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
