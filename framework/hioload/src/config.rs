//! Limits, timeouts and policies of a server.

mod networks;

use std::time::Duration;

use hioload_protocol::CloseCode;
use hioload_protocol::handshake::HandshakeLimits;
use hioload_protocol::{DeflateConfig, DeflateMode, KeepaliveConfig, Limits};

use hioload_platform::Nanos;
use hioload_platform::backend::Choice;
use hioload_platform::clock::nanos;
use hioload_platform::placement::{self, CpuList, Placement, PlacementError, Plan};
use hioload_platform::probe;
use hioload_platform::socket::PORTS_CAN_BE_SHARED;
use hioload_platform::topology::Topology;

use crate::error::ConfigError;
use crate::offload::MOST_WORKERS;

pub use networks::{Network, NetworkError, Networks};

/// What to do with a connection whose peer reads too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backpressure {
    /// Messages above the limit are dropped and counted; the connection lives.
    Drop,
    /// The connection is closed with this code (1008 or 1013 are usual). What
    /// was queued still goes first, then the Close frame; what the peer has not
    /// taken by [`close_timeout`](Config::close_timeout) is freed.
    Close(CloseCode),
    /// Above half of the limit nothing more is read from this connection until
    /// it has taken what waits; above the limit it is closed with 1013, since
    /// what others publish to it cannot be paused. What it had sent by then is
    /// held until it is read from again.
    PauseReading,
}

/// How connections come to shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerMode {
    /// Each shard has a listener of its own on the same port, and the kernel
    /// spreads connections over them by a hash (`SO_REUSEPORT`, Linux 3.9).
    /// Nothing passes between shards. Windows has nothing like it.
    ReusePort,
    /// The first shard accepts, and gives each connection to the shard with the
    /// fewest. As even as can be; a connection costs a hand-over.
    Distribute,
}

impl Default for ListenerMode {
    /// `ReusePort` where there is such a thing.
    fn default() -> Self {
        if PORTS_CAN_BE_SHARED {
            Self::ReusePort
        } else {
            Self::Distribute
        }
    }
}

