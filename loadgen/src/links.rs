//! All connections of one thread.

use std::collections::VecDeque;

use hioload::client::{DialError, TlsPool};
use hioload_platform::{ChunkPool, Driver, Nanos, Token};
use hioload_protocol::{
    CloseCode, Connection, DeflateConfig, Kind, Limits, MaskKeys, Resources, Role,
};

use crate::link::{Link, Stage};

/// "No connection" in the table of slots.
const NONE: u32 = u32::MAX;

/// The connections of one thread and what they share.
#[derive(Debug)]
pub(crate) struct Links {
    list: Vec<Link>,
    slots: Vec<u32>,
    dirty: Vec<u32>,
    open: usize,
    opening: usize,
    attached: usize,
    /// Connections to be opened, and when that was planned; each at most once.
    wanted: VecDeque<(Nanos, u32)>,
    /// Those whose close handshake began and has no deadline yet.
    closing: Vec<Token>,
    pub(crate) resources: Resources,
    pub(crate) tls: TlsPool,
}

impl Links {
    /// `count` connections, none begun, that receive messages of up to
    /// `max_message` bytes, `raw` ones or with WebSocket servers.
    pub(crate) fn new(count: usize, max_message: usize, raw: bool, seed: u64) -> Self {
        let pool = ChunkPool::new();
        let limits = Limits {
            max_message,
            ..Limits::default()
        };
        Self {
            list: (0..count).map(|_| Link::new(pool.clone(), raw)).collect(),
            slots: Vec::new(),
            dirty: Vec::with_capacity(count),
            open: 0,
            opening: 0,
            attached: 0,
            wanted: VecDeque::new(),
            closing: Vec::new(),
            resources: Resources::new(limits, MaskKeys::from_seed(seed), DeflateConfig::default()),
            tls: TlsPool::default(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// How many are being opened.
    pub(crate) fn opening(&self) -> usize {
        self.opening
    }

    /// Has a connection without a socket opened, which was planned for
    /// `planned`: for the first time, or again after it was released.
    pub(crate) fn want(&mut self, index: usize, planned: Nanos) {
        debug_assert!(self.list[index].token.is_none(), "it has a socket");
        self.wanted
            .push_back((planned, u32::try_from(index).unwrap_or(NONE)));
    }

    /// The next connection to be opened.
    pub(crate) fn next_wanted(&mut self) -> Option<(Nanos, usize)> {
        let (planned, index) = self.wanted.pop_front()?;
        Some((planned, index as usize))
    }

    /// Takes back everything that was to be opened and has not begun.
    pub(crate) fn want_nothing(&mut self) {
        self.wanted.clear();
    }

    /// The sockets whose close handshake began since the last call.
    pub(crate) fn take_closing(&mut self) -> std::vec::Drain<'_, Token> {
        self.closing.drain(..)
    }

    /// Whether every socket is closed.
    pub(crate) fn all_released(&self) -> bool {
        self.attached == 0
    }

    /// The connection with this index.
    pub(crate) fn get_mut(&mut self, index: usize) -> &mut Link {
        &mut self.list[index]
    }

    /// The connection and what all share, to give both to the protocol.
    pub(crate) fn split(&mut self, index: usize) -> (&mut Link, &mut Resources) {
        (&mut self.list[index], &mut self.resources)
    }

    /// The connection a token belongs to.
    pub(crate) fn find(&self, token: Token) -> Option<usize> {
        let index = *self.slots.get(token.index())?;
        let link = self.list.get(usize::try_from(index).ok()?)?;
        (link.token == Some(token)).then_some(index as usize)
    }

    /// The connection got its socket.
    pub(crate) fn attach(&mut self, index: usize, token: Token) {
        if self.slots.len() <= token.index() {
            self.slots.resize(token.index() + 1, NONE);
        }
        self.slots[token.index()] = u32::try_from(index).unwrap_or(NONE);
        self.attached += 1;
        self.opening += 1;
        let link = &mut self.list[index];
        link.ws = Connection::new(Role::Client);
        link.token = Some(token);
        link.stage = Stage::Connecting;
    }

    /// The connection's socket is closed.
    pub(crate) fn release(&mut self, index: usize) {
        self.leave(index, Stage::Gone);
        self.attached -= usize::from(self.list[index].token.take().is_some());
        let link = &mut self.list[index];
        link.outbox.clear();
        if let Some(mut tls) = link.tls.take() {
            tls.clear(&mut self.tls);
        }
    }

    /// The handshake is done.
    pub(crate) fn opened(&mut self, index: usize) {
        self.leave(index, Stage::Open);
        self.open += 1;
    }

    /// The connection is no longer open or opening.
    pub(crate) fn leave(&mut self, index: usize, stage: Stage) {
        let link = &mut self.list[index];
        self.open -= usize::from(link.is_open());
        self.opening -= usize::from(link.is_opening());
        link.stage = stage;
    }

    /// Whether the connection takes a message now.
    pub(crate) fn takes(&self, index: usize) -> bool {
        let link = &self.list[index];
        let sealed = link.tls.as_ref().map_or(0, |tls| tls.pending());
        link.is_open() && !link.outbox.is_full_with(sealed)
    }

    /// Whether the connection is open.
    pub(crate) fn is_open(&self, index: usize) -> bool {
        self.list[index].is_open()
    }

    /// Queues a message on an open connection.
    pub(crate) fn send(&mut self, index: usize, kind: Kind, payload: &[u8]) {
        let link = &mut self.list[index];
        let sent = link
            .ws
            .send(kind, payload, &mut self.resources, &mut link.outbox);
        debug_assert!(sent.is_ok(), "an open connection has sent no Close frame");
        self.touch(index);
    }

    /// Pings the server on an open connection.
    pub(crate) fn ping(&mut self, index: usize, payload: &[u8]) {
        let link = &mut self.list[index];
        let sent = link.ws.ping(payload, &mut self.resources, &mut link.outbox);
        debug_assert!(sent.is_ok(), "an open connection has sent no Close frame");
        self.touch(index);
    }

    /// Starts the close handshake of an open connection.
    pub(crate) fn close(&mut self, index: usize) {
        let link = &mut self.list[index];
        link.ws
            .close(CloseCode::NORMAL, "", &mut self.resources, &mut link.outbox);
        self.closing.extend(link.token);
        self.leave(index, Stage::Closing);
        self.touch(index);
    }

    /// Opens what arrived on a connection with TLS; `None` without.
    pub(crate) fn open_sealed(
        &mut self,
        index: usize,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Option<Result<bool, DialError>> {
        let tls = self.list[index].tls.as_mut()?;
        Some(tls.receive(bytes, plain, &mut self.tls))
    }

    /// The kernel took so many bytes.
    pub(crate) fn taken(&mut self, index: usize, bytes: usize) {
        if let Some(tls) = &mut self.list[index].tls {
            tls.sent(bytes, &mut self.tls);
        }
    }

    /// The connection may have something to send.
    pub(crate) fn touch(&mut self, index: usize) {
        let link = &mut self.list[index];
        if !link.dirty {
            link.dirty = true;
            self.dirty.push(u32::try_from(index).unwrap_or(NONE));
        }
    }

    /// Hands everything queued in this turn to the driver. Returns the
    /// connections whose TLS can not go on.
    pub(crate) fn flush<D: Driver>(&mut self, driver: &mut D) -> Vec<(usize, DialError)> {
        let mut broken = Vec::new();
        for index in self.dirty.drain(..) {
            let index = index as usize;
            let link = &mut self.list[index];
            link.dirty = false;
            let Some(token) = link.token else { continue };
            let Some(tls) = &mut link.tls else {
                link.outbox.flush(driver, token);
                continue;
            };
            link.outbox.seal_into(tls, &mut self.tls);
            if driver.send_in_flight(token) {
                continue;
            }
            match tls.queue(&mut self.tls) {
                Ok(Some(queue)) => driver.send(token, queue),
                Ok(None) => {}
                Err(error) => broken.push((index, error)),
            }
        }
        broken
    }
}
