//! What the application asks of the chat. A call is made of parts, each done by
//! the shard that it concerns; the last one to be done answers.

mod answer;
mod once;
mod request;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use hioload::hub::{HubId, Place};
use hioload::{CloseCode, Conn, ConnId, PublishOutcome, Reservation, Turn};
use hioload_centrifugo::{
    Disconnect, Error, History, PresenceOf, Push, Replies, Unsubscribed, json_body,
};
use serde::Deserialize;

use super::client::Client;
use super::commands::unix_millis;
use super::history::Query;
use super::journal::Carried;
use super::token::Expiry;
use super::{Chat, disconnect, found, send};
use crate::notify::{Doer, Notice};
use crate::site::{Service, Site};
use answer::{Done, malformed};
pub(super) use once::Once;
pub(crate) use request::Method;
use request::{Batch, Broadcast, Everything, OfUser, PublishTo, RefreshOf, Written};

/// Channels that a call names at most, and that an answer lists.
const MAX_CHANNELS: usize = 10_000;

/// Commands of a batch at most.
const MAX_COMMANDS: usize = 1000;

/// A call that is not answered yet.
#[derive(Debug)]
pub(crate) struct Call {
    method: Method,
    body: Vec<u8>,
    /// What was begun: one step, or those of a batch in order.
    steps: Vec<Step>,
    /// What was not.
    waiting: VecDeque<(Method, Box<[u8]>)>,
    /// Whether steps are begun before those ahead of them are done.
    parallel: bool,
    /// Steps that are not done.
    running: usize,
}

/// One thing that is called for, in parts.
#[derive(Debug)]
struct Step {
    method: Method,
    index: usize,
    parts: Vec<Option<Done>>,
    left: usize,
    /// Why none of them was begun.
    refused: Option<Error>,
}

/// Whose connections a call is about: all of a user's, or one of them.
#[derive(Clone)]
struct Whose {
    user: Arc<str>,
    client: Option<Box<str>>,
    session: Option<Box<str>>,
}

impl Whose {
    fn of(user: &str, client: Option<&str>, session: Option<&str>) -> Result<Self, Error> {
        if user.is_empty() {
            return Err(Error::BadRequest);
        }
        Ok(Self {
            user: user.into(),
            client: client.map(Into::into),
            session: session.map(Into::into),
        })
    }

    fn is_of(&self, client: &Client) -> bool {
        let session = client.stream.as_ref().map(|stream| &*stream.session);
        self.client.as_deref().is_none_or(|one| *client.id == *one)
            && self
                .session
                .as_deref()
                .is_none_or(|one| session == Some(one))
    }
}

/// Why a call ends before it is begun.
enum Fault {
    /// It is no call: HTTP says so.
    Malformed(serde_json::Error),
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The way of a part's result to its call, with a place that is taken.
struct Back {
    place: Reservation,
    asker: ConnId,
    step: usize,
    part: usize,
    /// Where the result is kept for others with the same key.
    once: Option<once::Cell>,
}

impl Back {
    fn tell(mut self, done: Done) {
        if let Some(cell) = self.once.take() {
            for other in cell.finish(&done) {
                other.tell(done.clone());
            }
        }
        let Self {
            place,
            asker,
            step,
            part,
            ..
        } = self;
        let told = place.post::<Site, _>(move |site: &mut Site, turn: &mut Turn<'_, Service>| {
            if let Some((mut conn, Service::Api(call))) = turn.conn(asker)
                && call.done(step, part, done)
            {
                site.chat().proceed(&mut conn, call);
            }
        });
        if let Err(stopped) = told {
            tracing::debug!(%stopped, "a result has nobody to go to");
        }
    }
}

impl Call {
    pub(crate) fn new(method: Method) -> Self {
        Self {
            method,
            body: Vec::new(),
            steps: Vec::new(),
            waiting: VecDeque::new(),
            parallel: false,
            running: 0,
        }
    }

    /// More of the body, which its server bounds.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }

    /// Takes a batch apart.
    fn unpack(&mut self, body: &[u8]) -> Result<(), Fault> {
        let batch: Batch<'_> = parse(body)?;
        if batch.commands.len() > MAX_COMMANDS {
            return Err(Error::LimitExceeded.into());
        }
        self.parallel = batch.parallel;
        let commands = batch.commands.iter();
        self.waiting = commands
            .map(|one| (one.method, one.body.get().as_bytes().into()))
            .collect();
        Ok(())
    }

