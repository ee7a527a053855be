//! What clients ask for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use crate::encoding::Payload;
use crate::protobuf::Garbled;

/// One thing a client asks for.
#[derive(Debug)]
pub struct Command<'a> {
    /// Names the command in its reply; 0 where there is none.
    pub id: u32,
    /// What it asks for.
    pub request: Request<'a>,
}

/// What a [`Command`] asks for.
#[derive(Debug)]
pub enum Request<'a> {
    /// To be let in: the first command, once.
    Connect(Box<Connect<'a>>),
    /// To be given what is published to a channel.
    Subscribe(Subscribe<'a>),
    /// To be given no more of it.
    Unsubscribe(Unsubscribe<'a>),
    /// To pass something on.
    Publish(Publish<'a>),
    /// Who is subscribed.
    Presence(PresenceOf<'a>),
    /// How many are subscribed.
    PresenceStats(PresenceOf<'a>),
    /// What was published.
    History(History<'a>),
    /// To call a method of the application.
    Rpc(Rpc<'a>),
    /// To stay, with a new token.
    Refresh(Refresh<'a>),
    /// To stay subscribed, with a new token.
    SubRefresh(SubRefresh<'a>),
    /// A message to the application, without a reply.
    Send(Send<'a>),
    /// Whether the server is there.
    Ping,
    /// The answer to the server's ping.
    Pong,
}

/// To be let in.
#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub struct Connect<'a> {
    /// Who it is, signed; empty: nobody in particular.
    #[serde(borrow, default)]
    pub token: Cow<'a, str>,
    /// For the application.
    #[serde(borrow)]
    pub data: Option<Payload<'a>>,
    /// Where its subscriptions by the server stood, by channel.
    #[serde(borrow, default)]
    pub subs: BTreeMap<Cow<'a, str>, Recover<'a>>,
    /// What the client's program calls itself.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// Of that program.
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
    /// In place of those of HTTP, which browsers do not let pages set.
    #[serde(borrow, default)]
    pub headers: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

/// Where a subscription stood before.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Recover<'a> {
    /// Whether what came since is wanted.
    #[serde(default)]
    pub recover: bool,
    /// In which life of the channel; empty: in any.
    #[serde(borrow, default)]
    pub epoch: Cow<'a, str>,
    /// The last publication known.
    #[serde(default)]
    pub offset: u64,
}

/// To be given what is published to a channel.
#[derive(Debug, Default, Deserialize)]
pub struct Subscribe<'a> {
    /// Which one.
    #[serde(borrow, default)]
    pub channel: Cow<'a, str>,
    /// That it may, signed; empty: there is none.
    #[serde(borrow, default)]
    pub token: Cow<'a, str>,
    /// Whether what came since `epoch` and `offset` is wanted.
    #[serde(default)]
    pub recover: bool,
    /// As [`Recover::epoch`].
    #[serde(borrow, default)]
    pub epoch: Cow<'a, str>,
    /// As [`Recover::offset`].
    #[serde(default)]
    pub offset: u64,
    /// For the application.
    #[serde(borrow)]
    pub data: Option<Payload<'a>>,
    /// Whether it wants offsets, so that a gap is noticed.
    #[serde(default)]
    pub positioned: bool,
    /// Whether it may want to recover later.
    #[serde(default)]
    pub recoverable: bool,
    /// Whether it wants to hear who comes and goes.
    #[serde(default)]
    pub join_leave: bool,
    /// In which format it takes deltas of publications; empty: in none.
    #[serde(borrow, default)]
    pub delta: Cow<'a, str>,
}

/// To be given no more of a channel.
#[derive(Debug, Deserialize)]
pub struct Unsubscribe<'a> {
    /// Which one.
    #[serde(borrow, default)]
    pub channel: Cow<'a, str>,
}

/// To pass something on.
#[derive(Debug, Default, Deserialize)]
pub struct Publish<'a> {
    /// To whom.
    #[serde(borrow, default)]
    pub channel: Cow<'a, str>,
    /// What is passed on.
    #[serde(borrow)]
    pub data: Option<Payload<'a>>,
}

/// Who or how many are subscribed.
#[derive(Debug, Deserialize)]
pub struct PresenceOf<'a> {
    /// To what.
    #[serde(borrow, default)]
    pub channel: Cow<'a, str>,
}

/// What was published.
#[derive(Debug, Default, Deserialize)]
pub struct History<'a> {
    /// Where to.
    #[serde(borrow, default)]
    pub channel: Cow<'a, str>,
    /// So much at most; 0: only where the channel stands. Negative: all.
    #[serde(default)]
    pub limit: i32,
    /// After this.
    #[serde(borrow)]
    pub since: Option<Since<'a>>,
    /// Newest first.
    #[serde(default)]
    pub reverse: bool,
}

/// A place in a channel.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Since<'a> {
    /// As [`Recover::offset`].
    #[serde(default)]
    pub offset: u64,
    /// As [`Recover::epoch`].
    #[serde(borrow, default)]
    pub epoch: Cow<'a, str>,
}

/// To call a method of the application.
#[derive(Debug, Default, Deserialize)]
pub struct Rpc<'a> {
    /// Which one.
    #[serde(borrow, default)]
    pub method: Cow<'a, str>,
    /// What is passed on.
    #[serde(borrow)]
    pub data: Option<Payload<'a>>,
}

/// To stay.
#[derive(Debug, Default, Deserialize)]
pub struct Refresh<'a> {
    /// The new token.
    #[serde(borrow, default)]
    pub token: Cow<'a, str>,
}

/// To stay subscribed.
#[derive(Debug, Default, Deserialize)]
pub struct SubRefresh<'a> {
    /// To what.
    #[serde(borrow, default)]
    pub channel: Cow<'a, str>,
    /// The new token.
    #[serde(borrow, default)]
    pub token: Cow<'a, str>,
}

