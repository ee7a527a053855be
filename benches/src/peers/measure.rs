//! One measurement of one peer.

use std::time::Duration;

use serde::Serialize;

use super::args::Args;
use super::build::Binaries;
use super::canary;
use super::catalog::Peer;
use super::certificate::Files;
use super::foreign::{self, Look};
use super::load::{self, Outcome};
use super::server::Server;
use super::storm;
use super::workload::{Echo, Load, Workload};

/// The least rate of a connection that is to be idle: nothing arrives on nearly
/// all of them.
const IDLE_RATE: &str = "10";

/// What all measurements need.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    /// What was asked for.
    pub(crate) args: &'a Args,
    /// The programs.
    pub(crate) binaries: Binaries,
    /// Files of this run.
    pub(crate) certificate: Files,
}

/// What a measurement found; what it does not measure is absent.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Numbers {
    /// Messages, deliveries or handshakes per second.
    pub(crate) per_second: Option<f64>,
    /// CPU time of the server for each, in nanoseconds.
    pub(crate) cpu_ns: Option<f64>,
    pub(crate) user_ns: Option<f64>,
    pub(crate) system_ns: Option<f64>,
    /// Latencies in nanoseconds.
    pub(crate) p50_ns: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
    pub(crate) p99_9_ns: Option<f64>,
    pub(crate) max_ns: Option<f64>,
    /// Memory of the server.
    pub(crate) rss_bytes: Option<f64>,
    /// Memory that each further connection takes.
    pub(crate) bytes_per_connection: Option<f64>,
    /// Whether rates and latencies are the server's, not the generator's.
    pub(crate) valid: bool,
    /// What there is to say.
    pub(crate) notes: Vec<String>,
    /// What the machine did meanwhile.
    pub(crate) canary: Canary,
}

/// What the machine did during a measurement.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Canary {
    /// Nanoseconds for a cache line from one CPU to the other, before and
    /// after; absent when the CPUs were not to be had.
    pub(crate) hop_before_ns: Option<f64>,
    pub(crate) hop_after_ns: Option<f64>,
    /// CPUs that other processes used.
    pub(crate) foreign_cpus: f64,
    /// How often the measurement was repeated because of these.
    pub(crate) repeated: u32,
}

impl Canary {
    /// Whether the measurement can be compared with others.
    pub(crate) fn is_well(&self) -> bool {
        let near = |hop: Option<f64>| hop.is_some_and(|hop| hop <= canary::SLOW_NS);
        near(self.hop_before_ns) && near(self.hop_after_ns) && self.foreign_cpus <= foreign::BUSY
    }
}

/// Measures, and again while the canary is unwell and repeats are left.
///
/// # Errors
/// What the peer could not do.
pub(crate) fn measure(bench: &Bench<'_>, work: &Workload, peer: &Peer) -> Result<Numbers, String> {
    let mut repeated = 0;
    loop {
        let mut numbers = once(bench, work, peer)?;
        numbers.canary.repeated = repeated;
        // In a smoke run the numbers mean nothing.
        if numbers.canary.is_well() || repeated == bench.args.repeats || bench.args.smoke {
            return Ok(numbers);
        }
        repeated += 1;
    }
}

fn once(bench: &Bench<'_>, work: &Workload, peer: &Peer) -> Result<Numbers, String> {
    let cpus = [bench.args.server_cpu, bench.args.load_cpu];
    let hop_before_ns = canary::hop(cpus[0], cpus[1]);
    let mut server = Server::start(bench, peer, &work.load)?;
    let before = Look::now(cpus, server.pid())?;
    let mut numbers = match work.load {
        Load::Echo(one) => echo(bench, &mut server, peer, one)?,
        Load::Tail(one) => tail(bench, &mut server, peer, one)?,
        Load::Broadcast {
            subscribers,
            rate,
            deflate,
        } => {
            let subscribers = subscribers.to_string();
            broadcast(bench, &mut server, peer, &subscribers, rate, deflate)?
        }
        Load::Storm { at_once } => storm::measure(bench, &server, peer, at_once)?,
        Load::Idle { few, many, .. } => {
            let low = idle(bench, &mut server, peer, work, few)?;
            // What a server keeps of closed connections must not be found again.
            drop(server);
            server = Server::start(bench, peer, &work.load)?;
            let high = idle(bench, &mut server, peer, work, many)?;
            Numbers {
                rss_bytes: Some(high),
                bytes_per_connection: Some((high - low) / f64::from(many - few)),
                valid: true,
                ..Numbers::default()
            }
        }
    };
    let foreign_cpus = match work.load {
        // The second server is not the one that was looked at.
        Load::Idle { .. } => 0.0,
        _ => Look::now(cpus, server.pid())?.since(before),
    };
    drop(server);
    numbers.canary = Canary {
        hop_before_ns,
        hop_after_ns: canary::hop(cpus[0], cpus[1]),
        foreign_cpus,
        repeated: 0,
    };
    Ok(numbers)
}

