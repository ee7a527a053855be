//! The chat: Centrifugo's client protocol on hubs.
//!
//! Each namespace is an ordered hub. A channel's home shard numbers and keeps its
//! publications, decides where a subscription begins, and knows who is there
//! ([`presence`]). What was published is written once per shard for all
//! subscribers. Who comes and goes is told through a hub of its own, without
//! numbers.

mod backend;
mod client;
mod commands;
mod connect;
mod deadlines;
mod history;
mod metrics;
mod presence;
mod rules;
mod subscribe;
mod token;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hioload::hub::{Change, Changed, Delivery, Hub, HubId};
use hioload::{
    Backpressure, CloseCode, Conn, ConnId, Handle, Kind, Message, Prepared, Refusal, Request, Turn,
    Upgrade,
};
use hioload_centrifugo::{Disconnect, Push, Replies, Unsubscribed, commands, push, with_offset};

use subtle::ConstantTimeEq;

use crate::config::ChatSettings;
use crate::site::Service;
pub(crate) use backend::{Call, Method};
pub(crate) use client::Client;
use client::Stage;
pub(crate) use metrics::ChatMetrics;
use metrics::Counters;
pub(crate) use rules::Rules;

/// Where clients connect.
pub(crate) const PATH: &str = "/connection/websocket";

/// Bytes of a frame of commands at most; beyond it the connection is closed
/// with 1009.
const MAX_FRAME: usize = 64 << 10;

/// The hub that tells who comes and goes.
const SIGNALS: &str = "chat-signals";

/// The subprotocol of the JSON encoding, which is also spoken without any.
const JSON: &str = "centrifuge-json";

/// That of the other encoding.
const PROTOBUF: &str = "centrifuge-protobuf";

/// Told to clients.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The hubs that the chat takes.
pub(crate) fn hubs(settings: &ChatSettings) -> impl Iterator<Item = Hub> {
    let namespaces = settings.namespaces.iter();
    namespaces
        .map(crate::config::Namespace::hub)
        .chain([Hub::new(SIGNALS)])
}

/// The chat on one shard.
pub(crate) struct Chat {
    rules: Rules,
    handle: Handle,
    /// By the place of their namespaces in the settings.
    hubs: Vec<HubId>,
    signals: HubId,
    /// Who is subscribed to channels whose home is here.
    presence: presence::Table,
    /// What other shards are to be told about presence.
    outbox: presence::Outbox,
    /// Connections by the keys of their timers.
    timers: HashMap<u64, ConnId>,
    /// The keys of the connections of each user.
    users: HashMap<Arc<str>, HashSet<u64>>,
    /// The key for the next connection; [`deadlines::FLUSH`] is none.
    next_key: u64,
    /// Whether the outbox is looked at again by a timer.
    flushing: bool,
    /// The latest publication as it came, and as clients get it.
    written: Option<(Prepared, Prepared)>,
    counters: Arc<Counters>,
}

impl Chat {
    /// On a server with the [`hubs`] of the same settings.
    pub(crate) fn new(rules: Rules, metrics: &ChatMetrics, handle: Handle) -> Self {
        let hub = |name: &str| handle.hub_id(name).expect("declared at the start");
        let namespaces = rules.settings().namespaces.iter();
        let hubs = namespaces.map(|one| hub(&one.hub_name())).collect();
        Self {
            hubs,
            signals: hub(SIGNALS),
            rules,
            presence: presence::Table::default(),
            outbox: presence::Outbox::default(),
            timers: HashMap::new(),
            users: HashMap::new(),
            next_key: deadlines::FLUSH + 1,
            flushing: false,
            written: None,
            counters: metrics.shard(),
            handle,
        }
    }

    pub(crate) fn upgrade(&self, request: &Request<'_>, service: &mut Service) -> Upgrade {
        if !self.rules.admit(request) {
            return Refusal::Forbidden.into();
        }
        let offers = |name| request.protocols().any(|offered| offered == name);
        let json = offers(JSON);
        if !json && offers(PROTOBUF) {
            return Refusal::BadRequest("only the JSON encoding is spoken here").into();
        }
        *service = Service::Chat(Box::new(Client::new()));
        let slow = CloseCode(Disconnect::Slow.code());
        let answer = Upgrade::accept().backpressure(Backpressure::Close(slow));
        if json { answer.protocol(JSON) } else { answer }
    }

    pub(crate) fn open(&mut self, conn: &mut Conn<'_>, client: &mut Client) {
        client.key = self.next_key;
        self.next_key += 1;
        self.timers.insert(client.key, conn.id());
        let stale = self.rules.settings().client.stale();
        client.stage = Stage::New {
            until: deadlines::after(conn.now(), stale),
        };
        self.arm(conn, client);
    }

