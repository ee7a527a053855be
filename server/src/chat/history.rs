//! What only a channel's home knows: its history, who is there. It is asked by
//! a task, and answers by another one, whose place is taken beforehand.

use hioload::hub::{HubId, Place};
use hioload::{Conn, Turn};
use hioload_centrifugo::{Answer, Empty, Error, History, Past, Publication, Replies};

use super::client::Client;
use super::journal::Carried;
use super::subscribe::written;
use super::written::body;
use super::{Chat, found, send};
use crate::notify::Notice;
use crate::site::{Service, Site};

/// Bytes of publications in an answer at most; a client that wants more asks
/// again, from the last one it got.
const MAX_ANSWER: usize = 256 << 10;

/// Questions of a client that may be on their way at once: what answers hold is
/// not yet bounded by what may wait for the client.
const MAX_ASKS: u32 = 16;

/// Publications of a client that may wait to be safe at once: a full batch of
/// them takes the store some milliseconds.
const MAX_PUBLISHING: u32 = 256;

/// What a client wants to know of a channel's history.
pub(super) struct Query {
    hub: HubId,
    channel: Box<str>,
    /// So many publications at most.
    limit: usize,
    since: Option<(u64, Box<str>)>,
    reverse: bool,
}

/// A publication on its way to its channel's home.
pub(super) struct Outgoing {
    pub(super) body: Carried,
    /// For those who want to hear that it was made.
    pub(super) notice: Option<Notice>,
}

impl Query {
    pub(super) fn new(hub: HubId, asked: &History<'_>) -> Self {
        let since = asked.since.as_ref();
        Self {
            hub,
            channel: asked.channel.as_ref().into(),
            // A negative limit is none.
            limit: usize::try_from(asked.limit).unwrap_or(usize::MAX),
            since: since.map(|since| (since.offset, since.epoch.as_ref().into())),
            reverse: asked.reverse,
        }
    }

    /// The answer, on the channel's home.
    pub(super) fn answer(&self, turn: &mut Turn<'_, Service>) -> Result<Past, Error> {
        let (after, limit) = match (&self.since, self.reverse) {
            (_, true) => (0, usize::MAX),
            (Some((offset, _)), false) => (*offset, self.limit),
            (None, false) => (0, self.limit),
        };
        let epoch_asked = self.since.as_ref().map_or("", |(_, epoch)| epoch);
        let Some(past) = turn.hub(self.hub).past(&self.channel, after, limit) else {
            // Nobody was here yet.
            return if epoch_asked.is_empty() {
                Ok(Past {
                    publications: Vec::new(),
                    epoch: String::new(),
                    offset: 0,
                })
            } else {
                Err(Error::UnrecoverablePosition)
            };
        };
        let epoch = written(past.place.epoch);
        if !epoch_asked.is_empty() && epoch_asked != epoch {
            return Err(Error::UnrecoverablePosition);
        }
        let mut messages = past.messages;
        if self.reverse {
            if let Some((offset, _)) = self.since {
                messages.retain(|(at, _)| *at < offset);
            }
            messages.reverse();
        }
        let mut room = MAX_ANSWER;
        let mut publications = Vec::new();
        for (offset, prepared) in messages.iter().take(self.limit) {
            let message = prepared.message();
            let Some(left) = room.checked_sub(message.payload().len()) else {
                break;
            };
            room = left;
            publications.extend(body(message).map(|body| Publication::at(body, *offset)));
        }
        Ok(Past {
            publications,
            epoch,
            offset: past.place.offset,
        })
    }
}

impl Chat {
    /// Has a home answer a command.
    pub(super) fn ask(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        home: usize,
        answer: impl FnOnce(&mut Self, &mut Turn<'_, Service>, &mut Replies) + Send + 'static,
    ) -> Result<(), Error> {
        if client.asks >= MAX_ASKS {
            return Err(Error::TooManyRequests);
        }
        let (asker, encoding) = (conn.id(), client.encoding);
        let back = self.handle.reserve(conn.shard());
        let back = back.map_err(|full| refused(&full))?;
        let task = move |site: &mut Site, turn: &mut Turn<'_, Service>| {
            let mut replies = Replies::new(encoding);
            answer(site.chat(), turn, &mut replies);
            let tell = move |_: &mut Site, turn: &mut Turn<'_, Service>| {
                let Some((mut conn, client)) = found(turn, asker) else {
                    return;
                };
                client.asks -= 1;
                send(&mut conn, &replies);
            };
            if let Err(stopped) = back.post::<Site, _>(tell) {
                tracing::debug!(%stopped, "an answer has nobody to go to");
            }
        };
        let asked = self.handle.post::<Site, _>(home, task);
        asked.map_err(|full| refused(&full))?;
        client.asks += 1;
        Ok(())
    }

    /// Has a home publish what a client wants published, and answer once it is
    /// safe.
    pub(super) fn publish_from(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        namespace: usize,
        channel: &str,
        what: Outgoing,
    ) -> Result<(), Error> {
        if client.publishing >= MAX_PUBLISHING {
            return Err(Error::TooManyRequests);
        }
        let (asker, encoding) = (conn.id(), client.encoding);
        let back = self.handle.reserve(conn.shard());
        let back = back.map_err(|full| refused(&full))?;
        let Outgoing { body, notice } = what;
        let tell = move |outcome: Result<Option<Place>, Error>| {
            if outcome.is_ok() {
                Notice::made(notice);
            }
            let told =
                back.post::<Site, _>(move |site: &mut Site, turn: &mut Turn<'_, Service>| {
                    if outcome.is_ok() {
                        site.chat().counters.publications.add(1);
                    }
                    let Some((mut conn, client)) = found(turn, asker) else {
                        return;
                    };
                    client.publishing -= 1;
                    let mut replies = Replies::new(encoding);
                    match outcome {
                        Ok(_) => replies.answer(command, &Answer::Publish(Empty {})),
                        Err(error) => replies.error(command, error),
                    }
                    send(&mut conn, &replies);
                });
            if let Err(stopped) = told {
                tracing::debug!(%stopped, "a publisher is gone");
            }
        };
        let home = self.home(namespace, channel);
        let channel: Box<str> = channel.into();
        let task = move |site: &mut Site, turn: &mut Turn<'_, Service>| {
            site.chat()
                .publish_safely(turn, namespace, &channel, body, tell);
        };
        let asked = self.handle.post::<Site, _>(home, task);
        asked.map_err(|full| refused(&full))?;
        client.publishing += 1;
        Ok(())
    }

    pub(super) fn history(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        home: usize,
        command: u32,
        query: Query,
    ) -> Result<(), Error> {
        self.ask(conn, client, home, move |_, turn, replies| {
            match query.answer(turn) {
                Ok(past) => replies.answer(command, &Answer::History(past)),
                Err(error) => replies.error(command, error),
            }
        })
    }
}

/// A shard takes no questions, now or any more.
fn refused(why: &hioload::PostError) -> Error {
    tracing::debug!(%why, "a home is not asked");
    Error::Internal
}
