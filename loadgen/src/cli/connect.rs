//! The options of `connect`.

use clap::Args;

use hioload_platform::Nanos;

use super::span::Span;
use super::{MAX_CONNECTIONS, Run, SECOND, duration, rate};
use crate::connect::Storm;
use crate::reconnect::Backoff;
use crate::settings::{Load, Settings};
use crate::size::Sizes;

/// Slots of an open loop by default: what `--rate` needs when a connection
/// lasts its `--hold` and a second, within these bounds.
const SLOTS: (f64, f64) = (64.0, 10_000.0);

/// Slots of a closed loop by default.
const CLOSED_SLOTS: u32 = 64;

#[derive(Debug, Args)]
pub(super) struct Connect {
    /// The server's echo endpoint.
    #[arg(long, default_value = "ws://127.0.0.1:8000/echo")]
    url: String,
    /// Open loop: so many new connections per second, at times planned
    /// beforehand. All times count from the planned connect, not from when the
    /// generator came to it: a server that accepts slowly delays the
    /// connections behind, and that delay is part of what a user sees
    /// (coordinated omission). Without it, closed loop: a new connection as
    /// soon as one has ended.
    #[arg(long, short, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Connections at the same time, at most. A planned connection for which
    /// there is no place is held back, and its time goes on [default: 64, and
    /// with --rate what that needs if each lasts a second, at most 10000]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CONNECTIONS)))]
    concurrency: Option<u32>,
    /// How long a connection stays open after its message came back.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = duration)]
    hold: Nanos,
    /// Payload bytes of the message, or a range to choose from at random.
    #[arg(long, short, default_value = "20", value_name = "BYTES|MIN..MAX")]
    size: Sizes,
    /// Hold --connections instead. When the server restarts or drops them, all
    /// reconnect and have a message echoed: reported are the time until all are
    /// back, that of each (the latencies), and the attempts that failed, by
    /// cause. Drops are no errors then; connections that are not back at the
    /// end are.
    #[arg(long, conflicts_with_all = ["rate", "concurrency", "hold"])]
    reconnect: bool,
    /// Connections to hold with --reconnect; as many as --connect-concurrency
    /// reconnect at the same time.
    #[arg(long, default_value_t = 100, requires = "reconnect", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CONNECTIONS)))]
    connections: u32,
    /// With --reconnect, how long a connection waits before it tries again: a
    /// random time up to the first of these, which doubles with each failed
    /// attempt up to the second.
    #[arg(
        long,
        default_value = "100ms..5s",
        requires = "reconnect",
        value_name = "BASE..MAX"
    )]
    backoff: Span,
    /// Wait just that time, not a random one up to it.
    #[arg(long, requires = "reconnect")]
    no_jitter: bool,
    #[command(flatten)]
    run: Run,
}

impl Connect {
    /// Checks what the options mean together.
    pub(super) fn settings(self, run: u32) -> Result<Settings, String> {
        if self.reconnect {
            let load = Load::Reconnect {
                connections: self.connections as usize,
                backoff: Backoff {
                    base: self.backoff.from,
                    most: self.backoff.to,
                    jitter: !self.no_jitter,
                },
            };
            return self.run.settings(&self.url, self.size, load, run);
        }
        let storm = Storm {
            concurrency: self.concurrency.unwrap_or_else(|| self.slots()) as usize,
            rate: self.rate,
            hold: self.hold,
        };
        let load = Load::Connect(storm);
        self.run.settings(&self.url, self.size, load, run)
    }

    fn slots(&self) -> u32 {
        let Some(rate) = self.rate else {
            return CLOSED_SLOTS;
        };
        let lasts = (self.hold + SECOND) as f64 / SECOND as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the bounds"
        )]
        let slots = (rate * lasts).ceil().clamp(SLOTS.0, SLOTS.1) as u32;
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::settings;

    fn storm(line: &str) -> Storm {
        match settings(line).unwrap().load {
            Load::Connect(storm) => storm,
            other => panic!("not a storm: {other:?}"),
        }
    }

    #[test]
    fn reconnecting_excludes_the_options_of_a_storm() {
        for bad in [
            "connect --reconnect --rate 5",
            "connect --reconnect --hold 1s",
            "connect --backoff 1s..2s",
            "connect --no-jitter",
        ] {
            assert!(settings(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn a_storm_has_as_many_slots_as_its_rate_needs() {
        assert_eq!(storm("connect").concurrency, 64);
        assert_eq!(storm("connect --rate 10").concurrency, 64);
        assert_eq!(storm("connect --rate 500 --hold 2s").concurrency, 1500);
        assert_eq!(storm("connect --rate 100000").concurrency, 10_000);
        assert_eq!(storm("connect --rate 5 --concurrency 7").concurrency, 7);
    }
}
