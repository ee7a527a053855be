//! A shard with many connections and no network.

use std::fmt;

use hioload_platform::{Nanos, Token};
use hioload_protocol::handshake::ClientRequest;
use hioload_protocol::{Connection, DeflateConfig, Limits, MaskKeys, Resources, Role};

use crate::app::{App, ConnId, Message, Turn};
use crate::config::{Config, Rules};
use crate::control::{Control, Terms};
use crate::error::Error;
use crate::hub::{HashSeed, Hub};
use crate::server::{Handle, Shard};
use crate::shard::{Inbox, ShardCore, Transport};

/// One shard and an app on it, with open connections whose peers take at once
/// whatever they are sent: to measure what callbacks and hubs cost, without
/// what the network does.
pub struct Crowd<A: App> {
    core: ShardCore<A>,
    handle: Handle,
    /// Its peers' side, the same for all: nothing of it depends on what was
    /// sent before.
    peer: Connection,
    resources: Resources,
    /// Slots used so far.
    slots: u32,
    /// Tokens of those that are free again.
    free: Vec<Token>,
    now: Nanos,
}

impl<A: App> Crowd<A> {
    /// A shard without connections.
    ///
    /// # Errors
    /// A configuration, hubs or an app that cannot work.
    pub fn new(config: &Config, hubs: &[Hub], app: A) -> Result<Self, Error> {
        config.check()?;
        Hub::check(hubs)?;
        let control = Control::new(config, 1, Terms::default());
        let handle = Handle::new(1, hubs, &HashSeed::Given(1), Inbox::ROOM, control);
        let mut core = Shard::new(0, handle.clone()).core(app, Rules::from(config), 1, 0)?;
        core.begin(0);
        core.started();
        Ok(Self {
            core,
            handle,
            peer: Connection::new(Role::Client),
            resources: Resources::new(
                Limits::default(),
                MaskKeys::from_seed(2),
                DeflateConfig::default(),
            ),
            slots: 0,
            free: Vec::new(),
            now: 0,
        })
    }

    /// Opens one more connection, without permessage-deflate.
    ///
    /// # Panics
    /// With 2^32 connections.
    pub fn connect(&mut self, path: &str) -> ConnId {
        let token = self.free.pop().unwrap_or_else(|| {
            self.slots = self.slots.checked_add(1).expect("fewer than 2^32");
            Token::new(self.slots - 1, 0)
        });
        let request = ClientRequest {
            host: "crowd",
            target: path,
            protocols: &[],
            headers: &[],
            origin: None,
            deflate: None,
        };
        let mut head = Vec::new();
        request.write([3; 16], &mut head);
        self.core.accepted(token, None, Transport::PLAIN);
        self.core.received(token, &mut head);
        self.turn();
        ConnId(token)
    }

    /// A peer says something: the callback runs; what it sends leaves with the
    /// next [`turn`](Self::turn).
    pub fn receive<'m>(&mut self, from: ConnId, message: impl Into<Message<'m>>) {
        let message = message.into();
        let mut bytes = Vec::new();
        let (kind, payload) = (message.kind(), message.payload());
        let said = self
            .peer
            .send(kind, payload, &mut self.resources, &mut bytes);
        debug_assert!(said.is_ok(), "the peer is open");
        self.arrive(from, &mut bytes);
    }

    /// As [`receive`](Self::receive), of bytes as they come from the network:
    /// masked frames, of which payloads are unmasked in place.
    pub fn arrive(&mut self, from: ConnId, bytes: &mut [u8]) {
        self.core.received(from.0, bytes);
    }

    /// Does something on the shard, as a task of
    /// [`Handle::post`](crate::Handle::post) does.
    pub fn run<R>(&mut self, task: impl FnOnce(&mut A, &mut Turn<'_, A::State>) -> R) -> R {
        self.core.run(task)
    }

    /// The rest of a turn: timers, what other threads have asked for, tasks, and all
    /// that waits to be sent, which peers take at once. Returns its bytes.
    pub fn turn(&mut self) -> usize {
        self.core.fire_timers();
        self.core.exchange();
        self.core.run_tasks();
        self.core.settle();
        let mut total = 0;
        while let Some(token) = self.core.next_touched() {
            let Some((link, cx)) = self.core.link(token) else {
                continue;
            };
            link.seal(cx);
            let orders = link.orders();
            let sent = match link.queue() {
                Some(queue) => queue.drain(..).map(|segment| segment.bytes().len()).sum(),
                None => 0,
            };
            if orders.close {
                self.core.closed(token);
                let next = token.generation().wrapping_add(1);
                self.free.push(Token::new(token.slot(), next));
            } else if sent > 0 {
                self.core.sent(token, &Ok(sent));
            }
            total += sent;
        }
        total
    }

    /// Lets time pass; what is due happens with the next [`turn`](Self::turn).
    pub fn pass(&mut self, time: Nanos) {
        self.now = self.now.saturating_add(time);
        self.core.begin(self.now);
    }

    /// A handle of the shard.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl<A: App> fmt::Debug for Crowd<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowd")
            .field("connections", &self.core.connections())
            .finish_non_exhaustive()
    }
}
