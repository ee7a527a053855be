//! What was published, from who said it to who hears it: kept in the encoding in
//! which it came, and brought into the other one for those who speak that.

use std::borrow::Cow;
use std::fmt::Write;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::encoding::{Encoding, Payload, Unwritable, serialize_written};
use crate::fossil;
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

/// How the data of a publication is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form<'a> {
    /// As it was published.
    #[default]
    Plain,
    /// All of it, to a client that is told deltas too: in JSON as a text.
    Whole,
    /// As [`Body::delta`] of what the client was told before it.
    Delta(&'a [u8]),
}

/// A publication's body in JSON, apart.
#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(default)]
    time: i64,
}

impl<'a> Body<'a> {
    /// What makes this publication's data of an earlier one's, for clients of an
    /// encoding; `None` where it is not shorter, or one of them can not be said.
    #[must_use]
    pub fn delta(self, before: Body<'_>, encoding: Encoding) -> Option<Vec<u8>> {
        let (from, to) = (before.data(encoding).ok()?, self.data(encoding).ok()?);
        fossil::delta(&from, &to, encoding == Encoding::Json)
    }

    fn data(self, encoding: Encoding) -> Result<Cow<'a, [u8]>, Unwritable> {
        match (self, encoding) {
            (Body::Json(body), _) => {
                let parts = parts(body)?;
                Ok(parts.data.get().as_bytes().into())
            }
            (Body::Protobuf(body), encoding) => {
                let written = Written::read(body).map_err(|_garbled| Unwritable)?;
                if encoding == Encoding::Protobuf {
                    return Ok(written.data.into());
                }
                let json = Payload::Bytes(written.data).json()?;
                Ok(json.into_owned().into_bytes().into())
            }
        }
    }

    /// The publication in JSON, with its offset.
    pub(crate) fn json(
        self,
        offset: Option<u64>,
        form: Form<'_>,
    ) -> Result<Cow<'a, str>, Unwritable> {
        let body = match self {
            Body::Json(body) => Cow::Borrowed(body),
            Body::Protobuf(body) => from_protobuf(body)?.into(),
        };
        let body = match form {
            Form::Plain => body,
            Form::Whole | Form::Delta(_) => in_a_text(&body, form)?.into(),
        };
        Ok(match (offset, body.strip_suffix('}')) {
            (Some(offset), Some(open)) => format!("{open},\"offset\":{offset}}}").into(),
            _ => body,
        })
    }
}

fn parts(body: &str) -> Result<Parts<'_>, Unwritable> {
    serde_json::from_str(body).map_err(|_not| Unwritable)
}

/// With its data, or what it comes to, in a text.
fn in_a_text(body: &str, form: Form<'_>) -> Result<String, Unwritable> {
    let parts = parts(body)?;
    let data = match form {
        Form::Plain | Form::Whole => parts.data.get(),
        Form::Delta(delta) => std::str::from_utf8(delta).map_err(|_not| Unwritable)?,
    };
    let data = serde_json::to_string(data).map_err(|_not| Unwritable)?;
    let (info, tags) = (parts.info.map(RawValue::get), parts.tags.map(RawValue::get));
    let mut body = json_body(&data, info, tags, parts.time);
    if let Form::Delta(_) = form {
        body.pop();
        body.push_str(",\"delta\":true}");
    }
    Ok(body)
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
    form: Form<'static>,
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
        Self {
            body,
            offset,
            form: Form::Plain,
        }
    }

    /// The same for a client that is told deltas.
    #[must_use]
    pub fn whole(self) -> Self {
        Self {
            form: Form::Whole,
            ..self
        }
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
        serialize_written(self.body().json(Some(self.offset), self.form), serializer)
    }
}
