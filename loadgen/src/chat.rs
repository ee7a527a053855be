//! Chat: users enter rooms, talk after think times, leave, and enter others;
//! what one says must reach all others that are surely in the room.
//!
//! A room is the topic of a broadcast endpoint, and being there a connection to
//! it; or a channel of Centrifugo's protocol, and being there a subscription on
//! a connection that stays.

mod clients;
mod protocol;
mod sessions;
mod user;

use std::collections::BTreeSet;
use std::sync::Arc;

use hioload_platform::Nanos;
use hioload_protocol::Kind;
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::heard::{MAX_NUMBERS, MAX_VISITS, Utterance};
use crate::links::Links;
use crate::load::{TURN, Workload};
use crate::payload::{Codec, Corruption, Stamp};
use crate::random::{message_seed, mix};
use crate::rooms::Demanded;
use crate::sequence::Arrival;
use crate::settings::Settings;
use crate::spread::Spread;
use crate::tally::{Tally, Window};

use sessions::Sessions;
use user::{Recent, Stage, User};

pub(crate) use clients::Clients;
pub(crate) use sessions::Exchange;

/// How long a user whose connection failed waits before it comes again.
const RETRY: Nanos = 1_000_000_000;

/// What a chat is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Talk {
    /// Users, each with one connection at a time.
    pub(crate) users: usize,
    /// Rooms; room `n` is chosen `1 / (n + 1)` times as often as the first.
    pub(crate) rooms: usize,
    /// Between two messages of a user.
    pub(crate) think: Spread,
    /// How long a user stays in a room.
    pub(crate) stay: Spread,
    /// How far from joining and leaving receipts are not demanded.
    pub(crate) grace: Nanos,
}

/// What is counted beside messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Visits {
    /// Users that entered a room.
    pub(crate) joins: u64,
    /// Users that left a room as they had planned.
    pub(crate) leaves: u64,
    /// Receipts that were not demanded, since they were close to a join or a
    /// leave, or had left the generator late.
    pub(crate) unasked_receipts: u64,
}

impl Visits {
    /// Adds another thread's counts.
    pub(crate) fn merge(&mut self, other: Self) {
        self.joins += other.joins;
        self.leaves += other.leaves;
        self.unasked_receipts += other.unasked_receipts;
    }
}

/// One thread's users.
#[derive(Debug)]
pub(crate) struct Chat {
    settings: Settings,
    talk: Talk,
    thread: usize,
    control: Arc<Control>,
    /// `popularity[n]` is the share of visits to the rooms `0..=n`.
    popularity: Box<[f64]>,
    codec: Codec,
    users: Vec<User>,
    /// The clients they are, where rooms are channels.
    sessions: Option<Sessions>,
    /// When which user acts next; each at most once.
    agenda: BTreeSet<(Nanos, usize)>,
    /// Nothing is planned from here on.
    end: Nanos,
    running: bool,
    now: Nanos,
    /// Whether the other threads know that this one has said everything.
    finished: bool,
    /// Whether everything is counted.
    settled: bool,
    random: u64,
    /// Demanded receipts not yet reported to the others.
    unreported: u64,
    visits: Visits,
    payload: Vec<u8>,
    tally: Tally,
}

/// How the visits are spread over rooms: cumulative shares.
pub(crate) fn popularity(rooms: usize) -> Box<[f64]> {
    let weights = (0..rooms).map(|room| 1.0 / (room + 1) as f64);
    let total: f64 = weights.clone().sum();
    let mut sum = 0.0;
    weights
        .map(|weight| {
            sum += weight / total;
            sum
        })
        .collect()
}

