//! The broadcast load: what a publisher sends must reach all other members of
//! its topic, once and in order, and not the publisher itself.

use hioload_platform::Nanos;
use hioload_protocol::Kind;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::control::Control;
use crate::links::Links;
use crate::load::{TURN, Workload};
use crate::payload::{Codec, Corruption, Stamp};
use crate::plan::{Plan, Share};
use crate::random::message_seed;
use crate::sequence::{Arrival, Sequence};
use crate::settings::{Settings, share};
use crate::tally::{Tally, Window};

/// Who belongs to which topic: member `n` of the run, publishers first, is of
/// topic `n % topics` counted within its own group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership {
    /// Connections that publish: the members `0..publishers`.
    pub(crate) publishers: usize,
    /// Connections that only receive: the members after them.
    pub(crate) subscribers: usize,
    /// Topics.
    pub(crate) topics: usize,
}

impl Membership {
    fn topic(self, member: usize) -> usize {
        let within = member.checked_sub(self.publishers).unwrap_or(member);
        within % self.topics
    }

    fn publishers_of(self, topic: usize) -> usize {
        share(self.publishers, topic, self.topics)
    }

    /// Receipts that one message to `topic` causes.
    fn receivers_of(self, topic: usize) -> usize {
        self.publishers_of(topic) + share(self.subscribers, topic, self.topics) - 1
    }

    /// The place of a publisher among those of its topic.
    fn place(self, publisher: usize) -> usize {
        publisher / self.topics
    }

    /// The publisher at a place of a topic.
    fn publisher(self, topic: usize, place: usize) -> usize {
        place * self.topics + topic
    }
}

/// One thread's members under broadcast load.
#[derive(Debug)]
pub(crate) struct Broadcast {
    settings: Settings,
    members: Membership,
    rate: f64,
    thread: usize,
    control: Arc<Control>,
    codec: Codec,
    plan: Option<Plan>,
    /// Messages sent by each of this thread's publishers, which are its first
    /// connections.
    sent: Vec<u64>,
    ended: Vec<bool>,
    blocked: VecDeque<usize>,
    owed: u64,
    /// Per connection: what it heard from each publisher of its topic.
    heard: Vec<Box<[Sequence]>>,
    /// Different messages that arrived on connections still open.
    arrived: u64,
    /// What `arrived` will be when all have come; computed once all publishers
    /// have finished.
    expected: Option<u64>,
    /// Whether this thread's publishers have sent their last message.
    finished: bool,
    payload: Vec<u8>,
    tally: Tally,
}

impl Broadcast {
    /// The share of thread `thread`.
    pub(crate) fn new(
        settings: &Settings,
        members: Membership,
        rate: f64,
        thread: usize,
        control: Arc<Control>,
    ) -> Self {
        let count = settings.share(thread);
        let heard = (0..count).map(|link| {
            let topic = members.topic(thread + link * settings.threads);
            (0..members.publishers_of(topic))
                .map(|_| Sequence::default())
                .collect()
        });
        let publishers = share(members.publishers, thread, settings.threads);
        Self {
            settings: settings.clone(),
            members,
            rate,
            thread,
            control,
            codec: Codec::new(settings.run, settings.kind),
            plan: None,
            sent: vec![0; publishers],
            ended: vec![false; count],
            blocked: VecDeque::new(),
            owed: 0,
            heard: heard.collect(),
            arrived: 0,
            expected: None,
            finished: false,
            payload: Vec::with_capacity(settings.sizes.max()),
            tally: Tally::new(Window { from: 0, to: 0 }),
        }
    }

    fn member(&self, link: usize) -> usize {
        self.thread + link * self.settings.threads
    }

    fn send(&mut self, links: &mut Links, link: usize, now: Nanos) {
        let wanted = self.plan.as_ref().map_or(0, |plan| plan.taken(link));
        while self.sent[link] < wanted && links.takes(link) {
            self.send_one(links, link, now);
        }
    }

