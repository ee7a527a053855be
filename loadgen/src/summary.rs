//! The result of a run: what `--json` writes and the table shows.
//!
//! The serialised form is the documented schema of `README.md`. Fields are
//! added, never renamed or removed, without raising [`SCHEMA`].

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use hioload_platform::backend::Backend;
use hioload_protocol::Kind;

use crate::exit::Exit;
use crate::settings::{Load, Pace, Settings};
use crate::tally::{Faults, Tally};
use crate::validity::{self, Spent};
use crate::worker::Failure;

/// Name and version of the JSON schema.
pub(crate) const SCHEMA: &str = "hioload-loadgen/1";

/// Everything known about a run after its end.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) schema: &'static str,
    pub(crate) generator: &'static str,
    pub(crate) backend: &'static str,
    pub(crate) config: Config,
    pub(crate) valid: bool,
    pub(crate) reasons: Vec<String>,
    pub(crate) interrupted: bool,
    pub(crate) exit_code: u8,
    pub(crate) failure: Option<String>,
    pub(crate) measured_seconds: f64,
    pub(crate) deflated_connections: u64,
    pub(crate) messages: Messages,
    pub(crate) rates: Rates,
    pub(crate) latency_ns: Distribution,
    pub(crate) sends: Sends,
    pub(crate) errors: Errors,
    pub(crate) threads: Vec<Thread>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Config {
    pub(crate) load: &'static str,
    pub(crate) url: String,
    pub(crate) run: u32,
    pub(crate) connections: usize,
    pub(crate) deflate: bool,
    pub(crate) publishers: Option<usize>,
    pub(crate) subscribers: Option<usize>,
    pub(crate) topics: Option<usize>,
    pub(crate) size_min: usize,
    pub(crate) size_max: usize,
    pub(crate) kind: &'static str,
    pub(crate) pace: &'static str,
    pub(crate) rate: Option<f64>,
    pub(crate) depth: Option<usize>,
    pub(crate) warmup_ns: u64,
    pub(crate) duration_ns: u64,
    pub(crate) drain_timeout_ns: u64,
    pub(crate) threads: usize,
    pub(crate) cpus: Vec<usize>,
}

/// Counts of messages. Those with `total` cover the whole run, the others the
/// measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Messages {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_total: u64,
    pub(crate) expected_total: u64,
    pub(crate) arrived_total: u64,
}

/// Per second of the measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Rates {
    pub(crate) sent: f64,
    pub(crate) received: f64,
    pub(crate) sent_bytes: f64,
    pub(crate) received_bytes: f64,
}

/// Percentiles of a time, in nanoseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    pub(crate) min: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    pub(crate) p99_99: u64,
    pub(crate) max: u64,
}

/// How well the plan of an open loop was kept.
#[derive(Debug, Serialize)]
pub(crate) struct Sends {
    pub(crate) planned: u64,
    pub(crate) late: u64,
    pub(crate) held_back: u64,
    pub(crate) unsent: u64,
    pub(crate) lateness_ns: Distribution,
}

/// What went wrong, by cause.
#[derive(Debug, Serialize)]
pub(crate) struct Errors {
    pub(crate) total: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
    pub(crate) unexpected: u64,
    pub(crate) foreign: u64,
    pub(crate) returned_to_publisher: u64,
    pub(crate) unclean_closes: u64,
    pub(crate) closes: BTreeMap<String, u64>,
    pub(crate) examples: Vec<String>,
}

/// What one generator thread spent within the measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Thread {
    pub(crate) connections: usize,
    pub(crate) user_ns: u64,
    pub(crate) system_ns: u64,
    pub(crate) waited_ns: u64,
    pub(crate) measured_ns: u64,
    pub(crate) busy: f64,
}

/// What a run came to, before it is judged.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What the generator's drivers stood on.
    pub(crate) backend: Backend,
    /// All threads' counts, settled.
    pub(crate) tally: Tally,
    /// What each thread spent, and its connections.
    pub(crate) threads: Vec<(Spent, usize)>,
    /// Whether a signal ended it.
    pub(crate) interrupted: bool,
    /// Why it could not take place.
    pub(crate) failure: Option<Failure>,
}

impl Summary {
    /// Judges a run.
    pub(crate) fn new(settings: &Settings, ended: &Ended) -> (Self, Exit) {
        let Ended {
            backend,
            tally,
            threads,
            interrupted,
            failure,
        } = ended;
        let spent: Vec<Spent> = threads.iter().map(|thread| thread.0).collect();
        let reasons = match failure {
            Some(_) => vec!["the run did not take place".into()],
            None => validity::reasons(tally, &spent),
        };
        let acceptable = reasons.is_empty() || !settings.require_valid;
        let exit = judge(tally, failure.as_ref(), *interrupted, acceptable);
        let measured = spent.iter().map(|spent| spent.measured).max().unwrap_or(0);
        let seconds = measured as f64 / 1e9;
        let per_second = |count: u64| {
            if measured == 0 {
                0.0
            } else {
                count as f64 / seconds
            }
        };
        let (sent, received) = (tally.sent, tally.received);
        let summary = Self {
            schema: SCHEMA,
            generator: concat!("hioload-loadgen ", env!("CARGO_PKG_VERSION")),
            backend: backend.name(),
            config: Config::new(settings),
            valid: reasons.is_empty(),
            reasons,
            interrupted: *interrupted,
            exit_code: exit.code(),
            failure: failure.as_ref().map(ToString::to_string),
            measured_seconds: seconds,
            deflated_connections: tally.deflated,
            messages: Messages {
                sent: sent.messages,
                received: received.messages,
                sent_bytes: sent.bytes,
                received_bytes: received.bytes,
                sent_total: tally.sent_total,
                expected_total: tally.expected_total,
                arrived_total: tally.arrived_total,
            },
            rates: Rates {
                sent: per_second(sent.messages),
                received: per_second(received.messages),
                sent_bytes: per_second(sent.bytes),
                received_bytes: per_second(received.bytes),
            },
            latency_ns: Distribution::of(&tally.latency),
            sends: Sends {
                planned: tally.lateness.len(),
                late: tally.late,
                held_back: tally.held_back,
                unsent: tally.unsent,
                lateness_ns: Distribution::of(&tally.lateness),
            },
            errors: Errors::new(&tally.faults),
            threads: threads
                .iter()
                .map(|(spent, count)| Thread::new(*spent, *count))
                .collect(),
        };
        (summary, exit)
    }
}

