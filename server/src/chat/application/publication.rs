//! The application is asked about publications, and those of one client to one
//! channel one after the other: the application sees them in the order in which
//! the client sent them, and so do subscribers.
//!
//! If they were asked about at once and carried out in order, the channel would
//! be right and the application would not: one that numbers, stores or limits what
//! it is asked about would have another order than the channel.

use std::collections::VecDeque;
use std::time::Duration;

use hioload::hub::HubId;
use hioload::{Conn, Nanos, PublishOutcome};
use hioload_centrifugo::{Answer, Disconnect, Empty, Error, Payload, Replies};

use super::{owned, payload};
use crate::chat::client::Client;
use crate::chat::commands::Published;
use crate::chat::deadlines::after;
use crate::chat::{Chat, disconnect, send};
use crate::config::Event;
use crate::notify::Notice;
use crate::proxy::{Data, Failure, PublishResult, Question, Said};

/// Publications of a client to a channel: one that the application is asked
/// about, and those behind it.
#[derive(Debug)]
pub(in crate::chat) struct Line {
    channel: Box<str>,
    /// Bounded with what the application is asked about for this client
    /// (`max_per_client`), each by what a frame holds.
    waiting: VecDeque<Publication>,
}

/// A publication that waits for those before it.
#[derive(Debug)]
struct Publication {
    command: u32,
    data: Data,
    since: Nanos,
}

impl Chat {
    /// Has the application asked about a publication, if it wants to be; whether
    /// it does.
    pub(in crate::chat) fn publish_by_application(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        channel: &str,
        data: Payload<'_>,
    ) -> Result<bool, Error> {
        let namespace = self.rules.find(channel)?;
        let name = &self.rules.namespace(namespace).name;
        let Some(proxy) = self.proxies.of(Event::Publish, name) else {
            return Ok(false);
        };
        let mut lines = client.lines.iter_mut();
        let Some(line) = lines.find(|line| *line.channel == *channel) else {
            self.ask_about_publication(conn, client, command, channel, data)?;
            client.lines.push(Line {
                channel: channel.into(),
                waiting: VecDeque::new(),
            });
            return Ok(true);
        };
        if client.proxied >= proxy.max_per_client() {
            return Err(Error::TooManyRequests);
        }
        line.waiting.push_back(Publication {
            command,
            data: owned(data),
            since: conn.now(),
        });
        client.proxied += 1;
        Ok(true)
    }

    fn ask_about_publication(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        channel: &str,
        data: Payload<'_>,
    ) -> Result<(), Error> {
        let namespace = self.rules.find(channel)?;
        let name = &self.rules.namespace(namespace).name;
        let proxy = self.proxies.of(Event::Publish, name).cloned();
        let proxy = proxy.ok_or(Error::Internal)?;
        let (id, user) = (client.id.clone(), client.user.clone());
        let question = Question {
            user: &user,
            channel,
            transport: client.transport(),
            ..Question::of(&id, client.encoding, Some(data), proxy.is_binary())
        };
        let (to, own) = (Box::<str>::from(channel), owned(data));
        let patience = proxy.total_timeout();
        self.ask_application(
            conn,
            client,
            (&proxy, Event::Publish),
            &question,
            move |chat, conn, client, said: Result<Said<PublishResult>, Failure>| {
                if let Some(result) = chat.granted(conn, client, command, said)
                    && let Some(data) = payload(&result.data).or_else(|| payload(&own))
                {
                    let to = (namespace, &*to);
                    chat.publish_granted(conn, client, command, to, data, result.skip_history);
                }
                chat.ask_about_next(conn, client, &to, patience);
            },
        )
    }

    /// Goes on with what a client published in a channel meanwhile. One that has
    /// waited as long as asking may take is not asked about: so none waits twice
    /// as long, however many there are before it.
    fn ask_about_next(
        &self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        channel: &str,
        patience: Duration,
    ) {
        let own = |line: &Line| *line.channel == *channel;
        while let Some(at) = client.lines.iter().position(own) {
            let next = client.lines[at].waiting.pop_front();
            let Some(next) = next.filter(|_| !conn.is_closing()) else {
                // What waits of one that is being closed goes with it.
                client.lines.swap_remove(at);
                return;
            };
            client.proxied -= 1;
            let is_late = after(next.since, patience) <= conn.now();
            let asked = match payload(&next.data) {
                Some(data) if !is_late => {
                    self.ask_about_publication(conn, client, next.command, channel, data)
                }
                _ => Err(Error::Internal),
            };
            match asked {
                Ok(()) => return,
                Err(why) => Self::refuse(conn, client, next.command, &why.into()),
            }
        }
    }

    /// Publishes what the application lets a client publish.
    fn publish_granted(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        command: u32,
        (namespace, channel): (usize, &str),
        data: Payload<'_>,
        skips_history: bool,
    ) {
        let outcome = if skips_history {
            let published = self.pass_by(conn, client, command, (namespace, channel), data);
            published.map(|asked| asked.map(|()| Published::AnsweredLater))
        } else {
            self.pass_on(conn, client, command, (namespace, channel), data)
        };
        match outcome {
            Ok(Ok(Published::Now)) => {
                let mut replies = Replies::new(client.encoding);
                replies.answer(command, &Answer::Publish(Empty {}));
                send(conn, &replies);
            }
            Ok(Ok(Published::AnsweredLater)) => {}
            Ok(Err(error)) => self.blame(conn, client, command, error),
            Err(why) => disconnect(conn, why),
        }
    }

    /// Publishes without a number and a place in the history, which the
    /// channel's home does.
    fn pass_by(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        (namespace, channel): (usize, &str),
        data: Payload<'_>,
    ) -> Result<Result<(), Error>, Disconnect> {
        let body = Self::carried(client, channel, data)?;
        let notice = self.notice(client, (namespace, channel), data);
        let hub: HubId = self.hubs[namespace];
        let (home, channel) = (self.home(namespace, channel), Box::<str>::from(channel));
        Ok(self.ask(conn, client, home, move |chat, turn, replies| {
            let told = turn.hub(hub).publish_unnumbered(&channel, body.message());
            if told == PublishOutcome::Full {
                return replies.error(command, Error::Internal);
            }
            chat.counters.publications.add(1);
            Notice::made(notice);
            replies.answer(command, &Answer::Publish(Empty {}));
        }))
    }
}
