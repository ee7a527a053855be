//! What calls say. What they say beyond it is refused, by name: an option that
//! is passed over in silence would be taken for one that works.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
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
    Channels,
    Info,
}

impl Method {
    pub(crate) const ALL: [(&str, Self); 11] = [
        ("publish", Self::Publish),
        ("broadcast", Self::Broadcast),
        ("subscribe", Self::Subscribe),
        ("unsubscribe", Self::Unsubscribe),
        ("disconnect", Self::Disconnect),
        ("presence", Self::Presence),
        ("presence_stats", Self::PresenceStats),
        ("history", Self::History),
        ("history_remove", Self::HistoryRemove),
        ("channels", Self::Channels),
        ("info", Self::Info),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|&(_, method)| method)
    }
}

/// What is published, in one line each.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) data: String,
    pub(super) tags: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishTo<'a> {
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Broadcast<'a> {
    #[serde(borrow)]
    pub(super) channels: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
    tags: Option<BTreeMap<String, String>>,
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

/// About everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Everything {}

impl PublishTo<'_> {
    pub(super) fn written(&self) -> Written {
        Written::new(self.data, self.tags.as_ref())
    }
}

impl Broadcast<'_> {
    pub(super) fn written(&self) -> Written {
        Written::new(self.data, self.tags.as_ref())
    }
}

impl Written {
    fn new(data: &RawValue, tags: Option<&BTreeMap<String, String>>) -> Self {
        let write = |tags| serde_json::to_string(tags).expect("names and texts");
        Self {
            data: one_line(data.get()),
            tags: tags.map(write),
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
        let body = r#"{"channel":"c","data":1,"skip_history":true}"#;
        let error = serde_json::from_str::<PublishTo<'_>>(body).unwrap_err();
        assert!(error.to_string().contains("skip_history"), "{error}");
    }
}