/// The worst of what applies.
fn judge(tally: &Tally, failure: Option<&Failure>, interrupted: bool, acceptable: bool) -> Exit {
    match failure {
        Some(Failure::Connect(_)) => Exit::Connect,
        Some(Failure::Machine(_)) => Exit::Environment,
        None if tally.faults.count() > 0 => Exit::Broken,
        None if interrupted => Exit::Interrupted,
        None if !acceptable => Exit::NotValid,
        None => Exit::Ok,
    }
}

impl Config {
    fn new(settings: &Settings) -> Self {
        let mut config = Self {
            load: "echo",
            url: settings.target.to_string(),
            run: settings.run,
            connections: settings.connections(),
            deflate: settings.deflate.is_some(),
            publishers: None,
            subscribers: None,
            topics: None,
            size_min: settings.sizes.min(),
            size_max: settings.sizes.max(),
            kind: match settings.kind {
                Kind::Text => "text",
                Kind::Binary => "binary",
            },
            pace: "open",
            rate: None,
            depth: None,
            warmup_ns: settings.warmup,
            duration_ns: settings.duration,
            drain_timeout_ns: settings.drain_timeout,
            threads: settings.threads,
            cpus: settings.cpus.clone(),
        };
        match settings.load {
            Load::Echo {
                pace: Pace::Open { rate },
                ..
            } => config.rate = Some(rate),
            Load::Echo {
                pace: Pace::Closed { depth },
                ..
            } => {
                config.pace = "closed";
                config.depth = Some(depth);
            }
            Load::Broadcast {
                publishers,
                subscribers,
                topics,
                rate,
            } => {
                config.load = "broadcast";
                config.publishers = Some(publishers);
                config.subscribers = Some(subscribers);
                config.topics = Some(topics);
                config.rate = Some(rate);
            }
        }
        config
    }
}

impl Distribution {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        let empty = histogram.is_empty();
        Self {
            count: histogram.len(),
            min: if empty { 0 } else { histogram.min() },
            mean: if empty { 0.0 } else { histogram.mean() },
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: histogram.max(),
        }
    }
}

impl Errors {
    fn new(faults: &Faults) -> Self {
        Self {
            total: faults.count(),
            lost: faults.lost,
            duplicated: faults.duplicated,
            reordered: faults.reordered,
            corrupted: faults.corrupted,
            unexpected: faults.unexpected,
            foreign: faults.foreign,
            returned_to_publisher: faults.own,
            unclean_closes: faults.unclean,
            closes: faults.closes.clone(),
            examples: faults.examples.clone(),
        }
    }

    /// Every cause with its count, in words.
    pub(crate) fn causes(&self) -> Vec<(u64, String)> {
        let fixed = [
            (self.lost, "lost: sent, but never came back"),
            (self.duplicated, "duplicated: came more than once"),
            (self.reordered, "reordered: came after a later one"),
            (
                self.corrupted,
                "corrupted: came with other bytes, length or kind",
            ),
            (
                self.unexpected,
                "unexpected: came to a connection it was not for",
            ),
            (
                self.foreign,
                "foreign: came from another run of the generator",
            ),
            (
                self.returned_to_publisher,
                "returned to the publisher that sent it",
            ),
            (
                self.unclean_closes,
                "connections without a close handshake at the end",
            ),
        ];
        let fixed = fixed
            .into_iter()
            .map(|(count, words)| (count, words.to_owned()));
        let closes = self.closes.iter();
        let closes = closes.map(|(cause, &count)| (count, format!("connections lost: {cause}")));
        fixed
            .chain(closes)
            .filter(|&(count, _)| count > 0)
            .collect()
    }
}

impl Thread {
    fn new(spent: Spent, connections: usize) -> Self {
        Self {
            connections,
            user_ns: spent.cpu.user,
            system_ns: spent.cpu.system,
            waited_ns: spent.cpu.waited,
            measured_ns: spent.measured,
            busy: spent.busy(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Window;

    fn exit(fault: bool, failure: Option<&Failure>, interrupted: bool, valid: bool) -> Exit {
        let mut tally = Tally::new(Window { from: 0, to: 1 });
        tally.faults.lost = u64::from(fault);
        judge(&tally, failure, interrupted, valid)
    }

    #[test]
    fn the_worst_cause_decides_the_exit_code() {
        let connect = Failure::Connect("refused".into());
        assert_eq!(exit(true, Some(&connect), true, false), Exit::Connect);
        assert_eq!(exit(true, None, true, false), Exit::Broken);
        assert_eq!(exit(false, None, true, false), Exit::Interrupted);
        assert_eq!(exit(false, None, false, false), Exit::NotValid);
        assert_eq!(exit(false, None, false, true), Exit::Ok);
    }
}
