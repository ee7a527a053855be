//! What is said between the server and the application: Centrifugo's HTTP proxy
//! protocol, which existing backends speak.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use hioload_centrifugo::{Encoding, Payload};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::failure::Failure;
use crate::config::Event;

/// Headers of a client's request that are passed on, by their names in the
/// settings.
pub(crate) type Headers = Arc<BTreeMap<Box<str>, Box<str>>>;

/// What is asked about an event.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Question<'a> {
    pub(crate) client: &'a str,
    pub(crate) transport: &'static str,
    pub(crate) protocol: &'static str,
    pub(crate) encoding: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) version: &'a str,
    /// Channels of the server's subscriptions that a client comes back to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) channels: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) b64data: Option<String>,
}

impl<'a> Question<'a> {
    /// About a client that speaks this encoding, with what it said; `binary`:
    /// in base64, whatever it is.
    pub(crate) fn of(
        client: &'a str,
        encoding: Encoding,
        data: Option<Payload<'a>>,
        binary: bool,
    ) -> Self {
        let json = data.and_then(|data| match data {
            Payload::Json(raw) => Some(raw),
            // Clients that speak Protobuf may say something else.
            Payload::Bytes(bytes) => serde_json::from_slice(bytes).ok(),
        });
        let binary = binary || (data.is_some() && json.is_none());
        let b64data = data.filter(|_| binary);
        Self {
            client,
            transport: "websocket",
            protocol: match encoding {
                Encoding::Json => "json",
                Encoding::Protobuf => "protobuf",
            },
            encoding: if binary { "binary" } else { "json" },
            data: json.filter(|_| !binary),
            b64data: b64data.map(|data| BASE64_STANDARD.encode(data.bytes())),
            ..Self::default()
        }
    }

    pub(crate) fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and written JSON")
    }
}

/// An answer of the application.
#[derive(Clone, Debug)]
pub(crate) enum Said<R = Box<RawValue>> {
    Result(R),
    /// The command fails.
    Error(Refusal),
    /// The connection ends.
    Disconnect(Farewell),
}

/// Why a command fails, in the application's words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: u32,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) temporary: bool,
}

/// Why a connection ends, in the application's words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Farewell {
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) reason: String,
}

/// Bytes of a Close frame's reason at most.
const MAX_REASON: usize = 123;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Refusal>,
    disconnect: Option<Farewell>,
}

impl Said {
    fn of(envelope: Envelope<'_>, check: Check) -> Result<Self, Failure> {
        if let Some(farewell) = envelope.disconnect {
            if !(3000..5000).contains(&farewell.code) || farewell.reason.len() > MAX_REASON {
                return Err(garbled(
                    "disconnect is outside of what a Close frame may say",
                ));
            }
            return Ok(Self::Disconnect(farewell));
        }
        if let Some(refusal) = envelope.error {
            if refusal.code == 0 {
                return Err(garbled("error has the code 0"));
            }
            return Ok(Self::Error(refusal));
        }
        let result = envelope.result.filter(|raw| raw.get() != "null");
        let result = result.map_or_else(nothing, ToOwned::to_owned);
        check(&result)?;
        Ok(Self::Result(result))
    }

    /// With the result taken apart.
    pub(super) fn parsed<R: DeserializeOwned>(self) -> Result<Said<R>, Failure> {
        Ok(match self {
            Self::Result(raw) => Said::Result(parse(&raw)?),
            Self::Error(refusal) => Said::Error(refusal),
            Self::Disconnect(farewell) => Said::Disconnect(farewell),
        })
    }
}

/// An answer that says nothing agrees.
fn nothing() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("an object")
}

fn garbled(why: &(impl Display + ?Sized)) -> Failure {
    Failure::Garbled(why.to_string())
}

fn parse<R: DeserializeOwned>(raw: &RawValue) -> Result<R, Failure> {
    serde_json::from_str(raw.get()).map_err(|error| garbled(&error))
}

/// Whether a result is one of its event.
type Check = fn(&RawValue) -> Result<(), Failure>;

fn check(event: Event) -> Check {
    fn is<R: DeserializeOwned>(raw: &RawValue) -> Result<(), Failure> {
        parse::<R>(raw).map(|_| ())
    }
    match event {
        Event::Connect => is::<ConnectResult>,
        Event::Refresh | Event::SubRefresh => is::<RefreshResult>,
        Event::Subscribe => is::<SubscribeResult>,
        Event::Publish => is::<PublishResult>,
        Event::Rpc => is::<RpcResult>,
        Event::Message => is::<MessageResult>,
    }
}

/// What is posted to an endpoint.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) event: Event,
    /// The same whenever and to whomever it is posted.
    pub(super) id: Uuid,
    pub(super) body: Vec<u8>,
    /// Of its client; those of a batch are in its body.
    pub(super) headers: Option<Headers>,
    /// Questions in it, if it is a batch.
    pub(super) batch: Option<usize>,
}

#[derive(Deserialize)]
struct BatchEnvelope<'a> {
    #[serde(borrow)]
    batch: Vec<Envelope<'a>>,
}

impl Letter {
    pub(super) fn single(event: Event, body: Vec<u8>, headers: Option<Headers>) -> Self {
        Self {
            event,
            id: Uuid::new_v4(),
            body,
            headers,
            batch: None,
        }
    }

