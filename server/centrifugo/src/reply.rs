//! What clients are told.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::code::Unsubscribed;
use crate::encoding::Payload;
use crate::publication::{Body, Form, Publication};

/// The result of a command.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<'a> {
    /// Let in.
    Connect(Connected<'a>),
    /// Subscribed.
    Subscribe(&'a Subscribed),
    /// Subscribed no more.
    Unsubscribe(Empty),
    /// Passed on.
    Publish(Empty),
    /// Who is subscribed.
    Presence(Presence<'a>),
    /// How many are subscribed.
    PresenceStats(PresenceStats),
    /// What was published.
    History(Past),
    /// What the method returned.
    Rpc(Called<'a>),
    /// Stays.
    Refresh(Refreshed<'a>),
    /// Stays subscribed.
    SubRefresh(SubRefreshed),
    /// Is there.
    Ping(Empty),
}

/// A result that says nothing more.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Empty {}

/// Until when something is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Until {
    /// Whether it ends by itself.
    #[serde(skip_serializing_if = "is_false")]
    pub expires: bool,
    /// Seconds until it does.
    #[serde(skip_serializing_if = "is_zero")]
    pub ttl: u32,
}

/// Let in.
#[derive(Debug, Serialize)]
pub struct Connected<'a> {
    /// Names the connection.
    pub client: &'a str,
    /// Of the server.
    pub version: &'a str,
    /// Until when.
    #[serde(flatten)]
    pub until: Until,
    /// What the application says with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a RawValue>,
    /// The subscriptions the server made, by channel.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subs: BTreeMap<&'a str, &'a Subscribed>,
    /// Seconds between the server's pings; 0: there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub ping: u32,
    /// Whether they are to be answered.
    #[serde(skip_serializing_if = "is_false")]
    pub pong: bool,
    /// A secret that lets another request speak for the connection: on
    /// transports that need more than one, empty on others.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub session: &'a str,
    /// Names the server.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub node: &'a str,
}

/// Subscribed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Subscribed {
    /// Until when.
    #[serde(flatten)]
    pub until: Until,
    /// Whether it can recover later.
    #[serde(skip_serializing_if = "is_false")]
    pub recoverable: bool,
    /// In which life of the channel it began.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub epoch: String,
    /// What came since it was there, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publications: Vec<Publication>,
    /// Whether that is all that came.
    #[serde(skip_serializing_if = "is_false")]
    pub recovered: bool,
    /// The last publication before it began.
    #[serde(skip_serializing_if = "is_zero_64")]
    pub offset: u64,
    /// Whether publications have offsets.
    #[serde(skip_serializing_if = "is_false")]
    pub positioned: bool,
    /// Whether it asked to recover.
    #[serde(skip_serializing_if = "is_false")]
    pub was_recovering: bool,
    /// Whether publications may come as deltas.
    #[serde(skip_serializing_if = "is_false")]
    pub delta: bool,
    /// Whatever the application says with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

/// Who is subscribed, by client.
#[derive(Debug, Serialize)]
pub struct Presence<'a> {
    /// Each is a written [`ClientInfo`].
    pub presence: BTreeMap<&'a str, &'a RawValue>,
}

/// How many are subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PresenceStats {
    /// Connections.
    pub num_clients: usize,
    /// Different users among them.
    pub num_users: usize,
}

/// What was published.
#[derive(Debug, Serialize)]
pub struct Past {
    /// In the order asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publications: Vec<Publication>,
    /// In which life of the channel.
    pub epoch: String,
    /// The last publication there is.
    #[serde(skip_serializing_if = "is_zero_64")]
    pub offset: u64,
}

/// What a method of the application returned.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Called<'a> {
    /// As the application wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload<'a>>,
}

/// Stays.
#[derive(Debug, Serialize)]
pub struct Refreshed<'a> {
    /// Names the connection.
    pub client: &'a str,
    /// Of the server.
    pub version: &'a str,
    /// Until when.
    #[serde(flatten)]
    pub until: Until,
}

/// Stays subscribed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SubRefreshed {
    /// Until when.
    #[serde(flatten)]
    pub until: Until,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClientInfo<'a> {
    /// From the token; empty: nobody in particular.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user: &'a str,
    /// Names the connection.
    pub client: &'a str,
    /// What the connection's token says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn_info: Option<&'a RawValue>,
    /// What the subscription's token says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chan_info: Option<&'a RawValue>,
}

/// What is told without having been asked for.
#[derive(Clone, Copy, Debug)]
pub enum Push<'a> {
    /// A publication, with its offset where the channel numbers them.
    Pub {
        /// What was published.
        body: Body<'a>,
        /// Where it is in the channel.
        offset: Option<u64>,
        /// How its data is told.
        form: Form<'a>,
    },
    /// Somebody subscribed: a written [`ClientInfo`].
    Join(&'a str),
    /// Somebody unsubscribed.
    Leave(&'a str),
    /// The server subscribed the client.
    Subscribe(&'a Subscribed),
    /// The server ended the subscription.
    Unsubscribe(Unsubscribed),
    /// The application's, about no channel.
    Message(Payload<'a>),
    /// The connection ends, where nothing but messages can say so.
    Disconnect {
        /// Of [`Disconnect`](crate::Disconnect), or the application's.
        code: u16,
        /// For people.
        reason: &'a str,
    },
    /// Until when the connection is granted now.
    Refresh(Until),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero_64(value: &u64) -> bool {
    *value == 0
}
