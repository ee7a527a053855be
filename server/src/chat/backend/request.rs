//! What calls say. What they say beyond it is refused, by name: an option that
//! is passed over in silence would be taken for one that works.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hioload_centrifugo::{History, PresenceOf};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What is called, by the last part of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Publish,
    Broadcast,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Presence,
    PresenceStats,
    History,
    HistoryRemove,
    Refresh,
    Channels,
    Info,
    Batch,
}

impl Method {
    /// All of them by their names.
    pub(crate) const ALL: [(&str, Self); 13] = [
        ("publish", Self::Publish),
        ("broadcast", Self::Broadcast),
        ("subscribe", Self::Subscribe),
        ("unsubscribe", Self::Unsubscribe),
        ("disconnect", Self::Disconnect),
        ("presence", Self::Presence),
        ("presence_stats", Self::PresenceStats),
        ("history", Self::History),
        ("history_remove", Self::HistoryRemove),
        ("refresh", Self::Refresh),
        ("channels", Self::Channels),
        ("info", Self::Info),
        ("batch", Self::Batch),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, method)| *method)
    }

    pub(super) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, method)| *method == self);
        found.map_or("", |(name, _)| name)
    }

    /// Whether a body is what this method takes.
    pub(super) fn check(self, body: &[u8]) -> Result<(), serde_json::Error> {
        fn parsed<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<(), serde_json::Error> {
            serde_json::from_slice::<T>(body).map(drop)
        }
        match self {
            Self::Publish => parsed::<PublishTo<'_>>(body),
            Self::Broadcast => parsed::<Broadcast<'_>>(body),
            Self::Subscribe | Self::Unsubscribe | Self::Disconnect => parsed::<OfUser<'_>>(body),
            Self::Presence | Self::PresenceStats | Self::HistoryRemove => {
                parsed::<PresenceOf<'_>>(body)
            }
            Self::History => parsed::<History<'_>>(body),
            Self::Refresh => parsed::<RefreshOf<'_>>(body),
            Self::Channels | Self::Info => parsed::<Everything>(body),
            Self::Batch => parsed::<Batch<'_>>(body),
        }
    }
}

/// What is published, in one line each.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) data: String,
    pub(super) tags: Option<String>,
    pub(super) skip_history: bool,
    /// Empty: there is none.
    pub(super) idempotency_key: Box<str>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishTo<'a> {
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    tags: Option<BTreeMap<String, String>>,
    /// Tell those who are there, and keep nothing.
    #[serde(default)]
    skip_history: bool,
    /// The same key within some minutes is the same publication.
    #[serde(borrow, default)]
    idempotency_key: Cow<'a, str>,
    /// What Centrifugo asks for each publication is decided by the namespace.
    #[serde(default, rename = "delta")]
    _delta: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Broadcast<'a> {
    #[serde(borrow)]
    pub(super) channels: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
    tags: Option<BTreeMap<String, String>>,
    /// Tell those who are there, and keep nothing.
    #[serde(default)]
    skip_history: bool,
    /// The same key within some minutes is the same publication.
    #[serde(borrow, default)]
    idempotency_key: Cow<'a, str>,
    /// What Centrifugo asks for each publication is decided by the namespace.
    #[serde(default, rename = "delta")]
    _delta: bool,
}

/// About the connections of a user.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfUser<'a> {
    #[serde(borrow)]
    pub(super) user: Cow<'a, str>,
    /// Only this connection.
    #[serde(borrow)]
    pub(super) client: Option<Cow<'a, str>>,
    /// Only the one with this session, which those have that are heard by posts.
    #[serde(borrow)]
    pub(super) session: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) channel: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) disconnect: Option<Said<'a>>,
}

/// What a Close frame is to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said<'a> {
    pub(super) code: u16,
    #[serde(borrow, default)]
    pub(super) reason: Cow<'a, str>,
}

/// Until when connections of a user may stay.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshOf<'a> {
    #[serde(borrow)]
    pub(super) user: Cow<'a, str>,
    /// Only this connection.
    #[serde(borrow)]
    pub(super) client: Option<Cow<'a, str>>,
    /// Only the one with this session, which those have that are heard by posts.
    #[serde(borrow)]
    pub(super) session: Option<Cow<'a, str>>,
    /// No longer.
    #[serde(default)]
    pub(super) expired: bool,
    /// Seconds of the Unix clock; 0: for ever.
    #[serde(default)]
    pub(super) expire_at: u64,
}

