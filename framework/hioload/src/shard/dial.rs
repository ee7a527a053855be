//! Connections dialled from this shard, until they are open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hioload_platform::Token;
use hioload_protocol::handshake::{self, ExpectedAccept, Parsed, Response};
use hioload_protocol::{Connection, Role};

use super::chain::{Stage, Transport};
use super::context::{Owned, Owner};
use super::core::ShardCore;
use super::link::{Flags, Link};
use super::slab::Entry;
use super::tls::Session;
use crate::app::{App, Turn};
use crate::client::{Accepted, ClientTls, Dial, DialError};
use crate::tls::TlsFailure;

/// Dials a shard keeps until it starts them.
pub(super) const DIALS: usize = 1 << 16;

/// Dials started per turn: each makes a socket, some microseconds of system
/// calls, so this keeps a turn below some milliseconds.
const DIALS_PER_TURN: usize = 256;

/// A dial that waits to be started.
#[derive(Clone, Debug)]
pub(crate) struct Dialling {
    pub(crate) dial: Arc<Dial>,
    pub(crate) key: Owned,
}

/// A connection before its WebSocket is open.
#[derive(Debug)]
pub(crate) struct DialStage {
    dialling: Dialling,
    /// What the response must say, once the request is on its way.
    expected: Option<ExpectedAccept>,
    /// The part of the response that has arrived; bounded by `max_head`.
    partial: Vec<u8>,
}

impl<A: App> ShardCore<A> {
    /// What to start in this turn; those that cannot be are told so.
    pub(crate) fn take_dials(&mut self) -> Vec<Dialling> {
        let now = self.cx.dials.len().min(DIALS_PER_TURN);
        let dials: Vec<Dialling> = self.cx.dials.drain(..now).collect();
        let mut room = self
            .cx
            .rules
            .max_connections
            .saturating_sub(self.sockets.load(Ordering::Relaxed));
        let stopping = self.stopping.is_stopping();
        let admit = |dialling: Dialling| {
            if stopping {
                return Err((dialling.key, DialError::Stopping));
            }
            room = room
                .checked_sub(1)
                .ok_or((dialling.key, DialError::TooMany))?;
            Ok(dialling)
        };
        let mut admitted = Vec::with_capacity(dials.len());
        for outcome in dials.into_iter().map(admit).collect::<Vec<_>>() {
            match outcome {
                Ok(dialling) => admitted.push(dialling),
                Err((key, error)) => self.report_dial(key, &error),
            }
        }
        admitted
    }

    /// The driver connects. Nothing is asked of it before
    /// [`connected`](Self::connected).
    pub(crate) fn dialling(&mut self, token: Token, dialling: Dialling) {
        let deadline = self.cx.now.saturating_add(dialling.dial.timeout_nanos());
        let stage = DialStage {
            dialling,
            expected: None,
            partial: Vec::new(),
        };
        let stage = Stage::Dialling(Box::new(stage));
        let mut link = Link::new(token, Transport::PLAIN, stage, self.cx.now);
        link.set(Flags::OUTBOUND);
        link.arm(deadline, &mut self.cx);
        self.slab.insert(Entry {
            link,
            state: A::State::default(),
        });
        self.cx.metrics().dialled.add(1);
        self.cx.metrics().sockets.add(1);
        self.sockets.fetch_add(1, Ordering::Relaxed);
    }

    /// The driver has connected, or could not.
    pub(crate) fn connected(&mut self, token: Token, outcome: std::io::Result<()>) {
        let begun = match outcome {
            Ok(()) => self.begin_dial(token),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(DialError::TimedOut),
            Err(error) => Err(DialError::Connect(error)),
        };
        if let Err(error) = begun {
            self.dial_failed(token, &error);
            self.lost(token);
        }
    }

