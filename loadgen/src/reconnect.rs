//! Reconnecting after a restart: connections are held, and all that the server
//! drops come back, each with a growing pause between its attempts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use serde::Serialize;

use hioload_platform::Nanos;
use hioload_protocol::Kind;

use crate::cause;
use crate::links::Links;
use crate::load::Workload;
use crate::payload::Stamp;
use crate::probe::{Probe, Wrong};
use crate::random::mix;
use crate::settings::Settings;
use crate::tally::{Tally, Window};

/// Outages told apart per thread; more are counted as part of the last.
const MAX_OUTAGES: usize = 256;

/// Doublings of the pause: beyond them any base has met its bound.
const MAX_DOUBLINGS: u32 = 40;

/// How long a connection waits before it tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Bound of the pause before the first attempt; it doubles with each.
    pub(crate) base: Nanos,
    /// What it never exceeds.
    pub(crate) most: Nanos,
    /// Whether the pause is any time up to its bound, or the bound itself: with
    /// all clients alike, they come back in the same instants.
    pub(crate) jitter: bool,
}

impl Backoff {
    /// The pause after so many failed attempts; `seed` decides the jitter.
    fn pause(self, failed: u32, seed: u64) -> Nanos {
        let doubled = self.base.saturating_mul(1 << failed.min(MAX_DOUBLINGS));
        let bound = doubled.min(self.most);
        if !self.jitter {
            return bound;
        }
        let scaled = (u128::from(mix(seed)) * (u128::from(bound) + 1)) >> 64;
        u64::try_from(scaled).unwrap_or(bound)
    }
}

/// A time in which connections were down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outage {
    /// When the first was dropped.
    #[serde(skip)]
    pub(crate) from: Nanos,
    /// When all were back; `None` if they never were.
    #[serde(skip)]
    pub(crate) to: Option<Nanos>,
    /// Connections dropped.
    pub(crate) dropped: u64,
    /// Attempts that failed before all were back.
    pub(crate) failed_attempts: u64,
    /// From the first drop until all were back, or null.
    pub(crate) all_back_ns: Option<Nanos>,
}

/// What the reconnecting came to.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Comeback {
    /// In their order.
    pub(crate) outages: Vec<Outage>,
    /// Dropped connections, by cause.
    pub(crate) drops: BTreeMap<String, u64>,
    /// Attempts that failed, by cause.
    pub(crate) failed_attempts: BTreeMap<String, u64>,
    /// Connections that were down when the run ended; they count as failed.
    pub(crate) missing: u64,
}

impl Comeback {
    /// Adds another thread's. What overlaps is one outage of the server.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.outages.extend(&other.outages);
        self.outages.sort_by_key(|outage| outage.from);
        let mut merged: Vec<Outage> = Vec::new();
        for outage in self.outages.drain(..) {
            match merged.last_mut() {
                Some(last) if last.to.is_none_or(|to| to >= outage.from) => last.add(outage),
                _ => merged.push(outage),
            }
        }
        self.outages = merged;
        cause::merge(&mut self.drops, &other.drops);
        cause::merge(&mut self.failed_attempts, &other.failed_attempts);
        self.missing += other.missing;
    }
}

impl Outage {
    fn add(&mut self, other: Self) {
        self.to = self.to.zip(other.to).map(|(one, other)| one.max(other));
        self.dropped += other.dropped;
        self.failed_attempts += other.failed_attempts;
        self.all_back_ns = self.to.map(|to| to - self.from);
    }
}

/// One thread's connections that are held and come back.
#[derive(Debug)]
pub(crate) struct Reconnect {
    settings: Settings,
    backoff: Backoff,
    thread: usize,
    probe: Probe,
    slots: Vec<Slot>,
    /// When connections without a socket try again; each at most once.
    agenda: BinaryHeap<Reverse<(Nanos, usize)>>,
    /// Connections that are not back.
    down: usize,
    stage: Stage,
    outages: Vec<Outage>,
    drops: BTreeMap<String, u64>,
    attempts: BTreeMap<String, u64>,
    tally: Tally,
}

/// What a failed connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A fault: all are to open once before it begins.
    Before,
    /// A drop, or an attempt to come back.
    Running,
    /// Nothing; who was missing is counted.
    Over,
}

