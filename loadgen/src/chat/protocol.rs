//! Users of a chat as clients of Centrifugo's protocol: what they ask for, and
//! what becomes of what they are told.

use hioload_platform::Nanos;

use super::sessions::{Sessions, Step, Unanswered, write};
use super::{Chat, RETRY, Stage};
use crate::centrifugo::{self, Asked, Command, History, Message, Present, Publication, Push};
use crate::heard::Utterance;
use crate::links::Links;

/// Letters of a server's words that are kept in a cause.
const MAX_WORDS: usize = 80;

impl Chat {
    /// Whether a user is a client that the server has let in.
    pub(super) fn is_connected(&mut self, link: usize) -> bool {
        let sessions = self.sessions.as_mut();
        sessions.is_some_and(|sessions| sessions.get(link).is_in())
    }

    /// Whether a user has few enough commands unanswered to say something.
    pub(super) fn takes_message(&self, link: usize) -> bool {
        let sessions = self.sessions.as_ref();
        sessions.is_none_or(|sessions| sessions.takes(link))
    }

    /// A user's connection is open: it asks to be let in.
    pub(super) fn connect(&mut self, links: &mut Links, link: usize, now: Nanos) {
        let id = self.id(link);
        let Some(sessions) = &mut self.sessions else {
            return;
        };
        sessions.reset(link);
        match sessions.dialect.login.token(id) {
            Ok(token) => sessions.send(links, link, now, 0, |_, _, frame, id| {
                write(Command::Connect(&token), id, frame)
            }),
            Err(error) => {
                self.broke(&format!("no token could be made: {error}"));
                self.turn_away(links, link);
            }
        }
    }

    /// A user that is let in comes to its room.
    pub(super) fn subscribe(&mut self, links: &mut Links, link: usize, planned: Nanos) {
        let user = &self.users[link];
        let (room, visit) = (self.settings.topic(user.room as usize), user.visit);
        let Some(sessions) = &mut self.sessions else {
            return;
        };
        let channel = match &sessions.dialect.namespace {
            Some(namespace) => format!("{namespace}:{room}"),
            None => room,
        };
        sessions.get(link).channel = channel;
        sessions.send(
            links,
            link,
            planned,
            visit,
            |session, dialect, frame, id| {
                write(Command::Subscribe(&session.channel, dialect), id, frame)
            },
        );
    }

    /// A user leaves its room and stays connected.
    pub(super) fn unsubscribe(&mut self, links: &mut Links, link: usize, now: Nanos) {
        let visit = self.users[link].visit;
        if let Some(sessions) = &mut self.sessions {
            sessions.send(links, link, now, visit, |session, _, frame, id| {
                write(Command::Unsubscribe(&session.channel), id, frame)
            });
        }
    }

    /// Says what `payload` is.
    pub(super) fn publish(&mut self, links: &mut Links, link: usize, planned: Nanos) {
        let visit = self.users[link].visit;
        if let Some(sessions) = &mut self.sessions {
            let text = &self.payload;
            sessions.send(links, link, planned, visit, |session, _, frame, id| {
                write(Command::Publish(&session.channel, text), id, frame)
            });
        }
    }

    /// Has a user ask what a person's client asks, after some of its actions.
    pub(super) fn ask(&mut self, links: &mut Links, link: usize, planned: Nanos) {
        let Some(sessions) = &self.sessions else {
            return;
        };
        let dialect = &sessions.dialect;
        let shares = [
            (dialect.history_every, Asked::History),
            (dialect.presence_every, Asked::Presence),
        ];
        for (every, asked) in shares {
            let Some(every) = every else { continue };
            let chosen = self.roll().is_multiple_of(u64::from(every.max(1)));
            let visit = self.users[link].visit;
            let Some(sessions) = &mut self.sessions else {
                return;
            };
            if chosen && links.takes(link) && sessions.takes_question(link) {
                sessions.send(
                    links,
                    link,
                    planned,
                    visit,
                    |session, dialect, frame, id| {
                        let channel = &session.channel;
                        let command = match asked {
                            Asked::History => Command::History(channel, dialect.history_limit),
                            _ => Command::Presence(channel),
                        };
                        write(command, id, frame)
                    },
                );
            }
        }
    }

    /// The server sent a frame.
    pub(super) fn frame(&mut self, links: &mut Links, link: usize, frame: &[u8], now: Nanos) {
        for message in centrifugo::messages(frame) {
            // What comes after the end is nobody's any more.
            if self.settled || !links.is_open(link) {
                return;
            }
            match message {
                Ok(Message {
                    push: Some(push), ..
                }) => self.pushed(link, &push, now),
                Ok(Message { id: 0, .. }) => {
                    if let Some(sessions) = &mut self.sessions {
                        sessions.ping(links, link);
                    }
                }
                Ok(reply) => self.replied(links, link, &reply, now),
                Err(error) => {
                    self.broke("what the server sent is no message of the protocol");
                    let id = self.id(link);
                    let words = || format!("user {id} got what is no message: {error}");
                    self.tally.faults.describe(words);
                }
            }
        }
    }