    pub(crate) fn message(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        message: Message<'_>,
    ) {
        if message.payload().len() > MAX_FRAME {
            conn.close(CloseCode::TOO_BIG, "a frame has at most 64 KiB");
            return;
        }
        let text = match (message.kind(), message.as_text()) {
            (Kind::Text, Some(text)) => text,
            _ => return disconnect(conn, Disconnect::InappropriateProtocol),
        };
        let mut replies = Replies::default();
        let mut outcome = Ok(());
        for command in commands(text) {
            outcome = command
                .map_err(|malformed| {
                    tracing::debug!(%malformed, client = &*client.id, "a client is disconnected");
                    Disconnect::BadRequest
                })
                .and_then(|command| self.command(conn, client, command, &mut replies));
            if outcome.is_err() {
                break;
            }
        }
        if let Some(frame) = replies.frame() {
            conn.send(frame);
        }
        match outcome {
            Ok(()) => self.arm(conn, client),
            Err(why) => disconnect(conn, why),
        }
    }

    pub(crate) fn subscription(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        change: &Change<'_>,
    ) {
        if change.hub != self.signals
            && let Changed::Subscribed(Some(start)) = change.what
        {
            self.begin(conn, client, change.topic, &start);
        }
    }

    pub(crate) fn deliver(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        delivery: &Delivery<'_>,
    ) {
        let (channel, Some(place)) = (delivery.topic(), delivery.place()) else {
            return;
        };
        let Some(sub) = client.subs.get_mut(channel) else {
            return;
        };
        if sub.pending.is_some() {
            return self.replayed(conn, client, delivery, place.offset);
        }
        if sub.positioned && place.offset != sub.offset + 1 {
            // The hub leaves no gap; if it ever did, the client recovers.
            return self.end(conn, client, channel, Some(Unsubscribed::Insufficient));
        }
        sub.offset = place.offset;
        let numbered = self.rules.namespace(sub.namespace).has_history();
        if let Stage::Connecting(_) = client.stage {
            return Self::held(conn, client, delivery, place.offset);
        }
        let offset = numbered.then_some(place.offset);
        let frame = self.written(delivery, offset);
        conn.send_prepared(&frame);
        self.counters.deliveries.add(1);
    }

    /// A publication as clients get it, written for the first of them.
    fn written(&mut self, delivery: &Delivery<'_>, offset: Option<u64>) -> Prepared {
        if let Some((came, written)) = &self.written
            && delivery.is_same(came)
        {
            return written.clone();
        }
        let body = delivery.message();
        let body = with_offset(body.as_text().unwrap_or_default(), offset);
        let written = Prepared::new(&push(delivery.topic(), Push::Pub(&body)));
        self.written = Some((delivery.prepared(), written.clone()));
        written
    }

    pub(crate) fn close(&mut self, conn: &mut Conn<'_>, client: &mut Client) {
        self.timers.remove(&client.key);
        if let Some(keys) = self.users.get_mut(&client.user) {
            keys.remove(&client.key);
            if keys.is_empty() {
                self.users.remove(&client.user);
            }
        }
        self.counters.users.set(self.users.len() as u64);
        if let Stage::In = client.stage {
            self.counters.clients.sub(1);
        }
        if let Some((timer, _)) = client.timer.take() {
            conn.cancel(timer);
        }
        for (channel, sub) in std::mem::take(&mut client.subs) {
            self.leave(conn, client, &channel, &sub);
        }
        self.flush_later(conn);
    }

    /// Whether this is the application's key. Takes as long for any key of the
    /// same length.
    pub(crate) fn admits(&self, key: Option<&str>) -> bool {
        let own = self.rules.settings().api_key.bytes();
        let (Some(own), Some(key)) = (own, key) else {
            return false;
        };
        own.ct_eq(key.as_bytes()).into()
    }

    /// The home shard of a channel.
    fn home(&self, namespace: usize, channel: &str) -> usize {
        self.handle.hub(self.hubs[namespace]).home(channel)
    }
}

/// Ends a connection.
fn disconnect(conn: &mut Conn<'_>, why: Disconnect) {
    conn.close(CloseCode(why.code()), why.reason());
}

/// A timer's connection and its client, if it is there still.
fn found<'t>(turn: &'t mut Turn<'_, Service>, id: ConnId) -> Option<(Conn<'t>, &'t mut Client)> {
    match turn.conn(id)? {
        (conn, Service::Chat(client)) => Some((conn, client)),
        _ => None,
    }
}
