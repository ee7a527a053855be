//! What clients are told.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::code::{Error, Unsubscribed};

/// The server's ping: an empty message, which is answered by one.
pub const PING: &str = "{}";

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
    /// The subscriptions the server made, by channel.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subs: BTreeMap<&'a str, &'a Subscribed>,
    /// Seconds between the server's pings; 0: there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub ping: u32,
    /// Whether they are to be answered.
    #[serde(skip_serializing_if = "is_false")]
    pub pong: bool,
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

/// A written publication, with its offset if it has one.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Publication(Box<RawValue>);

impl Publication {
    /// Of a body as [`Publication::body`] writes it. `None`: it is no such
    /// body.
    #[must_use]
    pub fn at(body: &str, offset: u64) -> Option<Self> {
        RawValue::from_string(with_offset(body, Some(offset)))
            .ok()
            .map(Self)
    }

    /// A publication without its offset, which it gets by its order: of written
    /// JSON, in one line.
    #[must_use]
    pub fn body(data: &str, info: Option<&str>, tags: Option<&str>) -> String {
        let mut body = format!("{{\"data\":{data}");
        for (name, written) in [("info", info), ("tags", tags)] {
            if let Some(written) = written {
                body.push_str(",\"");
                body.push_str(name);
                body.push_str("\":");
                body.push_str(written);
            }
        }
        body.push('}');
        body
    }
}

/// A publication's body, an object that is not empty, with its offset.
#[must_use]
pub fn with_offset(body: &str, offset: Option<u64>) -> String {
    match (offset, body.strip_suffix('}')) {
        (Some(offset), Some(open)) => format!("{open},\"offset\":{offset}}}"),
        _ => body.to_owned(),
    }
}

/// What is told without having been asked for.
#[derive(Clone, Copy, Debug)]
pub enum Push<'a> {
    /// A publication, as [`with_offset`] writes it.
    Pub(&'a str),
    /// Somebody subscribed: a written [`ClientInfo`].
    Join(&'a str),
    /// Somebody unsubscribed.
    Leave(&'a str),
    /// The server subscribed the client.
    Subscribe(&'a Subscribed),
    /// The server ended the subscription.
    Unsubscribe(Unsubscribed),
    /// What was granted to the connection ends at another time. It is about no
    /// channel.
    Refresh(Until),
}

/// Writes a push about a channel.
#[must_use]
pub fn push(channel: &str, what: Push<'_>) -> String {
    let channel = json(channel);
    match what {
        Push::Refresh(until) => format!("{{\"push\":{{\"refresh\":{}}}}}", json(&until)),
        Push::Pub(publication) => {
            format!("{{\"push\":{{\"channel\":{channel},\"pub\":{publication}}}}}")
        }
        Push::Join(info) => {
            format!("{{\"push\":{{\"channel\":{channel},\"join\":{{\"info\":{info}}}}}}}")
        }
        Push::Leave(info) => {
            format!("{{\"push\":{{\"channel\":{channel},\"leave\":{{\"info\":{info}}}}}}}")
        }
        Push::Subscribe(told) => {
            let told = json(told);
            format!("{{\"push\":{{\"channel\":{channel},\"subscribe\":{told}}}}}")
        }
        Push::Unsubscribe(why) => {
            let (code, reason) = why.parts();
            format!(
                "{{\"push\":{{\"channel\":{channel},\"unsubscribe\":{{\"code\":{code},\"reason\":\"{reason}\"}}}}}}"
            )
        }
    }
}

/// Replies on their way into one frame.
#[derive(Debug, Default)]
pub struct Replies(String);

impl Replies {
    /// Adds the result of a command.
    pub fn answer(&mut self, id: u32, answer: &Answer<'_>) {
        // An object with one field, the name of what was asked for.
        let answer = json(answer);
        self.line(format_args!("{{\"id\":{id},{}", &answer[1..]));
    }

    /// Adds why a command failed.
    pub fn error(&mut self, id: u32, error: Error) {
        let (code, message) = (error.code(), error.message());
        let temporary = if error.is_temporary() {
            ",\"temporary\":true"
        } else {
            ""
        };
        self.line(format_args!(
            "{{\"id\":{id},\"error\":{{\"code\":{code},\"message\":\"{message}\"{temporary}}}}}"
        ));
    }

    /// Adds a push.
    pub fn push(&mut self, push: &str) {
        self.line(format_args!("{push}"));
    }

    /// The frame; `None` when there is nothing to say.
    #[must_use]
    pub fn frame(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&self.0)
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.write_fmt(line).expect("a string takes everything");
    }
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("strings, numbers and written JSON")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_share_a_frame_and_leave_out_what_is_unset() {
        let mut replies = Replies::default();
        assert_eq!(replies.frame(), None);
        replies.answer(
            1,
            &Answer::Connect(Connected {
                client: "c",
                version: "1",
                until: Until::default(),
                subs: BTreeMap::new(),
                ping: 25,
                pong: true,
            }),
        );
        replies.error(2, Error::Internal);
        replies.error(3, Error::PermissionDenied);
        replies.answer(4, &Answer::Publish(Empty {}));
        let lines = [
            r#"{"id":1,"connect":{"client":"c","version":"1","ping":25,"pong":true}}"#,
            r#"{"id":2,"error":{"code":100,"message":"internal server error","temporary":true}}"#,
            r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#,
            r#"{"id":4,"publish":{}}"#,
        ];
        assert_eq!(replies.frame(), Some(&*lines.join("\n")));
    }

    #[test]
    fn a_publication_gets_its_offset_where_it_is_told() {
        let info = r#"{"user":"u","client":"c"}"#;
        let body = Publication::body("[ 1 ]", Some(info), None);
        let told = with_offset(&body, Some(7));
        let told = push("a\"b", Push::Pub(&told));
        let expected = r#"{"push":{"channel":"a\"b","pub":{"data":[ 1 ],"info":{"user":"u","client":"c"},"offset":7}}}"#;
        assert_eq!(told, expected);
        let subscribed = Subscribed {
            until: Until {
                expires: true,
                ttl: 5,
            },
            recoverable: true,
            epoch: "e".into(),
            publications: vec![Publication::at(&body, 7).unwrap()],
            recovered: true,
            offset: 7,
            positioned: true,
            was_recovering: true,
            data: RawValue::from_string("{\"n\":1}".into()).ok(),
        };
        let mut replies = Replies::default();
        replies.answer(1, &Answer::Subscribe(&subscribed));
        let expected = r#"{"id":1,"subscribe":{"expires":true,"ttl":5,"recoverable":true,"epoch":"e","publications":[{"data":[ 1 ],"info":{"user":"u","client":"c"},"offset":7}],"recovered":true,"offset":7,"positioned":true,"was_recovering":true,"data":{"n":1}}}"#;
        assert_eq!(replies.frame(), Some(expected));
    }

    #[test]
    fn a_refresh_is_about_no_channel() {
        let until = Until {
            expires: true,
            ttl: 5,
        };
        let expected = r#"{"push":{"refresh":{"expires":true,"ttl":5}}}"#;
        assert_eq!(push("", Push::Refresh(until)), expected);
        let never = Push::Refresh(Until::default());
        assert_eq!(push("", never), r#"{"push":{"refresh":{}}}"#);
    }
}
