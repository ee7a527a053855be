//! The echo load: every message must come back on its own connection, in order.

use std::collections::VecDeque;

use hioload_platform::Nanos;
use hioload_protocol::Kind;

use crate::links::Links;
use crate::load::{TURN, Workload};
use crate::payload::{Codec, Corruption, Stamp};
use crate::plan::{Plan, Share};
use crate::random::message_seed;
use crate::sequence::{Arrival, Sequence};
use crate::settings::{MAX_OUTSTANDING, Pace, Settings};
use crate::size::Sizes;
use crate::tally::{Tally, Window};

/// How far around the expected message an unstamped one is searched for before
/// it counts as corrupted.
const SEARCH: u64 = 64;

/// One thread's connections under echo load.
#[derive(Debug)]
pub(crate) struct Echo {
    settings: Settings,
    thread: usize,
    codec: Codec,
    sizes: Sizes,
    pace: Pace,
    plan: Option<Plan>,
    flows: Vec<Flow>,
    ready: VecDeque<usize>,
    /// Messages sent on connections still open and not answered or skipped.
    outstanding: u64,
    /// Messages planned until now for connections still open, and not sent.
    owed: u64,
    sending: bool,
    payload: Vec<u8>,
    tally: Tally,
}

/// One connection's messages.
#[derive(Debug, Default)]
struct Flow {
    sent: u64,
    answered: Sequence,
    /// Planned times of the messages `answered.next()..sent`; at most
    /// [`MAX_OUTSTANDING`].
    planned: VecDeque<Nanos>,
    /// Whether it is listed as ready to send.
    ready: bool,
}

impl Echo {
    /// The share of thread `thread`.
    pub(crate) fn new(settings: &Settings, pace: Pace, thread: usize) -> Self {
        let count = settings.share(thread);
        Self {
            settings: settings.clone(),
            thread,
            codec: Codec::new(settings.run, settings.kind),
            sizes: settings.sizes,
            pace,
            plan: None,
            flows: (0..count).map(|_| Flow::default()).collect(),
            ready: VecDeque::with_capacity(count),
            outstanding: 0,
            owed: 0,
            sending: false,
            payload: Vec::with_capacity(settings.sizes.max()),
            tally: Tally::new(Window { from: 0, to: 0 }),
        }
    }

    fn sender(&self, link: usize) -> u32 {
        u32::try_from(self.thread + link * self.settings.threads).unwrap_or(u32::MAX)
    }

    fn size(&self, sender: u32, sequence: u64) -> usize {
        self.sizes
            .pick(message_seed(self.settings.run, sender, sequence))
    }

    /// How many messages a connection should have sent by now.
    fn wanted(&self, link: usize) -> u64 {
        let flow = &self.flows[link];
        match (&self.plan, self.pace) {
            (Some(plan), _) => plan.taken(link),
            (None, Pace::Closed { depth }) if self.sending => flow.answered.next() + depth as u64,
            _ => flow.sent,
        }
    }

    /// Sends what the connection should have sent and can.
    fn send(&mut self, links: &mut Links, link: usize, now: Nanos) {
        let wanted = self.wanted(link);
        while self.flows[link].sent < wanted
            && self.flows[link].planned.len() < MAX_OUTSTANDING
            && links.takes(link)
        {
            self.send_one(links, link, now);
        }
    }

    fn send_one(&mut self, links: &mut Links, link: usize, now: Nanos) {
        let sender = self.sender(link);
        let sequence = self.flows[link].sent;
        let planned = match &self.plan {
            Some(plan) => {
                self.owed -= 1;
                plan.planned(link, sequence)
            }
            None => now,
        };
        let len = self.size(sender, sequence);
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
        let flow = &mut self.flows[link];
        flow.sent += 1;
        flow.planned.push_back(planned);
        self.outstanding += 1;
        self.tally.expect(planned, 1);
        self.tally.sent(now, len);
    }

    fn list_ready(&mut self, link: usize) {
        let flow = &mut self.flows[link];
        if !flow.ready {
            flow.ready = true;
            self.ready.push_back(link);
        }
    }

    /// Which message a payload is. `None`: it was counted as a fault and stands
    /// for no message.
    fn identify(&mut self, link: usize, kind: Kind, payload: &[u8]) -> Option<Identified> {
        let sender = self.sender(link);
        if kind != self.codec.kind() {
            return self.corrupted(link, "it came back as the other kind of message");
        }
        if payload.len() < self.codec.stamp_len() {
            return self.identify_small(link, sender, payload);
        }
        let stamp = match self.codec.read(payload) {
            Ok(stamp) => stamp,
            Err(Corruption::Foreign) => {
                self.tally.faults.foreign += 1;
                return None;
            }
            Err(damage @ Corruption::Body { stamp, .. }) => {
                self.describe(link, &damage.to_string());
                self.tally.faults.corrupted += 1;
                let known = stamp.sender == sender && stamp.sequence < self.flows[link].sent;
                return known.then_some(Identified {
                    sequence: stamp.sequence,
                    intact: false,
                });
            }
            Err(damage) => return self.corrupted(link, &damage.to_string()),
        };
        if stamp.sender != sender || stamp.sequence >= self.flows[link].sent {
            self.describe(link, "it got a message that another connection sent");
            self.tally.faults.unexpected += 1;
            return None;
        }
        if payload.len() != self.size(sender, stamp.sequence) {
            return self.corrupted(link, "its length is not the one sent");
        }
        Some(Identified {
            sequence: stamp.sequence,
            intact: true,
        })
    }

