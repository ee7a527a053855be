//! One shard: a thread that owns everything it touches.
//!
//! [`ShardCore`] is sans-IO: bytes, events and the time come in, commands for
//! the driver come out. [`turn`] is the only code generic over the driver.

mod accept;
mod chain;
mod context;
mod core;
mod dial;
mod distribute;
mod drain;
mod http;
mod inbox;
mod link;
mod outbox;
mod slab;
#[cfg(test)]
mod tests;
mod tls;
pub(crate) mod turn;
mod websocket;

pub(crate) use context::{Context, ContextParts};
pub(crate) use core::ShardCore;
pub(crate) use dial::Dialling;
pub(crate) use distribute::Distribution;
pub(crate) use inbox::{Inbox, InboxEntry};
pub(crate) use link::Link;
pub(crate) use outbox::{Outbox, OutboxPool};
pub(crate) use slab::{Entry, Slab};
pub(crate) use tls::Session;
