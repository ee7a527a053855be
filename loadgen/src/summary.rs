//! The result of a run: what `--json` writes and the table shows.
//!
//! The serialised form is the documented schema of `README.md`. Fields are
//! added, never renamed or removed, without raising [`SCHEMA`].

mod centrifugo;
mod percentiles;
mod server;

use std::collections::BTreeMap;
use std::time::SystemTime;

use hdrhistogram::Histogram;
use serde::Serialize;

use hioload_platform::backend::Backend;
use hioload_protocol::Kind;

use crate::chat::Visits;
use crate::exit::Exit;
use crate::idle::Beats;
use crate::labels::Labels;
use crate::opens::Connections;
use crate::origin::{self, Machine};
use crate::reconnect::Comeback;
use crate::series::Interval;
use crate::server_process::Seen;
use crate::settings::{Load, Pace, Settings};
use crate::shape::Shape;
use crate::steps::Step;
use crate::tally::Tally;
use crate::validity::{self, Spent};
use crate::worker::Failure;

pub(crate) use centrifugo::Centrifugo;
pub(crate) use percentiles::Percentile;
pub(crate) use server::Server;
use server::Work;

/// Name and version of the JSON schema.
pub(crate) const SCHEMA: &str = "hioload-loadgen/1";

/// Everything known about a run after its end.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) schema: &'static str,
    pub(crate) generator: &'static str,
    pub(crate) backend: &'static str,
    pub(crate) finished: String,
    pub(crate) command: Vec<String>,
    pub(crate) machine: Machine,
    pub(crate) config: Config,
    pub(crate) valid: bool,
    pub(crate) reasons: Vec<String>,
    pub(crate) interrupted: bool,
    pub(crate) exit_code: u8,
    pub(crate) failure: Option<String>,
    pub(crate) measured_seconds: f64,
    pub(crate) deflated_connections: u64,
    pub(crate) labels: Labels,
    pub(crate) messages: Messages,
    pub(crate) rates: Rates,
    pub(crate) latency_ns: Distribution,
    pub(crate) percentiles: Vec<Percentile>,
    pub(crate) sends: Sends,
    pub(crate) connections: Connections,
    pub(crate) chat: Option<Visits>,
    pub(crate) centrifugo: Option<Centrifugo>,
    pub(crate) idle: Option<Beats>,
    pub(crate) reconnect: Option<Comeback>,
    pub(crate) errors: Errors,
    pub(crate) threads: Vec<Thread>,
    pub(crate) steps: Vec<Step>,
    pub(crate) server_process: Option<Server>,
    pub(crate) series: Timeline,
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
    pub(crate) ramp_to: Option<f64>,
    pub(crate) steps: Vec<f64>,
    pub(crate) depth: Option<usize>,
    pub(crate) protocol: Option<&'static str>,
    pub(crate) history_every: Option<u32>,
    pub(crate) presence_every: Option<u32>,
    pub(crate) rooms: Option<usize>,
    pub(crate) think: Option<String>,
    pub(crate) stay: Option<String>,
    pub(crate) grace_ns: Option<u64>,
    pub(crate) hold_ns: Option<u64>,
    pub(crate) backoff_ns: Option<[u64; 2]>,
    pub(crate) ping_interval_ns: Option<u64>,
    pub(crate) warmup_ns: u64,
    pub(crate) duration_ns: u64,
    pub(crate) drain_timeout_ns: u64,
    pub(crate) processes: usize,
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
    pub(crate) protocol: BTreeMap<String, u64>,
    pub(crate) unclean_closes: u64,
    pub(crate) tolerated: bool,
    pub(crate) cut_off: u64,
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

