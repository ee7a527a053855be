//! What happens in the chat, as sinks are told.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What of the server's doings there is to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A client was let in.
    Connect,
    /// One that was in has gone.
    Disconnect,
    /// A subscription has begun.
    Subscribe,
    /// It has ended.
    Unsubscribe,
    /// Something was published, by a client or the application.
    Publish,
    /// It names a user who has no connection.
    Mention,
    /// A channel has its first subscriber.
    ChannelOccupied,
    /// It has lost its last one.
    ChannelVacated,
}

impl Kind {
    /// As it is written in the settings.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Publish => "publish",
            Self::Mention => "mention",
            Self::ChannelOccupied => "channel_occupied",
            Self::ChannelVacated => "channel_vacated",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Some of the kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<T: IntoIterator<Item = Kind>>(kinds: T) -> Self {
        Self(kinds.into_iter().fold(0, |all, kind| all | kind.bit()))
    }
}

/// What was published.
#[derive(Debug)]
pub(super) enum Data {
    Json(Box<RawValue>),
    /// A client that speaks Protobuf can publish anything.
    Bytes(Box<[u8]>),
}

impl Data {
    pub(super) fn new(data: &[u8]) -> Self {
        match serde_json::from_slice::<&RawValue>(data) {
            Ok(json) => Self::Json(json.to_owned()),
            Err(_other) => Self::Bytes(data.into()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(json) => json.get().len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    fn json(&self) -> Option<&str> {
        match self {
            Self::Json(json) => Some(json.get()),
            Self::Bytes(_) => None,
        }
    }

    /// A field of an object.
    pub(super) fn field(&self, name: &str) -> Option<Box<RawValue>> {
        let json = self.json()?;
        // Most publications end here: an escaped name is no field of ours.
        if !json.contains(name) {
            return None;
        }
        let mut fields: BTreeMap<Cow<'_, str>, Box<RawValue>> = serde_json::from_str(json).ok()?;
        fields.remove(name)
    }

    /// What it says: the text that it is, or that its field is.
    pub(super) fn text(&self, field: &str) -> String {
        let whole = self.json().and_then(|json| serde_json::from_str(json).ok());
        let field = || serde_json::from_str(self.field(field)?.get()).ok();
        whole.or_else(field).unwrap_or_default()
    }
}

/// Something that has happened, with what there is to say of it; the rest is
/// empty.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) kind: Kind,
    /// Nobody else has it, in no run of any server.
    pub(super) id: String,
    /// Milliseconds of the Unix clock.
    pub(super) time: i64,
    /// For how long it takes to be told.
    pub(super) began: Instant,
    pub(super) channel: Arc<str>,
    /// Who did it.
    pub(super) user: Arc<str>,
    pub(super) client: Arc<str>,
    /// Who is mentioned.
    pub(super) mentioned: Box<str>,
    pub(super) data: Option<Arc<Data>>,
}

/// As receivers get it.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    r#type: Kind,
    time: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mentioned: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b64data: Option<String>,
}

/// What an event takes beside what it says.
const OVERHEAD: usize = 256;

impl Event {
    /// Bytes that it takes, about as many as it is written in.
    pub(super) fn size(&self) -> usize {
        let data = self.data.as_ref().map_or(0, |data| data.len());
        OVERHEAD + self.channel.len() + self.user.len() + self.mentioned.len() + data
    }

    /// Whom it concerns most.
    pub(super) fn addressee(&self) -> &str {
        if self.kind == Kind::Mention {
            &self.mentioned
        } else {
            &self.user
        }
    }

    /// In JSON.
    pub(super) fn written(&self) -> String {
        let (data, b64data) = match self.data.as_deref() {
            None => (None, None),
            Some(Data::Json(json)) => (Some(&**json), None),
            Some(Data::Bytes(bytes)) => (None, Some(BASE64_STANDARD.encode(bytes))),
        };
        let told = Told {
            id: &self.id,
            r#type: self.kind,
            time: self.time,
            channel: &self.channel,
            user: &self.user,
            client: &self.client,
            mentioned: &self.mentioned,
            data,
            b64data,
        };
        serde_json::to_string(&told).expect("strings, numbers and written JSON")
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! Events for the tests of others.

    use super::*;

    pub(in crate::notify) fn event(number: usize, data: &str) -> Arc<Event> {
        let data = RawValue::from_string(data.to_owned()).expect("JSON");
        Arc::new(Event {
            kind: Kind::Mention,
            id: format!("run-{number}"),
            time: 1_700_000_000_000,
            began: Instant::now(),
            channel: "room".into(),
            user: "ann".into(),
            client: "".into(),
            mentioned: "bob".into(),
            data: Some(Arc::new(Data::Json(data))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::event;
    use super::*;

    #[test]
    fn an_event_says_what_there_is_to_say() {
        let written = event(7, "{\"text\":\"hi\"}").written();
        assert_eq!(
            written,
            "{\"id\":\"run-7\",\"type\":\"mention\",\"time\":1700000000000,\"channel\":\"room\",\
             \"user\":\"ann\",\"mentioned\":\"bob\",\"data\":{\"text\":\"hi\"}}"
        );
    }

    #[test]
    fn bytes_that_are_no_json_are_told_as_bytes() {
        let mut event = Arc::into_inner(event(7, "0")).unwrap();
        event.data = Some(Arc::new(Data::new(b"[1]")));
        assert!(event.written().ends_with(",\"data\":[1]}"));
        event.data = Some(Arc::new(Data::new(&[0, 255])));
        assert!(event.written().ends_with(",\"b64data\":\"AP8=\"}"));
    }

    #[test]
    fn the_text_is_the_publication_or_a_field_of_it() {
        for (data, expected) in [
            ("\"plain\"", "plain"),
            (r#"{"text":"in a \"field\""}"#, "in a \"field\""),
            (r#"{"text":7}"#, ""),
            (r#"["text"]"#, ""),
            ("7", ""),
        ] {
            let event = event(1, data);
            assert_eq!(
                event.data.as_ref().unwrap().text("text"),
                expected,
                "{data}"
            );
        }
        assert_eq!(Data::Bytes(Box::new([0, 255])).text("text"), "");
    }

    #[test]
    fn kinds_are_told_apart() {
        let some: Kinds = [Kind::Connect, Kind::ChannelVacated].into_iter().collect();
        assert!(some.has(Kind::Connect) && some.has(Kind::ChannelVacated));
        assert!(!some.has(Kind::Mention));
        let more = some.and([Kind::Mention].into_iter().collect());
        assert!(more.has(Kind::Mention) && more.has(Kind::Connect));
    }
}
