//! How much a peer may send.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hioload_platform::Nanos;
use hioload_protocol::CloseCode;
use rustc_hash::FxHashMap;

use super::accounts::Table;
use super::bucket::{Bucket, Rate};
use crate::address::ClientAddress;
use crate::app::{Conn, ConnId, Upgrade};
use crate::http::{Request, Response};
use crate::router::chain::{Counters, Event, Middleware, Next, Start};

/// What becomes of a message above the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Excess {
    /// The connection is closed with 1008.
    #[default]
    Close,
    /// It is dropped; the connection lives on, the app hears nothing of it.
    Drop,
}

/// Addresses that are remembered: with about 100 bytes each, some 7 MiB.
const ADDRESSES: usize = 65_536;

/// Limits what connections and addresses send, by token buckets: messages with
/// their payload's bytes, pings and pongs included; requests and upgrades.
/// What exceeds an address's rate of requests is answered with 429 and
/// `Retry-After`. All of it is counted as `hioload_rate_limited_total`.
///
/// Clones share the addresses. Make one and clone it for each shard, else an
/// address gets its rate from every shard anew:
///
/// ```no_run
/// use hioload::router::{Rate, RateLimit};
/// use hioload::{Echo, Router, Server};
///
/// let limit = RateLimit::new()
///     .messages_per_connection(Rate::per_second(50).burst(200))
///     .requests_per_address(Rate::per_second(10));
/// Server::bind("127.0.0.1:8000")
///     .run(move |_shard| Router::new().layer(limit.clone()).ws("/echo", Echo))?;
/// # Ok::<(), hioload::Error>(())
/// ```
///
/// An address is an IPv4 address or an IPv6 /64. Limits per address take a
/// lock per message or request that shards of one address may wait for, some
/// 50 nanoseconds where they do not. Once more addresses come than are
/// remembered, those not seen for longest are forgotten and begin anew.
#[derive(Debug)]
pub struct RateLimit {
    /// As of the version `seen`.
    rules: Rules,
    seen: u64,
    live: Arc<Live>,
    accounts: Arc<Table<Account>>,
    open: FxHashMap<ConnId, Account>,
    counters: Counters,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    connection: Pair,
    address: Pair,
    requests: Option<Rate>,
    excess: Excess,
}

/// The rules of all clones. They look at the version, and take the lock only
/// when it has changed.
#[derive(Debug, Default)]
struct Live {
    version: AtomicU64,
    rules: Mutex<Rules>,
}

/// Rates of messages.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    messages: Option<Rate>,
    bytes: Option<Rate>,
}

impl Live {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        // They are replaced as a whole.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pair {
    fn is_none(self) -> bool {
        self.messages.is_none() && self.bytes.is_none()
    }
}

/// What an address or a connection has left. Made at its first use, full.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    requests: Option<Bucket>,
}

impl Account {
    /// Takes a message of so many bytes if both rates allow it, else nothing.
    fn message(&mut self, pair: Pair, bytes: u64, now: Nanos) -> bool {
        let asked = [
            (&mut self.messages, pair.messages, 1),
            (&mut self.bytes, pair.bytes, bytes),
        ];
        let mut held = [None, None];
        for ((bucket, rate, n), held) in asked.into_iter().zip(&mut held) {
            let Some(rate) = rate else { continue };
            let bucket = bucket.get_or_insert_with(|| Bucket::full(rate, now));
            bucket.refill(rate, now);
            if bucket.holds(rate, n).is_err() {
                return false;
            }
            *held = Some((bucket, n));
        }
        for (bucket, n) in held.into_iter().flatten() {
            bucket.take(n);
        }
        true
    }

