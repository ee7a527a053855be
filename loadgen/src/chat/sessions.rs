//! The clients of the protocol that users of a chat are: what each is
//! subscribed to, has asked for, and where its channel stands.

use std::collections::VecDeque;

use hdrhistogram::Histogram;
use hioload_platform::Nanos;
use hioload_protocol::Kind;

use crate::centrifugo::{Asked, Command, Dialect, PONG};
use crate::links::Links;
use crate::tally::{self, histogram};

/// Commands of a client that may be unanswered; then the next message waits.
/// It bounds the memory of a client, and is several seconds' worth at the rate
/// at which people talk.
const MAX_UNANSWERED: usize = 64;

/// Questions of a client that may be unanswered; beyond it none is asked.
const MAX_QUESTIONS: usize = 8;

/// What clients of the protocol did, beside messages.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// Replies without an error, by what was asked.
    pub(crate) connects: u64,
    pub(crate) subscribes: u64,
    pub(crate) unsubscribes: u64,
    pub(crate) publishes: u64,
    pub(crate) histories: u64,
    pub(crate) presences: u64,
    /// Publications in histories.
    pub(crate) history_publications: u64,
    /// Clients in presences.
    pub(crate) presence_clients: u64,
    /// Pushes about those who came and went.
    pub(crate) joins: u64,
    pub(crate) leaves: u64,
    /// Pings of the server.
    pub(crate) pings: u64,
    /// From the planned message, or the question, to the reply.
    pub(crate) publish: Histogram<u64>,
    pub(crate) history: Histogram<u64>,
    pub(crate) presence: Histogram<u64>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            connects: 0,
            subscribes: 0,
            unsubscribes: 0,
            publishes: 0,
            histories: 0,
            presences: 0,
            history_publications: 0,
            presence_clients: 0,
            joins: 0,
            leaves: 0,
            pings: 0,
            publish: histogram(),
            history: histogram(),
            presence: histogram(),
        }
    }
}

impl Exchange {
    /// Adds another thread's.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.connects += other.connects;
        self.subscribes += other.subscribes;
        self.unsubscribes += other.unsubscribes;
        self.publishes += other.publishes;
        self.histories += other.histories;
        self.presences += other.presences;
        self.history_publications += other.history_publications;
        self.presence_clients += other.presence_clients;
        self.joins += other.joins;
        self.leaves += other.leaves;
        self.pings += other.pings;
        tally::merge(&mut self.publish, &other.publish);
        tally::merge(&mut self.history, &other.history);
        tally::merge(&mut self.presence, &other.presence);
    }

    /// A command was answered, without an error, after so long.
    fn answered(&mut self, asked: Asked, took: Nanos) {
        let (count, times) = match asked {
            Asked::Connect => (&mut self.connects, None),
            Asked::Subscribe => (&mut self.subscribes, None),
            Asked::Unsubscribe => (&mut self.unsubscribes, None),
            Asked::Publish => (&mut self.publishes, Some(&mut self.publish)),
            Asked::History => (&mut self.histories, Some(&mut self.history)),
            Asked::Presence => (&mut self.presences, Some(&mut self.presence)),
        };
        *count += 1;
        if let Some(times) = times {
            times.saturating_record(took);
        }
    }
}

/// A command that is not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    id: u32,
    pub(super) asked: Asked,
    /// When its action was planned.
    planned: Nanos,
    /// In which visit of the user.
    pub(super) visit: u32,
}

/// One client.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// As the server calls it; empty: it is not let in.
    pub(super) client: String,
    /// Whether the server's pings are to be answered.
    pub(super) pong: bool,
    /// What it is, or is about to be, subscribed to.
    pub(super) channel: String,
    /// The last offset seen, where publications have offsets.
    pub(super) position: Option<u64>,
    pub(super) epoch: String,
    last_id: u32,
    unanswered: VecDeque<Unanswered>,
}

/// Where an offset stands to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It follows, or there are none.
    Next,
    /// So many were skipped.
    Gap(u64),
    /// It was there.
    Again,
    /// The publication has none.
    Missing,
}

impl Session {
    /// A publication with this offset arrived.
    pub(super) fn step(&mut self, offset: u64) -> Step {
        let Some(position) = &mut self.position else {
            return Step::Next;
        };
        if offset == 0 {
            return Step::Missing;
        }
        if offset <= *position {
            return Step::Again;
        }
        let skipped = offset - *position - 1;
        *position = offset;
        if skipped == 0 {
            Step::Next
        } else {
            Step::Gap(skipped)
        }
    }

    /// Whether the server has let it in.
    pub(super) fn is_in(&self) -> bool {
        !self.client.is_empty()
    }
}

/// All clients of one thread.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) dialect: Dialect,
    pub(super) exchange: Box<Exchange>,
    list: Vec<Session>,
    /// Commands not answered, of all.
    unanswered: usize,
    frame: Vec<u8>,
}

impl Sessions {
    /// So many clients, none connected.
    pub(super) fn new(dialect: Dialect, count: usize) -> Self {
        Self {
            dialect,
            exchange: Box::default(),
            list: (0..count).map(|_| Session::default()).collect(),
            unanswered: 0,
            frame: Vec::new(),
        }
    }

    pub(super) fn get(&mut self, link: usize) -> &mut Session {
        &mut self.list[link]
    }

