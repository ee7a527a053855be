//! What clients are told.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::OFFSET;
use super::decode::without_data;
use super::writer::Writer;
use crate::code::Failure;
use crate::encoding::{Payload, Unwritable};
use crate::publication::{Body, Form, Publication};
use crate::reply::{
    Answer, Called, Connected, Past, Presence, PresenceStats, Push, Refreshed, SubRefreshed,
    Subscribed, Until,
};

type Outcome = Result<(), Unwritable>;

/// What is written as the fields of a message.
pub(crate) trait Encode {
    fn encode(&self, out: &mut Writer) -> Outcome;
}

/// Why a command failed, as a reply.
pub(crate) fn error(out: &mut Writer, id: u32, why: &Failure<'_>) -> Outcome {
    out.framed(|out| {
        out.number(1, id.into());
        out.message(2, |out| {
            out.number(1, why.code.into());
            out.text(2, why.message);
            out.bool(3, why.temporary);
            Ok(())
        })
    })
}

/// The result of a command, with the command's id.
impl Encode for (u32, &Answer<'_>) {
    fn encode(&self, out: &mut Writer) -> Outcome {
        let (id, answer) = *self;
        out.number(1, id.into());
        let empty = |_: &mut Writer| Ok(());
        match answer {
            Answer::Connect(told) => out.message(5, |out| told.encode(out)),
            Answer::Subscribe(told) => out.message(6, |out| told.encode(out)),
            Answer::Unsubscribe(_) => out.message(7, empty),
            Answer::Publish(_) => out.message(8, empty),
            Answer::Presence(told) => out.message(9, |out| told.encode(out)),
            Answer::PresenceStats(told) => out.message(10, |out| told.encode(out)),
            Answer::History(told) => out.message(11, |out| told.encode(out)),
            Answer::Ping(_) => out.message(12, empty),
            Answer::Rpc(told) => out.message(13, |out| told.encode(out)),
            Answer::Refresh(told) => out.message(14, |out| told.encode(out)),
            Answer::SubRefresh(told) => out.message(15, |out| told.encode(out)),
        }
    }
}

/// What is told about a channel, or, with an empty name, about the connection.
impl Encode for (&str, Push<'_>) {
    fn encode(&self, out: &mut Writer) -> Outcome {
        let (channel, push) = *self;
        out.message(4, |out| {
            out.text(2, channel);
            match push {
                Push::Pub { body, offset, form } => {
                    out.message(4, |out| publication(out, body, offset, form))
                }
                Push::Join(info) => out.message(5, |out| out.message(1, |out| client(out, info))),
                Push::Leave(info) => out.message(6, |out| out.message(1, |out| client(out, info))),
                Push::Unsubscribe(why) => out.message(7, |out| {
                    let (code, reason) = why.parts();
                    out.number(2, code.into());
                    out.text(3, reason);
                    Ok(())
                }),
                Push::Message(data) => out.message(8, |out| {
                    out.bytes(1, data.bytes());
                    Ok(())
                }),
                Push::Subscribe(told) => out.message(9, |out| {
                    out.bool(1, told.recoverable);
                    out.text(4, &told.epoch);
                    out.number(5, told.offset);
                    out.bool(6, told.positioned);
                    raw(out, 7, told.data.as_deref());
                    Ok(())
                }),
                Push::Disconnect { code, reason } => out.message(11, |out| {
                    out.number(1, code.into());
                    out.text(2, reason);
                    Ok(())
                }),
                Push::Refresh(granted) => out.message(12, |out| {
                    until(out, 1, granted);
                    Ok(())
                }),
            }
        })
    }
}

impl Encode for Connected<'_> {
    fn encode(&self, out: &mut Writer) -> Outcome {
        out.text(1, self.client);
        out.text(2, self.version);
        until(out, 3, self.until);
        raw(out, 5, self.data);
        for (channel, told) in &self.subs {
            out.message(6, |out| {
                out.text(1, channel);
                out.message(2, |out| told.encode(out))
            })?;
        }
        out.number(7, self.ping.into());
        out.bool(8, self.pong);
        out.text(9, self.session);
        out.text(10, self.node);
        Ok(())
    }
}

impl Encode for Subscribed {
    fn encode(&self, out: &mut Writer) -> Outcome {
        until(out, 1, self.until);
        out.bool(3, self.recoverable);
        out.text(6, &self.epoch);
        for one in &self.publications {
            out.message(7, |out| one.encode(out))?;
        }
        out.bool(8, self.recovered);
        out.number(9, self.offset);
        out.bool(10, self.positioned);
        raw(out, 11, self.data.as_deref());
        out.bool(12, self.was_recovering);
        out.bool(13, self.delta);
        Ok(())
    }
}