/// Everything about a server that is not an address. `Default` is what a
/// public service can start with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Shards, each a thread, at most 64; 0: one per CPU in `cpus`, or else
    /// one per physical core this process may use.
    pub shards: usize,
    /// Which CPUs shards are pinned to, when `cpus` lists none.
    pub placement: Placement,
    /// The CPU of each shard, in their order; empty: chosen by `placement`.
    pub cpus: CpuList,
    /// Whether each shard is pinned to a CPU of its own. Ignored when there
    /// are more shards than CPUs.
    pub pin: bool,
    /// What the shards' drivers stand on. [`Choice::Auto`] takes io_uring
    /// where this process may use it, and else says in one line of the log what
    /// forbids it.
    pub backend: Choice,
    /// How connections come to shards.
    pub listener: ListenerMode,
    /// Open connections, all shards together; more are answered 503. A number
    /// is a promise: the start fails when the process may not open that many
    /// descriptors. 0: up to 1,000,000, as far as the descriptors reach.
    pub max_connections: usize,
    /// Open connections of one address, all shards together; more are answered
    /// 503. 0: as many as there may be. Addresses of IPv6 count by their first
    /// 64 bits. With `proxy_protocol` the client's address counts, and
    /// connections of `trusted_proxies` themselves do not. Connections from
    /// before a change from 0 are not counted.
    pub max_connections_per_address: usize,
    /// Whose word is taken for where clients are: the addresses of proxies in
    /// front of this server. A request that comes from one is from the last
    /// address in its `X-Forwarded-For` that is not in this list, so each of
    /// them must add to that header, or send the PROXY header. Changed by a
    /// restart only.
    pub trusted_proxies: Networks,
    /// Whether connections of `trusted_proxies` begin with a PROXY header of
    /// version 2, before TLS; one that does not is closed. Others must not send
    /// it. Changed by a restart only.
    pub proxy_protocol: bool,
    /// Bytes of one message, all fragments together; more is closed with 1009.
    pub max_message: usize,
    /// Bytes of a request head; more is answered 431.
    pub max_head: usize,
    /// Header fields of a request; more is answered 431.
    pub max_headers: usize,
    /// Bytes of the body of a plain request that is collected for
    /// [`App::http`](crate::App::http); more is answered 413.
    pub max_body: usize,
    /// From a complete head to the end of its collected body; what is cut off
    /// by it is answered 408. Of a body that the app
    /// [streams](crate::http::Upload::stream): between two parts of it, while
    /// the app reads, and from its end to the app's answer.
    pub body_timeout: Duration,
    /// From the accepted connection to its complete request head, and between
    /// two plain requests of one connection; a head cut off by it is answered
    /// 408.
    pub handshake_timeout: Duration,
    /// From our Close frame to the end of the connection, whatever the peer
    /// does.
    pub close_timeout: Duration,
    /// Silence of the peer before it is closed with 1001. `None`: never.
    /// Answers to pings are not silence. This and the two times that follow are
    /// kept in ticks of 17 milliseconds: they end late by less than one.
    pub idle_timeout: Option<Duration>,
    /// Silence of the peer before it is pinged. `None`: never.
    pub ping_interval: Option<Duration>,
    /// From a ping to the first byte after it; a peer that stays silent is
    /// gone, and its connection is ended.
    pub pong_timeout: Duration,
    /// How long a WebSocket, or an event stream, may take nothing of what waits
    /// for it before it is
    /// ended without a Close frame, which could not reach it. `None`: never.
    ///
    /// Looked at once in that time, so the end comes after one to two of them.
    /// What counts is a send that ends, of up to a megabyte (or one larger
    /// message), so a peer that is far behind must take as much in that time:
    /// 17 KB a second at 60 seconds, which is what common proxies give too.
    pub send_timeout: Option<Duration>,
    /// How long a WebSocket may live before it is closed with 1001, and an event
    /// stream before it ends, so that
    /// clients spread anew over the machines of a cluster, or show their
    /// credentials again. Each ends up to a tenth of it earlier, by chance, so
    /// that those who came together do not come back together; and up to 0.27
    /// seconds later. Those that are open keep what was decided when they opened.
    /// `None`: for ever.
    pub max_lifetime: Option<Duration>,
    /// Receive buffers of 64 KiB each shard begins with. While it has too few
    /// it doubles them, up to `recv_buffers_max`; after ten seconds of little
    /// use it gives half back.
    ///
    /// On kernels without incremental buffers (before Linux 6.12) each is four
    /// of 16 KiB.
    pub recv_buffers: u16,
    /// Receive buffers of a shard at most. When all are in use, connections
    /// wait; none is closed for it. 64 pass through the cache while a shard is
    /// busy; more help bursts of many connections and cost what a larger
    /// working set does.
    pub recv_buffers_max: u16,
    /// Bytes that may wait to be sent to one connection before `backpressure`
    /// applies. One message may go beyond it.
    pub backpressure_limit: usize,
    /// Bytes that may wait to be sent to all connections of a shard together.
    /// Above it each connection's limit is 64 KiB (or `backpressure_limit`,
    /// if that is less), until what waits is less again.
    ///
    /// As many bytes may be held of what connections had sent before they were
    /// paused, see [`Backpressure::PauseReading`], and of the bodies of requests
    /// that are collected; above it the connections that would add to them are
    /// closed with 1013, requests are answered 503.
    pub send_memory: usize,
    /// permessage-deflate (RFC 7692) for clients that offer it; `None`: never.
    pub deflate: Option<DeflateConfig>,
    /// What happens above `backpressure_limit`.
    pub backpressure: Backpressure,
    /// Topics and filters of all hubs that one connection may be subscribed to;
    /// more are refused. To find one of them, subscribing and unsubscribing go
    /// through all: 128 are a kilobyte.
    pub max_subscriptions: usize,
    /// The part of accepted WebSockets that get a `tracing` span, 0 to 1: with
    /// target `hioload::connection`, level INFO and peer, path, subprotocol and
    /// shard as fields. It is entered around their callbacks, and has events for
    /// open, close, backpressure and errors. Evenly: 0.1 is every tenth of a
    /// shard. A path that holds secrets is seen by whoever collects them.
    pub trace_sample: f64,
    /// From the request to stop to the end of all connections.
    pub drain_timeout: Duration,
    /// Threads for work that callbacks [offload](crate::offload), at most 1024;
    /// 0: one for each CPU that is no shard's, and one at least. They are
    /// started when there is work for them.
    pub offload_workers: usize,
    /// Offloaded work that may wait for a thread; more is refused.
    pub offload_queue: usize,
    /// From the submission of offloaded work to its result, unless it has a
    /// timeout of its own.
    pub offload_timeout: Duration,
    /// Waves, at least 1, in which a stop closes the WebSockets of a shard.
    ///
    /// Clients that are closed in the same instant come back in the same
    /// instant, and those the kernel's queue of 4,096 connections per listener
    /// has no room for wait for a second or more until they try again. So each
    /// shard closes them in waves of at least 256: a shard with so many or
    /// fewer closes all at once, and 100,000 on 4 shards are closed in 20 waves
    /// of 1,250 a shard, 20,000 a second.
    pub drain_waves: u16,
    /// From the first to the end of the last of as many waves as there may be;
    /// fewer take less. Never more than half of the drain timeout, so that the
    /// last wave has as long to end. Zero closes all at once.
    pub drain_spread: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 0,
            placement: Placement::default(),
            cpus: CpuList::default(),
            pin: true,
            backend: Choice::Auto,
            listener: ListenerMode::default(),
            max_connections: 0,
            max_connections_per_address: 0,
            trusted_proxies: Networks::default(),
            proxy_protocol: false,
            max_message: 1 << 20,
            max_head: 8 << 10,
            max_headers: 64,
            max_body: 1 << 20,
            body_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            idle_timeout: Some(Duration::from_secs(120)),
            ping_interval: Some(Duration::from_secs(25)),
            pong_timeout: Duration::from_secs(10),
            send_timeout: Some(Duration::from_secs(60)),
            max_lifetime: None,
            recv_buffers: 16,
            recv_buffers_max: 64,
            backpressure_limit: 1 << 20,
            send_memory: 256 << 20,
            deflate: Some(DeflateConfig::default()),
            backpressure: Backpressure::Close(CloseCode::TRY_AGAIN),
            max_subscriptions: 128,
            trace_sample: 0.0,
            drain_timeout: Duration::from_secs(10),
            offload_workers: 0,
            offload_queue: 1024,
            offload_timeout: Duration::from_secs(30),
            drain_waves: 20,
            drain_spread: Duration::from_secs(5),
        }
    }
}