/// One connection through its drops.
#[derive(Debug, Default)]
struct Slot {
    /// When it was dropped, while it is not back.
    dropped: Option<Nanos>,
    /// Failed attempts since.
    failed: u32,
    /// How often it has been open.
    opened: u64,
    /// Whether its message is outstanding.
    waiting: bool,
}

impl Reconnect {
    /// The share of thread `thread`.
    pub(crate) fn new(settings: &Settings, backoff: Backoff, thread: usize) -> Self {
        let count = settings.share(thread);
        Self {
            settings: settings.clone(),
            backoff,
            thread,
            probe: Probe::new(settings),
            slots: (0..count).map(|_| Slot::default()).collect(),
            agenda: BinaryHeap::with_capacity(count),
            down: 0,
            stage: Stage::Before,
            outages: Vec::new(),
            drops: BTreeMap::new(),
            attempts: BTreeMap::new(),
            tally: Tally::new(Window { from: 0, to: 0 }),
        }
    }

    fn stamp(&self, link: usize) -> Stamp {
        let connection = self.thread + link * self.settings.threads;
        let slot = &self.slots[link];
        Stamp {
            sender: u32::try_from(connection).unwrap_or(u32::MAX),
            sequence: slot.opened,
            planned: slot.dropped.unwrap_or(0),
        }
    }

    /// A connection that was open is gone.
    fn drop_out(&mut self, link: usize, cause: &str, now: Nanos) {
        cause::count(&mut self.drops, cause);
        let slot = &mut self.slots[link];
        slot.dropped = Some(now);
        slot.failed = 0;
        let ongoing = self.down > 0 || self.outages.len() == MAX_OUTAGES;
        self.down += 1;
        match self.outages.last_mut().filter(|_| ongoing) {
            Some(outage) => {
                outage.to = None;
                outage.all_back_ns = None;
                outage.dropped += 1;
            }
            None => self.outages.push(Outage {
                from: now,
                to: None,
                dropped: 1,
                failed_attempts: 0,
                all_back_ns: None,
            }),
        }
    }

    /// An attempt to come back failed.
    fn fail(&mut self, link: usize, cause: &str) {
        cause::count(&mut self.attempts, cause);
        let slot = &mut self.slots[link];
        slot.failed = slot.failed.saturating_add(1);
        if let Some(outage) = self.outages.last_mut() {
            outage.failed_attempts += 1;
        }
    }

    /// A connection is back: its message came back.
    fn come_back(&mut self, now: Nanos) {
        self.down -= 1;
        if self.down == 0
            && let Some(outage) = self.outages.last_mut()
        {
            outage.to = Some(now);
            outage.all_back_ns = Some(now - outage.from);
        }
    }
}

impl Workload for Reconnect {
    fn target(&self, _link: usize) -> String {
        self.settings.target.path().to_owned()
    }

    fn reopens(&self) -> bool {
        true
    }

    fn opened(&mut self, links: &mut Links, link: usize, now: Nanos) {
        self.slots[link].opened += 1;
        self.slots[link].waiting = true;
        let stamp = self.stamp(link);
        let kind = self.probe.kind();
        let message = self.probe.message(&stamp);
        links.send(link, kind, message);
        let bytes = message.len();
        self.tally.expect(stamp.planned, 1);
        self.tally.sent(now, bytes);
    }

    fn takes_failure(&mut self, link: usize, cause: &str, now: Nanos) -> bool {
        match self.stage {
            Stage::Before => return false,
            Stage::Running => {}
            Stage::Over => return true,
        }
        let slot = &mut self.slots[link];
        let outstanding = std::mem::take(&mut slot.waiting);
        self.tally.cut_off += u64::from(outstanding);
        if self.slots[link].dropped.is_some() {
            self.fail(link, cause);
        } else {
            self.drop_out(link, cause, now);
        }
        true
    }

    fn released(&mut self, link: usize, now: Nanos, _clean: bool) {
        let slot = &self.slots[link];
        if let Some(dropped) = slot.dropped.filter(|_| self.stage == Stage::Running) {
            let seed = mix(u64::from(self.settings.run) << 32 | link as u64)
                ^ mix(slot.opened << 32 | u64::from(slot.failed));
            let since = if slot.failed == 0 { dropped } else { now };
            let due = since + self.backoff.pause(slot.failed, seed);
            self.agenda.push(Reverse((due, link)));
        }
    }

    fn begin(&mut self, _start: Nanos, window: Window) {
        self.tally.window = window;
        self.stage = Stage::Running;
    }

