//! How connections opened: how many, how fast, and why the others did not.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use hioload_platform::Nanos;

use crate::cause;
use crate::recorded;
use crate::summary::Distribution;
use crate::tally::{self, Window};

/// What one thread saw of opening connections, or all together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Opens {
    /// Begun in the whole run.
    pub(crate) attempted: u64,
    /// Whose handshake was done, in the whole run.
    pub(crate) opened: u64,
    /// Of these, those whose handshake was done within the measurement.
    pub(crate) measured: u64,
    /// How long they took; `None` before the first.
    times: Option<Box<Times>>,
    /// Those that did not open, by cause.
    pub(crate) failures: BTreeMap<String, u64>,
}

/// How long connections took to open.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Times {
    /// From the planned connect until TCP is connected.
    #[serde(with = "recorded")]
    connect: Histogram<u64>,
    /// From there until the upgrade is granted, TLS included.
    #[serde(with = "recorded")]
    handshake: Histogram<u64>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: tally::histogram(),
            handshake: tally::histogram(),
        }
    }
}

/// When the steps of one connection took place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steps {
    /// When it was to begin.
    pub(crate) planned: Nanos,
    /// When TCP was connected.
    pub(crate) connected: Nanos,
}

impl Opens {
    /// A handshake was done at `now`. Times count when the connection was
    /// planned within `window`, or there is none.
    pub(crate) fn opened(&mut self, steps: Steps, now: Nanos, window: Option<Window>) {
        self.opened += 1;
        if window.is_some_and(|window| window.contains(now)) {
            self.measured += 1;
        }
        if window.is_none_or(|window| window.contains(steps.planned)) {
            let connect = steps.connected.saturating_sub(steps.planned);
            let handshake = now.saturating_sub(steps.connected);
            let times = self.times.get_or_insert_default();
            times.connect.saturating_record(connect);
            times.handshake.saturating_record(handshake);
        }
    }

    /// A connection did not open.
    pub(crate) fn failed(&mut self, cause: &str) {
        cause::count(&mut self.failures, cause);
    }

    /// How many did not open.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Adds another thread's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.attempted += other.attempted;
        self.opened += other.opened;
        self.measured += other.measured;
        if let Some(other) = &other.times {
            let times = self.times.get_or_insert_default();
            tally::merge(&mut times.connect, &other.connect);
            tally::merge(&mut times.handshake, &other.handshake);
        }
        cause::merge(&mut self.failures, &other.failures);
    }
}

/// The result as `--json` writes it.
#[derive(Debug, Serialize)]
pub(crate) struct Connections {
    pub(crate) attempted: u64,
    pub(crate) opened: u64,
    pub(crate) failed: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) opened_per_second: f64,
    pub(crate) connect_ns: Distribution,
    pub(crate) handshake_ns: Distribution,
}

impl Connections {
    /// Of a run that measured for so many seconds.
    pub(crate) fn new(opens: &Opens, seconds: f64) -> Self {
        let rate = if seconds > 0.0 {
            opens.measured as f64 / seconds
        } else {
            0.0
        };
        let times = opens.times.clone().unwrap_or_default();
        Self {
            attempted: opens.attempted,
            opened: opens.opened,
            failed: opens.failures(),
            failures: opens.failures.clone(),
            opened_per_second: rate,
            connect_ns: Distribution::of(&times.connect),
            handshake_ns: Distribution::of(&times.handshake),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(planned: Nanos, connected: Nanos) -> Steps {
        Steps { planned, connected }
    }

    #[test]
    fn times_count_from_the_planned_connect() {
        let mut opens = Opens::default();
        let window = Some(Window { from: 100, to: 200 });
        opens.opened(steps(110, 150), 190, window);
        opens.opened(steps(50, 60), 70, window);
        let seen = Connections::new(&opens, 2.0);
        assert_eq!((seen.opened, opens.measured), (2, 1));
        assert_eq!((seen.connect_ns.count, seen.connect_ns.max), (1, 40));
        assert_eq!((seen.handshake_ns.count, seen.handshake_ns.max), (1, 40));
    }

    #[test]
    fn connections_that_are_opened_beforehand_all_count() {
        let mut opens = Opens::default();
        opens.opened(steps(10, 20), 50, None);
        assert_eq!(opens.measured, 0);
        assert_eq!(Connections::new(&opens, 0.0).handshake_ns.max, 30);
    }
}
