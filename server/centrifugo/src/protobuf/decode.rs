//! What clients ask for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::OFFSET;
use super::reader::{Garbled, Reader};
use crate::command::{
    Command, Connect, Envelope, History, Malformed, PresenceOf, Publish, Recover, Refresh, Rpc,
    Send, Since, SubRefresh, Subscribe, Unsubscribe,
};
use crate::emulation::Emulated;
use crate::encoding::Payload;

/// The commands of a frame in the Protobuf encoding. After one that is
/// malformed there are no more.
pub fn protobuf_commands(frame: &[u8]) -> impl Iterator<Item = Result<Command<'_>, Malformed>> {
    let mut rest = Some(Reader::new(frame));
    std::iter::from_fn(move || {
        let reader = rest.as_mut().filter(|reader| !reader.is_empty())?;
        let command = reader
            .delimited()
            .and_then(|bytes| envelope(Reader::new(bytes)))
            .map_err(Malformed::from)
            .and_then(Envelope::command);
        if command.is_err() {
            rest = None;
        }
        Some(command)
    })
}

fn envelope(mut fields: Reader<'_>) -> Result<Envelope<'_>, Garbled> {
    let mut envelope = Envelope::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => envelope.id = field.u32()?,
            4 => envelope.connect = Some(Box::new(connect(field.message()?)?)),
            5 => envelope.subscribe = Some(subscribe(field.message()?)?),
            6 => {
                let channel = channel(field.message()?)?;
                envelope.unsubscribe = Some(Unsubscribe { channel });
            }
            7 => envelope.publish = Some(publish(field.message()?)?),
            8 => {
                let channel = channel(field.message()?)?;
                envelope.presence = Some(PresenceOf { channel });
            }
            9 => {
                let channel = channel(field.message()?)?;
                envelope.presence_stats = Some(PresenceOf { channel });
            }
            10 => envelope.history = Some(history(field.message()?)?),
            11 => {
                nothing(field.message()?)?;
                envelope.ping = Some(crate::command::Nothing {});
            }
            12 => envelope.send = Some(send(field.message()?)?),
            13 => envelope.rpc = Some(rpc(field.message()?)?),
            14 => envelope.refresh = Some(refresh(field.message()?)?),
            15 => envelope.sub_refresh = Some(sub_refresh(field.message()?)?),
            _ => {}
        }
    }
    Ok(envelope)
}

fn connect(mut fields: Reader<'_>) -> Result<Connect<'_>, Garbled> {
    let mut connect = Connect::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => connect.token = field.text()?,
            2 => connect.data = payload(field.bytes()?),
            3 => {
                let (channel, sub) = entry(field.message()?)?;
                let sub = subscribe(sub)?;
                let recover = Recover {
                    recover: sub.recover,
                    epoch: sub.epoch,
                    offset: sub.offset,
                };
                connect.subs.insert(channel, recover);
            }
            4 => connect.name = field.text()?,
            5 => connect.version = field.text()?,
            6 => {
                let (name, value) = text_entry(field.message()?)?;
                connect.headers.insert(name, value);
            }
            _ => {}
        }
    }
    Ok(connect)
}

fn subscribe(mut fields: Reader<'_>) -> Result<Subscribe<'_>, Garbled> {
    let mut subscribe = Subscribe::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => subscribe.channel = field.text()?,
            2 => subscribe.token = field.text()?,
            3 => subscribe.recover = field.bool()?,
            6 => subscribe.epoch = field.text()?,
            7 => subscribe.offset = field.u64()?,
            8 => subscribe.data = payload(field.bytes()?),
            9 => subscribe.positioned = field.bool()?,
            10 => subscribe.recoverable = field.bool()?,
            11 => subscribe.join_leave = field.bool()?,
            12 => subscribe.delta = field.text()?,
            _ => {}
        }
    }
    Ok(subscribe)
}

/// Of messages with nothing but a channel.
fn channel(mut fields: Reader<'_>) -> Result<Cow<'_, str>, Garbled> {
    let mut channel = Cow::default();
    while let Some(field) = fields.field()? {
        if field.number == 1 {
            channel = field.text()?;
        }
    }
    Ok(channel)
}

fn publish(mut fields: Reader<'_>) -> Result<Publish<'_>, Garbled> {
    let mut publish = Publish::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => publish.channel = field.text()?,
            2 => publish.data = payload(field.bytes()?),
            _ => {}
        }
    }
    Ok(publish)
}

fn history(mut fields: Reader<'_>) -> Result<History<'_>, Garbled> {
    let mut history = History::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => history.channel = field.text()?,
            7 => history.limit = field.i32()?,
            8 => history.since = Some(since(field.message()?)?),
            9 => history.reverse = field.bool()?,
            _ => {}
        }
    }
    Ok(history)
}

fn since(mut fields: Reader<'_>) -> Result<Since<'_>, Garbled> {
    let mut since = Since::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => since.offset = field.u64()?,
            2 => since.epoch = field.text()?,
            _ => {}
        }
    }
    Ok(since)
}