impl Chat {
    /// The share of thread `thread`.
    pub(crate) fn new(
        settings: &Settings,
        talk: Talk,
        thread: usize,
        control: Arc<Control>,
    ) -> Self {
        let mut chat = Self {
            settings: settings.clone(),
            talk,
            thread,
            control,
            popularity: popularity(talk.rooms),
            codec: Codec::new(settings.run, settings.kind),
            users: (0..settings.share(thread))
                .map(|_| User::default())
                .collect(),
            sessions: settings
                .centrifugo
                .clone()
                .map(|dialect| Sessions::new(dialect, settings.share(thread))),
            agenda: BTreeSet::new(),
            end: Nanos::MAX,
            running: false,
            now: 0,
            finished: false,
            settled: false,
            random: mix(u64::from(settings.run) << 32 | thread as u64),
            unreported: 0,
            visits: Visits::default(),
            payload: Vec::with_capacity(settings.sizes.max()),
            tally: Tally::new(Window { from: 0, to: 0 }),
        };
        for link in 0..chat.users.len() {
            chat.users[link].room = chat.choose_room();
            chat.users[link].stage = Stage::Joining;
        }
        chat
    }

    fn id(&self, link: usize) -> u32 {
        u32::try_from(self.thread + link * self.settings.threads).unwrap_or(u32::MAX)
    }

    fn roll(&mut self) -> u64 {
        self.random = mix(self.random);
        self.random
    }

    fn choose_room(&mut self) -> u32 {
        let share = (self.roll() >> 11) as f64 / (1_u64 << 53) as f64;
        let room = self.popularity.partition_point(|&sum| sum <= share);
        u32::try_from(room.min(self.talk.rooms - 1)).unwrap_or(0)
    }

    /// Another room than the one a user was in, if there is another.
    fn choose_other(&mut self, than: u32) -> u32 {
        let room = self.choose_room();
        let rooms = u32::try_from(self.talk.rooms).unwrap_or(u32::MAX);
        if room == than {
            (room + 1) % rooms
        } else {
            room
        }
    }

    /// Has a user act at `due`, and at no other time; not after the end.
    fn schedule(&mut self, link: usize, due: Nanos) {
        if let Some(due) = self.users[link].due.take() {
            self.agenda.remove(&(due, link));
        }
        if due < self.end {
            self.users[link].due = Some(due);
            self.agenda.insert((due, link));
        }
    }

    /// A user is in its room at `now`. When all begin at once, each is somewhere
    /// between two messages and between joining and leaving.
    fn enter(&mut self, link: usize, now: Nanos, midway: bool) {
        let (mut think, mut stay) = (self.roll(), self.roll());
        think = self.talk.think.pick(think);
        stay = self.talk.stay.pick(stay);
        if midway {
            think = Spread::Uniform { from: 0, to: think }.pick(self.roll());
            stay = Spread::Uniform { from: 0, to: stay }.pick(self.roll());
        }
        let (id, room) = (self.id(link), self.users[link].room as usize);
        let sure = self.control.rooms.enter(room, id, now + stay);
        let user = &mut self.users[link];
        user.sure = Some(sure);
        user.speaks = now + think;
        user.leaves = now + stay;
        let due = user.speaks.min(user.leaves);
        self.visits.joins += 1;
        self.schedule(link, due);
    }

    /// A user is due: it comes, speaks or leaves.
    fn act(&mut self, links: &mut Links, link: usize, due: Nanos, now: Nanos) {
        match self.users[link].stage {
            Stage::Away => {
                let room = self.choose_other(self.users[link].room);
                let user = &mut self.users[link];
                user.room = room;
                user.visit = (user.visit + 1) % MAX_VISITS;
                user.stage = Stage::Joining;
                if self.is_connected(link) {
                    self.subscribe(links, link, due);
                } else {
                    links.want(link, due);
                }
            }
            Stage::In if self.users[link].leaves <= due => self.leave(links, link, now),
            Stage::In => self.speak(links, link, due, now),
            Stage::Joining | Stage::Leaving | Stage::Cut => {}
        }
    }