    /// Takes a request, or tells in how many nanoseconds there will be one.
    fn request(&mut self, rate: Rate, now: Nanos) -> Result<(), Nanos> {
        let bucket = self.requests.get_or_insert_with(|| Bucket::full(rate, now));
        bucket.refill(rate, now);
        match bucket.holds(rate, 1) {
            Ok(()) => {
                bucket.take(1);
                Ok(())
            }
            Err(wait) => Err(wait.unwrap_or_else(|| rate.to_full())),
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for RateLimit {
    /// The same limits and addresses, for another shard.
    fn clone(&self) -> Self {
        Self {
            rules: self.rules,
            seen: self.seen,
            live: Arc::clone(&self.live),
            accounts: Arc::clone(&self.accounts),
            open: FxHashMap::default(),
            counters: Counters::default(),
        }
    }
}

impl RateLimit {
    /// Limits nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rules: Rules::default(),
            seen: 0,
            live: Arc::default(),
            accounts: Arc::new(Table::new(ADDRESSES)),
            open: FxHashMap::default(),
            counters: Counters::default(),
        }
    }

    /// Limits the messages of each connection.
    #[must_use]
    pub fn messages_per_connection(self, rate: Rate) -> Self {
        self.with(|rules| rules.connection.messages = Some(rate))
    }

    /// Limits the payload bytes of each connection. A message larger than the
    /// rate's burst is always above it.
    #[must_use]
    pub fn bytes_per_connection(self, rate: Rate) -> Self {
        self.with(|rules| rules.connection.bytes = Some(rate))
    }

    /// Limits the messages of each address, over all its connections.
    #[must_use]
    pub fn messages_per_address(self, rate: Rate) -> Self {
        self.with(|rules| rules.address.messages = Some(rate))
    }

    /// Limits the payload bytes of each address, over all its connections. A
    /// message larger than the rate's burst is always above it.
    #[must_use]
    pub fn bytes_per_address(self, rate: Rate) -> Self {
        self.with(|rules| rules.address.bytes = Some(rate))
    }

    /// Limits the plain requests and upgrades of each address.
    #[must_use]
    pub fn requests_per_address(self, rate: Rate) -> Self {
        self.with(|rules| rules.requests = Some(rate))
    }

    /// What becomes of messages above the rate.
    #[must_use]
    pub fn excess(self, excess: Excess) -> Self {
        self.with(|rules| rules.excess = excess)
    }

    /// How many addresses are remembered, at least 128; 65,536 by default.
    #[must_use]
    pub fn addresses(mut self, most: usize) -> Self {
        self.accounts = Arc::new(Table::new(most));
        self
    }

    /// Takes over the rates and the policy of another one, in this and all its
    /// clones, while they serve: for a reload. What is saved up beyond a lower
    /// burst is lost.
    pub fn change(&self, to: &Self) {
        // One lock after the other: both may be the same.
        let to = *to.live.rules();
        *self.live.rules() = to;
        self.live.version.fetch_add(1, Ordering::Release);
    }

    fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.rules);
        self.live = Arc::new(Live {
            version: AtomicU64::new(self.seen),
            rules: Mutex::new(self.rules),
        });
        self
    }

    fn follow(&mut self) {
        let version = self.live.version.load(Ordering::Acquire);
        if version != self.seen {
            self.seen = version;
            self.rules = *self.live.rules();
        }
    }

    fn count(&self) {
        if let Some(counters) = self.counters.get() {
            counters.rate_limited.add(1);
        }
    }

    /// The refusal of a request that is one too many.
    fn refuse(&mut self, request: &Request<'_>) -> Option<Response> {
        self.follow();
        let rate = self.rules.requests?;
        let client = ClientAddress::of(request.peer()?.ip());
        let now = request.now();
        let taken = self.accounts.with(client, Account::default, |account| {
            account.request(rate, now)
        });
        let wait = taken.err()?;
        self.count();
        let seconds = wait.div_ceil(1_000_000_000).max(1);
        Some(Response::text(429, "too many requests\n").header("Retry-After", seconds.to_string()))
    }

    fn admits(&mut self, conn: &Conn<'_>, bytes: usize) -> bool {
        self.follow();
        let bytes = bytes as u64;
        let now = conn.now();
        let Rules {
            connection,
            address,
            ..
        } = self.rules;
        if !connection.is_none() {
            let account = self.open.entry(conn.id()).or_default();
            if !account.message(connection, bytes, now) {
                return false;
            }
        }
        let peer = conn.peer_addr().filter(|_| !address.is_none());
        let Some(client) = peer.map(|peer| ClientAddress::of(peer.ip())) else {
            return true;
        };
        self.accounts.with(client, Account::default, |account| {
            account.message(address, bytes, now)
        })
    }
}

impl Middleware for RateLimit {
    fn started(&mut self, start: &Start<'_>) {
        self.counters = Counters::of(start);
    }

    fn upgrade(&mut self, request: &Request<'_>, next: Next<'_>) -> Upgrade {
        match self.refuse(request) {
            Some(response) => Upgrade::answer(response),
            None => next.upgrade(request),
        }
    }

    fn http(&mut self, request: &Request<'_>, next: Next<'_>) -> Response {
        match self.refuse(request) {
            Some(response) => response,
            None => next.http(request),
        }
    }

    fn event(&mut self, conn: &mut Conn<'_>, event: Event<'_>, next: Next<'_>) {
        let bytes = match event {
            Event::Message(message) => message.payload().len(),
            Event::Ping(payload) | Event::Pong(payload) => payload.len(),
            Event::Close(_) => {
                self.open.remove(&conn.id());
                return next.event(conn, event);
            }
            Event::Open
            | Event::Drain
            | Event::Deliver(_)
            | Event::Subscription(_)
            | Event::Body(_) => {
                return next.event(conn, event);
            }
        };
        if self.admits(conn, bytes) {
            return next.event(conn, event);
        }
        self.count();
        if self.rules.excess == Excess::Close {
            conn.close(CloseCode::POLICY, "too many messages");
        }
    }
}
