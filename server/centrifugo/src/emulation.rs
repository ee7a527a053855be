//! Requests that speak for a connection which only hears: those of clients that
//! cannot upgrade to a WebSocket.

use std::borrow::Cow;

use serde::Deserialize;

use crate::command::Malformed;
use crate::encoding::Encoding;
use crate::protobuf;

/// What such a request says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Emulated<'a> {
    /// For which connection, as it was told when it was let in.
    pub session: Cow<'a, str>,
    /// On which server.
    pub node: Cow<'a, str>,
    /// A frame of commands, in the encoding of the connection.
    pub data: Cow<'a, [u8]>,
}

/// As [`Emulated`], in JSON: the frame is a string.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default)]
    session: Cow<'a, str>,
    #[serde(borrow, default)]
    node: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Cow<'a, str>,
}

impl<'a> Emulated<'a> {
    /// Understands the body of a request in one of the encodings.
    ///
    /// # Errors
    /// [`Malformed`]: it says nothing.
    pub fn parse(body: &'a [u8], encoding: Encoding) -> Result<Self, Malformed> {
        if encoding == Encoding::Protobuf {
            return Ok(protobuf::emulated(body)?);
        }
        let Written {
            session,
            node,
            data,
        } = serde_json::from_slice(body)?;
        let data = match data {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Ok(Self {
            session,
            node,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &str) -> Result<Emulated<'_>, Malformed> {
        Emulated::parse(body.as_bytes(), Encoding::Json)
    }

    #[test]
    fn a_frame_of_json_is_a_string() {
        let body = r#"{"session":"s","node":"n","data":"{\"id\":2}\n{}","more":[1]}"#;
        let said = json(body).unwrap();
        assert_eq!((&*said.session, &*said.node), ("s", "n"));
        assert_eq!(&*said.data, b"{\"id\":2}\n{}");
        assert_eq!(json("{}").unwrap(), Emulated::default());
    }

    #[test]
    fn a_frame_of_protobuf_is_bytes() {
        let body = b"\x0a\x01n\x12\x01s\x1a\x03\x02\x08\xff\x7a\x00";
        let said = Emulated::parse(body, Encoding::Protobuf).unwrap();
        assert_eq!((&*said.session, &*said.node), ("s", "n"));
        assert_eq!(said.data, &b"\x02\x08\xff"[..]);
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for body in [
            "",
            "7",
            "{",
            r#"{"session":7}"#,
            r#"{"data":{"id":1}}"#,
            r#"{"session":"a","session":"b"}"#,
        ] {
            assert!(json(body).is_err(), "{body}");
        }
        for body in [&b"\x0a"[..], b"\x0a\x05s", b"\x08\x01", b"\x0a\x01\xff"] {
            assert!(
                Emulated::parse(body, Encoding::Protobuf).is_err(),
                "{body:?}"
            );
        }
    }
}