    /// A user leaves, unless it still misses messages: these get as long as
    /// after the end of the run. Its sure time is over by a grace, so that
    /// nothing more is demanded of it.
    fn leave(&mut self, links: &mut Links, link: usize, now: Nanos) {
        if self.users[link].awaits.is_none() {
            let (id, room) = (self.id(link), self.users[link].room as usize);
            let demanded = self.control.rooms.demanded(room, id);
            if self.users[link].arrived < demanded {
                self.users[link].awaits = Some(demanded);
                return self.schedule(link, now + self.settings.drain_timeout);
            }
        }
        self.users[link].stage = Stage::Leaving;
        self.visits.leaves += 1;
        if self.is_connected(link) {
            self.unsubscribe(links, link, now);
        } else {
            links.close(link);
        }
    }

    fn speak(&mut self, links: &mut Links, link: usize, planned: Nanos, now: Nanos) {
        if !links.takes(link) || !self.takes_message(link) {
            // `unblocked` has it tried again; the planned time stays.
            self.users[link].blocked = true;
            self.tally.held_back += 1;
            self.tally.unsent += 1;
            return;
        }
        self.tally.came_to(planned, now);
        let (id, grace) = (self.id(link), self.talk.grace);
        let in_time = self.control.rooms.in_time(planned, now);
        let user = &mut self.users[link];
        let said = Utterance {
            late: !in_time,
            room: user.room,
            visit: user.visit,
            number: user.said,
        };
        let demanded = if in_time {
            let (room, to_itself) = (user.room as usize, self.sessions.is_some());
            self.control.rooms.publish(room, id, planned, to_itself)
        } else {
            Demanded::default()
        };
        user.recent.add(demanded.of_others, now, grace);
        let demanded = demanded.of_others + u64::from(demanded.of_itself);
        user.said += 1;
        self.tally.expect(planned, demanded);
        let sequence = said.pack();
        let len = self
            .settings
            .sizes
            .pick(message_seed(self.settings.run, id, sequence));
        let stamp = Stamp {
            sender: id,
            sequence,
            planned,
        };
        self.codec.write(&stamp, len, &mut self.payload);
        if self.sessions.is_some() {
            self.publish(links, link, planned);
        } else {
            links.send(link, self.codec.kind(), &self.payload);
        }
        self.tally.sent(now, len);
        let pause = self.roll();
        let user = &mut self.users[link];
        user.speaks = if user.said == MAX_NUMBERS {
            Nanos::MAX
        } else {
            planned + self.talk.think.pick(pause).max(1)
        };
        let due = user.speaks.min(user.leaves);
        self.schedule(link, due);
        self.ask(links, link, planned);
    }

    /// A user is in its room: its handshake is done, or its subscription.
    fn seat(&mut self, link: usize, now: Nanos) {
        let user = &mut self.users[link];
        user.stage = Stage::In;
        user.said = 0;
        user.awaits = None;
        user.recent = Recent::default();
        if self.running {
            self.enter(link, now, false);
        }
    }

    /// A user has left its room as it had planned.
    fn left(&mut self, link: usize, missing: u64) {
        if missing > 0 {
            let (id, room) = (self.id(link), self.users[link].room);
            self.tally.faults.describe(|| {
                format!("user {id} left room {room} without {missing} messages of its time there")
            });
        }
    }

    /// Takes a user out of its room. Returns how many demanded receipts are
    /// missing.
    fn take_out(&mut self, link: usize) -> u64 {
        let (id, room) = (self.id(link), self.users[link].room as usize);
        let user = &mut self.users[link];
        if user.sure.take().is_none() {
            return 0;
        }
        let missing = self
            .control
            .rooms
            .leave(room, id)
            .saturating_sub(user.arrived);
        user.arrived = 0;
        user.heard.clear();
        self.unreported += missing;
        missing
    }

    #[cold]
    fn corrupted(&mut self, link: usize, damage: Corruption) -> Option<Stamp> {
        if damage == Corruption::Foreign {
            self.tally.faults.foreign += 1;
            return None;
        }
        let id = self.id(link);
        self.tally.faults.corrupted += 1;
        self.tally
            .faults
            .describe(|| format!("user {id}: {damage}"));
        match damage {
            Corruption::Body { stamp, .. } => Some(stamp),
            _ => {
                self.tally.faults.unidentified += 1;
                self.unreported += 1;
                None
            }
        }
    }

