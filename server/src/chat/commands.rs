//! Commands, one by one.

use std::time::{SystemTime, UNIX_EPOCH};

use hioload::{Conn, PublishOutcome};
use hioload_centrifugo::{
    Answer, Command, Disconnect, Empty, Error, History, Payload, PresenceOf, Publish, Replies,
    Request, json_body, protobuf_body,
};

use super::Chat;
use super::client::{Client, Stage};
use super::history::{Outgoing, Query};
use super::journal::Carried;
use super::rules::{Act, Asker};
use crate::notify::Notice;

impl Chat {
    /// Does what a command asks for. What fails is replied; an `Err` ends the
    /// connection.
    pub(super) fn command(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        command: Command<'_>,
        replies: &mut Replies,
    ) -> Result<(), Disconnect> {
        let Command { id, request } = command;
        self.counters.command(&request);
        if let Request::Connect(connect) = &request {
            return self.connect(conn, client, id, connect, replies);
        }
        match client.stage {
            Stage::In | Stage::Connecting(_) => {}
            // Sent along with the connect command, by a client that hoped for the
            // best. An error code would keep it from coming back with a new token.
            Stage::Refused { .. } => return Ok(()),
            _ => return Err(Disconnect::BadRequest),
        }
        let rates = &self.rules.settings().client.rates;
        if let Err(error) = client.rates.admit(&request, rates, conn.now())? {
            if id > 0 {
                replies.error(id, error);
            }
            return Ok(());
        }
        let done = match &request {
            Request::Connect(_) => Ok(()),
            Request::Pong => return self.pong(conn, client),
            Request::Ping => {
                replies.answer(id, &Answer::Ping(Empty {}));
                Ok(())
            }
            Request::Subscribe(wish) => {
                return self.subscribe(conn, client, id, wish, replies);
            }
            Request::Unsubscribe(wish) => {
                required(&wish.channel)?;
                self.end(conn, client, &wish.channel, None);
                replies.answer(id, &Answer::Unsubscribe(Empty {}));
                Ok(())
            }
            Request::Publish(publish) => {
                required(&publish.channel)?;
                match self.publish(conn, client, id, publish)? {
                    Ok(Published::Now) => {
                        replies.answer(id, &Answer::Publish(Empty {}));
                        Ok(())
                    }
                    Ok(Published::AnsweredLater) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Request::Presence(of) => {
                required(&of.channel)?;
                self.presence(conn, client, id, of)
            }
            Request::PresenceStats(of) => {
                required(&of.channel)?;
                self.presence_stats(conn, client, id, of)
            }
            Request::History(asked) => {
                required(&asked.channel)?;
                self.history_of(conn, client, id, asked)
            }
            Request::Refresh(refresh) => {
                return self.refresh(conn, client, id, refresh, replies);
            }
            Request::SubRefresh(refresh) => {
                return self.sub_refresh(conn, client, id, refresh, replies);
            }
            Request::Rpc(rpc) => self.call_application(conn, client, id, rpc),
            Request::Send(message) => return self.pass_to_application(conn, client, message),
        };
        if let Err(error) = done {
            replies.error(id, error);
            return self.failed(conn, client, error);
        }
        Ok(())
    }

    /// A command has failed, which a client does not do for ever. Being asked to
    /// wait is no failure.
    pub(super) fn failed(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        error: Error,
    ) -> Result<(), Disconnect> {
        if error == Error::TooManyRequests {
            return Ok(());
        }
        let rates = &self.rules.settings().client.rates;
        client.rates.failed(rates, conn.now())
    }

    /// Checks that a client may do something in a channel; the channel's
    /// namespace.
    fn check(&self, client: &Client, channel: &str, act: Act) -> Result<usize, Error> {
        let namespace = self.rules.find(channel)?;
        let asker = Asker {
            user: &client.user,
            subscribed: client.is_subscribed(channel),
        };
        self.rules.check(namespace, act, asker)?;
        Ok(namespace)
    }

    fn publish(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        command: u32,
        publish: &Publish<'_>,
    ) -> Result<Result<Published, Error>, Disconnect> {
        let Some(data) = publish.data else {
            return Err(Disconnect::BadRequest);
        };
        let channel = publish.channel.as_ref();
        match self.publish_by_application(conn, client, command, channel, data) {
            Ok(true) => return Ok(Ok(Published::AnsweredLater)),
            Ok(false) => {}
            Err(error) => return Ok(Err(error)),
        }
        let namespace = match self.check(client, channel, Act::Publish) {
            Ok(namespace) => namespace,
            Err(error) => return Ok(Err(error)),
        };
        self.pass_on(conn, client, command, (namespace, channel), data)
    }

    /// Publishes what a client may publish.
    pub(super) fn pass_on(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        command: u32,
        (namespace, channel): (usize, &str),
        data: Payload<'_>,
    ) -> Result<Result<Published, Error>, Disconnect> {
        let body = Self::carried(client, channel, data)?;
        let notice = self.notice(client, (namespace, channel), data);
        if self.journal.keeps(namespace) {
            let what = Outgoing { body, notice };
            let asked = self.publish_from(conn, client, command, namespace, channel, what);
            return Ok(asked.map(|()| Published::AnsweredLater));
        }
        let hub = self.hubs[namespace];
        Ok(match conn.hub(hub).publish_all(channel, body.message()) {
            PublishOutcome::Published | PublishOutcome::Congested => {
                self.counters.publications.add(1);
                Notice::made(notice);
                Ok(Published::Now)
            }
            PublishOutcome::Full => Err(Error::Internal),
        })
    }

    /// What is told of a publication of a client, once it is made.
    pub(super) fn notice(
        &self,
        client: &Client,
        (namespace, channel): (usize, &str),
        data: Payload<'_>,
    ) -> Option<Notice> {
        let told = match data {
            Payload::Json(data) => data.get().as_bytes(),
            Payload::Bytes(data) => data,
        };
        let by = || client.doer(channel);
        self.notices.publication(namespace, by, told)
    }

    /// A publication of a client as hubs carry it.
    pub(super) fn carried(
        client: &Client,
        channel: &str,
        data: Payload<'_>,
    ) -> Result<Carried, Disconnect> {
        let sub = client.subs.get(channel);
        let info = sub.map_or_else(|| client.describe(None), |sub| sub.info.clone());
        Ok(match data {
            Payload::Json(data) => {
                Carried::Text(json_body(data.get(), Some(&info), None, unix_millis()))
            }
            Payload::Bytes(data) => {
                let body = protobuf_body(data, &info, unix_millis());
                Carried::Bytes(body.map_err(|_unwritable| Disconnect::Internal)?)
            }
        })
    }

    fn presence(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        of: &PresenceOf<'_>,
    ) -> Result<(), Error> {
        let namespace = self.check(client, &of.channel, Act::Presence)?;
        let channel: Box<str> = of.channel.as_ref().into();
        let home = self.home(namespace, &channel);
        self.ask(conn, client, home, move |chat, _, replies| {
            match chat.presence.list(&channel) {
                Ok(list) => replies.answer(command, &Answer::Presence(list.told())),
                Err(error) => replies.error(command, error),
            }
        })
    }

    fn presence_stats(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        of: &PresenceOf<'_>,
    ) -> Result<(), Error> {
        let namespace = self.check(client, &of.channel, Act::Presence)?;
        let channel: Box<str> = of.channel.as_ref().into();
        let home = self.home(namespace, &channel);
        self.ask(conn, client, home, move |chat, _, replies| {
            let stats = chat.presence.stats(&channel);
            replies.answer(command, &Answer::PresenceStats(stats));
        })
    }

    fn history_of(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        asked: &History<'_>,
    ) -> Result<(), Error> {
        let namespace = self.check(client, &asked.channel, Act::History)?;
        let home = self.home(namespace, &asked.channel);
        let query = Query::new(self.hubs[namespace], asked);
        self.history(conn, client, home, command, query)
    }
}

/// When something was published, as clients are told.
pub(crate) fn unix_millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

/// When a publication is answered.
pub(super) enum Published {
    Now,
    /// By its channel's home, once it is safe, or after the application's answer.
    AnsweredLater,
}

/// A command about a channel names it.
fn required(channel: &str) -> Result<(), Disconnect> {
    if channel.is_empty() {
        Err(Disconnect::BadRequest)
    } else {
        Ok(())
    }
}
