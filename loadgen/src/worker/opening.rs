//! Opening connections: connect, handshake, and what to say when it fails.

use std::collections::VecDeque;
use std::io;

use hioload::client::{DialError, TlsWire};
use hioload_platform::limits;
use hioload_platform::{Connect, Driver, DriverError, Nanos, Token};
use hioload_protocol::handshake::{ClientRequest, ResponseError};
use hioload_protocol::{Connection, Role};

use super::{Failure, Worker};
use crate::link::{Answer, Stage};
use crate::load::Workload;
use crate::random::mix;
use crate::settings::Settings;

/// What is left to open, and how fast.
#[derive(Debug)]
pub(crate) struct Opening {
    next: usize,
    under_way: usize,
    concurrency: usize,
    interval: f64,
    started: Nanos,
    /// In the order they began, so in the order of their deadlines.
    deadlines: VecDeque<(Nanos, usize)>,
    nonces: u64,
    /// When the next may begin, while that is what the rest waits for.
    paced: Option<Nanos>,
}

impl Opening {
    pub(super) fn new(settings: &Settings, thread: usize, now: Nanos, seed: u64) -> Self {
        let threads = settings.threads;
        let share = settings.connect_concurrency / threads
            + usize::from(thread < settings.connect_concurrency % threads);
        let per_thread = settings.connect_rate.map(|rate| rate / threads as f64);
        Self {
            next: 0,
            under_way: 0,
            concurrency: share.max(1),
            interval: per_thread.map_or(0.0, |rate| 1e9 / rate),
            started: now,
            deadlines: VecDeque::new(),
            nonces: mix(seed),
            paced: None,
        }
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
        while let Some(&(deadline, index)) = self.opening.deadlines.front() {
            let under_way = self.links.get_mut(index).is_opening();
            if under_way && deadline > self.now {
                break;
            }
            self.opening.deadlines.pop_front();
            if under_way {
                let message = self.timed_out(index);
                return self.fail(message);
            }
        }
        self.opening.paced = None;
        while self.opening.next < self.links.len()
            && self.opening.under_way < self.opening.concurrency
        {
            let due = self.opening.due();
            if due > self.now {
                self.opening.paced = Some(due);
                break;
            }
            if let Err(error) = self.open(self.opening.next) {
                return self.fail_driver(error);
            }
            self.opening.next += 1;
            self.opening.under_way += 1;
        }
    }

    fn open(&mut self, index: usize) -> Result<(), DriverError> {
        let connection = self.thread + index * self.settings.threads;
        let token = self.driver.connect(&Connect {
            addr: self.settings.target.addr(),
            source: self.settings.sources.of(connection),
            timeout: self.settings.timeout,
        })?;
        self.links.attach(index, token);
        self.opening
            .deadlines
            .push_back((self.now + self.settings.timeout, index));
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
            self.discard(index);
            return self.fail(self.explain(&error));
        }
        if let Some(tls) = &self.settings.tls {
            let name = self.settings.target.name();
            match TlsWire::new(tls, name, &mut self.links.tls) {
                Ok(wire) => self.links.get_mut(index).tls = Some(Box::new(wire)),
                Err(error) => return self.fail(self.distrusted(&error)),
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
                self.links.opened(index);
                self.opening.under_way -= 1;
                Some(rest)
            }
            Answer::Refused(error) => {
                self.fail(self.refused(&error));
                None
            }
        }
    }

    /// Remembers the first failure and has everything closed.
    pub(super) fn fail(&mut self, message: String) {
        self.failure.get_or_insert(Failure::Connect(message));
        self.control.abort();
    }

    fn fail_driver(&mut self, error: DriverError) {
        let failure = match &error {
            DriverError::System { source, .. } => Failure::Connect(self.explain(source)),
            _ => error.into(),
        };
        self.failure.get_or_insert(failure);
        self.control.abort();
    }

    /// Whose fault a failed connect is, and what to do about it.
    fn explain(&self, error: &io::Error) -> String {
        let server = self.settings.target.addr();
        let opened = self.control.sum(|live| &live.open);
        let advice = match error.kind() {
            io::ErrorKind::ConnectionRefused if opened == 0 => "is the server running there?",
            io::ErrorKind::ConnectionRefused => "the server stopped accepting",
            io::ErrorKind::TimedOut => {
                "the server does not accept in time; raise --timeout or lower --connect-rate"
            }
            io::ErrorKind::ConnectionReset => "the server closed the connection while it opened",
            io::ErrorKind::AddrNotAvailable => {
                "no local port is left, or --source is no address of this machine; \
                 add addresses with --source (or --source-count on loopback)"
            }
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                "there is no route; check the address"
            }
            _ if limits::is_out_of_descriptors(error) => {
                "too few open files are allowed; see ulimit -n"
            }
            _ => "the connection could not be opened",
        };
        format!("cannot connect to {server} ({opened} connections open): {error}: {advice}")
    }

    fn timed_out(&mut self, index: usize) -> String {
        if matches!(self.links.get_mut(index).stage, Stage::Connecting) {
            return self.explain(&io::ErrorKind::TimedOut.into());
        }
        format!(
            "{} accepted a connection ({} are open) but did not answer the handshake in time; \
             raise --timeout or lower --connect-concurrency",
            self.settings.target,
            self.control.sum(|live| &live.open),
        )
    }

    /// Whose fault it is that TLS did not come about.
    pub(super) fn distrusted(&self, error: &DialError) -> String {
        let advice = match error {
            DialError::Untrusted(_) => {
                " (name its certificate with --ca, or trust any with --insecure)"
            }
            _ => "",
        };
        format!("{}: {error}{advice}", self.settings.target)
    }

    fn refused(&self, error: &ResponseError) -> String {
        let advice = match error {
            ResponseError::Status(404, _) => "; the path is wrong, or the server has it disabled",
            ResponseError::Status(401 | 403, _) => "; the server does not allow it",
            ResponseError::Status(429 | 503, _) => "; the server is at its limit",
            ResponseError::Malformed(_) => "; is it a WebSocket server?",
            _ => "",
        };
        format!(
            "{} refused the handshake: {error}{advice}",
            self.settings.target
        )
    }
}