    fn send_one(&mut self, links: &mut Links, link: usize, now: Nanos) {
        let member = self.member(link);
        let sender = u32::try_from(member).unwrap_or(u32::MAX);
        let sequence = self.sent[link];
        let planned = self
            .plan
            .as_ref()
            .map_or(now, |plan| plan.planned(link, sequence));
        let len = self
            .settings
            .sizes
            .pick(message_seed(self.settings.run, sender, sequence));
        self.codec.write(
            &Stamp {
                sender,
                sequence,
                planned,
            },
            len,
            &mut self.payload,
        );
        links.send(link, self.codec.kind(), &self.payload);
        self.sent[link] += 1;
        self.owed -= 1;
        let receivers = self.members.receivers_of(self.members.topic(member));
        self.tally.expect(planned, receivers as u64);
        self.tally.sent(now, len);
    }

    fn has_sent_all(&self) -> bool {
        self.owed == 0 && self.plan.as_ref().is_none_or(|plan| plan.next().is_none())
    }

    /// Tells the other threads how much this thread's publishers sent.
    fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            for (link, &sent) in self.sent.iter().enumerate() {
                let cut = self.ended[link];
                self.control.published(self.member(link), sent, cut);
            }
            self.control.finish_publishing();
        }
    }

    /// Receipts each of this thread's connections should have seen in the end.
    fn demanded(&self, published: impl Fn(usize) -> u64) -> Vec<u64> {
        let members = self.members;
        let topics = (0..members.topics).map(|topic| {
            let places = 0..members.publishers_of(topic);
            places
                .map(|place| published(members.publisher(topic, place)))
                .sum::<u64>()
        });
        let topics: Vec<u64> = topics.collect();
        let of = |link| {
            let member = self.member(link);
            let own = if member < members.publishers {
                published(member)
            } else {
                0
            };
            topics[members.topic(member)] - own
        };
        (0..self.heard.len()).map(of).collect()
    }

    /// Receipts this thread's open connections should have seen in the end.
    fn expected(&self, links: &Links, published: impl Fn(usize) -> u64) -> u64 {
        let demanded = self.demanded(published).into_iter().enumerate();
        demanded
            .filter(|&(link, _)| links.is_open(link))
            .map(|(_, receipts)| receipts)
            .sum()
    }

    /// Receipts that failed connections cut off: all that their own are missing,
    /// and the last messages of a publisher at the others.
    fn cut_off(&self, published: impl Fn(usize) -> u64) -> u64 {
        let (members, mut cut_off) = (self.members, 0);
        for (link, demanded) in self.demanded(&published).into_iter().enumerate() {
            let heard = &self.heard[link];
            if self.ended[link] {
                let arrived: u64 = heard.iter().map(Sequence::arrived).sum();
                cut_off += demanded.saturating_sub(arrived);
                continue;
            }
            let topic = members.topic(self.member(link));
            for (place, heard) in heard.iter().enumerate() {
                let publisher = members.publisher(topic, place);
                if publisher != self.member(link) && self.control.was_cut(publisher) {
                    cut_off += published(publisher).saturating_sub(heard.next());
                }
            }
        }
        cut_off
    }

    /// Counts a damaged message; returns its stamp if that is intact.
    #[cold]
    fn corrupted(&mut self, link: usize, damage: Corruption) -> Option<Stamp> {
        if damage == Corruption::Foreign {
            self.tally.faults.foreign += 1;
            return None;
        }
        let member = self.member(link);
        self.tally.faults.corrupted += 1;
        self.tally
            .faults
            .describe(|| format!("receiver {member}: {damage}"));
        match damage {
            Corruption::Body { stamp, .. } => Some(stamp),
            _ => {
                self.tally.faults.unidentified += 1;
                None
            }
        }
    }

    /// What connection `link` heard from the sender of a message; `None`, after
    /// counting the fault, if it should not have got that message.
    fn sequence_of(&mut self, link: usize, stamp: &Stamp) -> Option<&mut Sequence> {
        let (member, publisher) = (self.member(link), stamp.sender as usize);
        if publisher == member {
            self.tally.faults.own += 1;
            self.tally
                .faults
                .describe(|| format!("publisher {member} got its own message back"));
            return None;
        }
        let topic = self.members.topic(member);
        if publisher >= self.members.publishers || self.members.topic(publisher) != topic {
            self.tally.faults.unexpected += 1;
            self.tally.faults.describe(|| {
                format!("receiver {member} got a message of publisher {publisher}, another topic's")
            });
            return None;
        }
        self.heard[link].get_mut(self.members.place(publisher))
    }
}

