//! The chat: Centrifugo's client protocol on hubs.
//!
//! Each namespace is an ordered hub. A channel's home shard numbers and keeps its
//! publications, decides where a subscription begins, and knows who is there
//! ([`presence`]). What was published is written once per shard for all
//! subscribers of one encoding. Who comes and goes is told through hubs of their
//! own, one for each encoding, without numbers.

mod application;
mod backend;
mod chains;
mod client;
mod commands;
mod connect;
mod deadlines;
mod history;
mod journal;
mod metrics;
mod presence;
mod rates;
mod rules;
mod seats;
mod streams;
mod subscribe;
mod token;
mod unsigned;
mod written;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hioload::hub::{Change, Changed, Delivery, Hub, HubId};
use hioload::{
    Backpressure, CloseCode, Conn, ConnId, Handle, Kind, Message, Prepared, Refusal, Request, Turn,
    Upgrade,
};
use hioload_centrifugo::{
    Command, Disconnect, Encoding, Frame, Malformed, Replies, Unsubscribed, commands,
    protobuf_commands,
};
use hioload_store::Store;
use subtle::ConstantTimeEq;

use crate::config::{ChatSettings, Namespace};
use crate::notify::{self, Notices};
use crate::proxy::Proxies;
use crate::site::Service;
pub(crate) use backend::{Call, Method};
use chains::{Chains, Known};
pub(crate) use client::Client;
use client::{Held, Stage, Sub};
pub(crate) use commands::unix_millis;
use journal::FromStore;
pub(crate) use journal::{Journal, listen};
pub(crate) use metrics::ChatMetrics;
use metrics::Counters;
pub(crate) use rules::{Identity, Rules};
pub(crate) use streams::{Fallback, Posted};
pub(crate) use token::{Checked, Verifier, now};
use written::Written;

/// Where clients connect.
pub(crate) const PATH: &str = "/connection/websocket";

/// Bytes of a frame of commands at most; beyond it the connection is closed
/// with 1009.
const MAX_FRAME: usize = 64 << 10;

/// The hubs that tell who comes and goes, by [`place`] of their encoding.
const SIGNALS: [&str; 2] = ["chat-signals", "chat-signals-protobuf"];

/// The encodings, each at its [`place`].
const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

/// The subprotocol of the JSON encoding, which is also spoken without any.
const JSON: &str = "centrifuge-json";

/// That of the other encoding.
const PROTOBUF: &str = "centrifuge-protobuf";

/// What asks for the latter without a subprotocol.
const PROTOBUF_QUERY: [&str; 2] = ["format=protobuf", "cf_protocol=protobuf"];

/// What the server says when it stops: SDKs come back, to another one or its
/// next run.
pub(crate) const SHUTDOWN: (CloseCode, &str) = (
    CloseCode(Disconnect::Shutdown.code()),
    Disconnect::Shutdown.reason(),
);

/// Told to clients.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The hubs that the chat takes; those that the store keeps begin with what it
/// has.
pub(crate) fn hubs(settings: &ChatSettings, store: Option<&Store>) -> impl Iterator<Item = Hub> {
    let namespaces = settings.namespaces.iter();
    let hub = move |namespace: &Namespace| {
        let kept = store.and_then(|store| Some((store, store.namespace(&namespace.name)?)));
        match kept {
            None => namespace.hub(),
            Some((store, number)) => namespace.hub().restore(Arc::new(FromStore {
                store: store.clone(),
                namespace: number,
            })),
        }
    };
    namespaces.map(hub).chain(SIGNALS.map(Hub::new))
}

/// The chat on one shard.
pub(crate) struct Chat {
    rules: Rules,
    /// Who is asked about what clients do.
    proxies: Proxies,
    handle: Handle,
    /// By the place of their namespaces in the settings.
    hubs: Vec<HubId>,
    /// By the [`place`] of their encoding.
    signals: [HubId; 2],
    /// Calls that are not done again, about channels whose home is here.
    once: backend::Once,
    /// Who is subscribed to channels whose home is here.
    presence: presence::Table,
    /// What waits to be safe.
    journal: Journal,
    /// What the application and people are told.
    notices: Notices,
    /// What other shards are to be told about presence.
    outbox: presence::Outbox,
    /// Bytes of frames that were posted here and are not answered yet.
    speaking: usize,
    /// Connections by the keys of their timers.
    timers: HashMap<u64, ConnId>,
    /// The keys of the connections of each user.
    users: HashMap<Arc<str>, HashSet<u64>>,
    /// The key for the next connection; [`deadlines::FLUSH`] is none.
    next_key: u64,
    /// Whether the outbox is looked at again by a timer.
    flushing: bool,
    /// The latest publication.
    written: Option<Written>,
    /// What deltas are made of.
    chains: Chains,
    counters: Arc<Counters>,
}

