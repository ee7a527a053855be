//! The connection storm: each connection opens, has one message echoed, and
//! closes again.

use std::collections::VecDeque;

use hioload_platform::Nanos;
use hioload_protocol::Kind;

use crate::links::Links;
use crate::load::{TURN, Workload};
use crate::payload::Stamp;
use crate::plan::{Plan, Share};
use crate::probe::{Probe, Wrong};
use crate::settings::Settings;
use crate::tally::{Tally, Window};

/// What a storm is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Storm {
    /// Connections that exist at the same time, at most.
    pub(crate) concurrency: usize,
    /// New connections per second by plan; `None`: as soon as one has ended.
    pub(crate) rate: Option<f64>,
    /// How long a connection stays after its message came back.
    pub(crate) hold: Nanos,
}

/// One thread's share of a storm: slots, each used by one connection after the
/// other, so that the number of sockets is bounded whatever the rate.
#[derive(Debug)]
pub(crate) struct Connect {
    settings: Settings,
    storm: Storm,
    thread: usize,
    probe: Probe,
    plan: Option<Plan>,
    /// Connections begun; with a plan, those of its times.
    begun: u64,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Connections whose message came back, and until when they stay. All stay
    /// equally long, so the first to leave is in front.
    staying: VecDeque<(Nanos, usize, u64)>,
    /// Connections that are being opened or wait for their message.
    busy: usize,
    sending: bool,
    tally: Tally,
}

/// A place for one connection.
#[derive(Debug, Default)]
struct Slot {
    planned: Nanos,
    /// Connections that were here before this one.
    number: u64,
    stage: Stage,
}

/// What the connection of a slot does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// There is none.
    #[default]
    Free,
    /// It opens.
    Opening,
    /// It waits for its message.
    Waiting,
    /// It has its message and stays.
    Staying,
    /// It ends.
    Leaving,
}

impl Connect {
    /// The share of thread `thread`.
    pub(crate) fn new(settings: &Settings, storm: Storm, thread: usize) -> Self {
        let count = settings.share(thread);
        Self {
            settings: settings.clone(),
            storm,
            thread,
            probe: Probe::new(settings),
            plan: None,
            begun: 0,
            slots: (0..count).map(|_| Slot::default()).collect(),
            free: (0..count).rev().collect(),
            staying: VecDeque::new(),
            busy: 0,
            sending: false,
            tally: Tally::new(Window { from: 0, to: 0 }),
        }
    }

    fn stamp(&self, link: usize) -> Stamp {
        let connection = self.thread + link * self.settings.threads;
        Stamp {
            sender: u32::try_from(connection).unwrap_or(u32::MAX),
            sequence: self.slots[link].number,
            planned: self.slots[link].planned,
        }
    }

    /// Planned connections that have not begun.
    fn owed(&self) -> u64 {
        let planned = self.plan.as_ref().map_or(self.begun, |plan| plan.taken(0));
        planned - self.begun
    }

    fn start(&mut self, links: &mut Links, link: usize, planned: Nanos) {
        self.begun += 1;
        self.busy += 1;
        let slot = &mut self.slots[link];
        slot.planned = planned;
        slot.stage = Stage::Opening;
        links.want(link, planned);
    }

    fn start_planned(&mut self, links: &mut Links, now: Nanos) {
        let Some(mut plan) = self.plan.take() else {
            return;
        };
        for _ in 0..TURN {
            let Some((_, planned)) = plan.due(now) else {
                break;
            };
            self.tally.came_to(planned, now);
            self.tally.held_back += u64::from(self.free.is_empty());
            if plan.taken(0) == self.begun + 1
                && let Some(link) = self.free.pop()
            {
                self.start(links, link, planned);
            }
        }
        while self.begun < plan.taken(0)
            && let Some(link) = self.free.pop()
        {
            let planned = plan.planned(0, self.begun);
            self.start(links, link, planned);
        }
        self.plan = Some(plan);
    }

    /// Ends those that stayed long enough.
    fn end_stays(&mut self, links: &mut Links, now: Nanos) {
        while let Some(&(until, link, number)) = self.staying.front() {
            if until > now {
                break;
            }
            self.staying.pop_front();
            let slot = &mut self.slots[link];
            if slot.number == number && slot.stage == Stage::Staying {
                slot.stage = Stage::Leaving;
                links.close(link);
            }
        }
    }