    /// Whether a message was for this user; counts the fault if not.
    fn is_for(&mut self, link: usize, sender: u32, said: Utterance) -> bool {
        let (id, user) = (self.id(link), &self.users[link]);
        if said.room != user.room || sender as usize >= self.talk.users {
            let room = user.room;
            self.tally.faults.unexpected += 1;
            self.tally.faults.describe(|| {
                let other = said.room;
                format!("user {id} in room {room} got a message of user {sender} in room {other}")
            });
            return false;
        }
        if sender == id && self.sessions.is_none() {
            // What it said in an earlier visit may still come.
            if said.visit == user.visit {
                self.tally.faults.own += 1;
                let words = || format!("user {id} got its own message back");
                self.tally.faults.describe(words);
            }
            return false;
        }
        true
    }

    fn heard(&mut self, link: usize, stamp: &Stamp, intact: bool, now: Nanos, bytes: usize) {
        let (sender, said) = (stamp.sender, Utterance::unpack(stamp.sequence));
        if !self.is_for(link, sender, said) {
            return;
        }
        let id = self.id(link);
        let user = &mut self.users[link];
        let number = said.number;
        let faults = &mut self.tally.faults;
        match user.heard.accept(sender, said) {
            Arrival::InOrder => {}
            Arrival::Skipped(count) => faults.describe(|| {
                format!("user {id} missed {count} messages before number {number} of user {sender}")
            }),
            Arrival::Late => faults.reordered += 1,
            Arrival::Duplicate => {
                faults.duplicated += 1;
                faults.describe(|| format!("user {id} got message {number} of {sender} twice"));
                return;
            }
        }
        let surely = user.sure.is_some_and(|sure| sure.contains(stamp.planned));
        if surely && !said.late {
            user.arrived += 1;
            let complete = user.awaits == Some(user.arrived);
            self.unreported += 1;
            self.tally.arrived_total += 1;
            if complete {
                self.schedule(link, now);
            }
        } else {
            self.visits.unasked_receipts += 1;
        }
        if intact {
            self.tally.received_unasked(stamp.planned, now, bytes);
        }
    }

    /// Somebody said something.
    fn message(&mut self, link: usize, kind: Kind, payload: &[u8], now: Nanos) {
        let right_kind = (kind == self.codec.kind()).then_some(payload);
        if let Some((stamp, intact)) = self.verify(link, right_kind) {
            self.heard(link, &stamp, intact, now, payload.len());
        }
    }

    /// Verifies what somebody said; nothing, if it is not even of the right
    /// kind. Returns who said it, if that can be told, and whether it is
    /// intact.
    fn verify(&mut self, link: usize, payload: Option<&[u8]>) -> Option<(Stamp, bool)> {
        let read = payload.map_or(Err(Corruption::Stamp), |payload| self.codec.read(payload));
        match read {
            Ok(stamp) => Some((stamp, true)),
            Err(damage) => self.corrupted(link, damage).map(|stamp| (stamp, false)),
        }
    }

    /// What a user could not say may be taken now.
    fn try_again(&mut self, link: usize) {
        if std::mem::take(&mut self.users[link].blocked) {
            self.tally.unsent -= 1;
            let due = self.users[link].speaks;
            self.schedule(link, due);
        }
    }

    /// Lets the other threads know what arrived.
    fn report(&mut self) {
        self.control
            .rooms
            .account(std::mem::take(&mut self.unreported));
    }

    fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            self.control.finish_publishing();
        }
    }
}

impl Workload for Chat {
    fn target(&self, link: usize) -> String {
        let topic = self.settings.topic(self.users[link].room as usize);
        self.settings.target.path().replace("{topic}", &topic)
    }