    /// TCP is there: TLS if it is asked for, and the request.
    fn begin_dial(&mut self, token: Token) -> Result<(), DialError> {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return Ok(());
        };
        let Stage::Dialling(stage) = &mut link.stage else {
            return Ok(());
        };
        let dial = &stage.dialling.dial;
        let mut request = Vec::new();
        let nonce = self.cx.resources.masks.nonce();
        let deflate = self.cx.rules.deflate.as_ref();
        stage.expected = Some(dial.request(nonce, deflate, &mut request)?);
        if dial.target().is_secure() {
            let failed = |error: crate::tls::TlsError| DialError::Tls(error.to_string());
            let name = dial.target().name();
            let rustls = match dial.tls_config() {
                Some(tls) => tls.connect(name),
                None => {
                    if self.cx.system_tls.is_none() {
                        self.cx.system_tls = Some(ClientTls::system().map_err(failed)?);
                    }
                    match &self.cx.system_tls {
                        Some(tls) => tls.connect(name),
                        None => return Ok(()),
                    }
                }
            };
            let mut session = Session::client(rustls.map_err(DialError::Tls)?);
            session
                .hello(&mut self.cx.outboxes)
                .map_err(|_failure| session.dial_error())?;
            link.transport = Transport::tls(session);
        }
        link.outbox.append(&request, &mut self.cx.outboxes);
        link.touch(&mut self.cx);
        Ok(())
    }

    /// Consumes up to one response head; returns how many bytes.
    pub(super) fn dial_bytes(&mut self, token: Token, bytes: &[u8]) -> usize {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return bytes.len();
        };
        let Stage::Dialling(stage) = &mut link.stage else {
            return 0;
        };
        let Some(expected) = &stage.expected else {
            return bytes.len();
        };
        let before = stage.partial.len();
        // One byte more than the limit is enough to refuse it.
        let room = (self.cx.rules.head.max_bytes + 1)
            .saturating_sub(before)
            .min(bytes.len());
        stage.partial.extend_from_slice(&bytes[..room]);
        match handshake::parse_response(&stage.partial, expected, &self.cx.rules.head) {
            Ok(Parsed::Partial) => bytes.len(),
            Ok(Parsed::Complete { head_len, value }) => {
                let key = stage.dialling.key;
                self.dial_accepted(token, key, &value);
                head_len.saturating_sub(before)
            }
            Err(error) => {
                self.dial_failed(token, &error.into());
                self.lost(token);
                bytes.len()
            }
        }
    }

    fn dial_accepted(&mut self, token: Token, key: Owned, response: &Response) {
        let mut state = A::State::default();
        let accepted = Accepted {
            key: key.key,
            owner: key.owner,
            protocol: response.protocol.as_deref(),
            deflate: response.deflate.is_some(),
        };
        self.app.connected(&accepted, &mut state);
        let policy = self.cx.rules.backpressure;
        self.with(token, |link, _| link.set_backpressure(policy));
        let websocket = match response.deflate {
            Some(agreed) => Connection::with_deflate(Role::Client, agreed),
            None => Connection::new(Role::Client),
        };
        self.open_websocket(token, state, websocket);
    }

    /// TLS ended a connection that was still being dialled, or else returns
    /// `false`.
    pub(super) fn dial_tls_failed(&mut self, token: Token, failure: TlsFailure) -> bool {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return false;
        };
        if !matches!(link.stage, Stage::Dialling(_)) {
            return false;
        }
        let Some(session) = link.transport.session() else {
            return false;
        };
        let error = match failure {
            TlsFailure::PlainHttp => DialError::plain_http(),
            _ => session.dial_error(),
        };
        self.dial_failed(token, &error);
        true
    }

    /// The dial is over without a WebSocket; the app hears of it once. Does
    /// nothing to a connection in another stage.
    pub(super) fn dial_failed(&mut self, token: Token, error: &DialError) {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        let Stage::Dialling(stage) = &link.stage else {
            return;
        };
        let key = stage.dialling.key;
        link.stage = Stage::Draining;
        self.report_dial(key, error);
    }

    /// Tells the app of a dial that came to nothing.
    pub(crate) fn report_dial(&mut self, key: Owned, error: &DialError) {
        let Owned { key, owner } = key;
        self.cx.metrics().dials_failed.add(1);
        tracing::debug!(key, %error, "a dial failed");
        self.cx.owner = owner;
        let mut turn = Turn {
            slab: &mut self.slab,
            cx: &mut self.cx,
        };
        self.app.dial_failed(&mut turn, key, error);
        self.cx.owner = Owner::default();
        self.deliver();
    }
}
