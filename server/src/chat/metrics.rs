//! What the chat does, counted by each shard, in the Prometheus text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hioload_centrifugo::Request;

use super::Method;

/// The counters of all shards.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChatMetrics(Arc<Mutex<Vec<Arc<Counters>>>>);

/// A number with one writer, its shard, and any number of readers.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    pub(super) fn sub(&self, n: u64) {
        self.set(self.get().wrapping_sub(n));
    }

    pub(super) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Those of one shard.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Clients that were let in and have not gone.
    pub(super) clients: Counter,
    /// Connections that are streams.
    pub(super) streams: Counter,
    /// Frames that were posted for them.
    pub(super) emulated: Counter,
    /// Users with a client on this shard.
    pub(super) users: Counter,
    /// Subscriptions whose beginning was told.
    pub(super) subscriptions: Counter,
    /// Publications of clients that were taken.
    pub(super) publications: Counter,
    /// Publications given to clients.
    pub(super) deliveries: Counter,
    /// Of those, the ones that were told as deltas.
    pub(super) deltas: Counter,
    /// Messages to the application that it was not told of.
    pub(super) dropped_messages: Counter,
    /// Subscriptions that asked for what they had missed and got it.
    pub(super) recovered: Counter,
    /// Those that could not.
    pub(super) unrecovered: Counter,
    commands: [Counter; COMMANDS.len()],
    calls: [Counter; Method::ALL.len()],
}

const COMMANDS: [&str; 13] = [
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "rpc",
    "refresh",
    "sub_refresh",
    "send",
    "ping",
    "pong",
];

impl Counters {
    pub(super) fn command(&self, request: &Request<'_>) {
        let index = match request {
            Request::Connect(_) => 0,
            Request::Subscribe(_) => 1,
            Request::Unsubscribe(_) => 2,
            Request::Publish(_) => 3,
            Request::Presence(_) => 4,
            Request::PresenceStats(_) => 5,
            Request::History(_) => 6,
            Request::Rpc(_) => 7,
            Request::Refresh(_) => 8,
            Request::SubRefresh(_) => 9,
            Request::Send(_) => 10,
            Request::Ping => 11,
            Request::Pong => 12,
        };
        self.commands[index].add(1);
    }

    pub(super) fn call(&self, method: Method) {
        let index = Method::ALL.iter().position(|&(_, one)| one == method);
        if let Some(index) = index {
            self.calls[index].add(1);
        }
    }
}

/// Name, type, help and source of a metric with one value per shard.
type Plain = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Counters) -> &Counter,
);

const PLAIN: [Plain; 9] = [
    (
        "hioload_chat_clients",
        "gauge",
        "Clients of the chat that were let in.",
        |c| &c.clients,
    ),
    (
        "hioload_chat_streams",
        "gauge",
        "Connections of clients that could not upgrade.",
        |c| &c.streams,
    ),
    (
        "hioload_chat_emulated_total",
        "counter",
        "Requests that spoke for those clients.",
        |c| &c.emulated,
    ),
    (
        "hioload_chat_users",
        "gauge",
        "Users with a client on the shard.",
        |c| &c.users,
    ),
    (
        "hioload_chat_subscriptions",
        "gauge",
        "Subscriptions of clients to channels.",
        |c| &c.subscriptions,
    ),
    (
        "hioload_chat_publications_total",
        "counter",
        "Publications of clients that were taken.",
        |c| &c.publications,
    ),
    (
        "hioload_chat_deliveries_total",
        "counter",
        "Publications given to clients.",
        |c| &c.deliveries,
    ),
    (
        "hioload_chat_deltas_total",
        "counter",
        "Publications given to clients as deltas.",
        |c| &c.deltas,
    ),
    (
        "hioload_chat_messages_dropped_total",
        "counter",
        "Messages of clients to the application that were dropped, as too much was unanswered.",
        |c| &c.dropped_messages,
    ),
];

impl ChatMetrics {
    /// The counters of one more shard.
    pub(super) fn shard(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.shards().push(Arc::clone(&counters));
        counters
    }

    fn shards(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Counters>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, summed over the shards: which shard has a client is chance.
    pub(crate) fn render(&self) -> String {
        let shards = self.shards().clone();
        let sum = |of: &dyn Fn(&Counters) -> u64| -> u64 {
            let each = shards.iter().map(|counters| of(counters));
            each.fold(0, u64::wrapping_add)
        };
        let mut out = String::new();
        for (name, kind, help, source) in PLAIN {
            head(&mut out, name, kind, help);
            line(&mut out, name, "", sum(&|counters| source(counters).get()));
        }
        let name = "hioload_chat_recoveries_total";
        let help = "Subscriptions that asked for what they had missed, by whether they got it.";
        head(&mut out, name, "counter", help);
        let recovered = sum(&|counters| counters.recovered.get());
        line(&mut out, name, "{recovered=\"true\"}", recovered);
        let unrecovered = sum(&|counters| counters.unrecovered.get());
        line(&mut out, name, "{recovered=\"false\"}", unrecovered);
        let name = "hioload_chat_commands_total";
        head(
            &mut out,
            name,
            "counter",
            "Commands of clients, by what they ask for.",
        );
        for (index, command) in COMMANDS.iter().enumerate() {
            let labels = format!("{{command=\"{command}\"}}");
            let count = sum(&|counters| counters.commands[index].get());
            line(&mut out, name, &labels, count);
        }
        let name = "hioload_chat_api_calls_total";
        head(
            &mut out,
            name,
            "counter",
            "Calls of the API with the right key, by method.",
        );
        for (index, (method, _)) in Method::ALL.iter().enumerate() {
            let labels = format!("{{method=\"{method}\"}}");
            let count = sum(&|counters| counters.calls[index].get());
            line(&mut out, name, &labels, count);
        }
        out
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _infallible = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _infallible = writeln!(out, "{name}{labels} {value}");
}