    /// Unstamped messages are told by order and content.
    fn identify_small(&mut self, link: usize, sender: u32, payload: &[u8]) -> Option<Identified> {
        let (next, sent) = (self.flows[link].answered.next(), self.flows[link].sent);
        let is = |&sequence: &u64| {
            self.size(sender, sequence) == payload.len()
                && self.codec.matches(sender, sequence, payload)
        };
        let ahead = (next..sent.min(next + SEARCH)).find(is);
        let found = ahead.or_else(|| (next.saturating_sub(SEARCH)..next).rev().find(is));
        match found {
            Some(sequence) => Some(Identified {
                sequence,
                intact: true,
            }),
            None => self.corrupted(link, "it came back with other bytes"),
        }
    }

    /// A message that can not be told: order says it is the next one.
    fn corrupted(&mut self, link: usize, what: &str) -> Option<Identified> {
        let (next, sent) = (self.flows[link].answered.next(), self.flows[link].sent);
        if next == sent {
            self.describe(link, "it got a message although none was outstanding");
            self.tally.faults.unexpected += 1;
            return None;
        }
        self.describe(link, what);
        self.tally.faults.corrupted += 1;
        Some(Identified {
            sequence: next,
            intact: false,
        })
    }

    fn describe(&mut self, link: usize, what: &str) {
        let (connection, next) = (self.sender(link), self.flows[link].answered.next());
        self.tally
            .faults
            .describe(|| format!("connection {connection}, message {next} expected: {what}"));
    }

    /// Forgets the planned times of the next `count` messages and of the one
    /// after them, which is returned.
    fn take_planned(&mut self, link: usize, count: u64) -> Option<Nanos> {
        let flow = &mut self.flows[link];
        for _ in 0..count {
            flow.planned.pop_front();
        }
        self.outstanding = self.outstanding.saturating_sub(count + 1);
        flow.planned.pop_front()
    }
}

/// A message that came back.
#[derive(Clone, Copy, Debug)]
struct Identified {
    sequence: u64,
    intact: bool,
}

impl Workload for Echo {
    fn target(&self, _link: usize) -> String {
        self.settings.target.path().to_owned()
    }

    fn begin(&mut self, start: Nanos, window: Window) {
        self.tally
            .measure(window, &self.settings.shape.steps(window));
        self.sending = true;
        if let Pace::Open { rate } = self.pace {
            let share = Share {
                total: self.settings.connections() as u64,
                stride: self.settings.threads as u64,
                first: self.thread as u64,
                senders: self.flows.len(),
            };
            let curve = self.settings.curve(rate);
            self.plan = Some(Plan::new(curve, share, start, window.to));
        } else {
            (0..self.flows.len()).for_each(|link| self.list_ready(link));
        }
    }

    fn received(
        &mut self,
        _links: &mut Links,
        link: usize,
        kind: Kind,
        payload: &[u8],
        now: Nanos,
    ) {
        let Some(message) = self.identify(link, kind, payload) else {
            return;
        };
        let next = self.flows[link].answered.next();
        match self.flows[link].answered.accept(message.sequence) {
            Arrival::Duplicate => {
                self.describe(link, &format!("message {} came twice", message.sequence));
                self.tally.faults.duplicated += 1;
                return;
            }
            Arrival::Late => {
                self.tally.faults.reordered += 1;
                self.tally.arrived_total += 1;
                return;
            }
            Arrival::InOrder => {}
            Arrival::Skipped(_) => {
                self.describe(link, &format!("message {} came", message.sequence));
            }
        }
        let planned = self.take_planned(link, message.sequence - next);
        match planned.filter(|_| message.intact) {
            Some(planned) => self.tally.received(planned, now, payload.len()),
            None => self.tally.arrived_total += 1,
        }
        if self.flows[link].sent < self.wanted(link) {
            self.list_ready(link);
        }
    }

    fn unblocked(&mut self, link: usize) {
        if self.flows[link].sent < self.wanted(link) {
            self.list_ready(link);
        }
    }

    fn ended(&mut self, link: usize) {
        let never_sent = self.wanted(link).saturating_sub(self.flows[link].sent);
        if self.plan.is_some() {
            self.owed -= never_sent;
        }
        let flow = &mut self.flows[link];
        self.outstanding = self.outstanding.saturating_sub(flow.planned.len() as u64);
        for planned in flow.planned.drain(..) {
            self.tally.cut_off(planned);
        }
    }

    fn produce(&mut self, links: &mut Links, now: Nanos) {
        for _ in 0..TURN {
            let Some((link, planned)) = self.plan.as_mut().and_then(|plan| plan.due(now)) else {
                break;
            };
            if !links.is_open(link) {
                continue;
            }
            self.owed += 1;
            self.tally.came_to(planned, now);
            self.send(links, link, now);
            if self.flows[link].sent < self.wanted(link) {
                self.tally.held_back += 1;
            }
        }
        while let Some(link) = self.ready.pop_front() {
            self.flows[link].ready = false;
            self.send(links, link, now);
        }
    }

    fn next_send(&self) -> Option<Nanos> {
        self.plan.as_ref().and_then(Plan::next)
    }

    fn stop(&mut self, now: Nanos) {
        self.sending = false;
        if let Some(plan) = &mut self.plan {
            plan.stop(now);
        }
    }

    fn drained(&mut self, _links: &Links) -> bool {
        self.outstanding == 0 && self.owed == 0 && self.next_send().is_none()
    }

    fn settle(&mut self) {
        self.tally.unsent = self.owed;
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