/// The most shards: their set of interested shards is one 64-bit word.
pub(crate) const MAX_SHARDS: usize = 64;

/// 512 MiB of each shard: four of the smaller buffers each are as many as the
/// kernel takes in one ring.
const MOST_RECV_BUFFERS: u16 = 1 << 13;

/// The connections served when nobody says how many.
const MOST_CONNECTIONS: usize = 1_000_000;

/// Descriptors a server needs beside its connections: listeners, rings,
/// eventfds, and what the process had open.
pub(crate) const SPARE_DESCRIPTORS: u64 = 256;

/// What a connection's own state takes: slots in the tables of shard and
/// driver, a timer, the list of what is being sent.
const STATE: usize = 4 << 10;

/// An inflate stream with its window.
const INFLATER: usize = 48 << 10;

/// A compressor of a connection's own; see [`DeflateMode::Dedicated`].
const COMPRESSOR: usize = 320 << 10;

/// Unused room of chunks: the last one of what the kernel was given, and the
/// last one of what waits.
const CHUNK_ROOM: usize = 2 * (64 << 10);

/// A session's keys, a record that is not complete, and four that are sealed.
const TLS: usize = (24 << 10) + (18 << 10) + (65 << 10);

impl Config {
    /// The most bytes of memory that one connection makes a shard hold,
    /// whatever its peer sends and however little it reads. `tls`: it came
    /// over TLS.
    ///
    /// It is the sum of:
    ///
    /// | what | bytes |
    /// |---|---|
    /// | its own state | 4 KiB |
    /// | the message that arrives, or the request before it | [`max_message`](Self::max_message), or [`max_body`](Self::max_body) and [`max_head`](Self::max_head), or twice `max_head`, whichever is most |
    /// | what waits to be sent | [`backpressure_limit`](Self::backpressure_limit), and once more as much or one message, whichever is more |
    /// | the list of its pieces, and room in the last of them | an eighth of `backpressure_limit`, and 128 KiB |
    /// | deflate: to inflate | 48 KiB |
    /// | [`DeflateMode::Dedicated`]: to compress | 320 KiB |
    /// | TLS: session and records | 107 KiB |
    ///
    /// An idle connection holds a small part of its state, and of the rest only
    /// TLS sessions and what [`DeflateMode::Dedicated`] keeps.
    ///
    /// Not in it are the app's state and topics, messages larger than
    /// `max_message` that the app sends, and the kernel's socket buffers; and
    /// what connections that are paused had sent by then, which all those of a
    /// shard together may hold as much of as
    /// [`send_memory`](Self::send_memory) says, and 8 MiB.
    ///
    /// Beside its connections a shard has a receive pool of 1 MiB, which grows
    /// to 4 MiB while that is needed, and keeps up to 17 MiB of buffers
    /// that were used, for the next ones.
    #[must_use]
    pub fn memory_per_connection(&self, tls: bool) -> usize {
        let deflate = match self.deflate.map(|deflate| deflate.mode) {
            None => 0,
            Some(DeflateMode::Shared) => INFLATER,
            Some(DeflateMode::Dedicated) => INFLATER + COMPRESSOR,
        };
        let request = self
            .max_head
            .saturating_add(self.max_body.max(self.max_head));
        let received = self.max_message.max(request);
        let sent = self.max_message.max(self.backpressure_limit);
        [
            STATE,
            received,
            self.backpressure_limit,
            sent,
            self.backpressure_limit / 8,
            CHUNK_ROOM,
            deflate,
            if tls { TLS } else { 0 },
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Names the first field that is zero or out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let at_least = |field, value: usize, least: usize| {
            if value < least {
                Err(ConfigError::TooSmall {
                    field,
                    value,
                    least,
                })
            } else {
                Ok(())
            }
        };
        let positive = |field, value: Duration| {
            if value.is_zero() {
                Err(ConfigError::ZeroDuration { field })
            } else {
                Ok(())
            }
        };
        if self.shards > MAX_SHARDS {
            return Err(ConfigError::TooLarge {
                field: "shards",
                value: self.shards,
                most: MAX_SHARDS,
            });
        }
        if self.listener == ListenerMode::ReusePort && !PORTS_CAN_BE_SHARED {
            return Err(ConfigError::ReusePort);
        }
        at_least("max_message", self.max_message, 125)?;
        at_least("max_head", self.max_head, 256)?;
        at_least("max_headers", self.max_headers, 8)?;
        self.check_recv_buffers()?;
        at_least("backpressure_limit", self.backpressure_limit, 1024)?;
        at_least("send_memory", self.send_memory, 1024)?;
        self.check_offload()?;
        at_least("drain_waves", self.drain_waves.into(), 1)?;
        at_least("max_subscriptions", self.max_subscriptions, 1)?;
        positive("handshake_timeout", self.handshake_timeout)?;
        positive("body_timeout", self.body_timeout)?;
        positive("close_timeout", self.close_timeout)?;
        positive("pong_timeout", self.pong_timeout)?;
        positive("idle_timeout", self.idle_timeout.unwrap_or(Duration::MAX))?;
        positive("send_timeout", self.send_timeout.unwrap_or(Duration::MAX))?;
        positive("max_lifetime", self.max_lifetime.unwrap_or(Duration::MAX))?;
        positive("ping_interval", self.ping_interval.unwrap_or(Duration::MAX))?;
        self.check_contradictions()?;
        if !(0.0..=1.0).contains(&self.trace_sample) {
            return Err(ConfigError::Fraction {
                field: "trace_sample",
                value: self.trace_sample.to_string(),
            });
        }
        self.check_deflate()?;
        if let Backpressure::Close(code) = self.backpressure
            && !code.is_sendable()
        {
            return Err(ConfigError::CloseCode {
                field: "backpressure",
                code: code.0,
            });
        }
        Ok(())
    }

    fn check_deflate(&self) -> Result<(), ConfigError> {
        let Some(deflate) = &self.deflate else {
            return Ok(());
        };
        let range = |field, value: u8, least: u8, most: u8| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let (least, most) = (usize::from(least), usize::from(most));
            Err(ConfigError::OutOfRange {
                field,
                value: value.into(),
                least,
                most,
            })
        };
        range("deflate.level", deflate.level, 0, 9)?;
        range("deflate.mem_level", deflate.mem_level, 1, 9)?;
        range("deflate.window_bits", deflate.window_bits, 9, 15)?;
        range("deflate.peer_window_bits", deflate.peer_window_bits, 8, 15)?;
        Ok(())
    }

