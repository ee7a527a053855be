//! Several loads at the same time, from a scenario.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::thread;

use serde::Serialize;

use crate::exit::Exit;
use crate::report::{Report, count, rate_number, time};
use crate::run;
use crate::settings::Settings;
use crate::summary::{Distribution, Ended, Errors, Messages, Rates, Summary};
use crate::tally::{Tally, Window};
use crate::together::Together;

/// Name and version of the JSON schema.
const SCHEMA: &str = "hioload-loadgen-mixed/1";

/// What is to run at the same time.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// Where it stands.
    pub(crate) file: String,
    /// The groups, each with a name.
    pub(crate) groups: Vec<Settings>,
    /// Where the JSON goes; `-` is standard output.
    pub(crate) json: Option<PathBuf>,
    /// Where the report to pass on goes.
    pub(crate) html: Option<PathBuf>,
}

/// What a scenario came to.
#[derive(Debug, Serialize)]
pub(crate) struct Mix {
    pub(crate) schema: &'static str,
    pub(crate) generator: &'static str,
    pub(crate) file: String,
    pub(crate) valid: bool,
    /// Why it is not, group by group.
    pub(crate) reasons: Vec<String>,
    pub(crate) interrupted: bool,
    pub(crate) exit_code: u8,
    /// Why it did not take place, or null.
    pub(crate) failure: Option<String>,
    pub(crate) groups: Vec<Group>,
    pub(crate) total: Total,
}

/// One group.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) start_ns: u64,
    pub(crate) result: Summary,
}

/// All groups as if they were one.
#[derive(Debug, Serialize)]
pub(crate) struct Total {
    /// From the first measurement's beginning to the end of the last.
    pub(crate) measured_seconds: f64,
    pub(crate) messages: Messages,
    /// Over `measured_seconds`.
    pub(crate) rates: Rates,
    pub(crate) latency_ns: Distribution,
    pub(crate) errors: Errors,
}

/// Runs all groups, each with threads of its own; they begin together when all
/// are connected.
///
/// # Errors
/// When this machine does not allow a run.
pub(crate) fn run(scenario: &Scenario, together: &Together) -> Result<(Mix, Exit), String> {
    let groups = &scenario.groups;
    let ended: Vec<Result<Ended, String>> = thread::scope(|scope| {
        let runs: Vec<_> = (groups.iter())
            .map(|group| scope.spawn(|| run::run(group, together)))
            .collect();
        let died = || Err("a group's thread panicked; this is a bug of the generator".into());
        runs.into_iter()
            .map(|run| run.join().unwrap_or_else(|_panic| died()))
            .collect()
    });
    let ended: Vec<Ended> = ended.into_iter().collect::<Result<_, _>>()?;
    let mut exit = Exit::Ok;
    let (mut failure, mut reasons, mut results) = (None, Vec::new(), Vec::new());
    for (settings, ended) in groups.iter().zip(&ended) {
        let (result, ended_as) = Summary::new(settings, ended);
        exit = exit.min(ended_as);
        let name = settings.name.clone().unwrap_or_default();
        let said = |what: &String| format!("group {name}: {what}");
        failure = failure.or(result.failure.as_ref().map(said));
        reasons.extend(result.reasons.iter().map(said));
        results.push(Group {
            name,
            start_ns: settings.start,
            result,
        });
    }
    let tolerated = results.iter().all(|group| group.result.errors.tolerated);
    let mix = Mix {
        schema: SCHEMA,
        generator: concat!("hioload-loadgen ", env!("CARGO_PKG_VERSION")),
        file: scenario.file.clone(),
        valid: reasons.is_empty(),
        reasons,
        interrupted: together.interrupted(),
        exit_code: exit.code(),
        failure,
        total: Total::of(groups, &ended, tolerated),
        groups: results,
    };
    Ok((mix, exit))
}

impl Total {
    /// `tolerated` tells whether every group tolerates the connections that
    /// failed in it.
    fn of(groups: &[Settings], ended: &[Ended], tolerated: bool) -> Self {
        let mut tally = Tally::new(Window { from: 0, to: 0 });
        let (mut from, mut to) = (u64::MAX, 0);
        for (settings, ended) in groups.iter().zip(ended) {
            tally.merge(&ended.tally);
            tally.faults.lost += ended.tally.faults.lost;
            let measured = ended.threads.iter().map(|thread| thread.0.measured).max();
            let begin = settings.start + settings.warmup;
            if let Some(measured) = measured.filter(|&measured| measured > 0) {
                from = from.min(begin);
                to = to.max(begin + measured);
            }
        }
        let seconds = to.saturating_sub(from) as f64 / 1e9;
        Self {
            measured_seconds: seconds,
            messages: Messages::of(&tally),
            rates: Rates::of(&tally, seconds),
            latency_ns: Distribution::of(&tally.latency),
            errors: Errors::new(&tally, tolerated),
        }
    }
}

impl Display for Mix {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            let (name, after) = (&group.name, time(group.start_ns));
            let after = if group.start_ns > 0 {
                format!(", {after} after the others")
            } else {
                String::new()
            };
            writeln!(f, "[{name}]{after}\n{}", Report(&group.result))?;
        }
        let (messages, rates) = (&self.total.messages, &self.total.rates);
        let latency = &self.total.latency_ns;
        let seconds = self.total.measured_seconds;
        writeln!(f, "[all] within {seconds:.1} s")?;
        writeln!(
            f,
            "sent       {}, {}/s; received {}, {}/s",
            count(messages.sent),
            rate_number(rates.sent),
            count(messages.received),
            rate_number(rates.received),
        )?;
        let [p50, p99, p99_9, max] =
            [latency.p50, latency.p99, latency.p99_9, latency.max].map(time);
        writeln!(
            f,
            "latency    p50 {p50}, p99 {p99}, p99.9 {p99_9}, max {max}"
        )?;
        writeln!(f, "errors     {}", count(self.total.errors.total))
    }
}