impl Encode for Publication {
    fn encode(&self, out: &mut Writer) -> Outcome {
        publication(out, self.body(), Some(self.offset()), Form::Plain)
    }
}

impl Encode for Presence<'_> {
    fn encode(&self, out: &mut Writer) -> Outcome {
        for (name, info) in &self.presence {
            out.message(1, |out| {
                out.text(1, name);
                out.message(2, |out| client(out, info.get()))
            })?;
        }
        Ok(())
    }
}

impl Encode for PresenceStats {
    fn encode(&self, out: &mut Writer) -> Outcome {
        out.number(1, self.num_clients as u64);
        out.number(2, self.num_users as u64);
        Ok(())
    }
}

impl Encode for Past {
    fn encode(&self, out: &mut Writer) -> Outcome {
        for one in &self.publications {
            out.message(1, |out| one.encode(out))?;
        }
        out.text(2, &self.epoch);
        out.number(3, self.offset);
        Ok(())
    }
}

impl Encode for Called<'_> {
    fn encode(&self, out: &mut Writer) -> Outcome {
        out.bytes(1, self.data.as_ref().map_or(&[], Payload::bytes));
        Ok(())
    }
}

impl Encode for Refreshed<'_> {
    fn encode(&self, out: &mut Writer) -> Outcome {
        out.text(1, self.client);
        out.text(2, self.version);
        until(out, 3, self.until);
        Ok(())
    }
}

impl Encode for SubRefreshed {
    fn encode(&self, out: &mut Writer) -> Outcome {
        until(out, 1, self.until);
        Ok(())
    }
}

/// Two fields, the first of which has this number.
fn until(out: &mut Writer, first: u32, until: Until) {
    out.bool(first, until.expires);
    out.number(first + 1, until.ttl.into());
}

fn raw(out: &mut Writer, number: u32, raw: Option<&RawValue>) {
    out.bytes(number, raw.map_or(&[], |raw| raw.get().as_bytes()));
}

/// A publication's body in JSON, read back.
#[derive(Deserialize)]
struct JsonBody<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    info: Option<JsonInfo<'a>>,
    #[serde(borrow, default)]
    tags: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(default)]
    time: i64,
}

/// A [`ClientInfo`](crate::ClientInfo) in JSON, read back.
#[derive(Deserialize)]
struct JsonInfo<'a> {
    #[serde(borrow, default)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    client: Cow<'a, str>,
    #[serde(borrow)]
    conn_info: Option<&'a RawValue>,
    #[serde(borrow)]
    chan_info: Option<&'a RawValue>,
}

fn publication(out: &mut Writer, body: Body<'_>, offset: Option<u64>, form: Form<'_>) -> Outcome {
    match (body, form) {
        (Body::Protobuf(fields), Form::Plain | Form::Whole) => out.fields(fields),
        (Body::Protobuf(fields), Form::Delta(delta)) => {
            out.bytes(4, delta);
            let others = without_data(fields).map_err(|_garbled| Unwritable)?;
            others.for_each(|field| out.fields(field));
        }
        (Body::Json(body), form) => {
            let body: JsonBody<'_> = serde_json::from_str(body).map_err(|_not| Unwritable)?;
            match form {
                Form::Plain | Form::Whole => out.bytes(4, body.data.get().as_bytes()),
                Form::Delta(delta) => out.bytes(4, delta),
            }
            if let Some(who) = &body.info {
                out.message(5, |out| {
                    info(out, who);
                    Ok(())
                })?;
            }
            for (name, value) in &body.tags {
                out.message(7, |out| {
                    out.text(1, name);
                    out.text(2, value);
                    Ok(())
                })?;
            }
            out.number(9, body.time.cast_unsigned());
        }
    }
    out.number(OFFSET, offset.unwrap_or_default());
    out.bool(8, matches!(form, Form::Delta(_)));
    Ok(())
}

/// A publication by a client that speaks Protobuf, without its offset. `who` is
/// a written [`ClientInfo`](crate::ClientInfo).
pub(crate) fn published(data: &[u8], who: &str, time: i64) -> Result<Vec<u8>, Unwritable> {
    let mut out = Writer::default();
    out.bytes(4, data);
    out.message(5, |out| client(out, who))?;
    out.number(9, time.cast_unsigned());
    Ok(out.into_bytes())
}

/// Of a written [`ClientInfo`](crate::ClientInfo).
fn client(out: &mut Writer, written: &str) -> Outcome {
    let who = serde_json::from_str(written).map_err(|_not| Unwritable)?;
    info(out, &who);
    Ok(())
}

fn info(out: &mut Writer, who: &JsonInfo<'_>) {
    out.text(1, &who.user);
    out.text(2, &who.client);
    raw(out, 3, who.conn_info);
    raw(out, 4, who.chan_info);
}
