//! What a run is to do, checked.

use std::ops::Range;
use std::path::PathBuf;

use hioload::DeflateConfig;
use hioload::client::{ClientTls, Target};
use hioload_platform::Nanos;
use hioload_platform::backend::Choice;
use hioload_protocol::Kind;
use serde::{Deserialize, Serialize};

use crate::centrifugo::Dialect;
use crate::chat::Talk;
use crate::connect::Storm;
use crate::goal::Goals;
use crate::reconnect::Backoff;
use crate::reporting::Reporting;
use crate::shape::{Curve, Shape};
use crate::size::Sizes;
use crate::source::Sources;
use crate::tolerance::Tolerance;

/// Messages of one connection that may be unanswered in an open loop; beyond
/// it the plan waits for the server. Bounds the memory of a connection, and is
/// several seconds' worth at a usual rate per connection.
pub(crate) const MAX_OUTSTANDING: usize = 4096;

/// Bytes of a frame of Centrifugo's protocol: presence of some 100,000.
const MAX_FRAME: usize = 16 << 20;

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
    /// How many connections may fail.
    pub(crate) tolerate: Tolerance,
    /// Payload sizes.
    pub(crate) sizes: Sizes,
    /// The server returns bytes as they are, without a handshake.
    pub(crate) raw: bool,
    /// Text or binary.
    pub(crate) kind: Kind,
    /// Where the JSON goes; `-` is standard output.
    pub(crate) json: Option<PathBuf>,
    /// Whether numbers that are not valid fail the run.
    pub(crate) require_valid: bool,
    /// What is measured and written beside.
    pub(crate) reporting: Reporting,
    /// No live progress.
    pub(crate) quiet: bool,
    /// Random, so that messages of another run are recognised.
    pub(crate) run: u32,
    /// How connections are used.
    pub(crate) load: Load,
    /// What the users of a chat speak, when their rooms are channels of
    /// Centrifugo's protocol and not topics.
    pub(crate) centrifugo: Option<Dialect>,
    /// How the rate of an open loop goes on after the warm-up.
    pub(crate) shape: Shape,
    /// Processes that share the run.
    pub(crate) processes: usize,
    /// Whether this process is to become one of them.
    pub(crate) is_part: bool,
    /// Which of them it is.
    pub(crate) part: Option<Part>,
    /// The group's name in a scenario.
    pub(crate) name: Option<String>,
    /// How long after all groups of a scenario are connected it starts.
    pub(crate) start: Nanos,
    /// The goals of a search for the highest rate, which the load's rate
    /// begins.
    pub(crate) find_max: Option<Goals>,
}

/// One of the processes that share a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Counts from 0.
    pub(crate) number: usize,
    /// How many there are.
    pub(crate) of: usize,
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
    /// Connections open, have one message echoed, and close.
    Connect(Storm),
    /// Users talk in rooms, and go from one to another.
    Chat(Talk),
    /// Connections are held; pings are answered, and sent if asked.
    Idle {
        /// How many.
        connections: usize,
        /// Between two pings of one connection.
        ping_interval: Option<Nanos>,
    },
    /// Connections are held, and come back when the server drops them.
    Reconnect {
        /// How many.
        connections: usize,
        /// How long they wait before they try again.
        backoff: Backoff,
    },
}

impl Load {
    /// Whether connections are opened during the run, so that how many there
    /// are is known at its end.
    pub(crate) fn opens_more(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Chat(_))
    }

    /// Why several processes can not share it; `None` when they can.
    pub(crate) fn in_one_process(&self) -> Option<&'static str> {
        match self {
            Self::Chat(_) => Some("who is in a room is known to one process alone"),
            Self::Reconnect { .. } => {
                Some("when an outage began and ended is known to one process's clock alone")
            }
            Self::Echo { .. } | Self::Broadcast { .. } | Self::Connect(_) | Self::Idle { .. } => {
                None
            }
        }
    }

    /// Whether connections last a moment and others take their place.
    pub(crate) fn renews(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
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
            Load::Echo { connections, .. }
            | Load::Idle { connections, .. }
            | Load::Reconnect { connections, .. } => connections,
            Load::Broadcast {
                publishers,
                subscribers,
                ..
            } => publishers + subscribers,
            Load::Connect(storm) => storm.concurrency,
            Load::Chat(talk) => talk.users,
        }
    }

    /// Messages, or connections of a storm, per second that an open loop begins
    /// with.
    pub(crate) fn rate(&self) -> Option<f64> {
        match self.load {
            Load::Echo {
                pace: Pace::Open { rate },
                ..
            }
            | Load::Broadcast { rate, .. } => Some(rate),
            Load::Connect(storm) => storm.rate,
            Load::Echo { .. } | Load::Chat(_) | Load::Idle { .. } | Load::Reconnect { .. } => None,
        }
    }

    /// Round `number` of a search: another rate, and another run, so that
    /// messages of an earlier round are recognised.
    pub(crate) fn at_rate(&self, per_second: f64, number: usize) -> Self {
        let mut round = self.clone();
        round.run = self.run.wrapping_add(u32::try_from(number).unwrap_or(0));
        match &mut round.load {
            Load::Echo {
                pace: Pace::Open { rate },
                ..
            }
            | Load::Broadcast { rate, .. } => *rate = per_second,
            Load::Connect(storm) => storm.rate = Some(per_second),
            Load::Echo { .. } | Load::Chat(_) | Load::Idle { .. } | Load::Reconnect { .. } => {}
        }
        round
    }

    /// Bytes of the largest message that the server may send: with a protocol
    /// around the payload it holds many of them, or the names of all in a room.
    pub(crate) fn max_received(&self) -> usize {
        let most = self.sizes.max().max(1 << 16);
        match self.centrifugo {
            Some(_) => most.max(MAX_FRAME),
            None => most,
        }
    }

    /// Connections that publish to topics.
    pub(crate) fn publishers(&self) -> usize {
        match self.load {
            Load::Broadcast { publishers, .. } => publishers,
            _ => 0,
        }
    }

    /// The threads of the run that this process has.
    pub(crate) fn own_threads(&self) -> Range<usize> {
        let Part { number, of } = self.part.unwrap_or(Part { number: 0, of: 1 });
        number * self.threads / of..(number + 1) * self.threads / of
    }

    /// Whether so many connections that failed to open end the run at once. A
    /// share of the connections that a load opens as it goes is known only at
    /// its end.
    pub(crate) fn gives_up(&self, failed: u64) -> bool {
        let known_later = self.load.opens_more() && matches!(self.tolerate, Tolerance::Share(_));
        !known_later && !self.tolerate.allows(failed, self.connections() as u64)
    }

    /// Connections of thread `thread`: `thread`, `thread + threads`, ...
    pub(crate) fn share(&self, thread: usize) -> usize {
        share(self.connections(), thread, self.threads)
    }

    /// The rate over the whole run, for a load that begins with `rate` messages
    /// per second.
    pub(crate) fn curve(&self, rate: f64) -> Curve {
        Curve::new(rate, &self.shape, self.warmup, self.duration)
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
