//! What a run is to do, checked.

use std::path::PathBuf;

use hioload::DeflateConfig;
use hioload::client::{ClientTls, Target};
use hioload_platform::Nanos;
use hioload_platform::backend::Choice;
use hioload_protocol::Kind;

use crate::size::Sizes;
use crate::source::Sources;

/// Messages of one connection that may be unanswered in an open loop; beyond
/// it the plan waits for the server. Bounds the memory of a connection, and is
/// several seconds' worth at a usual rate per connection.
pub(crate) const MAX_OUTSTANDING: usize = 4096;

/// What both kinds of run need.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The server.
    pub(crate) target: Target,
    /// Whom a `wss://` server must be.
    pub(crate) tls: Option<ClientTls>,
    /// Whether it may be anyone.
    pub(crate) insecure: bool,
    /// Offers permessage-deflate.
    pub(crate) deflate: Option<DeflateConfig>,
    /// Subprotocols, in order of preference.
    pub(crate) protocols: Vec<String>,
    /// Headers of the request.
    pub(crate) headers: Vec<(String, String)>,
    /// How long to send before measuring.
    pub(crate) warmup: Nanos,
    /// How long to measure.
    pub(crate) duration: Nanos,
    /// How long to wait for what is outstanding after the end, and then for
    /// the close handshakes.
    pub(crate) drain_timeout: Nanos,
    /// What their drivers stand on.
    pub(crate) backend: Choice,
    /// Threads, each with its own driver.
    pub(crate) threads: usize,
    /// CPUs of the threads, in turn; empty: not pinned.
    pub(crate) cpus: Vec<usize>,
    /// Where connections come from.
    pub(crate) sources: Sources,
    /// New connections per second over all threads.
    pub(crate) connect_rate: Option<f64>,
    /// Handshakes under way at the same time over all threads.
    pub(crate) connect_concurrency: usize,
    /// How long one connection may take to open.
    pub(crate) timeout: Nanos,
    /// Payload sizes.
    pub(crate) sizes: Sizes,
    /// Text or binary.
    pub(crate) kind: Kind,
    /// Where the JSON goes; `-` is standard output.
    pub(crate) json: Option<PathBuf>,
    /// Whether numbers that are not valid fail the run.
    pub(crate) require_valid: bool,
    /// No live progress.
    pub(crate) quiet: bool,
    /// Random, so that messages of another run are recognised.
    pub(crate) run: u32,
    /// How connections are used.
    pub(crate) load: Load,
}

/// The kind of run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Each connection gets its own messages back.
    Echo {
        /// How many connections.
        connections: usize,
        /// When they send.
        pace: Pace,
    },
    /// Publishers' messages reach all other members of their topic.
    Broadcast {
        /// Connections that send.
        publishers: usize,
        /// Connections that only listen.
        subscribers: usize,
        /// Topics; publisher and subscriber `n` belong to topic `n % topics`.
        topics: usize,
        /// Publishes per second over all publishers.
        rate: f64,
    },
}

/// When echo connections send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// By a plan of so many messages per second over all connections.
    Open {
        /// Messages per second.
        rate: f64,
    },
    /// As soon as fewer than so many are unanswered, per connection.
    Closed {
        /// Unanswered messages per connection.
        depth: usize,
    },
}

impl Settings {
    /// Connections of the run.
    pub(crate) fn connections(&self) -> usize {
        match self.load {
            Load::Echo { connections, .. } => connections,
            Load::Broadcast {
                publishers,
                subscribers,
                ..
            } => publishers + subscribers,
        }
    }

    /// Connections of thread `thread`: `thread`, `thread + threads`, ...
    pub(crate) fn share(&self, thread: usize) -> usize {
        share(self.connections(), thread, self.threads)
    }

    /// The name of topic `topic`, with the run's number so that runs against
    /// one server do not disturb each other.
    pub(crate) fn topic(&self, topic: usize) -> String {
        format!("loadgen-{:08x}-{topic}", self.run)
    }
}

/// How many of `total` things dealt in turn to `threads` go to `thread`.
pub(crate) fn share(total: usize, thread: usize, threads: usize) -> usize {
    total / threads + usize::from(thread < total % threads)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_add_up() {
        for total in [0, 1, 7, 8, 1000] {
            for threads in 1..9 {
                let sum: usize = (0..threads)
                    .map(|thread| share(total, thread, threads))
                    .sum();
                assert_eq!(sum, total);
                for thread in 0..threads {
                    let dealt = (0..total).filter(|index| index % threads == thread).count();
                    assert_eq!(share(total, thread, threads), dealt);
                }
            }
        }
    }
}
