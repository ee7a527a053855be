//! Centrifugo's bidirectional client protocol, as existing SDKs speak it over a
//! WebSocket, in its JSON encoding: commands are understood, replies and pushes
//! written. No I/O, no clocks, no state: who is connected and subscribed is for
//! the server to know.
//!
//! A frame holds one or more messages, one a line, in both directions. What
//! applications exchange (`data`, `info`) is passed on as it was written, never
//! parsed into values.

#![forbid(unsafe_code)]

mod code;
mod command;
mod reply;

pub use code::{Disconnect, Error, Unsubscribed};
pub use command::{
    Command, Connect, History, Malformed, PresenceOf, Publish, Recover, Refresh, Request, Rpc,
    Send, Since, SubRefresh, Subscribe, Unsubscribe, commands,
};
pub use reply::{
    Answer, ClientInfo, Connected, Empty, PING, Past, Presence, PresenceStats, Publication, Push,
    Refreshed, Replies, SubRefreshed, Subscribed, Until, push, with_offset,
};