    #[cold]
    fn wrong(&mut self, link: usize, wrong: Wrong) {
        let Stamp {
            sender, sequence, ..
        } = self.stamp(link);
        let faults = &mut self.tally.faults;
        let what = match wrong {
            Wrong::Foreign => {
                faults.foreign += 1;
                "a message of another run came"
            }
            Wrong::Corrupted => {
                faults.corrupted += 1;
                faults.unidentified += 1;
                "its message came back with other bytes, length or kind"
            }
        };
        faults.describe(|| format!("connection {sequence} of slot {sender}: {what}"));
    }
}

impl Workload for Connect {
    fn target(&self, _link: usize) -> String {
        self.settings.target.path().to_owned()
    }

    fn opens_by_itself(&self) -> bool {
        true
    }

    fn opened(&mut self, links: &mut Links, link: usize, now: Nanos) {
        self.slots[link].stage = Stage::Waiting;
        let stamp = self.stamp(link);
        let kind = self.probe.kind();
        let message = self.probe.message(&stamp);
        links.send(link, kind, message);
        let bytes = message.len();
        self.tally.expect(stamp.planned, 1);
        self.tally.sent(now, bytes);
    }

    fn released(&mut self, link: usize, _now: Nanos, _clean: bool) {
        let slot = &mut self.slots[link];
        slot.stage = Stage::Free;
        slot.number += 1;
        self.free.push(link);
    }

    fn begin(&mut self, start: Nanos, window: Window) {
        self.tally.window = window;
        self.sending = true;
        self.plan = self.storm.rate.map(|rate| {
            let threads = self.settings.threads as u64;
            let share = Share {
                total: threads,
                stride: threads,
                first: self.thread as u64,
                senders: 1,
            };
            Plan::new(self.settings.curve(rate), share, start, window.to)
        });
    }

    fn received(
        &mut self,
        _links: &mut Links,
        link: usize,
        kind: Kind,
        payload: &[u8],
        now: Nanos,
    ) {
        match self.slots[link].stage {
            Stage::Waiting => {}
            Stage::Staying | Stage::Leaving => {
                let stamp = self.stamp(link);
                let again = self.probe.verify(&stamp, kind, payload).is_ok();
                let faults = &mut self.tally.faults;
                faults.duplicated += u64::from(again);
                faults.unexpected += u64::from(!again);
                return;
            }
            Stage::Free | Stage::Opening => return,
        }
        let stamp = self.stamp(link);
        match self.probe.verify(&stamp, kind, payload) {
            Ok(()) => self.tally.received(stamp.planned, now, payload.len()),
            Err(Wrong::Foreign) => return self.wrong(link, Wrong::Foreign),
            Err(wrong) => self.wrong(link, wrong),
        }
        self.busy -= 1;
        self.slots[link].stage = Stage::Staying;
        let stay = (now + self.storm.hold, link, stamp.sequence);
        self.staying.push_back(stay);
    }

    fn unblocked(&mut self, _link: usize) {}

    fn ended(&mut self, link: usize) {
        let slot = &mut self.slots[link];
        let waiting = slot.stage == Stage::Waiting;
        self.busy -= usize::from(waiting || slot.stage == Stage::Opening);
        self.tally.cut_off += u64::from(waiting);
        slot.stage = Stage::Leaving;
    }

    fn produce(&mut self, links: &mut Links, now: Nanos) {
        self.end_stays(links, now);
        if self.plan.is_some() {
            self.start_planned(links, now);
        } else if self.sending {
            while let Some(link) = self.free.pop() {
                self.start(links, link, now);
            }
        }
    }

    fn next_send(&self) -> Option<Nanos> {
        let leave = self.staying.front().map(|&(until, ..)| until);
        let start = self.plan.as_ref().and_then(Plan::next);
        [leave, start].into_iter().flatten().min()
    }

    fn stop(&mut self, now: Nanos) {
        self.sending = false;
        if let Some(plan) = &mut self.plan {
            plan.stop(now);
        }
    }

    fn drained(&mut self, _links: &Links) -> bool {
        self.busy == 0 && self.owed() == 0 && self.plan.as_ref().and_then(Plan::next).is_none()
    }

    fn settle(&mut self) {
        self.tally.unsent = self.owed();
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