    fn pushed(&mut self, link: usize, push: &Push<'_>, now: Nanos) {
        if let Some(publication) = &push.publication {
            return self.published(link, &push.channel, publication, now);
        }
        let Some(sessions) = &mut self.sessions else {
            return;
        };
        sessions.exchange.joins += u64::from(push.join.is_some());
        sessions.exchange.leaves += u64::from(push.leave.is_some());
        let ended = push.unsubscribe.as_ref();
        let ours = sessions.get(link).channel == push.channel;
        if let Some(ended) = ended.filter(|_| ours) {
            let (code, reason) = (ended.code, words(&ended.reason));
            self.broke(&format!("unsubscribed by the server, {code}: {reason}"));
            self.put_out(link, now);
        }
    }

    /// A user is out of its room before its time, and will go to another.
    fn put_out(&mut self, link: usize, now: Nanos) {
        let missing = self.take_out(link);
        self.tally.cut_off += missing;
        let user = &mut self.users[link];
        self.tally.unsent -= u64::from(std::mem::take(&mut user.blocked));
        user.stage = Stage::Away;
        if let Some(sessions) = &mut self.sessions {
            sessions.get(link).channel.clear();
        }
        if self.running {
            self.schedule(link, now + RETRY);
        }
    }

    /// Somebody published something.
    fn published(&mut self, link: usize, channel: &str, publication: &Publication<'_>, now: Nanos) {
        let id = self.id(link);
        let stage = self.users[link].stage;
        let Some(sessions) = &mut self.sessions else {
            return;
        };
        let session = sessions.get(link);
        if session.channel != channel || !matches!(stage, Stage::In | Stage::Leaving) {
            self.tally.faults.unexpected += 1;
            let words =
                || format!("user {id} is not subscribed to {channel} but got a publication");
            return self.tally.faults.describe(words);
        }
        let step = session.step(publication.offset);
        match step {
            Step::Next | Step::Again => {}
            Step::Gap(skipped) => {
                self.broke("publications skipped, by their offsets");
                let words =
                    || format!("user {id}: {skipped} publications of {channel} are missing");
                self.tally.faults.describe(words);
            }
            Step::Missing => self.broke("publications without an offset"),
        }
        let duplicated = self.tally.faults.duplicated;
        let text = publication.text();
        if let Some((stamp, intact)) = self.verify(link, text) {
            self.check_publisher(link, stamp.sender, publication);
            let bytes = text.map_or(0, <[u8]>::len);
            self.heard(link, &stamp, intact, now, bytes);
        }
        if step == Step::Again && self.tally.faults.duplicated == duplicated {
            self.broke("publications repeated, by their offsets");
        }
    }

    /// Whether a publication names the one whose stamp it has.
    fn check_publisher(&mut self, link: usize, sender: u32, publication: &Publication<'_>) {
        let Some(sessions) = &self.sessions else {
            return;
        };
        let login = &sessions.dialect.login;
        let right = publication.info.as_ref().is_some_and(|info| {
            login.is_called(sender, &info.user)
                && self.control.clients.is_called(sender, &info.client)
        });
        if !right {
            let id = self.id(link);
            self.broke("publications that do not name their publisher");
            self.tally.faults.describe(|| {
                let named = publication.info.as_ref();
                format!("user {id} got what user {sender} said as said by {named:?}")
            });
        }
    }

    /// The server answered a command.
    fn replied(&mut self, links: &mut Links, link: usize, reply: &Message<'_>, now: Nanos) {
        let Some(sessions) = &mut self.sessions else {
            return;
        };
        let fine = reply.error.is_none();
        let Some(command) = sessions.replied(link, reply.id, fine, now) else {
            return self.broke("replies to nothing that was asked");
        };
        self.try_again(link);
        let name = command.asked.name();
        if let Some(error) = &reply.error {
            let (code, message) = (error.code, words(&error.message));
            self.broke(&format!("{name}: error {code}, {message}"));
            return self.refused(links, link, command, now);
        }
        let there = match command.asked {
            Asked::Connect => self.let_in(links, link, reply, now),
            Asked::Subscribe => self.subscribed(links, link, reply, now),
            Asked::Unsubscribe => {
                self.unsubscribed(link, now);
                reply.unsubscribe.is_some()
            }
            Asked::Publish => reply.publish.is_some(),
            Asked::History => (reply.history.as_ref())
                .map(|history| self.remembered(link, command, history))
                .is_some(),
            Asked::Presence => (reply.presence.as_ref())
                .map(|presence| self.present(link, command, &presence.presence))
                .is_some(),
        };
        if !there {
            self.broke(&format!("{name}: a reply without its result"));
        }
    }