    /// The step that may be begun now.
    fn next(&mut self) -> Option<(Method, Box<[u8]>)> {
        let may_begin = self.parallel || self.running == 0;
        may_begin.then(|| self.waiting.pop_front()).flatten()
    }

    /// A part is done; whether it was the last of its step.
    fn done(&mut self, step: usize, part: usize, done: Done) -> bool {
        let is_last = self.steps[step].done(part, done);
        self.running -= usize::from(is_last);
        is_last
    }
}

impl Step {
    fn expect(&mut self, parts: usize) {
        self.parts.resize_with(parts, || None);
        self.left = parts;
    }

    /// A part is done; whether it was the last.
    fn done(&mut self, part: usize, done: Done) -> bool {
        self.parts[part] = Some(done);
        self.left -= 1;
        self.left == 0
    }
}

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(Fault::Malformed)
}

impl Chat {
    /// Begins a call whose body is whole.
    pub(crate) fn call(&mut self, conn: &mut Conn<'_>, call: &mut Call) {
        self.counters.call(call.method);
        let body = std::mem::take(&mut call.body);
        let checked = if call.method == Method::Batch {
            call.unpack(&body)
        } else {
            let checked = call.method.check(&body).map_err(Fault::Malformed);
            call.waiting.push_back((call.method, body.into()));
            checked
        };
        let refusal = match checked {
            Ok(()) => return self.proceed(conn, call),
            Err(Fault::Malformed(error)) => malformed(&error),
            Err(Fault::Failed(error)) => answer::failed(error),
        };
        conn.answer(refusal);
    }

    /// Begins what may be begun; answers when all is done.
    fn proceed(&self, conn: &mut Conn<'_>, call: &mut Call) {
        while let Some((method, body)) = call.next() {
            if call.method == Method::Batch {
                self.counters.call(method);
            }
            let mut step = Step {
                method,
                index: call.steps.len(),
                parts: Vec::new(),
                left: 0,
                refused: None,
            };
            if let Err(fault) = self.run(conn, &mut step, &body) {
                step.refused = Some(match fault {
                    Fault::Failed(error) => error,
                    Fault::Malformed(_) => Error::BadRequest,
                });
                step.left = 0;
            }
            call.running += usize::from(step.left > 0);
            call.steps.push(step);
        }
        if call.running == 0 {
            conn.answer(call.answer());
        }
    }

    fn run(&self, conn: &Conn<'_>, call: &mut Step, body: &[u8]) -> Result<(), Fault> {
        match call.method {
            Method::Publish => {
                let publish: PublishTo<'_> = parse(body)?;
                call.expect(1);
                self.publish_part(conn, call, 0, &publish.channel, &publish.written());
            }
            Method::Broadcast => {
                let broadcast: Broadcast<'_> = parse(body)?;
                if broadcast.channels.len() > MAX_CHANNELS {
                    return Err(Error::LimitExceeded.into());
                }
                call.expect(broadcast.channels.len());
                let written = broadcast.written();
                for (part, channel) in broadcast.channels.iter().enumerate() {
                    self.publish_part(conn, call, part, channel, &written);
                }
            }
            Method::Presence | Method::PresenceStats => {
                let of: PresenceOf<'_> = parse(body)?;
                call.expect(1);
                self.presence_part(conn, call, &of.channel)?;
            }
            Method::History => {
                let asked: History<'_> = parse(body)?;
                let namespace = self.with_history(&asked.channel)?;
                call.expect(1);
                let query = Query::new(self.hubs[namespace], &asked);
                let home = self.home(namespace, &asked.channel);
                self.part(conn, call, 0, home, move |_, turn, back| {
                    back.tell(match query.answer(turn) {
                        Ok(past) => Done::result(&past),
                        Err(error) => Done::Failed(error),
                    });
                });
            }
            Method::HistoryRemove => {
                let of: PresenceOf<'_> = parse(body)?;
                call.expect(1);
                self.forget_part(conn, call, &of.channel)?;
            }
            Method::Subscribe | Method::Unsubscribe | Method::Disconnect => {
                let of: OfUser<'_> = parse(body)?;
                self.user_parts(conn, call, of)?;
            }
            Method::Refresh => {
                let of: RefreshOf<'_> = parse(body)?;
                self.refresh_parts(conn, call, &of)?;
            }
            // Its commands are steps of their own.
            Method::Batch => return Err(Error::BadRequest.into()),
            Method::Channels => {
                let Everything {} = parse(body)?;
                self.everywhere(conn, call, |chat, turn, back| {
                    back.tell(chat.channels(turn));
                });
            }
            Method::Info => {
                let Everything {} = parse(body)?;
                self.everywhere(conn, call, |chat, _, back| {
                    back.tell(chat.info());
                });
            }
        }
        Ok(())
    }