/// The measurement over time.
#[derive(Debug, Serialize)]
pub(crate) struct Timeline {
    pub(crate) interval_ns: u64,
    pub(crate) points: Vec<Interval>,
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
    /// What each thread spent in each step of the rate that began.
    pub(crate) steps: Vec<Vec<Spent>>,
    /// What was seen of the server's process, if it was to be watched.
    pub(crate) server: Option<Seen>,
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
            server,
            interrupted,
            failure,
            ..
        } = ended;
        let spent: Vec<Spent> = threads.iter().map(|thread| thread.0).collect();
        let steps = Step::all(settings, ended);
        let mut reasons = match failure {
            Some(_) => vec!["the run did not take place".into()],
            None => validity::reasons(tally, &spent),
        };
        reasons.extend(not_valid(&steps));
        let acceptable = reasons.is_empty() || !settings.require_valid;
        let tolerated = tolerated(settings, tally);
        let exit = judge(tally, tolerated, failure.as_ref(), *interrupted, acceptable);
        let measured = spent.iter().map(|spent| spent.measured).max().unwrap_or(0);
        let seconds = measured as f64 / 1e9;
        let rates = Rates::of(tally, seconds);
        let labels = Labels::of(settings);
        let work = Work {
            labels,
            per_second: rates.received,
            connections: settings.connections(),
            lost: tally.faults.lost,
        };
        let summary = Self {
            schema: SCHEMA,
            generator: concat!("hioload-loadgen ", env!("CARGO_PKG_VERSION")),
            backend: backend.name(),
            finished: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: origin::command(std::env::args_os().skip(1)),
            machine: Machine::here(),
            config: Config::new(settings),
            valid: reasons.is_empty(),
            reasons,
            interrupted: *interrupted,
            exit_code: exit.code(),
            failure: failure.as_ref().map(ToString::to_string),
            measured_seconds: seconds,
            deflated_connections: tally.deflated,
            labels,
            messages: Messages::of(tally),
            rates,
            latency_ns: Distribution::of(&tally.latency),
            percentiles: percentiles::percentiles(&tally.latency, &tally.lateness),
            sends: Sends::new(tally),
            connections: Connections::new(&tally.opens, seconds),
            chat: tally.visits,
            centrifugo: tally.exchange.as_deref().map(Centrifugo::new),
            idle: tally.beats,
            reconnect: tally.comeback.as_deref().cloned(),
            errors: Errors::new(tally, tolerated),
            threads: threads
                .iter()
                .map(|(spent, count)| Thread::new(*spent, *count))
                .collect(),
            steps,
            server_process: server.as_ref().map(|seen| Server::new(seen, work)),
            series: Timeline {
                interval_ns: tally.series.interval(),
                points: tally.series.intervals(),
            },
        };
        (summary, exit)
    }
}

impl Summary {
    /// Whether the server, or the way to it, failed: more than the run
    /// tolerates.
    pub(crate) fn failed(&self) -> bool {
        [Exit::Broken, Exit::Connect]
            .map(Exit::code)
            .contains(&self.exit_code)
    }
}

/// That some steps are not valid; why is said with each.
fn not_valid(steps: &[Step]) -> Option<String> {
    let wrong = (1..).zip(steps).filter(|(_, step)| !step.valid);
    let numbers: Vec<String> = wrong.map(|(number, _)| number.to_string()).collect();
    (!numbers.is_empty()).then(|| {
        format!(
            "of {} steps these are not, and void what is said of all together: {}",
            steps.len(),
            numbers.join(", ")
        )
    })
}

/// Whether the connections that failed are within what the run tolerates.
fn tolerated(settings: &Settings, tally: &Tally) -> bool {
    let failed = tally.opens.failures() + tally.faults.of_connections();
    let attempted = if settings.load.opens_more() {
        tally.opens.attempted
    } else {
        settings.connections() as u64
    };
    settings.tolerate.allows(failed, attempted)
}

/// The worst of what applies.
fn judge(
    tally: &Tally,
    tolerated: bool,
    failure: Option<&Failure>,
    interrupted: bool,
    acceptable: bool,
) -> Exit {
    let refused = tally.opens.failures() > 0;
    match failure {
        Some(Failure::Connect(_)) => Exit::Connect,
        Some(Failure::Machine(_)) => Exit::Environment,
        None if refused && (!tolerated || tally.opens.opened == 0) => Exit::Connect,
        None if tally.faults.of_messages() > 0 => Exit::Broken,
        None if tally.faults.of_connections() > 0 && !tolerated => Exit::Broken,
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
            rate: settings.rate(),
            ramp_to: match settings.shape {
                Shape::Ramp { to } => Some(to),
                _ => None,
            },
            steps: (settings.rate()).map_or_else(Vec::new, |rate| settings.shape.rates(rate)),
            depth: None,
            protocol: None,
            history_every: None,
            presence_every: None,
            rooms: None,
            think: None,
            stay: None,
            grace_ns: None,
            hold_ns: None,
            backoff_ns: None,
            ping_interval_ns: None,
            warmup_ns: settings.warmup,
            duration_ns: settings.duration,
            drain_timeout_ns: settings.drain_timeout,
            processes: settings.processes,
            threads: settings.threads,
            cpus: settings.cpus.clone(),
        };
        config.describe(settings.load);
        if let Some(dialect) = &settings.centrifugo {
            config.protocol = Some("centrifugo");
            config.history_every = dialect.history_every;
            config.presence_every = dialect.presence_every;
        }
        config
    }

    /// What is particular to the load.
    fn describe(&mut self, load: Load) {
        let config = self;
        match load {
            Load::Echo {
                pace: Pace::Open { .. },
                ..
            } => {}
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
                ..
            } => {
                config.load = "broadcast";
                config.publishers = Some(publishers);
                config.subscribers = Some(subscribers);
                config.topics = Some(topics);
            }
            Load::Idle { ping_interval, .. } => {
                config.load = "idle";
                config.ping_interval_ns = ping_interval;
            }
            Load::Reconnect { backoff, .. } => {
                config.load = "reconnect";
                config.pace = "closed";
                config.backoff_ns = Some([backoff.base, backoff.most]);
            }
            Load::Chat(talk) => {
                config.load = "chat";
                config.protocol = Some("broadcast");
                config.rooms = Some(talk.rooms);
                config.think = Some(talk.think.to_string());
                config.stay = Some(talk.stay.to_string());
                config.grace_ns = Some(talk.grace);
            }
            Load::Connect(storm) => {
                config.load = "connect";
                config.pace = if storm.rate.is_some() {
                    "open"
                } else {
                    "closed"
                };
                config.hold_ns = Some(storm.hold);
            }
        }
    }
}

