//! The client's side of Centrifugo's bidirectional protocol, in its JSON
//! encoding: what is asked for, and what is said in return. A frame holds any
//! number of lines, each a message.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The answer to the server's ping.
pub(crate) const PONG: &[u8] = b"{}";

/// What begins the names of users that tokens are made for.
const USER: &str = "loadgen-";

/// What clients of the protocol do beside talking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// The namespace of the channels.
    pub(crate) namespace: Option<String>,
    /// Who the clients are.
    pub(crate) login: Login,
    /// Asks for publications with offsets.
    pub(crate) positioned: bool,
    /// Asks for subscriptions that can be recovered.
    pub(crate) recoverable: bool,
    /// Asks to hear who comes and goes.
    pub(crate) join_leave: bool,
    /// One in so many joins and messages is followed by a question for the
    /// history.
    pub(crate) history_every: Option<u32>,
    /// Publications asked for with it.
    pub(crate) history_limit: u32,
    /// One in so many joins and messages is followed by a question for who is
    /// there.
    pub(crate) presence_every: Option<u32>,
}

/// Who clients are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Login {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// All the same.
    Token(Secret),
    /// Each somebody else, by a token signed with this (HS256).
    Signed(Secret),
}

/// A text that is not to be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

impl Login {
    /// What user `user` brings; empty: nothing.
    ///
    /// # Errors
    /// What the signature failed of.
    pub(crate) fn token(&self, user: u32) -> Result<String, jsonwebtoken::errors::Error> {
        #[derive(Serialize)]
        struct Claims {
            sub: String,
        }
        match self {
            Self::Anonymous => Ok(String::new()),
            Self::Token(token) => Ok(token.0.clone()),
            Self::Signed(secret) => {
                let sub = format!("{USER}{user}");
                let key = EncodingKey::from_secret(secret.0.as_bytes());
                encode(&Header::new(Algorithm::HS256), &Claims { sub }, &key)
            }
        }
    }

    /// Whether the server may call user `user` by this name.
    pub(crate) fn is_called(&self, user: u32, name: &str) -> bool {
        match self {
            Self::Anonymous | Self::Token(_) => true,
            Self::Signed(_) => name.strip_prefix(USER).and_then(|id| id.parse().ok()) == Some(user),
        }
    }
}

/// What one command asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command<'a> {
    /// To be let in, with a token or an empty one.
    Connect(&'a str),
    /// To be given what is published to a channel.
    Subscribe(&'a str, &'a Dialect),
    /// To be given no more of it.
    Unsubscribe(&'a str),
    /// To pass a text on, which needs no escapes in JSON.
    Publish(&'a str, &'a [u8]),
    /// The latest publications, newest first.
    History(&'a str, u32),
    /// Who is subscribed.
    Presence(&'a str),
}

/// Which kind of command a reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    History,
    Presence,
}

impl Asked {
    /// As the protocol calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Publish => "publish",
            Self::History => "history",
            Self::Presence => "presence",
        }
    }
}

impl Command<'_> {
    /// Its kind.
    pub(crate) fn asked(&self) -> Asked {
        match self {
            Self::Connect(_) => Asked::Connect,
            Self::Subscribe(..) => Asked::Subscribe,
            Self::Unsubscribe(_) => Asked::Unsubscribe,
            Self::Publish(..) => Asked::Publish,
            Self::History(..) => Asked::History,
            Self::Presence(_) => Asked::Presence,
        }
    }

    /// Replaces `out` by the command. Channels are of letters that JSON takes
    /// as they are.
    pub(crate) fn write(&self, id: u32, out: &mut Vec<u8>) {
        out.clear();
        let name = self.asked().name();
        let written = write!(out, "{{\"id\":{id},\"{name}\":{{").and_then(|()| match *self {
            Self::Connect("") => Ok(()),
            Self::Connect(token) => {
                let token = serde_json::Value::from(token);
                write!(out, "\"token\":{token}")
            }
            Self::Subscribe(channel, dialect) => {
                write!(out, "\"channel\":\"{channel}\"")?;
                for (wanted, field) in [
                    (dialect.positioned, ",\"positioned\":true"),
                    (dialect.recoverable, ",\"recoverable\":true"),
                    (dialect.join_leave, ",\"join_leave\":true"),
                ] {
                    out.extend_from_slice(if wanted { field.as_bytes() } else { b"" });
                }
                Ok(())
            }
            Self::Unsubscribe(channel) | Self::Presence(channel) => {
                write!(out, "\"channel\":\"{channel}\"")
            }
            Self::Publish(channel, data) => {
                write!(out, "\"channel\":\"{channel}\",\"data\":\"")?;
                out.extend_from_slice(data);
                out.push(b'"');
                Ok(())
            }
            Self::History(channel, limit) => {
                write!(
                    out,
                    "\"channel\":\"{channel}\",\"limit\":{limit},\"reverse\":true"
                )
            }
        });
        debug_assert!(written.is_ok(), "a vector takes everything");
        out.extend_from_slice(b"}}");
    }
}