/// A message to the application.
#[derive(Debug, Default, Deserialize)]
pub struct Send<'a> {
    /// What is passed on.
    #[serde(borrow)]
    pub data: Option<Payload<'a>>,
}

/// The peer does not speak the protocol: its connection is to be ended with
/// [`Disconnect::BadRequest`](crate::Disconnect::BadRequest).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// No JSON, or not of the shape a command has.
    #[error("not a command: {0}")]
    Json(#[from] serde_json::Error),
    /// No Protobuf, or not of the shape a command has.
    #[error("not a command: {0}")]
    Protobuf(#[from] Garbled),
    /// It asks for nothing that is known.
    #[error("command {0} asks for nothing that is known")]
    Nothing(u32),
    /// It wants a reply but does not say to what.
    #[error("a command without an id")]
    NoId,
}

/// A command as it is written. What it does not know is passed over, as newer
/// clients may say more.
#[derive(Default, Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(default)]
    pub(crate) id: u32,
    #[serde(borrow)]
    pub(crate) connect: Option<Box<Connect<'a>>>,
    #[serde(borrow)]
    pub(crate) subscribe: Option<Subscribe<'a>>,
    #[serde(borrow)]
    pub(crate) unsubscribe: Option<Unsubscribe<'a>>,
    #[serde(borrow)]
    pub(crate) publish: Option<Publish<'a>>,
    #[serde(borrow)]
    pub(crate) presence: Option<PresenceOf<'a>>,
    #[serde(borrow)]
    pub(crate) presence_stats: Option<PresenceOf<'a>>,
    #[serde(borrow)]
    pub(crate) history: Option<History<'a>>,
    pub(crate) ping: Option<Nothing>,
    #[serde(borrow)]
    pub(crate) send: Option<Send<'a>>,
    #[serde(borrow)]
    pub(crate) rpc: Option<Rpc<'a>>,
    #[serde(borrow)]
    pub(crate) refresh: Option<Refresh<'a>>,
    #[serde(borrow)]
    pub(crate) sub_refresh: Option<SubRefresh<'a>>,
}

/// An object without fields of interest.
#[derive(Deserialize)]
pub(crate) struct Nothing {}

impl<'a> Command<'a> {
    /// Understands one line.
    ///
    /// # Errors
    /// [`Malformed`]; nothing after it is to be trusted.
    pub fn parse(line: &'a str) -> Result<Self, Malformed> {
        let envelope: Envelope<'a> = serde_json::from_str(line)?;
        envelope.command()
    }
}

