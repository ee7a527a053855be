//! What was published, from who said it to who hears it: kept in the encoding in
//! which it came, and brought into the other one for those who speak that.

use std::borrow::Cow;
use std::fmt::Write;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::encoding::{Payload, Unwritable, serialize_written};
use crate::protobuf::{Info, Written, published};
use crate::reply::ClientInfo;

/// A publication without its offset, which it gets by its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// As [`json_body`] writes it.
    Json(&'a str),
    /// As [`protobuf_body`] writes it.
    Protobuf(&'a [u8]),
}

/// A publication of written JSON, in one line: for [`Body::Json`]. `time` is in
/// milliseconds of the Unix clock.
#[must_use]
pub fn json_body(data: &str, info: Option<&str>, tags: Option<&str>, time: i64) -> String {
    let mut body = format!("{{\"data\":{data}");
    for (name, written) in [("info", info), ("tags", tags)] {
        if let Some(written) = written {
            body.push_str(",\"");
            body.push_str(name);
            body.push_str("\":");
            body.push_str(written);
        }
    }
    if time != 0 {
        write!(body, ",\"time\":{time}").expect("a string takes everything");
    }
    body.push('}');
    body
}

/// A publication of bytes: for [`Body::Protobuf`]. `info` is a written
/// [`ClientInfo`], `time` as in [`json_body`].
///
/// # Errors
/// [`Unwritable`]: `info` is none.
pub fn protobuf_body(data: &[u8], info: &str, time: i64) -> Result<Vec<u8>, Unwritable> {
    published(data, info, time)
}

impl<'a> Body<'a> {
    /// The publication in JSON, with its offset.
    pub(crate) fn json(self, offset: Option<u64>) -> Result<Cow<'a, str>, Unwritable> {
        let body = match self {
            Body::Json(body) => Cow::Borrowed(body),
            Body::Protobuf(body) => from_protobuf(body)?.into(),
        };
        Ok(match (offset, body.strip_suffix('}')) {
            (Some(offset), Some(open)) => format!("{open},\"offset\":{offset}}}").into(),
            _ => body,
        })
    }
}

fn from_protobuf(body: &[u8]) -> Result<String, Unwritable> {
    let written = Written::read(body).map_err(|_garbled| Unwritable)?;
    let data = Payload::Bytes(written.data).json()?;
    let info = written.info.as_ref().map(info).transpose()?;
    let tags = (!written.tags.is_empty()).then(|| serde_json::to_string(&written.tags));
    let tags = tags.transpose().map_err(|_not| Unwritable)?;
    Ok(json_body(
        &data,
        info.as_deref(),
        tags.as_deref(),
        written.time,
    ))
}

fn info(info: &Info<'_>) -> Result<String, Unwritable> {
    let raw = |bytes: &'_ [u8]| {
        let payload = (!bytes.is_empty()).then_some(Payload::Bytes(bytes));
        let json = payload.map(|payload| payload.json()).transpose()?;
        let raw = json.map(|json| RawValue::from_string(json.into_owned()));
        raw.transpose().map_err(|_not| Unwritable)
    };
    let (conn_info, chan_info) = (raw(info.conn_info)?, raw(info.chan_info)?);
    let info = ClientInfo {
        user: &info.user,
        client: &info.client,
        conn_info: conn_info.as_deref(),
        chan_info: chan_info.as_deref(),
    };
    serde_json::to_string(&info).map_err(|_not| Unwritable)
}

/// A publication with its offset, in an answer.
#[derive(Clone, Debug)]
pub struct Publication {
    body: Owned,
    offset: u64,
}

#[derive(Clone, Debug)]
enum Owned {
    Json(Box<str>),
    Protobuf(Box<[u8]>),
}

impl Publication {
    /// Of a body and where it is in its channel.
    #[must_use]
    pub fn at(body: Body<'_>, offset: u64) -> Self {
        let body = match body {
            Body::Json(body) => Owned::Json(body.into()),
            Body::Protobuf(body) => Owned::Protobuf(body.into()),
        };
        Self { body, offset }
    }

    pub(crate) fn body(&self) -> Body<'_> {
        match &self.body {
            Owned::Json(body) => Body::Json(body),
            Owned::Protobuf(body) => Body::Protobuf(body),
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}

impl Serialize for Publication {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_written(self.body().json(Some(self.offset)), serializer)
    }
}