impl Chat {
    /// On a server with the [`hubs`] of the same settings.
    pub(crate) fn new(
        rules: Rules,
        metrics: &ChatMetrics,
        handle: Handle,
        journal: Journal,
        notices: Notices,
    ) -> Self {
        let hub = |name: &str| handle.hub_id(name).expect("declared at the start");
        let namespaces = rules.settings().namespaces.iter();
        let hubs = namespaces.map(|one| hub(&one.hub_name())).collect();
        Self {
            hubs,
            signals: SIGNALS.map(hub),
            rules,
            proxies: Proxies::default(),
            once: backend::Once::default(),
            journal,
            notices,
            presence: presence::Table::default(),
            outbox: presence::Outbox::default(),
            speaking: 0,
            timers: HashMap::new(),
            users: HashMap::new(),
            next_key: deadlines::FLUSH + 1,
            flushing: false,
            written: None,
            chains: Chains::default(),
            counters: metrics.shard(),
            handle,
        }
    }

    /// Asks the application about what clients do.
    pub(crate) fn ask_about_clients(&mut self, proxies: Proxies) {
        self.proxies = proxies;
    }

    pub(crate) fn upgrade(&mut self, request: &Request<'_>, service: &mut Service) -> Upgrade {
        self.rules.follow();
        if !self.rules.admit(request) {
            return Refusal::Forbidden.into();
        }
        let (encoding, protocol) = encoding(request);
        let mut client = Client::new(encoding);
        client.headers = self.proxies.headers(request);
        *service = Service::Chat(Box::new(client));
        let slow = CloseCode(Disconnect::Slow.code());
        let answer = Upgrade::accept().backpressure(Backpressure::Close(slow));
        match protocol {
            Some(protocol) => answer.protocol(protocol),
            None => answer,
        }
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
        if client.stream.is_some() {
            self.begin_stream(conn, client);
        }
    }

    pub(crate) fn message(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        message: Message<'_>,
    ) {
        self.rules.follow();
        if message.payload().len() > MAX_FRAME {
            conn.close(CloseCode::TOO_BIG, "a frame has at most 64 KiB");
            return;
        }
        let frame = message.payload();
        // No command, not even a pong: Centrifugo ends such a client as well.
        if frame.is_empty() {
            return disconnect(conn, Disconnect::BadRequest);
        }
        match (client.encoding, message.kind(), message.as_text()) {
            (Encoding::Json, _, Some(text)) => {
                self.commands(conn, client, (frame, 0), commands(text));
            }
            (Encoding::Protobuf, Kind::Binary, _) => {
                self.commands(conn, client, (frame, 0), protobuf_commands(frame));
            }
            _ => disconnect(conn, Disconnect::InappropriateProtocol),
        }
    }

