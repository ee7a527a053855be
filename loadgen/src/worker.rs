//! One generator thread: the loop over its driver.

mod failing;
mod opening;
mod receiving;

use std::collections::VecDeque;
use std::sync::Arc;

use hioload_platform::thread_time::ThreadTime;
use hioload_platform::{Driver, DriverError, Event, Nanos, Token};
use hioload_protocol::handshake::HandshakeLimits;
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::link::Stage;
use crate::links::Links;
use crate::load::Workload;
use crate::recent::Recording;
use crate::settings::Settings;
use crate::tally::{Tally, Window};
use crate::validity::Spent;

use opening::Opening;

/// How long a closing connection waits for the server to end the stream after
/// both Close frames; RFC 6455 section 7.1.1 lets the server close first.
const END_OF_STREAM: Nanos = 1_000_000_000;

/// How often a draining thread looks whether the others have finished.
const POLL: Nanos = 5_000_000;

/// What a thread did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What it counted.
    pub(crate) tally: Tally,
    /// Its CPU time within the measurement.
    pub(crate) cpu: ThreadTime,
    /// How long it measured.
    pub(crate) measured: Nanos,
    /// Its connections.
    pub(crate) connections: usize,
    /// What it spent in each step of the rate that began.
    pub(crate) steps: Vec<Spent>,
}

/// Why a thread could not do its part.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// A connection could not be opened.
    #[error("{0}")]
    Connect(String),
    /// This machine does not allow the run, or stopped allowing it.
    #[error("{0}")]
    Machine(String),
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Machine(error.to_string())
    }
}

/// Where a thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connections are being opened.
    Opening,
    /// All are open; the other threads are not there yet.
    Ready,
    /// Messages flow.
    Running,
    /// Nothing new is sent; answers are awaited until the deadline.
    Draining(Nanos),
    /// Close handshakes are under way until the deadline.
    Closing(Nanos),
    /// Sockets are being closed.
    Leaving,
}

/// One generator thread.
#[derive(Debug)]
pub(crate) struct Worker<D: Driver, W> {
    driver: D,
    load: W,
    links: Links,
    opening: Opening,
    phase: Phase,
    /// When the start waits for the load no longer, once all are open.
    greeted: Option<Nanos>,
    settings: Settings,
    control: Arc<Control>,
    thread: usize,
    now: Nanos,
    window: Window,
    meter: Meter,
    failure: Option<Failure>,
    heads: HandshakeLimits,
    /// Opened by TLS; used within one event.
    plain: Vec<u8>,
    /// Connections that exchanged Close frames, and when they are given up.
    ending: VecDeque<(Nanos, Token)>,
    /// Connections whose Close frame is not answered, and when that is overdue.
    closing: VecDeque<(Nanos, Token)>,
}

/// CPU time at the ends of the measurement, and where a step of the rate ends.
#[derive(Debug, Default)]
struct Meter {
    /// The start of each step but the first, the next one last.
    borders: Vec<Nanos>,
    /// CPU time at the borders behind.
    passed: Vec<(Nanos, ThreadTime)>,
    from: Option<(Nanos, ThreadTime)>,
    to: Option<(Nanos, ThreadTime)>,
}

impl<D: Driver, W: Workload> Worker<D, W> {
    /// A thread that is about to open its connections.
    pub(crate) fn new(
        driver: D,
        mut load: W,
        settings: &Settings,
        control: Arc<Control>,
        thread: usize,
        seed: u64,
    ) -> Self {
        let count = settings.share(thread);
        let first = if load.opens_by_itself() { 0 } else { count };
        let now = driver.now();
        load.tally_mut().recording = (!settings.quiet).then(Recording::new);
        Self {
            driver,
            load,
            links: Links::new(count, settings.max_received(), settings.raw, seed),
            opening: Opening::new(settings, thread, first, now, seed),
            phase: Phase::Opening,
            greeted: None,
            settings: settings.clone(),
            control,
            thread,
            now,
            window: Window {
                from: Nanos::MAX,
                to: Nanos::MAX,
            },
            meter: Meter::default(),
            failure: None,
            heads: HandshakeLimits::default(),
            plain: Vec::new(),
            ending: VecDeque::new(),
            closing: VecDeque::new(),
        }
    }

