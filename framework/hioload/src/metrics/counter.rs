//! The counters of a shard.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::pools::ShardPools;
use super::routes::RouteCounters;
use hioload_platform::DriverStats;
use hioload_protocol::CloseCode;
use hioload_protocol::handshake::Refusal;
use hioload_protocol::proxy::ProxyError;

use crate::offload;
use crate::tls::TlsFailure;

/// A number with one writer, its shard, and any number of readers: adding is a
/// plain load and store, no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// The value now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.get().wrapping_sub(n), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

/// What a backpressure event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackpressureAction {
    /// A message was dropped.
    Dropped,
    /// A connection was closed.
    Closed,
    /// Reading from a connection was paused.
    Paused,
    /// A publish was refused: the other shards' inboxes are full.
    Refused,
}

impl BackpressureAction {
    pub(crate) const ALL: [Self; 4] = [Self::Dropped, Self::Closed, Self::Paused, Self::Refused];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Closed => "closed",
            Self::Paused => "paused",
            Self::Refused => "publish_refused",
        }
    }
}

/// Close codes with a counter of their own: 1000 to 1015. The peer chooses
/// codes, so the rest share two counters, lest labels grow without bound.
const NAMED_CODES: usize = 16;
const CODES_FROM_3000: usize = NAMED_CODES;
const CODES_FROM_4000: usize = NAMED_CODES + 1;

/// The counters of one shard. Aligned so that shards never share a cache line
/// (128: adjacent lines are fetched in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ShardMetrics {
    pub(crate) connections: Counter,
    pub(crate) event_streams: Counter,
    pub(crate) sockets: Counter,
    pub(crate) accepted: Counter,
    pub(crate) dialled: Counter,
    pub(crate) dials_failed: Counter,
    pub(crate) messages_received: Counter,
    pub(crate) messages_sent: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) http_requests: Counter,
    pub(crate) tls_handshakes: Counter,
    pub(crate) publishes: Counter,
    pub(crate) panics: Counter,
    pub(crate) rate_limited: Counter,
    pub(crate) turns: Counter,
    pub(crate) send_bytes_pending: Counter,
    pub(crate) tasks: Counter,
    pub(crate) tasks_failed: Counter,
    pub(crate) tasks_panicked: Counter,
    pub(crate) recv_leases: Counter,
    pub(crate) accept_paused: Counter,
    pub(crate) send_stalls: Counter,
    closes: [Counter; NAMED_CODES + 2],
    refusals: [Counter; Refusal::LABELS.len()],
    backpressure: [Counter; BackpressureAction::ALL.len()],
    tls_failures: [Counter; TlsFailure::ALL.len()],
    proxy_failures: [Counter; ProxyError::ALL.len()],
    pub(crate) pools: ShardPools,
    /// Of a router, where one is and counts them.
    pub(crate) routes: OnceLock<Box<[RouteCounters]>>,
}

impl ShardMetrics {
    pub(crate) fn closed(&self, code: CloseCode) {
        let index = match code.0 {
            1000..=1015 => usize::from(code.0 - 1000),
            3000..=3999 => CODES_FROM_3000,
            _ => CODES_FROM_4000,
        };
        self.closes[index].add(1);
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        let label = refusal.label();
        if let Some(index) = Refusal::LABELS.iter().position(|&known| known == label) {
            self.refusals[index].add(1);
        }
    }

    pub(crate) fn backpressure(&self, action: BackpressureAction) {
        self.backpressure[action as usize].add(1);
    }

    pub(crate) fn proxy_failed(&self, error: ProxyError) {
        self.proxy_failures[error as usize].add(1);
    }

    pub(crate) fn tls_failed(&self, failure: TlsFailure) {
        self.tls_failures[failure as usize].add(1);
    }

    pub(crate) fn driver(&self, stats: &DriverStats) {
        self.recv_leases.set(stats.leases_out);
        self.accept_paused.set(stats.accept_paused);
        self.pools.receive(stats);
    }

    pub(super) fn closes(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.closes.iter().enumerate().map(|(index, counter)| {
            let label = match index {
                CODES_FROM_3000 => "3xxx".to_owned(),
                CODES_FROM_4000 => "4xxx".to_owned(),
                named => (1000 + named).to_string(),
            };
            (label, counter.get())
        })
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let labels = Refusal::LABELS.iter().map(|&label| label.to_owned());
        labels.zip(self.refusals.iter().map(Counter::get))
    }

    pub(super) fn backpressures(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        BackpressureAction::ALL.iter().map(|&action| {
            (
                action.label().to_owned(),
                self.backpressure[action as usize].get(),
            )
        })
    }