impl Workload for Broadcast {
    fn target(&self, link: usize) -> String {
        let topic = self.settings.topic(self.members.topic(self.member(link)));
        self.settings.target.path().replace("{topic}", &topic)
    }

    fn begin(&mut self, start: Nanos, window: Window) {
        self.tally
            .measure(window, &self.settings.shape.steps(window));
        let share = Share {
            total: self.members.publishers as u64,
            stride: self.settings.threads as u64,
            first: self.thread as u64,
            senders: self.sent.len(),
        };
        let curve = self.settings.curve(self.rate);
        self.plan = Some(Plan::new(curve, share, start, window.to));
    }

    fn received(
        &mut self,
        _links: &mut Links,
        link: usize,
        kind: Kind,
        payload: &[u8],
        now: Nanos,
    ) {
        let (stamp, intact) = match self.codec.read(payload) {
            _ if kind != self.codec.kind() => (self.corrupted(link, Corruption::Stamp), false),
            Ok(stamp) => (Some(stamp), true),
            Err(damage) => (self.corrupted(link, damage), false),
        };
        let Some(stamp) = stamp else { return };
        let Some(heard) = self.sequence_of(link, &stamp) else {
            return;
        };
        let arrival = heard.accept(stamp.sequence);
        self.arrived += u64::from(arrival != Arrival::Duplicate);
        let Stamp {
            sender,
            sequence,
            planned,
        } = stamp;
        let faults = &mut self.tally.faults;
        match arrival {
            Arrival::InOrder => {}
            Arrival::Skipped(count) => faults.describe(|| {
                format!("{count} messages before number {sequence} of publisher {sender} missing")
            }),
            Arrival::Late => faults.reordered += 1,
            Arrival::Duplicate => {
                faults.duplicated += 1;
                faults.describe(|| format!("message {sequence} of publisher {sender} came twice"));
                return;
            }
        }
        if intact && arrival != Arrival::Late {
            self.tally.received(planned, now, payload.len());
        } else {
            self.tally.arrived_total += 1;
        }
    }

    fn unblocked(&mut self, link: usize) {
        if self.owed > 0 && link < self.sent.len() {
            self.blocked.push_back(link);
        }
    }

    fn ended(&mut self, link: usize) {
        self.ended[link] = true;
        self.expected = None;
        self.arrived -= self.heard[link].iter().map(Sequence::arrived).sum::<u64>();
        if let (Some(plan), Some(&sent)) = (&self.plan, self.sent.get(link)) {
            self.owed -= plan.taken(link) - sent;
        }
        if let Some(&sent) = self.sent.get(link).filter(|_| self.finished) {
            self.control.published(self.member(link), sent, true);
        }
    }

    fn produce(&mut self, links: &mut Links, now: Nanos) {
        for _ in 0..TURN {
            let Some((link, planned)) = self.plan.as_mut().and_then(|plan| plan.due(now)) else {
                break;
            };
            if self.ended[link] {
                continue;
            }
            self.owed += 1;
            self.tally.came_to(planned, now);
            self.send(links, link, now);
            let wanted = self.plan.as_ref().map_or(0, |plan| plan.taken(link));
            self.tally.held_back += u64::from(self.sent[link] < wanted);
        }
        while let Some(link) = self.blocked.pop_front() {
            self.send(links, link, now);
        }
    }

    fn next_send(&self) -> Option<Nanos> {
        self.plan.as_ref().and_then(Plan::next)
    }

    fn stop(&mut self, now: Nanos) {
        if let Some(plan) = &mut self.plan {
            plan.stop(now);
        }
    }

    fn drained(&mut self, links: &Links) -> bool {
        if self.has_sent_all() {
            self.finish();
        }
        let control = Arc::clone(&self.control);
        let Some(published) = control.all_published() else {
            return false;
        };
        let expected = match self.expected {
            Some(expected) => expected,
            None => self.expected(links, published),
        };
        self.expected = Some(expected);
        self.arrived >= expected
    }

    fn settle(&mut self) {
        self.finish();
        self.tally.unsent = self.owed;
        let control = Arc::clone(&self.control);
        if let Some(published) = control.all_published() {
            self.tally.cut_off += self.cut_off(published);
        }
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
