//! What a seed makes of a run: the server, the network, how it ends.

use std::time::Duration;

use hioload::testing::{Fault, Faults, SimConfig};
use hioload::{Backpressure, CloseCode, Config, ListenerMode};
use hioload_platform::backend::sim::SimRandom;

/// Faults that end connections, or keep them from beginning.
pub(crate) const FATAL: [Fault; 5] = [
    Fault::Reset,
    Fault::HalfOpen,
    Fault::AcceptAborted,
    Fault::ConnectRefused,
    Fault::ConnectSilent,
];

/// A run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) faults: Faults,
    pub(crate) driver: SimConfig,
    /// Entries of an inbox.
    pub(crate) inbox: usize,
    pub(crate) stalls: f64,
    /// Messages of each ordered topic that are kept.
    pub(crate) history: usize,
    /// Clients in all.
    pub(crate) clients: usize,
    /// Things they do, together.
    pub(crate) deeds: usize,
    /// Whether everything is delivered before the stop, or the stop comes amid
    /// traffic.
    pub(crate) settles: bool,
    /// Whether the stop waits for nobody.
    pub(crate) cuts: bool,
    /// Whether clients come and go all the time.
    pub(crate) churns: bool,
    /// Whether sockets run out now and then.
    pub(crate) starves: bool,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = SimRandom::new(seed);
        let mut one_in = |n: u64| random.below(n) == 0;
        let (rough, calm, pings, idles) = (one_in(2), one_in(8), one_in(2), one_in(6));
        let (tight, crowded, stalls) = (one_in(3), one_in(2), one_in(2));
        let (settles, starves, churns) = (!one_in(4), one_in(4), one_in(3));
        let (cuts, scarce) = (one_in(6), !one_in(3));
        let (distributes, grows) = (one_in(3), one_in(2));
        let faults = if calm {
            Faults::none()
        } else {
            faults(rough, pings, churns)
        };
        let mut between = |least: u64, most: u64| least + random.below(most - least + 1);
        let ms = Duration::from_millis;
        let config = Config {
            shards: index(between(2, 4)),
            listener: if distributes {
                ListenerMode::Distribute
            } else {
                ListenerMode::ReusePort
            },
            ping_interval: pings.then(|| ms(between(50, 500))),
            pong_timeout: ms(between(500, 1000)),
            idle_timeout: idles.then(|| ms(between(501, 3000))),
            handshake_timeout: ms(2000),
            close_timeout: ms(between(200, 1000)),
            drain_timeout: ms(between(500, 2000)),
            backpressure_limit: if tight {
                index(between(1024, 6000))
            } else {
                1 << 20
            },
            backpressure: match between(0, 2) {
                0 | 1 => Backpressure::PauseReading,
                _ => Backpressure::Close(CloseCode::TRY_AGAIN),
            },
            ..Config::default()
        };
        let driver = driver(scarce, grows, &mut between);
        let history = index(between(0, 40));
        Self {
            config,
            faults,
            driver,
            inbox: if crowded { index(between(1, 4)) } else { 4096 },
            history,
            stalls: if !stalls {
                0.0
            } else if between(0, 1) == 0 {
                0.03
            } else {
                0.3
            },
            clients: index(if churns {
                between(60, 120)
            } else {
                between(8, 40)
            }),
            deeds: index(between(100, 600)),
            settles,
            cuts,
            churns,
            starves,
        }
    }

    /// Whether connections may end through no fault of server or client.
    pub(crate) fn is_rough(&self) -> bool {
        FATAL
            .iter()
            .any(|&fault| self.faults.probability(fault) > 0.0)
    }

    /// Whether one that does not read for a while may be given up.
    pub(crate) fn is_impatient(&self) -> bool {
        let Config {
            ping_interval,
            idle_timeout,
            ..
        } = self.config;
        ping_interval.is_some() || idle_timeout.is_some() || self.is_tight()
    }

    /// Whether a client may be closed because it reads too slowly.
    pub(crate) fn is_tight(&self) -> bool {
        self.config.backpressure_limit < 1 << 20
    }
}

fn faults(rough: bool, pings: bool, churns: bool) -> Faults {
    let mut faults = Faults::rough();
    if churns {
        // The more a slot is used again, and the later its last user is heard
        // of, the likelier the one is taken for the other.
        faults = faults.with(Fault::Stale, 0.9);
        faults.longest_delay *= 4;
    }
    if !rough {
        for fault in FATAL {
            faults = faults.with(fault, 0.0);
        }
    }
    if pings {
        // One that takes seconds to take what waits for it is late with its
        // pongs, too, and rightly taken for gone.
        faults = faults.with(Fault::SlowReader, 0.0);
    }
    faults
}

/// With few buffers streams stall, with many they run on while the shard does
/// something else.
fn driver(scarce: bool, grows: bool, between: &mut impl FnMut(u64, u64) -> u64) -> SimConfig {
    let mut count = |least, most| u16::try_from(between(least, most)).expect("a small number");
    let (recv_buffers, leases) = if scarce { (count(2, 12), 3) } else { (64, 16) };
    SimConfig {
        recv_buffers,
        recv_buffers_max: if grows { count(4, 40) } else { 0 },
        recv_shrink_after: u64::from(count(10, 1000)) * 1_000_000,
        recv_buffer_size: usize::from(count(32, 600)),
        max_leases_per_socket: u32::from(count(1, leases)),
        ..SimConfig::default()
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).expect("a small number")
}
