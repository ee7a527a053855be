//! Centrifugo's bidirectional client protocol, as existing SDKs speak it over a
//! WebSocket or what stands in for one, in both its encodings: commands are understood, replies and pushes
//! written. No I/O, no clocks, no state: who is connected and subscribed is for
//! the server to know.
//!
//! A frame holds one or more messages, in both directions: one a line in JSON,
//! each after its length in Protobuf. What applications exchange (`data`,
//! `info`) is passed on as it was written, never parsed into values.

#![forbid(unsafe_code)]

mod code;
mod command;
mod emulation;
mod encoding;
mod fossil;
mod protobuf;
mod publication;
mod replies;
mod reply;

pub use code::{Disconnect, Error, Failure, Unsubscribed};
pub use command::{
    Command, Connect, History, Malformed, PresenceOf, Publish, Recover, Refresh, Request, Rpc,
    Send, Since, SubRefresh, Subscribe, Unsubscribe, commands,
};
pub use emulation::Emulated;
pub use encoding::{Encoding, Frame, Payload, Unwritable};
pub use fossil::MAX_DELTA;
pub use protobuf::{Garbled, protobuf_commands};
pub use publication::{Body, Form, Publication, json_body, protobuf_body};
pub use replies::{Replies, ping};
pub use reply::{
    Answer, Called, ClientInfo, Connected, Empty, Past, Presence, PresenceStats, Push, Refreshed,
    SubRefreshed, Subscribed, Until,
};