impl Sends {
    fn new(tally: &Tally) -> Self {
        Self {
            planned: tally.lateness.len(),
            late: tally.late,
            held_back: tally.held_back,
            unsent: tally.unsent,
            lateness_ns: Distribution::of(&tally.lateness),
        }
    }
}

impl Messages {
    /// The counts of a run, or of several.
    pub(crate) fn of(tally: &Tally) -> Self {
        Self {
            sent: tally.sent.messages,
            received: tally.received.messages,
            sent_bytes: tally.sent.bytes,
            received_bytes: tally.received.bytes,
            sent_total: tally.sent_total,
            expected_total: tally.expected_total,
            arrived_total: tally.arrived_total,
        }
    }
}

impl Rates {
    /// What was counted within so many seconds.
    pub(crate) fn of(tally: &Tally, seconds: f64) -> Self {
        let per_second = |count: u64| {
            if seconds == 0.0 {
                0.0
            } else {
                count as f64 / seconds
            }
        };
        Self {
            sent: per_second(tally.sent.messages),
            received: per_second(tally.received.messages),
            sent_bytes: per_second(tally.sent.bytes),
            received_bytes: per_second(tally.received.bytes),
        }
    }
}

impl Distribution {
    /// Of what a histogram holds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
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
    /// The counts of a run, or of several.
    pub(crate) fn new(tally: &Tally, tolerated: bool) -> Self {
        let faults = &tally.faults;
        Self {
            total: faults.count(),
            lost: faults.lost,
            duplicated: faults.duplicated,
            reordered: faults.reordered,
            corrupted: faults.corrupted,
            unexpected: faults.unexpected,
            foreign: faults.foreign,
            returned_to_publisher: faults.own,
            protocol: faults.protocol.clone(),
            unclean_closes: faults.unclean,
            tolerated,
            cut_off: tally.cut_off,
            closes: faults.closes.clone(),
            examples: faults.examples.clone(),
        }
    }

    /// Connections that did not end as they should.
    pub(crate) fn of_connections(&self) -> u64 {
        self.unclean_closes + self.closes.values().sum::<u64>()
    }

    /// Every cause with its count, in words.
    pub(crate) fn causes(&self) -> Vec<(u64, String)> {
        [self.message_causes(), self.connection_causes()].concat()
    }

    /// The causes that are not tolerated.
    pub(crate) fn untolerated(&self) -> Vec<(u64, String)> {
        match self.tolerated {
            true => self.message_causes(),
            false => self.causes(),
        }
    }

    fn message_causes(&self) -> Vec<(u64, String)> {
        let causes = [
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
        ];
        let causes = causes.into_iter().filter(|&(count, _)| count > 0);
        let protocol = self.protocol.iter();
        causes
            .map(|(count, words)| (count, words.to_owned()))
            .chain(protocol.map(|(cause, &count)| (count, format!("protocol: {cause}"))))
            .collect()
    }

    fn connection_causes(&self) -> Vec<(u64, String)> {
        let unclean = "connections without a close handshake at the end".to_owned();
        let closes = self.closes.iter();
        let closes = closes.map(|(cause, &count)| (count, format!("connections lost: {cause}")));
        std::iter::once((self.unclean_closes, unclean))
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
        judge(&tally, true, failure, interrupted, valid)
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

    #[test]
    fn failed_connections_count_unless_they_are_tolerated() {
        let mut tally = Tally::new(Window { from: 0, to: 1 });
        let exit = |tally: &Tally, tolerated| judge(tally, tolerated, None, false, true);
        tally.faults.closed("reset");
        assert_eq!(exit(&tally, false), Exit::Broken);
        assert_eq!(exit(&tally, true), Exit::Ok);
        tally.opens.failed("connect: refused");
        assert_eq!(exit(&tally, true), Exit::Connect, "none opened");
        tally.opens.opened = 1;
        assert_eq!(exit(&tally, true), Exit::Ok);
        assert_eq!(exit(&tally, false), Exit::Connect);
        tally.faults.lost = 1;
        assert_eq!(exit(&tally, true), Exit::Broken);
    }
}