    /// Questions, each with the headers of its client.
    pub(super) fn batch<'q>(
        event: Event,
        questions: impl Iterator<Item = (&'q [u8], Option<&'q Headers>)>,
    ) -> Self {
        let mut body = b"{\"batch\":[".to_vec();
        let mut count = 0;
        for (question, headers) in questions {
            if count > 0 {
                body.push(b',');
            }
            count += 1;
            match headers {
                None => body.extend_from_slice(question),
                Some(headers) => {
                    body.extend_from_slice(b"{\"headers\":");
                    let written = serde_json::to_vec(&**headers);
                    body.extend_from_slice(&written.expect("strings"));
                    body.push(b',');
                    // Each is an object with fields.
                    body.extend_from_slice(&question[1..]);
                }
            }
        }
        body.extend_from_slice(b"]}");
        Self {
            batch: Some(count),
            ..Self::single(event, body, None)
        }
    }

    /// The answers in a body, one for each question.
    pub(super) fn read(&self, mut body: Vec<u8>) -> Result<Vec<Said>, Failure> {
        // Line breaks separate messages to clients. In JSON they are space.
        for byte in &mut body {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        let check = check(self.event);
        let Some(count) = self.batch else {
            let envelope = serde_json::from_slice(&body).map_err(|error| garbled(&error))?;
            return Ok(vec![Said::of(envelope, check)?]);
        };
        let BatchEnvelope { batch } =
            serde_json::from_slice(&body).map_err(|error| garbled(&error))?;
        if batch.len() != count {
            let (got, event) = (batch.len(), self.event.name());
            return Err(garbled(&format!("{got} answers to {count} of {event}")));
        }
        batch.into_iter().map(|one| Said::of(one, check)).collect()
    }
}

/// JSON that may be in base64.
#[derive(Clone, Debug, Default)]
pub(crate) enum Data {
    #[default]
    None,
    Json(Box<RawValue>),
    Bytes(Vec<u8>),
}

impl Data {
    /// Of the two fields in which it may be; base64 that is none is an error.
    fn of(json: Option<Box<RawValue>>, b64: Option<String>) -> Result<Self, Failure> {
        match (json, b64.filter(|text| !text.is_empty())) {
            (Some(json), _) if json.get() != "null" => Ok(Self::Json(json)),
            (_, Some(text)) => BASE64_STANDARD
                .decode(text)
                .map(Self::Bytes)
                .map_err(|error| garbled(&error)),
            _ => Ok(Self::None),
        }
    }

    /// For what is JSON in either encoding of the client protocol.
    pub(crate) fn json(self) -> Result<Option<Box<RawValue>>, Failure> {
        match self {
            Self::None => Ok(None),
            Self::Json(raw) => Ok(Some(raw)),
            Self::Bytes(bytes) => {
                let text = String::from_utf8(bytes).map_err(|error| garbled(&error))?;
                let text = text.replace(['\n', '\r'], " ");
                RawValue::from_string(text)
                    .map(Some)
                    .map_err(|error| garbled(&error))
            }
        }
    }
}

/// Some languages write null for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A result, some of whose fields have two forms.
macro_rules! with_data {
    ($raw:ident => $result:ident { $($field:ident: $type:ty,)* } data { $($data:ident / $b64:ident,)* }) => {
        #[derive(Deserialize)]
        struct $raw {
            $(#[serde(default, deserialize_with = "or_default")] $field: $type,)*
            $($data: Option<Box<RawValue>>, $b64: Option<String>,)*
        }

        impl TryFrom<$raw> for $result {
            type Error = Failure;

            fn try_from(raw: $raw) -> Result<Self, Failure> {
                Ok(Self {
                    $($field: raw.$field,)*
                    $($data: Data::of(raw.$data, raw.$b64)?,)*
                })
            }
        }
    };
}

/// Who a client is.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawConnect")]
pub(crate) struct ConnectResult {
    pub(crate) user: String,
    /// 0: for ever.
    pub(crate) expire_at: u64,
    pub(crate) channels: Vec<String>,
    pub(crate) subs: BTreeMap<String, SubscribeResult>,
    pub(crate) info: Data,
    pub(crate) data: Data,
}
with_data!(RawConnect => ConnectResult {
    user: String,
    expire_at: u64,
    channels: Vec<String>,
    subs: BTreeMap<String, SubscribeResult>,
} data { info / b64info, data / b64data, });

/// A client may subscribe.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "RawSubscribe")]
pub(crate) struct SubscribeResult {
    pub(crate) expire_at: u64,
    pub(crate) r#override: Override,
    pub(crate) info: Data,
    pub(crate) data: Data,
}
with_data!(RawSubscribe => SubscribeResult {
    expire_at: u64,
    r#override: Override,
} data { info / b64info, data / b64data, });

/// What of the namespace's options is otherwise for one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Override {
    pub(crate) presence: Option<Flag>,
    pub(crate) join_leave: Option<Flag>,
    pub(crate) force_push_join_leave: Option<Flag>,
    pub(crate) force_positioning: Option<Flag>,
    pub(crate) force_recovery: Option<Flag>,
}

/// As the protocol writes what may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Flag {
    pub(crate) value: bool,
}

/// A publication is passed on.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawPublish")]
pub(crate) struct PublishResult {
    pub(crate) skip_history: bool,
    /// In place of the client's.
    pub(crate) data: Data,
}
with_data!(RawPublish => PublishResult { skip_history: bool, } data { data / b64data, });

/// What a method returned.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawRpc")]
pub(crate) struct RpcResult {
    pub(crate) data: Data,
}
with_data!(RawRpc => RpcResult { } data { data / b64data, });

/// A message was heard. Whatever is said of that, nobody waits for it.
pub(crate) type MessageResult = IgnoredAny;

/// Something is granted longer, or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawRefresh")]
pub(crate) struct RefreshResult {
    pub(crate) expired: bool,
    pub(crate) expire_at: u64,
    pub(crate) info: Data,
}
with_data!(RawRefresh => RefreshResult {
    expired: bool,
    expire_at: u64,
} data { info / b64info, });

#[cfg(test)]
mod tests;