    /// Has a shard do a part.
    fn part(
        &self,
        conn: &Conn<'_>,
        call: &mut Step,
        part: usize,
        shard: usize,
        task: impl FnOnce(&mut Self, &mut Turn<'_, Service>, Back) + Send + 'static,
    ) {
        let step = call.index;
        let asked = self.handle.reserve(conn.shard()).and_then(|place| {
            let asker = conn.id();
            let back = Back {
                place,
                asker,
                step,
                part,
                once: None,
            };
            let task = move |site: &mut Site, turn: &mut Turn<'_, Service>| {
                task(site.chat(), turn, back);
            };
            self.handle.post::<Site, _>(shard, task)
        });
        if asked.is_err() {
            call.done(part, Done::Failed(Error::Internal));
        }
    }

    /// Has every shard do a part.
    fn everywhere(
        &self,
        conn: &Conn<'_>,
        call: &mut Step,
        task: impl FnOnce(&mut Self, &mut Turn<'_, Service>, Back) + Clone + Send + 'static,
    ) {
        let shards = self.handle.shards();
        call.expect(shards);
        for shard in 0..shards {
            self.part(conn, call, shard, shard, task.clone());
        }
    }

    /// The namespace of a channel that a call is about.
    fn named(&self, channel: &str) -> Result<usize, Error> {
        if channel.is_empty() {
            return Err(Error::BadRequest);
        }
        self.rules.find(channel)
    }

    fn with_history(&self, channel: &str) -> Result<usize, Error> {
        let namespace = self.named(channel)?;
        if self.rules.namespace(namespace).has_history() {
            Ok(namespace)
        } else {
            Err(Error::NotAvailable)
        }
    }

    fn publish_part(
        &self,
        conn: &Conn<'_>,
        call: &mut Step,
        part: usize,
        channel: &str,
        written: &Written,
    ) {
        let namespace = match self.named(channel) {
            Ok(namespace) => namespace,
            Err(error) => {
                call.done(part, Done::Failed(error));
                return;
            }
        };
        if written.idempotency_key.len() > once::MAX_KEY {
            call.done(part, Done::Failed(Error::BadRequest));
            return;
        }
        let key = written.idempotency_key.clone();
        let home = self.home(namespace, channel);
        let by = || Doer::application(channel);
        let notices = &self.notices;
        let notice = notices.publication(namespace, by, written.data.as_bytes());
        if written.skip_history {
            let body = json_body(&written.data, None, written.tags.as_deref(), unix_millis());
            let (hub, channel) = (self.hubs[namespace], Box::<str>::from(channel));
            return self.part(conn, call, part, home, move |chat, turn, back| {
                if let Some(back) = chat.once.begin(turn.now(), &channel, &key, back) {
                    let told = turn.hub(hub).publish_unnumbered(&channel, &body);
                    back.tell(if told == PublishOutcome::Full {
                        Done::Failed(Error::Internal)
                    } else {
                        Notice::made(notice);
                        Done::Nothing
                    });
                }
            });
        }
        if self.journal.keeps(namespace) {
            let body = json_body(&written.data, None, written.tags.as_deref(), unix_millis());
            let (channel, body) = (Box::<str>::from(channel), Carried::Text(body));
            return self.part(conn, call, part, home, move |chat, turn, back| {
                if let Some(back) = chat.once.begin(turn.now(), &channel, &key, back) {
                    chat.publish_safely(turn, namespace, &channel, body, |outcome| {
                        if outcome.is_ok() {
                            Notice::made(notice);
                        }
                        back.tell(outcome.map_or_else(Done::Failed, Done::published));
                    });
                }
            });
        }
        // For the look at what became of it.
        let Ok(second) = self.handle.reserve(home) else {
            call.done(part, Done::Failed(Error::Internal));
            return;
        };
        let body = json_body(&written.data, None, written.tags.as_deref(), unix_millis());
        let publishing = Publishing {
            hub: self.hubs[namespace],
            channel: channel.into(),
            body,
            numbered: self.rules.namespace(namespace).has_history(),
            notice,
        };
        self.part(conn, call, part, home, move |chat, turn, back| {
            if let Some(back) = chat.once.begin(turn.now(), &publishing.channel, &key, back) {
                publishing.publish(turn, second, back);
            }
        });
    }

    fn forget_part(&self, conn: &Conn<'_>, call: &mut Step, channel: &str) -> Result<(), Error> {
        let namespace = self.with_history(channel)?;
        let channel: Box<str> = channel.into();
        let (home, hub) = (self.home(namespace, &channel), self.hubs[namespace]);
        self.part(conn, call, 0, home, move |chat, turn, back| {
            if chat.journal.keeps(namespace) {
                return chat.forget_safely(namespace, &channel, |outcome| {
                    back.tell(outcome.map_or_else(Done::Failed, |_| Done::Nothing));
                });
            }
            turn.hub(hub).forget_past(&channel);
            back.tell(Done::Nothing);
        });
        Ok(())
    }

    fn presence_part(&self, conn: &Conn<'_>, call: &mut Step, channel: &str) -> Result<(), Error> {
        let namespace = self.named(channel)?;
        if !self.rules.namespace(namespace).presence {
            return Err(Error::NotAvailable);
        }
        let only_numbers = matches!(call.method, Method::PresenceStats);
        let home = self.home(namespace, channel);
        let channel: Box<str> = channel.into();
        self.part(conn, call, 0, home, move |chat, _, back| {
            back.tell(if only_numbers {
                Done::result(&chat.presence.stats(&channel))
            } else {
                match chat.presence.list(&channel) {
                    Ok(list) => Done::result(&list.told()),
                    Err(error) => Done::Failed(error),
                }
            });
        });
        Ok(())
    }

    /// What concerns the connections of a user, wherever they are.
    fn user_parts(&self, conn: &Conn<'_>, call: &mut Step, of: OfUser<'_>) -> Result<(), Error> {
        let whose = Whose::of(&of.user, of.client.as_deref(), of.session.as_deref())?;
        let channel: Box<str> = of.channel.as_ref().into();
        if matches!(call.method, Method::Disconnect) {
            let (code, reason) = match of.disconnect {
                Some(said) => (said.code, said.reason.as_ref().into()),
                None => {
                    let why = Disconnect::ForceNoReconnect;
                    (why.code(), Box::from(why.reason()))
                }
            };
            if !(3000..5000).contains(&code) {
                return Err(Error::BadRequest);
            }
            self.everywhere(conn, call, move |chat, turn, back| {
                chat.each(turn, &whose, |_, conn, _| {
                    conn.close(CloseCode(code), &reason);
                });
                back.tell(Done::Nothing);
            });
            return Ok(());
        }
        let namespace = self.named(&channel)?;
        let begins = matches!(call.method, Method::Subscribe);
        self.everywhere(conn, call, move |chat, turn, back| {
            let mut failed = None;
            chat.each(turn, &whose, |chat, conn, client| {
                if !begins {
                    chat.end(conn, client, &channel, Some(Unsubscribed::Server));
                } else if let Err(error) =
                    chat.subscribe_by_backend(conn, client, &channel, namespace)
                    && error != Error::AlreadySubscribed
                {
                    failed = Some(error);
                }
            });
            back.tell(failed.map_or(Done::Nothing, Done::Failed));
        });
        Ok(())
    }

    /// Until when connections of a user may stay, wherever they are.
    fn refresh_parts(
        &self,
        conn: &Conn<'_>,
        call: &mut Step,
        of: &RefreshOf<'_>,
    ) -> Result<(), Error> {
        let whose = Whose::of(&of.user, of.client.as_deref(), of.session.as_deref())?;
        // What has ended by now is over.
        let expiry = (!of.expired)
            .then(|| Expiry::granted(of.expire_at))
            .flatten();
        self.everywhere(conn, call, move |chat, turn, back| {
            chat.each(turn, &whose, |chat, conn, client| {
                let Some(expiry) = expiry else {
                    return disconnect(conn, Disconnect::Expired);
                };
                client.expires = chat.ends(conn, expiry);
                let mut replies = Replies::new(client.encoding);
                replies.push("", Push::Refresh(expiry.until()));
                send(conn, &replies);
                chat.arm(conn, client);
            });
            back.tell(Done::Nothing);
        });
        Ok(())
    }

    /// Does something to each connection of a user on this shard, or to one of
    /// them.
    fn each(
        &mut self,
        turn: &mut Turn<'_, Service>,
        whose: &Whose,
        mut act: impl FnMut(&mut Self, &mut Conn<'_>, &mut Client),
    ) {
        let keys: Vec<u64> = self
            .users
            .get(&whose.user)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        for key in keys {
            let Some(&id) = self.timers.get(&key) else {
                continue;
            };
            if let Some((mut conn, client)) = found(turn, id)
                && whose.is_of(client)
                && client.is_in()
            {
                act(self, &mut conn, client);
            }
        }
    }

    /// The channels of this shard, with their clients.
    fn channels(&self, turn: &mut Turn<'_, Service>) -> Done {
        let mut channels = std::collections::BTreeMap::new();
        for &id in self.timers.values() {
            let Some((_, client)) = found(turn, id) else {
                continue;
            };
            for (channel, sub) in &client.subs {
                if sub.entered {
                    *channels.entry(channel.clone()).or_insert(0) += 1;
                }
            }
            if channels.len() > MAX_CHANNELS {
                return Done::Failed(Error::LimitExceeded);
            }
        }
        Done::Channels(channels)
    }

    /// What this shard has, and the whole server.
    fn info(&self) -> Done {
        let topics = self.hubs.iter().map(|&hub| self.handle.hub(hub).topics());
        Done::Info(answer::Info {
            clients: self.timers.len(),
            users: self.users.keys().cloned().collect::<HashSet<_>>(),
            channels: topics.sum(),
            server: self.rules.server(),
        })
    }
}

/// A publication by the application, at its channel's home.
struct Publishing {
    hub: HubId,
    channel: Box<str>,
    body: String,
    numbered: bool,
    notice: Option<Notice>,
}

impl Publishing {
    /// Publishes, and looks in the task after this one what became of it: a
    /// home that is behind refuses publications.
    fn publish(self, turn: &mut Turn<'_, Service>, second: Reservation, back: Back) {
        let before = turn.hub(self.hub).past(&self.channel, 0, 0);
        let before = before.map_or(0, |past| past.place.offset);
        let outcome = turn.hub(self.hub).publish(&self.channel, &self.body);
        if outcome == PublishOutcome::Full {
            return back.tell(Done::Failed(Error::Internal));
        }
        let look = move |_: &mut Site, turn: &mut Turn<'_, Service>| {
            let outcome = self.outcome(turn, before);
            if !matches!(outcome, Done::Failed(_)) {
                Notice::made(self.notice);
            }
            back.tell(outcome);
        };
        if let Err(stopped) = second.post::<Site, _>(look) {
            tracing::debug!(%stopped, "nobody looks what became of a publication");
        }
    }

    fn outcome(&self, turn: &mut Turn<'_, Service>, before: u64) -> Done {
        let past = turn.hub(self.hub).past(&self.channel, before, 1);
        let past = past.filter(|past| {
            let kept = past.messages.first();
            past.place.offset > before
                && kept.is_none_or(|(offset, message)| {
                    *offset == before + 1 && message.message().payload() == self.body.as_bytes()
                })
        });
        match past {
            Some(past) if self.numbered => Done::published(Some(Place {
                offset: before + 1,
                ..past.place
            })),
            Some(_) => Done::Nothing,
            None => Done::Failed(Error::Internal),
        }
    }
}
