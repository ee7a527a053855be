//! Everything behind the descriptors: time, connections, listeners, drivers.

use std::collections::BTreeMap;

use super::agenda::{Action, Agenda};
use super::endpoint::Endpoint;
use super::faults::{Fault, FaultCounts, Faults};
use super::kernel::Kernel;
use super::listen::Backlog;
use super::random::SimRandom;
use super::trace::{Happening, Trace};
use crate::clock::Nanos;

/// One end of a connection. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EndId(pub(super) u64);

/// A listener. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ListenId(pub(super) u64);

/// A foreign event source. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SourceId(pub(super) u64);

/// A driver. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DriverId(pub(super) u64);

/// One way across the network. What loopback takes, roughly.
pub(super) const LATENCY: Nanos = 20_000;

/// Time starts here, so that there is a past.
const START: Nanos = 1_000_000_000;

/// The state of a simulated network and its machines.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Nanos,
    pub(super) agenda: Agenda,
    pub(super) random: SimRandom,
    pub(super) faults: Faults,
    pub(super) injected: FaultCounts,
    pub(super) trace: Trace,
    pub(super) ends: BTreeMap<EndId, Endpoint>,
    pub(super) listeners: BTreeMap<ListenId, Backlog>,
    pub(super) sources: BTreeMap<SourceId, super::source::State>,
    pub(super) drivers: BTreeMap<DriverId, Kernel>,
    /// Descriptors open, and how many may be.
    pub(super) descriptors: u32,
    pub(super) descriptor_limit: u32,
    /// Whether a scheduler moves the clock, instead of whoever waits.
    pub(super) stepped: bool,
    /// Threads waiting for another thread to do something.
    pub(super) waiting: u32,
    /// The next port to give out.
    pub(super) port: u16,
    ids: u64,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults, stepped: bool) -> Self {
        Self {
            now: START,
            agenda: Agenda::default(),
            random: SimRandom::new(seed),
            faults,
            injected: FaultCounts::default(),
            trace: Trace::default(),
            ends: BTreeMap::new(),
            listeners: BTreeMap::new(),
            sources: BTreeMap::new(),
            drivers: BTreeMap::new(),
            descriptors: 0,
            descriptor_limit: u32::MAX,
            stepped,
            waiting: 0,
            port: super::listen::FIRST_PORT,
            ids: 0,
        }
    }

    /// A number for something new.
    pub(super) fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Whether `fault` strikes now. The caller counts it when it takes effect.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let probability = self.faults.probability(fault);
        // No draw for what can not happen: switching one fault off leaves the
        // rest of a run alike.
        probability > 0.0 && self.random.chance(probability)
    }

    /// Whether `fault` strikes now, counted.
    pub(super) fn suffers(&mut self, fault: Fault) -> bool {
        let strikes = self.strikes(fault);
        if strikes {
            self.injected.add(fault);
        }
        strikes
    }

    /// A delay when `fault` strikes, else none.
    pub(super) fn delay(&mut self, fault: Fault) -> Nanos {
        if self.suffers(fault) {
            1 + self.random.below(self.faults.longest_delay)
        } else {
            0
        }
    }

    pub(super) fn note(&mut self, what: Happening) {
        self.trace.note(self.now, what);
    }

    /// Lets everything happen that is due by `until`; then it is `until`.
    pub(super) fn advance_to(&mut self, until: Nanos) {
        while let Some((at, action)) = self.agenda.pop(until) {
            debug_assert!(at >= self.now, "time never goes back");
            self.now = self.now.max(at);
            self.perform(action);
        }
        self.now = self.now.max(until);
    }

    /// Goes on to the next point in time at which something happens, or to
    /// `limit`; false when there is neither.
    pub(super) fn step(&mut self, limit: Option<Nanos>) -> bool {
        let next = [self.agenda.next(), limit].into_iter().flatten().min();
        if let Some(at) = next {
            self.advance_to(at.max(self.now));
        }
        next.is_some()
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Arrive { from, to, parcel } => self.arrive(from, to, parcel),
            Action::Credit { to, bytes } => self.credit(to, bytes),
            Action::Syn { from, attempt } => self.syn_arrived(from, attempt),
            Action::Answer { to, outcome } => self.answered(to, outcome),
            Action::ConnectTimeout { driver, tag } => self.connect_timed_out(driver, tag),
            Action::Complete { driver, completion } => self.deliver_late(driver, completion),
            Action::Resume(end) => self.resume(end),
            Action::GiveUp(end) => self.give_up(end),
        }
    }
}
