//! Opening connections: connect and handshake, before the start and during
//! the run.

use std::collections::VecDeque;
use std::io;

use hioload::client::TlsWire;
use hioload_platform::{Connect, Driver, DriverError, Nanos, Token};
use hioload_protocol::handshake::ClientRequest;
use hioload_protocol::{Connection, Role};

use super::{Phase, Worker};
use crate::link::{Answer, Stage};
use crate::load::Workload;
use crate::random::mix;
use crate::settings::Settings;

/// What is left to open, and how fast.
#[derive(Debug)]
pub(crate) struct Opening {
    next: usize,
    /// So many connections are opened before the start.
    first: usize,
    /// Connections begun in the whole run.
    begun: usize,
    concurrency: usize,
    interval: f64,
    started: Nanos,
    /// In the order they began, so in the order of their deadlines.
    deadlines: VecDeque<(Nanos, Token)>,
    nonces: u64,
    /// When the next may begin, while that is what the rest waits for.
    paced: Option<Nanos>,
}

impl Opening {
    pub(super) fn new(
        settings: &Settings,
        thread: usize,
        first: usize,
        now: Nanos,
        seed: u64,
    ) -> Self {
        let threads = settings.threads;
        let share = settings.connect_concurrency / threads
            + usize::from(thread < settings.connect_concurrency % threads);
        let per_thread = settings.connect_rate.map(|rate| rate / threads as f64);
        Self {
            next: 0,
            first,
            begun: 0,
            concurrency: share.max(1),
            interval: per_thread.map_or(0.0, |rate| 1e9 / rate),
            started: now,
            deadlines: VecDeque::new(),
            nonces: mix(seed),
            paced: None,
        }
    }

    /// Whether all connections to be opened before the start were begun.
    pub(super) fn is_done(&self) -> bool {
        self.next == self.first
    }

    /// When the next turn is due without an event.
    pub(super) fn deadline(&self) -> Option<Nanos> {
        super::earliest(
            self.deadlines.front().map(|&(deadline, _)| deadline),
            self.paced,
        )
    }

    /// When connection number `next` of this thread may begin.
    fn due(&self) -> Nanos {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and saturates after 584 years"
        )]
        let offset = (self.next as f64 * self.interval) as Nanos;
        self.started.saturating_add(offset)
    }

    fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        for half in nonce.chunks_exact_mut(8) {
            self.nonces = mix(self.nonces);
            half.copy_from_slice(&self.nonces.to_le_bytes());
        }
        nonce
    }
}

impl<D: Driver, W: Workload> Worker<D, W> {
    /// Begins as many connections as rate and concurrency allow, and gives up
    /// those that take too long.
    pub(super) fn open_more(&mut self) {
        self.give_up_opening();
        self.opening.paced = None;
        while !self.opening.is_done() && self.links.opening() < self.opening.concurrency {
            let due = self.opening.due();
            if due > self.now {
                self.opening.paced = Some(due);
                break;
            }
            if let Err(error) = self.open(self.opening.next, self.now) {
                return self.fail_driver(error);
            }
            self.opening.next += 1;
        }
        while self.links.opening() < self.opening.concurrency
            && let Some((planned, index)) = self.links.next_wanted()
        {
            if let Err(error) = self.open(index, planned) {
                return self.fail_driver(error);
            }
        }
    }

    fn give_up_opening(&mut self) {
        while let Some(&(deadline, token)) = self.opening.deadlines.front() {
            let index = self.links.find(token);
            let under_way = index.is_some_and(|index| self.links.get_mut(index).is_opening());
            if under_way && deadline > self.now {
                break;
            }
            self.opening.deadlines.pop_front();
            if let Some(index) = index.filter(|_| under_way) {
                let trouble = self.timed_out(index);
                self.fail(index, trouble);
            }
        }
    }

    fn open(&mut self, index: usize, planned: Nanos) -> Result<(), DriverError> {
        let connection = self.thread + index * self.settings.threads;
        let source = if self.settings.load.renews() {
            let begun = self.thread + self.opening.begun * self.settings.threads;
            self.settings.sources.in_turn(begun)
        } else {
            self.settings.sources.of(connection)
        };
        let token = self.driver.connect(&Connect {
            addr: self.settings.target.addr(),
            source,
            timeout: self.settings.timeout,
        })?;
        self.opening.begun += 1;
        self.load.tally_mut().opens.attempted += 1;
        self.links.attach(index, token);
        self.links.get_mut(index).steps.planned = planned;
        self.opening
            .deadlines
            .push_back((self.now + self.settings.timeout, token));
        Ok(())
    }

    pub(super) fn connected(&mut self, token: Token, outcome: io::Result<()>) {
        let Some(index) = self.links.find(token) else {
            return;
        };
        if !matches!(self.links.get_mut(index).stage, Stage::Connecting) {
            return;
        }
        if let Err(error) = outcome {
            let trouble = self.explain(&error);
            return self.fail(index, trouble);
        }
        self.links.get_mut(index).steps.connected = self.now;
        if self.settings.raw {
            self.granted(index);
            self.driver.recv_start(token);
            return;
        }
        if let Some(tls) = &self.settings.tls {
            let name = self.settings.target.name();
            match TlsWire::new(tls, name, &mut self.links.tls) {
                Ok(wire) => self.links.get_mut(index).tls = Some(Box::new(wire)),
                Err(error) => {
                    let trouble = self.distrusted(&error);
                    return self.fail(index, trouble);
                }
            }
        }
        let target = self.load.target(index);
        let protocols: Vec<&str> = self.settings.protocols.iter().map(String::as_str).collect();
        let headers: Vec<(&str, &str)> = self
            .settings
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let request = ClientRequest {
            host: self.settings.target.host(),
            target: &target,
            protocols: &protocols,
            headers: &headers,
            origin: None,
            deflate: self.settings.deflate.as_ref(),
        };
        let nonce = self.opening.nonce();
        self.links.get_mut(index).request(&request, nonce);
        self.links.touch(index);
        self.driver.recv_start(token);
    }

    /// Bytes of a handshake's answer; frames that came along are returned.
    pub(super) fn shake(&mut self, index: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        let Stage::Shaking(shake) = &mut self.links.get_mut(index).stage else {
            return None;
        };
        match shake.receive(bytes, &self.heads) {
            Answer::Partial => None,
            Answer::Granted(response, rest) => {
                if let Some(agreed) = response.deflate {
                    self.links.get_mut(index).ws = Connection::with_deflate(Role::Client, agreed);
                    self.load.tally_mut().deflated += 1;
                }
                self.granted(index);
                Some(rest)
            }
            Answer::Refused(error) => {
                let trouble = self.refused(&error);
                self.fail(index, trouble);
                None
            }
        }
    }

    /// Messages may flow.
    fn granted(&mut self, index: usize) {
        self.links.opened(index);
        let steps = self.links.get_mut(index).steps;
        let window = (self.phase != Phase::Opening).then_some(self.window);
        let opens = &mut self.load.tally_mut().opens;
        opens.opened(steps, self.now, window);
        self.load.opened(&mut self.links, index, self.now);
    }
}