    /// The server did not do what a user asked. What it did not publish is lost
    /// to those who should hear it.
    fn refused(&mut self, links: &mut Links, link: usize, command: Unanswered, now: Nanos) {
        match (command.asked, self.users[link].stage) {
            (Asked::Connect, _) => self.turn_away(links, link),
            (Asked::Subscribe, Stage::Joining) => self.put_out(link, now),
            (Asked::Unsubscribe, _) => self.unsubscribed(link, now),
            _ => {}
        }
    }

    /// Closes the connection of a user that can not be a client; it comes again
    /// later.
    fn turn_away(&mut self, links: &mut Links, link: usize) {
        self.users[link].stage = Stage::Cut;
        links.close(link);
    }

    fn let_in(&mut self, links: &mut Links, link: usize, reply: &Message<'_>, now: Nanos) -> bool {
        let Some(connected) = reply.connect.as_ref().filter(|it| !it.client.is_empty()) else {
            self.turn_away(links, link);
            return false;
        };
        let id = self.id(link);
        self.control.clients.called(id, &connected.client);
        if let Some(sessions) = &mut self.sessions {
            let session = sessions.get(link);
            session.client = connected.client.clone().into_owned();
            session.pong = connected.pong;
        }
        self.subscribe(links, link, now);
        true
    }

    fn subscribed(
        &mut self,
        links: &mut Links,
        link: usize,
        reply: &Message<'_>,
        now: Nanos,
    ) -> bool {
        // The server may have ended it at once.
        if self.users[link].stage != Stage::Joining {
            return reply.subscribe.is_some();
        }
        let Some(subscribed) = &reply.subscribe else {
            self.put_out(link, now);
            return false;
        };
        let Some(sessions) = &mut self.sessions else {
            return true;
        };
        let numbered = subscribed.positioned || subscribed.recoverable;
        let session = sessions.get(link);
        session.position = numbered.then_some(subscribed.offset);
        session.epoch = subscribed.epoch.clone().into_owned();
        let dialect = &sessions.dialect;
        if (dialect.positioned || dialect.recoverable) && !numbered {
            self.broke("subscribe: it has no positions, though asked for");
        }
        self.seat(link, now);
        if self.running {
            self.ask(links, link, now);
        }
        true
    }

    fn unsubscribed(&mut self, link: usize, now: Nanos) {
        if self.users[link].stage != Stage::Leaving {
            return;
        }
        let missing = self.take_out(link);
        self.left(link, missing);
        self.users[link].stage = Stage::Away;
        if let Some(sessions) = &mut self.sessions {
            sessions.get(link).channel.clear();
        }
        if self.running {
            self.schedule(link, now);
        }
    }

    /// Verifies a history: the latest publications, newest first.
    fn remembered(&mut self, link: usize, command: Unanswered, history: &History<'_>) {
        let user = &self.users[link];
        let Some(sessions) = &mut self.sessions else {
            return;
        };
        sessions.exchange.history_publications += history.publications.len() as u64;
        if command.visit != user.visit || user.stage == Stage::Joining {
            return;
        }
        let epoch = &sessions.get(link).epoch;
        let mut wrong = (!epoch.is_empty() && *epoch != history.epoch).then_some("another epoch");
        for (offset, publication) in (0..=history.offset).rev().zip(&history.publications) {
            let said = publication
                .text()
                .and_then(|text| self.codec.read(text).ok());
            let room = said.map(|stamp| Utterance::unpack(stamp.sequence).room);
            wrong = match room {
                None => Some("damaged publications"),
                Some(room) if room != user.room => Some("publications of another room"),
                Some(_) if publication.offset != offset => Some("offsets not in a row"),
                Some(_) => continue,
            };
            break;
        }
        if let Some(wrong) = wrong {
            self.broke(&format!("history: {wrong}"));
        }
    }

    /// Verifies that a user is among those who are there.
    fn present(&mut self, link: usize, command: Unanswered, clients: &Present<'_>) {
        let (visit, stage) = (self.users[link].visit, self.users[link].stage);
        let Some(sessions) = &mut self.sessions else {
            return;
        };
        sessions.exchange.presence_clients += clients.0.len() as u64;
        let itself = &sessions.get(link).client;
        let there = clients.0.iter().any(|client| client == itself);
        if visit == command.visit && stage == Stage::In && !there {
            self.broke("presence: it lacks the one who asks");
        }
    }

    /// The server, or what it says, is not as the protocol has it.
    #[cold]
    fn broke(&mut self, cause: &str) {
        self.tally.faults.broke(cause);
    }

    /// Counts what the clients did, and the commands that were never answered.
    pub(super) fn settle_sessions(&mut self) {
        self.settled = true;
        let Some(sessions) = &mut self.sessions else {
            return;
        };
        let unanswered = Sessions::take_unanswered(sessions);
        self.tally.exchange = Some(sessions.exchange.clone());
        for asked in unanswered {
            self.broke(&format!("{}: not answered", asked.name()));
        }
    }
}

/// What a server says, cut to a bound.
fn words(text: &str) -> String {
    text.chars().take(MAX_WORDS).collect()
}