    fn received(
        &mut self,
        _links: &mut Links,
        link: usize,
        kind: Kind,
        payload: &[u8],
        now: Nanos,
    ) {
        if !self.slots[link].waiting {
            self.tally.faults.unexpected += 1;
            return;
        }
        let stamp = self.stamp(link);
        match self.probe.verify(&stamp, kind, payload) {
            Ok(()) if self.slots[link].dropped.is_some() => {
                self.tally.received(stamp.planned, now, payload.len());
            }
            Ok(()) => self.tally.arrived_total += 1,
            Err(Wrong::Foreign) => {
                self.tally.faults.foreign += 1;
                return;
            }
            Err(Wrong::Corrupted) => {
                self.tally.faults.corrupted += 1;
                self.tally.faults.unidentified += 1;
            }
        }
        self.slots[link].waiting = false;
        if self.slots[link].dropped.take().is_some() {
            self.come_back(now);
        }
    }

    fn unblocked(&mut self, _link: usize) {}

    fn ended(&mut self, link: usize) {
        let outstanding = std::mem::take(&mut self.slots[link].waiting);
        self.tally.cut_off += u64::from(outstanding);
    }

    fn produce(&mut self, links: &mut Links, now: Nanos) {
        while let Some(&Reverse((due, link))) = self.agenda.peek() {
            if due > now {
                break;
            }
            self.agenda.pop();
            links.want(link, due);
        }
    }

    fn next_send(&self) -> Option<Nanos> {
        self.agenda.peek().map(|&Reverse((due, _))| due)
    }

    fn stop(&mut self, _now: Nanos) {}

    fn drained(&mut self, _links: &Links) -> bool {
        self.down == 0 && self.tally.arrived_total + self.tally.cut_off >= self.tally.expected_total
    }

    fn settle(&mut self) {
        self.stage = Stage::Over;
        self.agenda.clear();
        let missing = self.down as u64;
        for _ in 0..missing {
            self.tally.opens.failed("not back when the run ended");
        }
        self.tally.comeback = Some(Box::new(Comeback {
            outages: std::mem::take(&mut self.outages),
            drops: std::mem::take(&mut self.drops),
            failed_attempts: std::mem::take(&mut self.attempts),
            missing,
        }));
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

    const BACKOFF: Backoff = Backoff {
        base: 100,
        most: 1000,
        jitter: false,
    };

    fn outage(from: Nanos, to: Option<Nanos>) -> Outage {
        Outage {
            from,
            to,
            dropped: 1,
            failed_attempts: 2,
            all_back_ns: to.map(|to| to - from),
        }
    }

    fn comeback(outages: &[Outage]) -> Comeback {
        Comeback {
            outages: outages.to_vec(),
            ..Comeback::default()
        }
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        let pauses = [0, 1, 2, 3, 4, 1000].map(|failed| BACKOFF.pause(failed, 7));
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn jitter_spreads_the_pause_over_all_times_up_to_the_bound() {
        let spread = Backoff {
            jitter: true,
            ..BACKOFF
        };
        let pauses: Vec<_> = (0..1000).map(|seed| spread.pause(1, seed)).collect();
        assert!(pauses.iter().all(|&pause| pause <= 200));
        assert!(pauses.iter().any(|&pause| pause < 20));
        assert!(pauses.iter().any(|&pause| pause > 180));
    }

    #[test]
    fn outages_that_overlap_are_one() {
        let mut one = comeback(&[outage(10, Some(20)), outage(100, Some(110))]);
        one.merge(&comeback(&[outage(15, Some(30)), outage(200, None)]));
        let spans: Vec<_> = one
            .outages
            .iter()
            .map(|seen| (seen.from, seen.to))
            .collect();
        assert_eq!(spans, [(10, Some(30)), (100, Some(110)), (200, None)]);
        assert_eq!(one.outages[0].all_back_ns, Some(20));
        assert_eq!(
            (one.outages[0].dropped, one.outages[0].failed_attempts),
            (2, 4)
        );
    }

    #[test]
    fn an_outage_that_never_ends_takes_in_what_follows() {
        let mut one = comeback(&[outage(10, None)]);
        one.merge(&comeback(&[outage(50, Some(60))]));
        assert_eq!(one.outages.len(), 1);
        assert_eq!(one.outages[0].all_back_ns, None);
    }
}