/// Several calls in one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch<'a> {
    #[serde(borrow)]
    pub(super) commands: Vec<BatchCommand<'a>>,
    /// Whether a command is begun before those ahead of it are done.
    #[serde(default)]
    pub(super) parallel: bool,
}

/// One of them: `{"publish": {...}}`.
#[derive(Debug)]
pub(super) struct BatchCommand<'a> {
    pub(super) method: Method,
    pub(super) body: &'a RawValue,
}

impl<'de: 'a, 'a> Deserialize<'de> for BatchCommand<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = BTreeMap::<Cow<'a, str>, &'a RawValue>::deserialize(deserializer)?;
        let mut fields = fields.into_iter();
        let (Some((name, body)), None) = (fields.next(), fields.next()) else {
            return Err(D::Error::custom("a command has one field, its method"));
        };
        match Method::named(&name) {
            None | Some(Method::Batch) => {
                Err(D::Error::custom(format!("a batch has no method {name:?}")))
            }
            Some(method) => {
                let wrong = |error| D::Error::custom(format!("in {name}: {error}"));
                method.check(body.get().as_bytes()).map_err(wrong)?;
                Ok(Self { method, body })
            }
        }
    }
}

/// About everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Everything {}

impl PublishTo<'_> {
    pub(super) fn written(&self) -> Written {
        Written {
            skip_history: self.skip_history,
            idempotency_key: self.idempotency_key.as_ref().into(),
            ..Written::new(self.data, self.tags.as_ref())
        }
    }
}

impl Broadcast<'_> {
    pub(super) fn written(&self) -> Written {
        Written {
            skip_history: self.skip_history,
            idempotency_key: self.idempotency_key.as_ref().into(),
            ..Written::new(self.data, self.tags.as_ref())
        }
    }
}

impl Written {
    fn new(data: &RawValue, tags: Option<&BTreeMap<String, String>>) -> Self {
        let write = |tags| serde_json::to_string(tags).expect("names and texts");
        Self {
            data: one_line(data.get()),
            tags: tags.map(write),
            skip_history: false,
            idempotency_key: Box::default(),
        }
    }
}

/// JSON without line breaks, which separate messages. In JSON they are space
/// between values; inside of texts they are escaped.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_one_line_and_otherwise_as_it_was_written() {
        let body = "{\"channel\":\"c\",\"data\":{\n  \"a\": [1.10,\r\n 12345678901234567890],\n \"b\":\"x\\ny\"\n},\"tags\":{\"k\":\"v\"}}";
        let written = serde_json::from_str::<PublishTo<'_>>(body)
            .unwrap()
            .written();
        assert_eq!(
            written.data,
            "{   \"a\": [1.10,   12345678901234567890],  \"b\":\"x\\ny\" }"
        );
        assert_eq!(written.tags.unwrap(), "{\"k\":\"v\"}");
    }

    #[test]
    fn an_option_that_is_not_there_is_named() {
        let body = r#"{"channel":"c","data":1,"loud":true}"#;
        let error = serde_json::from_str::<PublishTo<'_>>(body).unwrap_err();
        assert!(error.to_string().contains("loud"), "{error}");
    }

    #[test]
    fn a_batch_is_checked_as_a_whole_before_anything_is_done() {
        let batch = |commands: &str| {
            let body = format!("{{\"commands\":[{commands}]}}");
            let parsed = serde_json::from_str::<Batch<'_>>(&body);
            parsed
                .map(|batch| batch.commands.len())
                .map_err(|error| error.to_string())
        };
        let publish = r#"{"publish":{"channel":"a","data":1}}"#;
        assert_eq!(batch(&format!("{publish},{{\"info\":{{}}}}")), Ok(2));
        assert_eq!(batch(""), Ok(0));
        for (second, named) in [
            (
                r#"{"publish":{"channel":"a"}}"#,
                "in publish: missing field `data`",
            ),
            (r#"{"publish":{},"info":{}}"#, "one field"),
            ("{}", "one field"),
            (r#"{"sing":{}}"#, "no method \"sing\""),
            (r#"{"batch":{"commands":[]}}"#, "no method \"batch\""),
            ("7", "invalid type"),
        ] {
            let error = batch(&format!("{publish},{second}")).unwrap_err();
            assert!(error.contains(named), "{second}: {error}");
        }
    }
}