    fn check_offload(&self) -> Result<(), ConfigError> {
        if self.offload_workers > MOST_WORKERS {
            return Err(ConfigError::TooLarge {
                field: "offload_workers",
                value: self.offload_workers,
                most: MOST_WORKERS,
            });
        }
        if self.offload_queue == 0 {
            return Err(ConfigError::TooSmall {
                field: "offload_queue",
                value: 0,
                least: 1,
            });
        }
        if self.offload_timeout.is_zero() {
            return Err(ConfigError::ZeroDuration {
                field: "offload_timeout",
            });
        }
        Ok(())
    }

    /// What would have no effect beside another field.
    fn check_contradictions(&self) -> Result<(), ConfigError> {
        if let (Some(ping), Some(idle)) = (self.ping_interval, self.idle_timeout)
            && ping >= idle
        {
            return Err(ConfigError::Contradiction {
                field: "ping_interval",
                value: format!("{ping:?}"),
                other: "idle_timeout",
                than: format!("{idle:?}"),
                why: "a peer would be closed before it is pinged; make it shorter, or switch it off",
            });
        }
        if self.backpressure_limit > self.send_memory {
            return Err(ConfigError::Contradiction {
                field: "backpressure_limit",
                value: self.backpressure_limit.to_string(),
                other: "send_memory",
                than: self.send_memory.to_string(),
                why: "one connection may not have more than all of its shard together",
            });
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            return Err(ConfigError::Contradiction {
                field: "proxy_protocol",
                value: "true".to_owned(),
                other: "trusted_proxies",
                than: "empty".to_owned(),
                why: "the header is believed from nobody; list the proxies that send it",
            });
        }
        Ok(())
    }