    fn is_ready(&self) -> bool {
        self.sessions.as_ref().is_none_or(Sessions::all_answered)
    }

    fn reopens(&self) -> bool {
        true
    }

    fn opened(&mut self, links: &mut Links, link: usize, now: Nanos) {
        if self.sessions.is_some() {
            self.connect(links, link, now);
        } else {
            self.seat(link, now);
        }
    }

    fn released(&mut self, link: usize, now: Nanos, clean: bool) {
        let cut = self.users[link].stage == Stage::Cut;
        let missing = self.take_out(link);
        if clean {
            self.left(link, missing);
        } else {
            self.tally.cut_off += missing;
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.reset(link);
        }
        self.users[link].stage = Stage::Away;
        if self.running {
            self.schedule(link, if cut { now + RETRY } else { now });
        }
    }

    fn begin(&mut self, start: Nanos, window: Window) {
        self.tally.window = window;
        self.end = window.to;
        self.running = true;
        for link in 0..self.users.len() {
            match self.users[link].stage {
                Stage::In => self.enter(link, start, true),
                Stage::Away => self.schedule(link, start),
                Stage::Joining | Stage::Leaving | Stage::Cut => {}
            }
        }
    }

    fn received(&mut self, links: &mut Links, link: usize, kind: Kind, payload: &[u8], now: Nanos) {
        if self.sessions.is_some() {
            return self.frame(links, link, payload, now);
        }
        self.message(link, kind, payload, now);
    }

    fn unblocked(&mut self, link: usize) {
        self.try_again(link);
    }
    fn ended(&mut self, link: usize) {
        let blocked = std::mem::take(&mut self.users[link].blocked);
        self.tally.unsent -= u64::from(blocked);
        let missing = self.take_out(link);
        let user = &mut self.users[link];
        user.stage = Stage::Cut;
        let doubtful = std::mem::take(&mut user.recent).at(self.now, self.talk.grace);
        if let Some(due) = user.due.take() {
            self.agenda.remove(&(due, link));
        }
        self.tally.cut_off += missing + doubtful;
        self.unreported += doubtful;
        if let Some(sessions) = &mut self.sessions {
            sessions.reset(link);
        }
    }

    fn produce(&mut self, links: &mut Links, now: Nanos) {
        self.now = now;
        for _ in 0..TURN {
            let Some(&(due, link)) = self.agenda.first().filter(|&&(due, _)| due <= now) else {
                break;
            };
            self.agenda.pop_first();
            self.users[link].due = None;
            self.act(links, link, due, now);
        }
    }

    fn next_send(&self) -> Option<Nanos> {
        self.agenda.first().map(|&(due, _)| due)
    }

    fn stop(&mut self, now: Nanos) {
        self.end = self.end.min(now);
        for (_, link) in self.agenda.split_off(&(self.end, 0)) {
            self.users[link].due = None;
        }
    }

    fn drained(&mut self, _links: &Links) -> bool {
        if self.agenda.is_empty() && self.tally.unsent == 0 {
            self.finish();
        }
        self.report();
        let answered = self.sessions.as_ref().is_none_or(Sessions::all_answered);
        answered && self.control.all_published().is_some() && self.control.rooms.all_accounted()
    }

    fn settle(&mut self) {
        self.finish();
        self.report();
        self.running = false;
        self.end = 0;
        self.agenda.clear();
        for user in &mut self.users {
            user.sure = None;
        }
        self.tally.visits = Some(self.visits);
        self.settle_sessions();
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_of_mixed_sizes() {
        let shares = popularity(4);
        let sizes: Vec<f64> = (0..4)
            .map(|room| shares[room] - if room == 0 { 0.0 } else { shares[room - 1] })
            .collect();
        assert!((shares[3] - 1.0).abs() < 1e-9);
        assert!((sizes[0] / sizes[1] - 2.0).abs() < 1e-9);
        assert!((sizes[0] / sizes[3] - 4.0).abs() < 1e-9);
    }
}