    /// The connection of a client is new, or gone.
    pub(super) fn reset(&mut self, link: usize) {
        self.unanswered -= self.list[link].unanswered.len();
        self.list[link] = Session::default();
    }

    /// Whether a client takes another message.
    pub(super) fn takes(&self, link: usize) -> bool {
        self.list[link].unanswered.len() < MAX_UNANSWERED
    }

    /// Whether a client takes another question.
    pub(super) fn takes_question(&self, link: usize) -> bool {
        let questions = self.list[link].unanswered.iter();
        let questions = questions.filter(|it| matches!(it.asked, Asked::History | Asked::Presence));
        self.takes(link) && questions.count() < MAX_QUESTIONS
    }

    /// Whether every command is answered.
    pub(super) fn all_answered(&self) -> bool {
        self.unanswered == 0
    }

    /// Takes out all commands that are not answered.
    pub(super) fn take_unanswered(&mut self) -> Vec<Asked> {
        self.unanswered = 0;
        let all = self.list.iter_mut();
        all.flat_map(|session| session.unanswered.drain(..))
            .map(|it| it.asked)
            .collect()
    }

    /// Sends a command of a client in visit `visit` of its user.
    pub(super) fn send(
        &mut self,
        links: &mut Links,
        link: usize,
        planned: Nanos,
        visit: u32,
        command: impl FnOnce(&Session, &Dialect, &mut Vec<u8>, u32) -> Asked,
    ) {
        let session = &mut self.list[link];
        session.last_id = session.last_id.checked_add(1).unwrap_or(1);
        let id = session.last_id;
        let asked = command(session, &self.dialect, &mut self.frame, id);
        session.unanswered.push_back(Unanswered {
            id,
            asked,
            planned,
            visit,
        });
        self.unanswered += 1;
        links.send(link, Kind::Text, &self.frame);
    }

    /// Answers a ping of the server, if it wants that.
    pub(super) fn ping(&mut self, links: &mut Links, link: usize) {
        self.exchange.pings += 1;
        if self.list[link].pong {
            links.send(link, Kind::Text, PONG);
        }
    }

    /// The command that a reply is for; `fine` tells that it is no error.
    pub(super) fn replied(
        &mut self,
        link: usize,
        id: u32,
        fine: bool,
        now: Nanos,
    ) -> Option<Unanswered> {
        let session = &mut self.list[link];
        let at = session.unanswered.iter().position(|it| it.id == id)?;
        let command = session.unanswered.remove(at)?;
        self.unanswered -= 1;
        if fine {
            let took = now.saturating_sub(command.planned);
            self.exchange.answered(command.asked, took);
        }
        Some(command)
    }
}

/// Writes a command and says what it is.
pub(super) fn write(command: Command<'_>, id: u32, frame: &mut Vec<u8>) -> Asked {
    command.write(id, frame);
    command.asked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repetitions_of_offsets_are_told_apart() {
        let mut session = Session::default();
        assert_eq!(session.step(9), Step::Next, "offsets mean nothing here");
        session.position = Some(4);
        assert_eq!(session.step(5), Step::Next);
        assert_eq!(session.step(8), Step::Gap(2));
        assert_eq!(session.step(8), Step::Again);
        assert_eq!(session.step(7), Step::Again);
        assert_eq!(session.step(9), Step::Next);
        assert_eq!(session.step(0), Step::Missing);
    }

    #[test]
    fn replies_find_their_command_once_in_any_order() {
        let mut links = Links::new(1, 1 << 16, false, 1);
        let mut sessions = Sessions::new(Dialect::default(), 1);
        for command in [Command::History("c", 1), Command::Presence("c")] {
            // A link that is not open keeps what is sent in its outbox.
            sessions.send(&mut links, 0, 5, 3, |_, _, frame, id| {
                write(command, id, frame)
            });
        }
        assert!(!sessions.all_answered());
        let second = sessions.replied(0, 2, true, 15).unwrap();
        assert_eq!((second.asked, second.visit), (Asked::Presence, 3));
        assert!(sessions.replied(0, 2, true, 15).is_none());
        assert!(sessions.replied(0, 1, false, 15).is_some());
        assert!(sessions.all_answered());
        let exchange = &sessions.exchange;
        assert_eq!((exchange.presences, exchange.histories), (1, 0));
        assert_eq!(exchange.presence.max(), 10);
        assert!(exchange.history.is_empty());
    }

    #[test]
    fn unanswered_commands_are_bounded_and_end_with_the_connection() {
        let mut links = Links::new(2, 1 << 16, false, 1);
        let mut sessions = Sessions::new(Dialect::default(), 2);
        let mut ask = |sessions: &mut Sessions, link| {
            sessions.send(&mut links, link, 0, 0, |_, _, frame, id| {
                write(Command::Presence("c"), id, frame)
            });
        };
        while sessions.takes_question(0) {
            ask(&mut sessions, 0);
        }
        assert!(sessions.takes(0));
        while sessions.takes(0) {
            ask(&mut sessions, 0);
        }
        ask(&mut sessions, 1);
        sessions.reset(0);
        assert_eq!(sessions.take_unanswered(), [Asked::Presence]);
        assert!(sessions.all_answered());
    }
}
