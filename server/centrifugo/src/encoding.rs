//! The two encodings of the protocol, and what can be said in only one of them.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

/// How a client and the server write to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Text, a message on each line.
    #[default]
    Json,
    /// Binary, each message after its length.
    Protobuf,
}

/// What a frame holds, by what its encoding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Of [`Encoding::Json`].
    Text(&'a str),
    /// Of [`Encoding::Protobuf`].
    Binary(&'a [u8]),
}

/// It cannot be said in this encoding: JSON has no place for bytes that are not
/// JSON. The connection is to be ended with
/// [`Disconnect::InappropriateProtocol`](crate::Disconnect::InappropriateProtocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("what is to be said is not JSON, and the client speaks nothing else")]
pub struct Unwritable;

/// What applications exchange, as it was written.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// By a client that speaks JSON: a value in its JSON.
    Json(&'a RawValue),
    /// By a client that speaks Protobuf: bytes, which may be JSON too.
    Bytes(&'a [u8]),
}

impl<'a> Payload<'a> {
    /// The bytes for clients that speak Protobuf.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Json(raw) => raw.get().as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The value for clients that speak JSON, in one line.
    ///
    /// # Errors
    /// [`Unwritable`]: they are bytes that are not JSON.
    pub fn json(&self) -> Result<Cow<'a, str>, Unwritable> {
        match self {
            Self::Json(raw) => Ok(one_line(raw.get())),
            Self::Bytes(bytes) => {
                let raw: &RawValue = serde_json::from_slice(bytes).map_err(|_not| Unwritable)?;
                Ok(one_line(raw.get()))
            }
        }
    }
}

/// JSON without line breaks, which separate messages. In JSON they are space
/// between values; inside of texts they are escaped.
fn one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) {
        json.replace(['\n', '\r'], " ").into()
    } else {
        json.into()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Payload<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Self::Json)
    }
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_written(self.json(), serializer)
    }
}

/// Serializes JSON as it was written.
pub(crate) fn serialize_written<S: Serializer>(
    written: Result<Cow<'_, str>, Unwritable>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let written = written.map_err(serde::ser::Error::custom)?;
    let raw: &RawValue = serde_json::from_str(&written).map_err(serde::ser::Error::custom)?;
    raw.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_for_json_clients_only_where_they_are_json() {
        for (bytes, json) in [
            (&b"{\"a\":\r\n [1.0,\n2]}"[..], Some("{\"a\":   [1.0, 2]}")),
            (b"\"text\"", Some("\"text\"")),
            (b"", None),
            (b"{", None),
            (b"1 2", None),
            (b"\xff\x00", None),
            (b"\"\xff\"", None),
        ] {
            let payload = Payload::Bytes(bytes);
            assert_eq!(payload.bytes(), bytes);
            assert_eq!(payload.json().ok().as_deref(), json, "{bytes:?}");
            assert_eq!(serde_json::to_string(&payload).ok().as_deref(), json);
        }
    }
}