    /// Runs to the end. `ready` is called when all connections are open,
    /// `failed` as soon as the other threads are to give up as well.
    ///
    /// # Errors
    /// The first failure, after everything was closed.
    pub(crate) fn run(
        mut self,
        ready: impl FnOnce(),
        failed: impl FnOnce(),
    ) -> Result<Outcome, Failure> {
        let mut ready = Some(ready);
        let mut failed = Some(failed);
        let mut events = Vec::with_capacity(D::BATCH);
        loop {
            self.step();
            if self.phase == Phase::Ready
                && let Some(ready) = ready.take()
            {
                ready();
            }
            if (self.failure.is_some() || self.control.stopped())
                && let Some(failed) = failed.take()
            {
                failed();
            }
            if self.is_over() {
                break;
            }
            for (index, error) in self.links.flush(&mut self.driver) {
                self.broken(index, &error.to_string());
            }
            self.driver.wait(self.deadline(), &mut events)?;
            self.now = self.driver.now();
            for event in events.drain(..) {
                self.handle(event);
            }
            self.now = self.driver.now();
        }
        self.publish_live();
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(Outcome {
                measured: self.meter.measured(),
                cpu: self.meter.used(),
                steps: self.meter.steps(),
                connections: self.links.len(),
                tally: self.load.tally().clone(),
            }),
        }
    }

    fn is_over(&self) -> bool {
        self.phase == Phase::Leaving && self.links.all_released()
    }

    /// Does what is due now, moving through the phases as far as possible.
    fn step(&mut self) {
        if self.control.aborted() && self.phase != Phase::Leaving {
            self.leave();
        }
        match self.phase {
            Phase::Opening => self.step_opening(),
            Phase::Ready => self.step_ready(),
            Phase::Running => self.step_running(),
            Phase::Draining(deadline) => self.step_draining(deadline),
            Phase::Closing(deadline) => self.step_closing(deadline),
            Phase::Leaving => {}
        }
        self.give_up_ended();
        self.load.tally_mut().look(self.now, self.links.open());
        self.give_up_closing();
        self.publish_live();
    }

    fn step_opening(&mut self) {
        if self.control.stopped() {
            return self.start_closing();
        }
        self.open_more();
        if self.opening.is_done() && self.links.opening() == 0 {
            let deadline = self.now + self.settings.timeout;
            let deadline = *self.greeted.get_or_insert(deadline);
            if self.load.is_ready() || self.now >= deadline {
                self.phase = Phase::Ready;
            }
        }
    }

    fn step_ready(&mut self) {
        if self.control.stopped() {
            return self.start_closing();
        }
        let Some(start) = self.control.start() else {
            return;
        };
        let from = start + self.settings.warmup;
        self.window = Window {
            from,
            to: from + self.settings.duration,
        };
        if self.now >= start {
            let steps = self.settings.shape.steps(self.window);
            self.meter.borders = steps.iter().skip(1).map(|step| step.from).rev().collect();
            self.load.begin(start, self.window);
            self.phase = Phase::Running;
            self.step_running();
        }
    }

    fn step_running(&mut self) {
        if self.meter.from.is_none() && self.now >= self.window.from {
            self.meter.from = Some((self.now, ThreadTime::now()));
        }
        self.meter.pass(self.now);
        self.load.produce(&mut self.links, self.now);
        self.open_more();
        let stopped = self.control.stopped();
        let deserted = self.links.open() == 0 && !self.load.reopens();
        if stopped || self.now >= self.window.to || deserted {
            self.load.tally_mut().look(self.now, self.links.open());
            self.window.to = self.window.to.min(self.now);
            self.load.tally_mut().end_at(self.window.to);
            self.meter.to = Some((self.now, ThreadTime::now()));
            self.control.finish_measuring();
            self.load.stop(self.now);
            self.phase = Phase::Draining(self.now + self.settings.drain_timeout);
            self.step_draining(self.now + self.settings.drain_timeout);
        }
    }

    fn step_draining(&mut self, deadline: Nanos) {
        self.load.produce(&mut self.links, self.now);
        self.open_more();
        if self.load.drained(&self.links) || self.now >= deadline {
            self.start_closing();
        }
    }

    fn start_closing(&mut self) {
        self.load.settle();
        self.links.want_nothing();
        for index in 0..self.links.len() {
            if self.links.is_open(index) && !self.settings.raw {
                self.links.close(index);
            } else if !self.links.get_mut(index).is_closing() {
                self.abandon(index);
            }
        }
        self.phase = Phase::Closing(self.now + self.settings.drain_timeout);
        self.step_closing(self.now + self.settings.drain_timeout);
    }

    fn step_closing(&mut self, deadline: Nanos) {
        if self.links.all_released() || self.now >= deadline {
            self.leave();
        }
    }

    fn leave(&mut self) {
        let unclean = self.close_all();
        if !self.control.aborted() && self.failure.is_none() {
            self.load.tally_mut().faults.unclean += unclean;
        }
        self.phase = Phase::Leaving;
    }

    /// Closes what is still attached; how many had not exchanged Close frames.
    fn close_all(&mut self) -> u64 {
        let mut unclean = 0;
        for index in 0..self.links.len() {
            let link = self.links.get_mut(index);
            unclean += u64::from(link.is_closing() && !link.ws.is_closed());
            self.discard(index);
        }
        unclean
    }

    /// Closes the socket of a connection, if it has one; what still happens on
    /// it is of no interest.
    fn discard(&mut self, index: usize) {
        if let Some(token) = self.links.get_mut(index).token {
            self.links.leave(index, Stage::Gone);
            self.driver.close(token);
        }
    }

    /// When the next turn is due without an event.
    fn deadline(&self) -> Option<Nanos> {
        let first = |queue: &VecDeque<(Nanos, Token)>| queue.front().map(|&(due, _)| due);
        let ending = earliest(first(&self.ending), first(&self.closing));
        let phase = match self.phase {
            Phase::Opening => self.greeted,
            Phase::Ready => self.control.start(),
            Phase::Running if self.now < self.window.from => {
                earliest(Some(self.window.from), self.load.next_send())
            }
            Phase::Running => {
                let border = self.meter.borders.last().copied();
                earliest(border.or(Some(self.window.to)), self.load.next_send())
            }
            Phase::Draining(deadline) => {
                earliest(Some(deadline.min(self.now + POLL)), self.load.next_send())
            }
            Phase::Closing(deadline) => Some(deadline),
            Phase::Leaving => None,
        };
        earliest(earliest(ending, self.opening.deadline()), phase)
    }

    fn handle(&mut self, event: Event<D::Socket>) {
        match event {
            Event::Connected { token, outcome } => self.connected(token, outcome),
            Event::Received { token, mut lease } => self.received(token, &mut lease),
            Event::RecvEnded { token, end } => self.stream_ended(token, &end),
            Event::Sent { token, outcome } => self.sent(token, outcome),
            Event::Closed { token } => {
                if let Some(index) = self.links.find(token) {
                    let clean = self.links.get_mut(index).ws.is_closed();
                    self.links.release(index);
                    self.load.released(index, self.now, clean);
                }
            }
            Event::Woken | Event::Accepted { .. } | Event::Ready { .. } => {}
        }
    }

    fn publish_live(&mut self) {
        let tally = self.load.tally_mut();
        if let Some(recording) = &mut tally.recording {
            recording.hand_over(self.now, self.control.recent(self.thread));
        }
        let faults = tally.faults.count() + tally.opens.failures();
        let (sent, arrived) = (tally.sent_total, tally.arrived_total);
        self.control
            .live(self.thread)
            .set(self.links.open(), sent, arrived, faults);
    }
}

impl Meter {
    /// Reads the clock of the thread where a step has ended.
    fn pass(&mut self, now: Nanos) {
        while self.borders.pop_if(|border| *border <= now).is_some() {
            self.passed.push((now, ThreadTime::now()));
        }
    }

    /// What was spent in each step that began.
    fn steps(&self) -> Vec<Spent> {
        if self.borders.is_empty() && self.passed.is_empty() {
            return Vec::new();
        }
        let marks: Vec<_> = (self.from.iter())
            .chain(&self.passed)
            .chain(&self.to)
            .collect();
        marks
            .windows(2)
            .map(|ends| Spent {
                cpu: ends[1].1 - ends[0].1,
                measured: ends[1].0 - ends[0].0,
            })
            .collect()
    }

    fn measured(&self) -> Nanos {
        match (self.from, self.to) {
            (Some((from, _)), Some((to, _))) => to - from,
            _ => 0,
        }
    }

    fn used(&self) -> ThreadTime {
        match (self.from, self.to) {
            (Some((_, from)), Some((_, to))) => to - from,
            _ => ThreadTime::default(),
        }
    }
}

fn earliest(one: Option<Nanos>, other: Option<Nanos>) -> Option<Nanos> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