    fn check_recv_buffers(&self) -> Result<(), ConfigError> {
        let (first, most) = (self.recv_buffers, self.recv_buffers_max);
        let too_small = |field, value: u16, least: u16| ConfigError::TooSmall {
            field,
            value: value.into(),
            least: least.into(),
        };
        if first == 0 {
            return Err(too_small("recv_buffers", first, 1));
        }
        if most < first {
            return Err(too_small("recv_buffers_max", most, first));
        }
        if most > MOST_RECV_BUFFERS {
            return Err(ConfigError::TooLarge {
                field: "recv_buffers_max",
                value: most.into(),
                most: MOST_RECV_BUFFERS.into(),
            });
        }
        Ok(())
    }

    /// Which CPU each shard would run on.
    ///
    /// # Errors
    /// CPUs that cannot be used, or do not fit the number of shards.
    pub fn plan(&self, topology: &Topology) -> Result<Plan, PlacementError> {
        placement::plan(
            topology,
            &placement::Request {
                shards: self.shards,
                placement: self.placement,
                cpus: &self.cpus,
                pin: self.pin,
                most: MAX_SHARDS,
            },
        )
    }

    /// What this machine offers to a server with this configuration.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn probe(&self) -> Result<probe::Report, PlacementError> {
        let topology = Topology::detect();
        let wanted = probe::Wanted {
            plan: self.plan(&topology)?,
            connections: self.connections() as u64,
            descriptors: self.descriptors(),
            backend: self.backend,
        };
        Ok(probe::report(topology, wanted))
    }

    /// Descriptors the connections need, and the server beside them.
    pub(crate) fn descriptors(&self) -> u64 {
        (self.connections() as u64).saturating_add(SPARE_DESCRIPTORS)
    }

    /// The connections served at most.
    pub(crate) fn connections(&self) -> usize {
        match self.max_connections {
            0 => MOST_CONNECTIONS,
            promised => promised,
        }
    }
}

