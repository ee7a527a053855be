//! Idle connections: held open, pings answered and, if asked, sent.

use hioload_platform::Nanos;
use hioload_protocol::Kind;
use serde::{Deserialize, Serialize};

use crate::links::Links;
use crate::load::{TURN, Workload};
use crate::plan::{Plan, Share};
use crate::settings::Settings;
use crate::tally::{Tally, Window};

/// Bytes of a ping: run, connection and number, little endian.
const PING: usize = 16;

/// What is counted beside messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beats {
    /// Pings of the server; the protocol core answers each.
    pub(crate) server_pings: u64,
    /// Pings of the generator.
    pub(crate) pings_sent: u64,
    /// Pongs that answer one of these.
    pub(crate) pongs: u64,
    /// Pongs that nobody asked for, which RFC 6455 allows.
    pub(crate) unsolicited_pongs: u64,
}

impl Beats {
    /// Adds another thread's counts.
    pub(crate) fn merge(&mut self, other: Self) {
        self.server_pings += other.server_pings;
        self.pings_sent += other.pings_sent;
        self.pongs += other.pongs;
        self.unsolicited_pongs += other.unsolicited_pongs;
    }
}

/// One thread's connections that are held.
#[derive(Debug)]
pub(crate) struct Idle {
    settings: Settings,
    thread: usize,
    /// Between two pings of one connection.
    interval: Option<Nanos>,
    plan: Option<Plan>,
    /// Per connection, with an interval.
    pings: Box<[Pings]>,
    /// Pings sent on connections still open, and neither answered nor passed
    /// over.
    outstanding: u64,
    beats: Beats,
    tally: Tally,
}

/// One connection's pings.
#[derive(Clone, Copy, Debug, Default)]
struct Pings {
    /// Planned so far for this connection, which the plan counts along.
    planned: u64,
    /// The number after that of the last ping sent, or due but not taken.
    sent: u64,
    /// The number after that of the last ping answered: a pong answers all
    /// pings before it as well (RFC 6455 section 5.5.3).
    answered: u64,
}

impl Idle {
    /// The share of thread `thread`.
    pub(crate) fn new(settings: &Settings, interval: Option<Nanos>, thread: usize) -> Self {
        let count = settings.share(thread);
        let pings = if interval.is_some() { count } else { 0 };
        let mut tally = Tally::new(Window { from: 0, to: 0 });
        tally.timed = interval.is_some();
        Self {
            settings: settings.clone(),
            thread,
            interval,
            plan: None,
            pings: vec![Pings::default(); pings].into(),
            outstanding: 0,
            beats: Beats::default(),
            tally,
        }
    }

    fn connection(&self, link: usize) -> u32 {
        u32::try_from(self.thread + link * self.settings.threads).unwrap_or(u32::MAX)
    }

    fn payload(&self, link: usize, number: u64) -> [u8; PING] {
        let mut payload = [0; PING];
        payload[..4].copy_from_slice(&self.settings.run.to_le_bytes());
        payload[4..8].copy_from_slice(&self.connection(link).to_le_bytes());
        payload[8..].copy_from_slice(&number.to_le_bytes());
        payload
    }

    /// The number of the ping that this pong answers, if it is one of ours.
    fn number(&self, link: usize, pong: &[u8]) -> Option<u64> {
        let number = u64::from_le_bytes(pong.get(8..PING)?.try_into().ok()?);
        (pong == self.payload(link, number)).then_some(number)
    }

    fn ping(&mut self, links: &mut Links, link: usize, planned: Nanos, now: Nanos) {
        let number = self.pings[link].planned;
        self.pings[link].planned += 1;
        if !links.is_open(link) {
            return;
        }
        self.pings[link].sent = number + 1;
        self.outstanding += 1;
        self.tally.expect(planned, 1);
        if !links.takes(link) {
            self.tally.held_back += 1;
            self.tally.unsent += 1;
            return;
        }
        let payload = self.payload(link, number);
        links.ping(link, &payload);
        self.beats.pings_sent += 1;
        self.tally.sent(now, PING);
    }
}

impl Workload for Idle {
    fn target(&self, _link: usize) -> String {
        self.settings.target.path().to_owned()
    }

    fn pinged(&mut self, _link: usize, _now: Nanos) {
        self.beats.server_pings += 1;
    }

    fn ponged(&mut self, link: usize, payload: &[u8], now: Nanos) {
        let pings = self.pings.get(link).copied().unwrap_or_default();
        let number = self.number(link, payload);
        let Some(number) = number.filter(|number| (pings.answered..pings.sent).contains(number))
        else {
            self.beats.unsolicited_pongs += 1;
            return;
        };
        let planned = self.plan.as_ref().map(|plan| plan.planned(link, number));
        let passed_over = number - pings.answered;
        self.pings[link].answered = number + 1;
        self.outstanding = self.outstanding.saturating_sub(passed_over + 1);
        self.beats.pongs += 1;
        self.tally.arrived_total += passed_over;
        self.tally.received(planned.unwrap_or(now), now, PING);
    }

    fn begin(&mut self, start: Nanos, window: Window) {
        self.tally.window = window;
        let Some(interval) = self.interval else {
            return;
        };
        let share = Share {
            total: self.settings.connections() as u64,
            stride: self.settings.threads as u64,
            first: self.thread as u64,
            senders: self.pings.len(),
        };
        let rate = share.total as f64 * 1e9 / interval as f64;
        self.plan = Some(Plan::new(
            self.settings.curve(rate),
            share,
            start,
            window.to,
        ));
    }

    fn received(
        &mut self,
        _links: &mut Links,
        link: usize,
        _kind: Kind,
        _payload: &[u8],
        _now: Nanos,
    ) {
        self.tally.faults.unexpected += 1;
        let connection = self.connection(link);
        self.tally
            .faults
            .describe(|| format!("idle connection {connection} got a message"));
    }

    fn unblocked(&mut self, _link: usize) {}

    fn ended(&mut self, link: usize) {
        if let Some(pings) = self.pings.get_mut(link) {
            let cut_off = pings.sent - pings.answered;
            pings.answered = pings.sent;
            self.outstanding = self.outstanding.saturating_sub(cut_off);
            self.tally.cut_off += cut_off;
        }
    }

    fn produce(&mut self, links: &mut Links, now: Nanos) {
        for _ in 0..TURN {
            let Some((link, planned)) = self.plan.as_mut().and_then(|plan| plan.due(now)) else {
                break;
            };
            if links.is_open(link) {
                self.tally.came_to(planned, now);
            }
            self.ping(links, link, planned, now);
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

    fn drained(&mut self, _links: &Links) -> bool {
        self.outstanding == 0
    }

    fn settle(&mut self) {
        self.tally.beats = Some(self.beats);
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