impl Numbers {
    fn of(outcome: &Outcome) -> Self {
        let process = &outcome.server_process;
        let latency = &outcome.latency_ns;
        let timed = |nanos: f64| (latency.count > 0).then_some(nanos);
        let mut notes = outcome.reasons.clone();
        if outcome.errors.unclean_closes > 0 {
            notes.push(format!(
                "{} connections not closed cleanly",
                outcome.errors.unclean_closes
            ));
        }
        Self {
            per_second: Some(outcome.rates.received),
            cpu_ns: process.cpu_ns_per_message,
            user_ns: process.user_ns_per_message,
            system_ns: process.system_ns_per_message,
            p50_ns: timed(latency.p50),
            p99_ns: timed(latency.p99),
            p99_9_ns: timed(latency.p99_9),
            max_ns: timed(latency.max),
            rss_bytes: process.rss_end_bytes,
            bytes_per_connection: None,
            valid: outcome.valid,
            notes,
            canary: Canary::default(),
        }
    }
}

/// The options of all echo loads.
fn echo_arguments(server: &Server, peer: &Peer, echo: Echo) -> Vec<String> {
    let scheme = if echo.tls { "wss" } else { "ws" };
    let mut arguments = vec![
        "echo".to_owned(),
        "--url".to_owned(),
        format!("{scheme}://{}/echo", server.addr()),
        "--connections".to_owned(),
        echo.connections.to_string(),
        "--size".to_owned(),
        echo.size.to_string(),
    ];
    if echo.tls {
        arguments.push("--insecure".to_owned());
    }
    if peer.is_raw() {
        arguments.push("--raw".to_owned());
    }
    arguments
}

fn echo(
    bench: &Bench<'_>,
    server: &mut Server,
    peer: &Peer,
    echo: Echo,
) -> Result<Numbers, String> {
    let mut arguments = echo_arguments(server, peer, echo);
    arguments.extend(["--depth".to_owned(), echo.depth.to_string()]);
    let outcome = load::run(bench, server, &arguments, bench.args.duration())?;
    Ok(Numbers::of(&outcome))
}

fn tail(
    bench: &Bench<'_>,
    server: &mut Server,
    peer: &Peer,
    load: Echo,
) -> Result<Numbers, String> {
    let highest = echo(bench, server, peer, load)?.per_second.unwrap_or(0.0);
    let rate = (highest / 2.0).floor().max(1.0);
    let mut arguments = echo_arguments(server, peer, load);
    arguments.extend(["--rate".to_owned(), rate.to_string()]);
    let outcome = load::run(bench, server, &arguments, bench.args.duration())?;
    Ok(Numbers::of(&outcome))
}

fn broadcast(
    bench: &Bench<'_>,
    server: &mut Server,
    peer: &Peer,
    subscribers: &str,
    rate: u32,
    deflate: bool,
) -> Result<Numbers, String> {
    let mut arguments = broadcast_arguments(server, peer, subscribers);
    arguments.extend(["--rate".to_owned(), rate.to_string()]);
    if deflate {
        arguments.push("--deflate".to_owned());
    }
    let outcome = load::run(bench, server, &arguments, bench.args.duration())?;
    if deflate && outcome.deflated_connections == 0 {
        return Err("no connection agreed on permessage-deflate".into());
    }
    Ok(Numbers::of(&outcome))
}

fn broadcast_arguments(server: &Server, peer: &Peer, subscribers: &str) -> Vec<String> {
    let mut arguments: Vec<String> = ["broadcast", "--size", "100", "--subscribers", subscribers]
        .map(str::to_owned)
        .into();
    let url = format!("ws://{}/broadcast/{{topic}}", server.addr());
    arguments.extend(["--url".to_owned(), url]);
    if peer.is_raw() {
        arguments.push("--raw".to_owned());
    }
    arguments
}

/// Memory of a server with so many connections open on which nothing happened.
fn idle(
    bench: &Bench<'_>,
    server: &mut Server,
    peer: &Peer,
    work: &Workload,
    connections: u32,
) -> Result<f64, String> {
    let subscribed = matches!(
        work.load,
        Load::Idle {
            subscribed: true,
            ..
        }
    );
    let arguments = if subscribed {
        let subscribers = (connections - 1).to_string();
        let mut arguments = broadcast_arguments(server, peer, &subscribers);
        arguments.extend(["--rate".to_owned(), "1".to_owned()]);
        arguments
    } else {
        let quiet = Echo {
            connections,
            size: 20,
            depth: 1,
            tls: false,
        };
        let mut arguments = echo_arguments(server, peer, quiet);
        arguments.extend(["--rate".to_owned(), IDLE_RATE.to_owned()]);
        arguments
    };
    let outcome = load::run(bench, server, &arguments, Duration::from_secs(1))?;
    let open = outcome.server_process.rss_open_bytes;
    open.ok_or_else(|| "the load generator did not see the server's memory".into())
}