    pub(super) fn proxy_failures(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        ProxyError::ALL.iter().map(|&error| {
            let label = error.label().to_owned();
            (label, self.proxy_failures[error as usize].get())
        })
    }

    pub(super) fn tls_failures(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        TlsFailure::ALL.iter().map(|&failure| {
            let label = failure.label().to_owned();
            (label, self.tls_failures[failure as usize].get())
        })
    }
}

/// The counters of all shards. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(pub(super) Arc<[ShardMetrics]>, Arc<OnceLock<offload::Pool>>);

impl Metrics {
    pub(crate) fn new(shards: usize) -> Self {
        let shards = (0..shards).map(|_| ShardMetrics::default());
        Self(shards.collect(), Arc::default())
    }

    pub(crate) fn set_offload(&self, pool: offload::Pool) {
        let _first = self.1.set(pool);
    }

    /// What the offload pool does and has done.
    #[must_use]
    pub fn offload(&self) -> offload::Stats {
        self.1.get().map(offload::Pool::stats).unwrap_or_default()
    }

    pub(crate) fn shard(&self, index: usize) -> &ShardMetrics {
        &self.0[index]
    }

    /// Open WebSockets, and [streams of messages](crate::http::MessageStream).
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.iter().map(|shard| shard.connections.get()).sum()
    }

    /// Accepted sockets that are not closed yet, WebSockets or not.
    #[must_use]
    pub fn sockets(&self) -> u64 {
        self.0.iter().map(|shard| shard.sockets.get()).sum()
    }

    /// Open streams of server-sent events.
    #[must_use]
    pub fn event_streams(&self) -> u64 {
        self.0.iter().map(|shard| shard.event_streams.get()).sum()
    }

    /// Open WebSockets of each shard.
    #[must_use]
    pub fn connections_per_shard(&self) -> Vec<u64> {
        self.0.iter().map(|shard| shard.connections.get()).collect()
    }

    /// Bytes queued for sending or with the kernel.
    #[must_use]
    pub fn send_bytes_pending(&self) -> u64 {
        self.0
            .iter()
            .map(|shard| shard.send_bytes_pending.get())
            .sum()
    }

    /// Receive buffers in use by the shards right now.
    #[must_use]
    pub fn recv_leases(&self) -> u64 {
        self.0.iter().map(|shard| shard.recv_leases.get()).sum()
    }

    /// Connections ended by [`Config::send_timeout`](crate::Config::send_timeout).
    #[must_use]
    pub fn send_stalls(&self) -> u64 {
        self.0.iter().map(|shard| shard.send_stalls.get()).sum()
    }

    /// Closed WebSockets by close code; `3xxx` and `4xxx` in one each. Codes
    /// that did not occur are left out.
    #[must_use]
    pub fn closes(&self) -> BTreeMap<String, u64> {
        sum(self.0.iter().flat_map(ShardMetrics::closes))
    }

    /// Refused requests by reason. Reasons that did not occur are left out.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        sum(self.0.iter().flat_map(ShardMetrics::refusals))
    }

    /// Panics of callbacks that were caught; see
    /// [`Recovery`](crate::router::Recovery).
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.0.iter().map(|shard| shard.panics.get()).sum()
    }

    /// Messages, requests and upgrades above a rate; see
    /// [`RateLimit`](crate::router::RateLimit).
    #[must_use]
    pub fn rate_limited(&self) -> u64 {
        self.0.iter().map(|shard| shard.rate_limited.get()).sum()
    }

    /// Completed TLS handshakes.
    #[must_use]
    pub fn tls_handshakes(&self) -> u64 {
        self.0.iter().map(|shard| shard.tls_handshakes.get()).sum()
    }

    /// Connections of trusted proxies that were closed for the PROXY header
    /// they sent or did not send, by reason.
    #[must_use]
    pub fn proxy_failures(&self) -> BTreeMap<String, u64> {
        sum(self.0.iter().flat_map(ShardMetrics::proxy_failures))
    }

    /// Connections that TLS ended, by reason. Reasons that did not occur are
    /// left out.
    #[must_use]
    pub fn tls_failures(&self) -> BTreeMap<String, u64> {
        sum(self.0.iter().flat_map(ShardMetrics::tls_failures))
    }

    /// Backpressure events by what they did. Those that did not occur are left
    /// out.
    #[must_use]
    pub fn backpressure(&self) -> BTreeMap<String, u64> {
        sum(self.0.iter().flat_map(ShardMetrics::backpressures))
    }
}

fn sum(pairs: impl Iterator<Item = (String, u64)>) -> BTreeMap<String, u64> {
    let mut total = BTreeMap::new();
    for (label, n) in pairs.filter(|&(_, n)| n > 0) {
        *total.entry(label).or_default() += n;
    }
    total
}