impl<'a> Envelope<'a> {
    pub(crate) fn command(self) -> Result<Command<'a>, Malformed> {
        let id = self.id;
        match self.request() {
            Some(request) if id == 0 && !matches!(request, Request::Send(_)) => {
                Err(Malformed::NoId)
            }
            Some(request) => Ok(Command { id, request }),
            None if id == 0 => Ok(Command {
                id,
                request: Request::Pong,
            }),
            None => Err(Malformed::Nothing(id)),
        }
    }

    /// The first thing it asks for, in the order of the protocol.
    fn request(self) -> Option<Request<'a>> {
        let connect = self.connect.map(Request::Connect);
        let ping = self.ping.map(|Nothing {}| Request::Ping);
        connect
            .or(ping)
            .or(self.subscribe.map(Request::Subscribe))
            .or(self.unsubscribe.map(Request::Unsubscribe))
            .or(self.publish.map(Request::Publish))
            .or(self.presence.map(Request::Presence))
            .or(self.presence_stats.map(Request::PresenceStats))
            .or(self.history.map(Request::History))
            .or(self.rpc.map(Request::Rpc))
            .or(self.send.map(Request::Send))
            .or(self.refresh.map(Request::Refresh))
            .or(self.sub_refresh.map(Request::SubRefresh))
    }
}

/// The commands of a frame in the JSON encoding, one a line; empty lines are
/// passed over.
pub fn commands(frame: &str) -> impl Iterator<Item = Result<Command<'_>, Malformed>> {
    let lines = frame.split('\n').filter(|line| !line.trim().is_empty());
    lines.map(Command::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Command<'_> {
        Command::parse(line).unwrap()
    }

    #[test]
    fn data_is_passed_on_as_it_was_written() {
        let line = r#"{"id":7,"publish":{"channel":"a\u0062","data":{ "b": [1.0, 1e2 ]}}}"#;
        let Command {
            id: 7,
            request: Request::Publish(publish),
        } = one(line)
        else {
            panic!("{line}");
        };
        assert_eq!(publish.channel, "ab");
        assert_eq!(publish.data.unwrap().bytes(), br#"{ "b": [1.0, 1e2 ]}"#);
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_what_is_missing_is_empty() {
        let line = r#"{"id":1,"connect":{"token":"t","flag":3,"headers":{"a":"b"}},"new":[]}"#;
        let Request::Connect(connect) = one(line).request else {
            panic!("{line}");
        };
        assert_eq!((&*connect.token, &*connect.headers["a"]), ("t", "b"));
        let line = r#"{"id":2,"subscribe":{"channel":"c","recover":true,"epoch":"e","offset":9}}"#;
        let Request::Subscribe(subscribe) = one(line).request else {
            panic!("{line}");
        };
        assert!(subscribe.recover && !subscribe.join_leave);
        assert_eq!((&*subscribe.epoch, subscribe.offset), ("e", 9));
    }

    #[test]
    fn several_commands_come_in_one_frame() {
        let frame = "{\"id\":1,\"ping\":{}}\n{}\n\n{\"send\":{\"data\":1}}\n";
        let all: Vec<_> = commands(frame).map(Result::unwrap).collect();
        assert!(matches!(
            all[..],
            [
                Command {
                    id: 1,
                    request: Request::Ping
                },
                Command {
                    id: 0,
                    request: Request::Pong
                },
                Command {
                    id: 0,
                    request: Request::Send(_)
                },
            ]
        ));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for line in [
            "",
            "{",
            "[]",
            "7",
            "null",
            r#"{"id":-1}"#,
            r#"{"id":1,"publish":{"channel":5}}"#,
            r#"{"id":4294967296,"ping":{}}"#,
            r#"{"id":1,"id":2,"ping":{}}"#,
        ] {
            assert!(
                matches!(Command::parse(line), Err(Malformed::Json(_))),
                "{line}"
            );
        }
        let unknown = Command::parse(r#"{"id":3,"dance":{}}"#);
        assert!(matches!(unknown, Err(Malformed::Nothing(3))));
        let no_id = Command::parse(r#"{"publish":{"channel":"a","data":1}}"#);
        assert!(matches!(no_id, Err(Malformed::NoId)));
    }
}