fn send(mut fields: Reader<'_>) -> Result<Send<'_>, Garbled> {
    let mut send = Send::default();
    while let Some(field) = fields.field()? {
        if field.number == 1 {
            send.data = payload(field.bytes()?);
        }
    }
    Ok(send)
}

fn rpc(mut fields: Reader<'_>) -> Result<Rpc<'_>, Garbled> {
    let mut rpc = Rpc::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => rpc.data = payload(field.bytes()?),
            2 => rpc.method = field.text()?,
            _ => {}
        }
    }
    Ok(rpc)
}

fn refresh(mut fields: Reader<'_>) -> Result<Refresh<'_>, Garbled> {
    let mut refresh = Refresh::default();
    while let Some(field) = fields.field()? {
        if field.number == 1 {
            refresh.token = field.text()?;
        }
    }
    Ok(refresh)
}

fn sub_refresh(mut fields: Reader<'_>) -> Result<SubRefresh<'_>, Garbled> {
    let mut refresh = SubRefresh::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => refresh.channel = field.text()?,
            2 => refresh.token = field.text()?,
            _ => {}
        }
    }
    Ok(refresh)
}

/// A request that speaks for a connection.
pub(crate) fn emulated(bytes: &[u8]) -> Result<Emulated<'_>, Garbled> {
    let mut fields = Reader::new(bytes);
    let mut emulated = Emulated::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => emulated.node = field.text()?,
            2 => emulated.session = field.text()?,
            3 => emulated.data = Cow::Borrowed(field.bytes()?),
            _ => {}
        }
    }
    Ok(emulated)
}

/// Looks through a message without fields of interest.
fn nothing(mut fields: Reader<'_>) -> Result<(), Garbled> {
    while fields.field()?.is_some() {}
    Ok(())
}

/// Bytes that are not there are no payload: the format knows no difference.
fn payload(bytes: &[u8]) -> Option<Payload<'_>> {
    (!bytes.is_empty()).then_some(Payload::Bytes(bytes))
}

/// A name and a message under it.
fn entry(mut fields: Reader<'_>) -> Result<(Cow<'_, str>, Reader<'_>), Garbled> {
    let mut entry = (Cow::default(), Reader::new(&[]));
    while let Some(field) = fields.field()? {
        match field.number {
            1 => entry.0 = field.text()?,
            2 => entry.1 = field.message()?,
            _ => {}
        }
    }
    Ok(entry)
}

fn text_entry(mut fields: Reader<'_>) -> Result<(Cow<'_, str>, Cow<'_, str>), Garbled> {
    let mut entry = (Cow::default(), Cow::default());
    while let Some(field) = fields.field()? {
        match field.number {
            1 => entry.0 = field.text()?,
            2 => entry.1 = field.text()?,
            _ => {}
        }
    }
    Ok(entry)
}

/// A publication, read back.
#[derive(Debug, Default)]
pub(crate) struct Written<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) info: Option<Info<'a>>,
    pub(crate) tags: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    pub(crate) time: i64,
}

/// Who is at the other end of a connection, read back.
#[derive(Debug, Default)]
pub(crate) struct Info<'a> {
    pub(crate) user: Cow<'a, str>,
    pub(crate) client: Cow<'a, str>,
    pub(crate) conn_info: &'a [u8],
    pub(crate) chan_info: &'a [u8],
}

impl<'a> Written<'a> {
    pub(crate) fn read(publication: &'a [u8]) -> Result<Self, Garbled> {
        let (mut written, mut fields) = (Self::default(), Reader::new(publication));
        while let Some(field) = fields.field()? {
            match field.number {
                4 => written.data = field.bytes()?,
                5 => written.info = Some(Info::read(field.message()?)?),
                // It is told by who delivers it.
                OFFSET => {}
                7 => {
                    let (name, value) = text_entry(field.message()?)?;
                    written.tags.insert(name, value);
                }
                9 => written.time = field.i64()?,
                _ => {}
            }
        }
        Ok(written)
    }
}

/// The fields of a publication as they are written, other than its data.
pub(super) fn without_data(publication: &[u8]) -> Result<impl Iterator<Item = &[u8]>, Garbled> {
    let (mut rest, mut others) = (Reader::new(publication), Vec::new());
    loop {
        let before = rest;
        match rest.field()? {
            None => return Ok(others.into_iter()),
            Some(field) if field.number == 4 => {}
            Some(_) => others.push(before.until(rest)),
        }
    }
}

impl<'a> Info<'a> {
    fn read(mut fields: Reader<'a>) -> Result<Self, Garbled> {
        let mut info = Self::default();
        while let Some(field) = fields.field()? {
            match field.number {
                1 => info.user = field.text()?,
                2 => info.client = field.text()?,
                3 => info.conn_info = field.bytes()?,
                4 => info.chan_info = field.bytes()?,
                _ => {}
            }
        }
        Ok(info)
    }
}

#[cfg(test)]
mod tests;