/// The configuration as a shard uses it: nanoseconds and the protocol's types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) limits: Limits,
    pub(crate) head: HandshakeLimits,
    pub(crate) deflate: Option<DeflateConfig>,
    pub(crate) keepalive: KeepaliveConfig,
    pub(crate) max_body: usize,
    pub(crate) body_timeout: Nanos,
    pub(crate) handshake_timeout: Nanos,
    pub(crate) close_timeout: Nanos,
    pub(crate) send_timeout: Option<Nanos>,
    pub(crate) max_lifetime: Option<Nanos>,
    pub(crate) drain_timeout: Nanos,
    pub(crate) offload_timeout: Nanos,
    pub(crate) drain_waves: u16,
    pub(crate) drain_spread: Nanos,
    pub(crate) backpressure_limit: usize,
    pub(crate) send_memory: usize,
    pub(crate) backpressure: Backpressure,
    pub(crate) max_subscriptions: usize,
    pub(crate) trace_sample: f64,
    pub(crate) max_connections: usize,
    /// 0: any number.
    pub(crate) max_per_address: usize,
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Self {
        Self {
            limits: Limits {
                max_message: config.max_message,
                ..Limits::default()
            },
            head: HandshakeLimits {
                max_bytes: config.max_head,
                max_headers: config.max_headers,
                ..HandshakeLimits::default()
            },
            deflate: config.deflate,
            keepalive: KeepaliveConfig {
                ping_interval: config.ping_interval.map(nanos),
                pong_timeout: nanos(config.pong_timeout),
                idle_timeout: config.idle_timeout.map(nanos),
            },
            max_body: config.max_body,
            body_timeout: nanos(config.body_timeout),
            handshake_timeout: nanos(config.handshake_timeout),
            close_timeout: nanos(config.close_timeout),
            send_timeout: config.send_timeout.map(nanos),
            max_lifetime: config.max_lifetime.map(nanos),
            drain_timeout: nanos(config.drain_timeout),
            offload_timeout: nanos(config.offload_timeout),
            drain_waves: config.drain_waves,
            drain_spread: nanos(config.drain_spread),
            backpressure_limit: config.backpressure_limit,
            send_memory: config.send_memory,
            backpressure: config.backpressure,
            max_subscriptions: config.max_subscriptions,
            trace_sample: config.trace_sample,
            max_connections: config.connections(),
            max_per_address: config.max_connections_per_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Config::default().check().unwrap();
    }

    #[test]
    fn a_bad_field_is_named() {
        let config = Config {
            max_message: 0,
            ..Config::default()
        };
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .contains("max_message")
        );
        let config = Config {
            idle_timeout: Some(Duration::ZERO),
            ..Config::default()
        };
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .contains("idle_timeout")
        );
        let config = Config {
            recv_buffers_max: 15,
            ..Config::default()
        };
        let fault = config.check().unwrap_err().to_string();
        assert!(fault.contains("recv_buffers_max"), "{fault}");
        let config = Config {
            shards: 65,
            ..Config::default()
        };
        assert!(config.check().unwrap_err().to_string().contains("shards"));
        let backpressure = Backpressure::Close(CloseCode::NO_STATUS);
        let config = Config {
            backpressure,
            ..Config::default()
        };
        assert!(config.check().unwrap_err().to_string().contains("1005"));
    }
}