/// What the server says in one line. What it does not know is passed over.
#[derive(Debug, Deserialize)]
pub(crate) struct Message<'a> {
    /// The command it is the reply to; 0: it is none.
    #[serde(default)]
    pub(crate) id: u32,
    #[serde(borrow)]
    pub(crate) error: Option<Refusal<'a>>,
    #[serde(borrow)]
    pub(crate) push: Option<Push<'a>>,
    #[serde(borrow)]
    pub(crate) connect: Option<Connected<'a>>,
    #[serde(borrow)]
    pub(crate) subscribe: Option<Subscribed<'a>>,
    pub(crate) unsubscribe: Option<IgnoredAny>,
    pub(crate) publish: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(crate) history: Option<History<'a>>,
    #[serde(borrow)]
    pub(crate) presence: Option<Presence<'a>>,
}

/// Why a command failed.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal<'a> {
    pub(crate) code: u32,
    #[serde(borrow, default)]
    pub(crate) message: Cow<'a, str>,
}

/// What is told without having been asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Push<'a> {
    #[serde(borrow, default)]
    pub(crate) channel: Cow<'a, str>,
    #[serde(borrow, rename = "pub")]
    pub(crate) publication: Option<Publication<'a>>,
    pub(crate) join: Option<IgnoredAny>,
    pub(crate) leave: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(crate) unsubscribe: Option<Ended<'a>>,
}

/// The server ended a subscription.
#[derive(Debug, Deserialize)]
pub(crate) struct Ended<'a> {
    #[serde(default)]
    pub(crate) code: u32,
    #[serde(borrow, default)]
    pub(crate) reason: Cow<'a, str>,
}

/// What somebody published.
#[derive(Debug, Deserialize)]
pub(crate) struct Publication<'a> {
    /// As it was written.
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    pub(crate) offset: u64,
    #[serde(borrow)]
    pub(crate) info: Option<ClientInfo<'a>>,
}

impl Publication<'_> {
    /// The text that was published, if it is one; ours have no escapes.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        let data = self.data.get().strip_prefix('"')?;
        data.strip_suffix('"').map(str::as_bytes)
    }
}

/// Who published it.
#[derive(Debug, Deserialize)]
pub(crate) struct ClientInfo<'a> {
    #[serde(borrow, default)]
    pub(crate) user: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) client: Cow<'a, str>,
}

/// Let in.
#[derive(Debug, Deserialize)]
pub(crate) struct Connected<'a> {
    #[serde(borrow, default)]
    pub(crate) client: Cow<'a, str>,
    /// Whether the server's pings are to be answered.
    #[serde(default)]
    pub(crate) pong: bool,
}

/// Subscribed.
#[derive(Debug, Deserialize)]
pub(crate) struct Subscribed<'a> {
    #[serde(default)]
    pub(crate) positioned: bool,
    #[serde(default)]
    pub(crate) recoverable: bool,
    #[serde(borrow, default)]
    pub(crate) epoch: Cow<'a, str>,
    /// Of the last publication before.
    #[serde(default)]
    pub(crate) offset: u64,
}

/// What was published.
#[derive(Debug, Deserialize)]
pub(crate) struct History<'a> {
    #[serde(borrow, default)]
    pub(crate) publications: Vec<Publication<'a>>,
    #[serde(borrow, default)]
    pub(crate) epoch: Cow<'a, str>,
    /// Of the last publication there is.
    #[serde(default)]
    pub(crate) offset: u64,
}

/// Who is subscribed.
#[derive(Debug, Deserialize)]
pub(crate) struct Presence<'a> {
    #[serde(borrow, default)]
    pub(crate) presence: Present<'a>,
}