    /// Does what the commands of a frame ask for, of which the first ones are
    /// done, until one ends the connection; whether it goes on.
    fn commands<'m>(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        (frame, done): (&[u8], usize),
        commands: impl Iterator<Item = Result<Command<'m>, Malformed>>,
    ) -> bool {
        let mut replies = Replies::new(client.encoding);
        let mut outcome = Ok(());
        for (index, command) in commands.enumerate().skip(done) {
            if let Stage::Asking(asking) = &mut client.stage {
                outcome = asking.hold(frame, index);
                break;
            }
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
        send(conn, &replies);
        match outcome {
            Ok(()) => self.arm(conn, client),
            Err(why) => disconnect(conn, why),
        }
        outcome.is_ok()
    }

    /// Does what a client asked for before it was let in.
    fn catch_up(&mut self, conn: &mut Conn<'_>, client: &mut Client, held: Vec<Held>) {
        for Held { frame, done } in held {
            let at = (&*frame, done);
            let goes_on = match (client.encoding, std::str::from_utf8(&frame)) {
                (Encoding::Json, Ok(text)) => self.commands(conn, client, at, commands(text)),
                (Encoding::Protobuf, _) => {
                    self.commands(conn, client, at, protobuf_commands(&frame))
                }
                // It was text when it came.
                (Encoding::Json, Err(_)) => false,
            };
            if !goes_on {
                break;
            }
        }
    }

    pub(crate) fn subscription(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        change: &Change<'_>,
    ) {
        if !self.signals.contains(&change.hub)
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
        let channel = delivery.topic();
        let Some(sub) = client.subs.get_mut(channel) else {
            return;
        };
        // Its beginning is told with the answer to the connect command.
        let waits = match &client.stage {
            Stage::Connecting(connecting) => connecting.begun.contains_key(channel),
            _ => false,
        };
        let Some(place) = delivery.place() else {
            if sub.pending.is_none() && !waits {
                self.give(conn, (client.encoding, sub), delivery, None);
            }
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
        if waits {
            return Self::held(conn, client, delivery, place.offset);
        }
        let offset = numbered.then_some(place.offset);
        self.give(conn, (client.encoding, sub), delivery, offset);
    }

    /// Sends a publication to one of its subscribers.
    fn give(
        &mut self,
        conn: &mut Conn<'_>,
        (encoding, sub): (Encoding, &mut Sub),
        delivery: &Delivery<'_>,
        offset: Option<u64>,
    ) {
        let written = match &mut sub.delta {
            None => latest(&mut self.written, delivery, offset).told(encoding),
            Some(known) => self.written_after(delivery, encoding, offset, known),
        };
        match written {
            Some(frame) => {
                conn.send_prepared(&frame);
                self.counters.deliveries.add(1);
            }
            None => disconnect(conn, Disconnect::InappropriateProtocol),
        }
    }

    /// A publication for a client that is told deltas.
    fn written_after(
        &mut self,
        delivery: &Delivery<'_>,
        encoding: Encoding,
        offset: Option<u64>,
        known: &mut Known,
    ) -> Option<Prepared> {
        let written = latest(&mut self.written, delivery, offset);
        let (frame, is_delta) = written.told_after(encoding, known, &mut self.chains);
        if is_delta {
            self.counters.deltas.add(1);
        }
        frame
    }

    pub(crate) fn close(&mut self, conn: &mut Conn<'_>, client: &mut Client) {
        self.timers.remove(&client.key);
        client.seat = None;
        if let Some(keys) = self.users.get_mut(&client.user) {
            keys.remove(&client.key);
            if keys.is_empty() {
                self.users.remove(&client.user);
            }
        }
        self.counters.users.set(self.users.len() as u64);
        let was_in = matches!(client.stage, Stage::In);
        if was_in {
            self.counters.clients.sub(1);
        }
        if client.stream.is_some() {
            self.counters.streams.sub(1);
        }
        if let Some((timer, _)) = client.timer.take() {
            conn.cancel(timer);
        }
        for (channel, sub) in std::mem::take(&mut client.subs) {
            self.leave(conn, client, &channel, &sub);
        }
        if was_in {
            self.notices
                .tell(notify::Kind::Disconnect, None, || client.doer(""));
        }
        self.flush_later(conn);
    }

    /// Whether this is the application's key. Takes as long for any key of the
    /// same length.
    pub(crate) fn admits(&mut self, key: Option<&str>) -> bool {
        self.rules.follow();
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

/// How a client wants to speak, and the subprotocol that grants it that.
/// The first subprotocol that is known has the word; programs without them say it in the query.
fn encoding(request: &Request<'_>) -> (Encoding, Option<&'static str>) {
    let known = [(Encoding::Json, JSON), (Encoding::Protobuf, PROTOBUF)];
    for offered in request.protocols() {
        if let Some((encoding, name)) = known.iter().find(|(_, name)| *name == offered) {
            return (*encoding, Some(name));
        }
    }
    let query = request.query().unwrap_or_default();
    let asked = query.split('&').any(|pair| PROTOBUF_QUERY.contains(&pair));
    if asked {
        (Encoding::Protobuf, None)
    } else {
        (Encoding::Json, None)
    }
}

/// What was written of a publication, which is written for the first client of
/// each encoding.
fn latest<'w>(
    written: &'w mut Option<Written>,
    delivery: &Delivery<'_>,
    offset: Option<u64>,
) -> &'w mut Written {
    let latest = written.as_ref();
    if !latest.is_some_and(|latest| latest.is_of(delivery)) {
        *written = None;
    }
    written.get_or_insert_with(|| Written::new(delivery.prepared(), delivery.topic(), offset))
}

/// Where what there is once for each encoding is kept.
fn place(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Json => 0,
        Encoding::Protobuf => 1,
    }
}

/// Sends what there is to say; a client that does not speak an encoding in which
/// it can be said goes.
fn send(conn: &mut Conn<'_>, replies: &Replies) {
    match replies.frame() {
        Ok(Some(frame)) => {
            conn.send(message(frame));
        }
        Ok(None) => {}
        Err(unwritable) => {
            tracing::debug!(%unwritable, "a client is disconnected");
            disconnect(conn, Disconnect::InappropriateProtocol);
        }
    }
}

fn message(frame: Frame<'_>) -> Message<'_> {
    match frame {
        Frame::Text(text) => Message::text(text),
        Frame::Binary(bytes) => Message::binary(bytes),
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
