//! Runs of the load generator.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::measure::Bench;
use super::server::{Server, on_cpu};

/// What a run may take beyond its warm-up and measurement: opening 18,000
/// connections of a slow server, waiting for late messages, closing.
const ROOM: Duration = Duration::from_secs(120);

/// How long a slow server, or one on a busy machine, may take for a handshake.
const OPEN: &str = "30s";

/// How long a slow server may take for what waits for it at the end: what is
/// then missing is lost.
const DRAIN: &str = "30s";

/// What the generator found out, as far as it is used here.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    /// Whether rates and latencies are the server's.
    pub(crate) valid: bool,
    /// If not, why.
    pub(crate) reasons: Vec<String>,
    failure: Option<String>,
    /// Messages per second.
    pub(crate) rates: Rates,
    /// Latencies.
    pub(crate) latency_ns: Latency,
    /// What went wrong.
    pub(crate) errors: Errors,
    /// What the server took.
    pub(crate) server_process: Process,
    /// Connections that agreed on permessage-deflate.
    pub(crate) deflated_connections: u64,
}

/// Messages per second.
#[derive(Debug, Deserialize)]
pub(crate) struct Rates {
    /// That came back, or were delivered.
    pub(crate) received: f64,
}

/// Nanoseconds.
#[derive(Debug, Deserialize)]
pub(crate) struct Latency {
    /// How many were measured.
    pub(crate) count: u64,
    /// Percentiles.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    /// The slowest.
    pub(crate) max: f64,
}

/// What went wrong.
#[derive(Debug, Deserialize)]
pub(crate) struct Errors {
    /// All of it.
    pub(crate) total: u64,
    /// Connections that were not closed as RFC 6455 wants.
    pub(crate) unclean_closes: u64,
    /// In words.
    examples: Vec<String>,
}

/// What the server's process took.
#[derive(Debug, Deserialize)]
pub(crate) struct Process {
    /// CPU time per message.
    pub(crate) cpu_ns_per_message: Option<f64>,
    pub(crate) user_ns_per_message: Option<f64>,
    pub(crate) system_ns_per_message: Option<f64>,
    /// With all connections open and no message sent.
    pub(crate) rss_open_bytes: Option<f64>,
    /// At the end of the measurement.
    pub(crate) rss_end_bytes: Option<f64>,
}

/// Runs the generator against a server and checks that every message came back.
///
/// # Errors
/// When the run did not take place, or messages were lost or changed.
pub(crate) fn run(
    bench: &Bench<'_>,
    server: &mut Server,
    arguments: &[String],
    duration: Duration,
) -> Result<Outcome, String> {
    let json = bench.certificate.at("load.json");
    let errors = bench.certificate.at("load.err");
    let output = File::create(&errors).map_err(|error| error.to_string())?;
    // What an earlier run left would pass for the result of this one.
    drop(fs::remove_file(&json));
    let mut command = Command::new(&bench.binaries.loadgen);
    command.args(arguments).args(["--threads", "1", "--quiet"]);
    command.args(["--pin", &bench.args.load_cpu.to_string()]);
    command.args(["--server-pid", &server.pid().to_string()]);
    command.args(["--warmup", &millis(bench.args.warmup())]);
    command.args(["--duration", &millis(duration), "--drain-timeout", DRAIN]);
    command.args(["--timeout", OPEN]);
    command.arg("--json").arg(&json);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output);
    let within = bench.args.warmup() + duration + ROOM;
    on_cpu(bench.args.load_cpu, || finish(&mut command, within))??;
    let text = fs::read_to_string(&json).unwrap_or_default();
    let outcome: Outcome = serde_json::from_str(&text).map_err(|_| {
        let said = fs::read_to_string(&errors).unwrap_or_default();
        format!(
            "the load generator has no result: {}{}",
            said.trim(),
            server.last_words()
        )
    })?;
    outcome
        .checked()
        .map_err(|message| format!("{message}{}", server.last_words()))
}

impl Outcome {
    /// Connections closed in another way than RFC 6455 wants are noted, and no
    /// reason to throw the measurement away.
    fn checked(self) -> Result<Self, String> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let faults = self.errors.total.saturating_sub(self.errors.unclean_closes);
        if faults > 0 {
            return Err(format!(
                "{faults} faults: {}",
                self.errors.examples.join("; ")
            ));
        }
        Ok(self)
    }
}

/// Starts a command and waits for its end, which comes within a time.
#[expect(
    clippy::disallowed_methods,
    reason = "the standard library cannot wait for a process until a deadline, and no shard runs here"
)]
fn finish(command: &mut Command, within: Duration) -> Result<(), String> {
    let deadline = Instant::now() + within;
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot start the load generator: {error}"))?;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            waited => {
                // It is gone already where waiting failed.
                drop(child.kill());
                drop(child.wait());
                return Err(match waited {
                    Err(error) => format!("cannot wait for the load generator: {error}"),
                    Ok(_) => format!("the load generator did not end within {within:?}"),
                });
            }
        }
    }
}

fn millis(time: Duration) -> String {
    format!("{}ms", time.as_millis().max(1))
}
