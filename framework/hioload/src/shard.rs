//! One shard: a thread that owns everything it touches.
//!
//! [`ShardCore`] is sans-IO: bytes, events and the time come in, commands for
//! the driver come out. [`turn`] is the only code generic over the driver.

mod accept;
mod addresses;
mod attached;
mod body;
mod chain;
mod context;
mod core;
mod deadlines;
mod deferred;
mod dial;
mod distribute;
mod drain;
mod extras;
mod fan_out;
mod http;
mod inbox;
mod link;
mod mail;
mod messages;
mod outbox;
mod probe;
mod proxied;
mod publish;
mod renew;
mod scheduled;
mod slab;
mod sources;
mod span;
mod stream;
mod tasks;
#[cfg(test)]
mod tests;
mod tls;
mod tracking;
pub(crate) mod turn;
mod websocket;

pub(crate) use addresses::Addresses;
pub(crate) use chain::Transport;
pub(crate) use context::{Context, ContextParts, Owned, Owner};
pub(crate) use core::ShardCore;
pub(crate) use deferred::{Deferred, Links, Recurring, WithConn, WithTurn, with_conn, with_turn};
pub(crate) use dial::Dialling;
pub(crate) use distribute::Distribution;
pub(crate) use extras::Life;
pub(crate) use inbox::{Inbox, InboxEntry, Outbound};
pub(crate) use link::Link;
pub(crate) use mail::Task;
pub(crate) use outbox::{Outbox, OutboxPool};
pub(crate) use slab::Connections;
pub(crate) use tls::Session;