/// The names of clients, as often as they are there.
#[derive(Debug, Default)]
pub(crate) struct Present<'a>(pub(crate) Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Present<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
        impl<'de> Visitor<'de> for Keys {
            type Value = Present<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("clients by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some((Key(name), IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Present(names))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// The messages of a frame, one a line.
pub(crate) fn messages(
    frame: &[u8],
) -> impl Iterator<Item = Result<Message<'_>, serde_json::Error>> {
    let lines = frame.split(|&byte| byte == b'\n');
    lines
        .filter(|line| !line.trim_ascii().is_empty())
        .map(serde_json::from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(command: Command<'_>) -> String {
        let mut out = b"what was there".to_vec();
        command.write(7, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn read(line: &str) -> Message<'_> {
        messages(line.as_bytes()).next().unwrap().unwrap()
    }

    #[test]
    fn commands_are_what_the_protocol_wants() {
        let dialect = Dialect {
            positioned: true,
            join_leave: true,
            ..Dialect::default()
        };
        for (command, line) in [
            (Command::Connect(""), r#"{"id":7,"connect":{}}"#),
            (
                Command::Connect("a\"b"),
                r#"{"id":7,"connect":{"token":"a\"b"}}"#,
            ),
            (
                Command::Subscribe("ns:c", &dialect),
                r#"{"id":7,"subscribe":{"channel":"ns:c","positioned":true,"join_leave":true}}"#,
            ),
            (
                Command::Unsubscribe("c"),
                r#"{"id":7,"unsubscribe":{"channel":"c"}}"#,
            ),
            (
                Command::Publish("c", b"text"),
                r#"{"id":7,"publish":{"channel":"c","data":"text"}}"#,
            ),
            (
                Command::History("c", 9),
                r#"{"id":7,"history":{"channel":"c","limit":9,"reverse":true}}"#,
            ),
            (
                Command::Presence("c"),
                r#"{"id":7,"presence":{"channel":"c"}}"#,
            ),
        ] {
            assert_eq!(written(command), line);
            let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(parsed["id"], 7);
        }
    }

    #[test]
    fn replies_and_pushes_are_read() {
        let frame = concat!(
            "{}\n",
            r#"{"id":1,"connect":{"client":"me","version":"1","ping":25,"pong":true}}"#,
            "\n\n",
            r#"{"push":{"channel":"c","pub":{"data":"abc","offset":4,"info":{"client":"x"}}}}"#,
            "\n",
        );
        let all: Vec<_> = messages(frame.as_bytes()).map(Result::unwrap).collect();
        let [ping, connected, pushed] = &all[..] else {
            panic!("{all:?}");
        };
        assert!(ping.id == 0 && ping.push.is_none());
        assert!(connected.connect.as_ref().is_some_and(|it| it.pong));
        let push = pushed.push.as_ref().unwrap();
        let publication = push.publication.as_ref().unwrap();
        assert_eq!(publication.text(), Some(&b"abc"[..]));
        assert_eq!((publication.offset, &*push.channel), (4, "c"));
        let error = read(r#"{"id":5,"error":{"code":103,"message":"permission denied"}}"#);
        assert_eq!(error.error.unwrap().code, 103);
        let present = read(r#"{"id":6,"presence":{"presence":{"a\u0062":{},"c":{"user":"u"}}}}"#);
        let Present(names) = present.presence.unwrap().presence;
        assert_eq!(names, ["ab", "c"]);
    }

    #[test]
    fn what_is_no_message_is_told() {
        for line in ["{", "[]", "7", r#"{"id":"1"}"#, r#"{"push":{"pub":{}}}"#] {
            let read = messages(line.as_bytes()).next().unwrap();
            assert!(read.is_err(), "{line} was read as {read:?}");
        }
    }

    #[test]
    fn tokens_name_their_user_and_secrets_are_not_shown() {
        let login = Login::Signed(Secret::from("a secret of some length".to_owned()));
        let token = login.token(12).unwrap();
        assert_eq!(token.split('.').count(), 3);
        assert_ne!(token, login.token(13).unwrap());
        assert!(login.is_called(12, "loadgen-12") && !login.is_called(12, "loadgen-1"));
        assert!(!login.is_called(12, "") && Login::Anonymous.is_called(12, ""));
        assert!(!format!("{login:?}").contains("length"));
        assert_eq!(Login::Anonymous.token(1).unwrap(), "");
    }
}
