//! Load generator for WebSocket servers.
//!
//! Every thread owns one I/O driver and a share of the connections. Load is
//! either an open loop, a plan of send times made before the run, or a closed
//! loop. Every payload is verified, and the generator says when it was itself
//! the bottleneck. `README.md` documents the exit codes and the JSON schema.

#![forbid(unsafe_code)]

mod broadcast;
mod cause;
mod centrifugo;
mod chat;
mod cli;
mod connect;
mod control;
mod descriptors;
mod echo;
mod exit;
mod find_max;
mod goal;
mod heard;
mod help;
mod html;
mod idle;
mod labels;
mod link;
mod links;
mod load;
mod mixed;
mod opens;
mod origin;
mod outbox;
mod output;
mod part;
mod payload;
mod plan;
mod probe;
mod processes;
mod progress;
mod random;
mod recent;
mod reconnect;
mod recorded;
mod report;
mod reporting;
mod rooms;
mod run;
mod search;
mod sequence;
mod series;
mod server_process;
mod settings;
mod shape;
mod signals;
mod size;
mod source;
mod spread;
mod steps;
mod summary;
mod table;
mod tally;
mod together;
mod tolerance;
mod validity;
mod worker;

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use serde::Serialize;

use cli::{Cli, Job};
use exit::Exit;
use goal::Goals;
use html::{MixPage, Page, SearchPage};
use mixed::Scenario;
use output::{Output, print};
use report::Report;
use settings::Settings;
use signals::Watched;
use summary::Summary;
use together::Together;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            // A closed standard output leaves nobody to tell.
            drop(error.print());
            return exit.code().into();
        }
    };
    let exit = match getrandom::u32() {
        Err(error) => complain(Exit::Environment, &format!("no random numbers: {error}")),
        Ok(run) => match cli.job(run) {
            Err(message) => complain(Exit::Usage, &message),
            Ok(Job::Run(settings)) if settings.is_part => part::serve(*settings),
            Ok(Job::Run(settings)) => generate(&settings),
            Ok(Job::Mixed(scenario)) => mix(&scenario),
            Ok(Job::Print(text)) => match print(text) {
                Ok(()) => Exit::Ok,
                Err(message) => complain(Exit::Environment, &message),
            },
        },
    };
    exit.code().into()
}

fn generate(settings: &Settings) -> Exit {
    let html = settings.reporting.html.as_deref();
    let output = || Output::open(settings.json.as_deref(), html);
    let (output, together, _watched) = match prepare(&[settings], output) {
        Ok(prepared) => prepared,
        Err(message) => return complain(Exit::Environment, &message),
    };
    match &settings.find_max {
        None => once(settings, &together, output),
        Some(goals) => search(settings, goals, &together, output),
    }
}

/// The groups of a scenario, and what they came to.
fn mix(scenario: &Scenario) -> Exit {
    let groups: Vec<&Settings> = scenario.groups.iter().collect();
    let output = || Output::open(scenario.json.as_deref(), scenario.html.as_deref());
    let (output, together, _watched) = match prepare(&groups, output) {
        Ok(prepared) => prepared,
        Err(message) => return complain(Exit::Environment, &message),
    };
    let (mix, exit) = match mixed::run(scenario, &together) {
        Ok(mix) => mix,
        Err(message) => return complain(Exit::Environment, &message),
    };
    if let Some(failure) = &mix.failure {
        complain(exit, failure);
    } else {
        for reason in &mix.reasons {
            eprintln!("NOT VALID: {reason}");
        }
    }
    let table: Option<&dyn Display> = match mix.failure {
        Some(_) => None,
        None => Some(&mix),
    };
    deliver(exit, output, &mix, table, &MixPage(&mix))
}

/// Makes room for runs that are open at the same time, opens what their result
/// is written to, and sees to it that a signal ends them with a report.
fn prepare(
    runs: &[&Settings],
    output: impl FnOnce() -> Result<Output, String>,
) -> Result<(Output, Arc<Together>, Watched), String> {
    let in_each = |run: &Settings, number: usize| number.div_ceil(run.processes);
    let connections = (runs.iter())
        .map(|run| in_each(run, run.connections()))
        .sum();
    let threads = runs.iter().map(|run| in_each(run, run.threads)).sum();
    descriptors::reserve(descriptors::needed(connections, threads))?;
    let output = output()?;
    for run in runs.iter().filter(|run| run.insecure) {
        eprintln!(
            "warning: --insecure: whoever answers as {} is believed",
            run.target
        );
    }
    let together = Arc::new(Together::new(runs.len()));
    let watched = Arc::clone(&together);
    let watched = signals::watch(move || watched.interrupt())
        .map_err(|error| format!("cannot watch for signals: {error}"))?;
    Ok((output, together, watched))
}

/// One run, and what it came to.
fn once(settings: &Settings, together: &Together, output: Output) -> Exit {
    let ended = match run::run(settings, together) {
        Ok(ended) => ended,
        Err(message) => return complain(Exit::Environment, &message),
    };
    let (summary, exit) = Summary::new(settings, &ended);
    if let Some(failure) = &summary.failure {
        complain(exit, failure);
    } else {
        for reason in &summary.reasons {
            eprintln!("NOT VALID: {reason}");
        }
    }
    let report = Report(&summary);
    let table: Option<&dyn Display> = match summary.failure {
        Some(_) => None,
        None => Some(&report),
    };
    deliver(exit, output, &summary, table, &Page(&summary))
}

/// The rounds of a search, and what they came to.
fn search(settings: &Settings, goals: &Goals, together: &Together, output: Output) -> Exit {
    let (found, exit) = match find_max::find_max(settings, goals, together) {
        Ok(found) => found,
        Err(message) => return complain(Exit::Environment, &message),
    };
    if let Some(failure) = &found.failure {
        complain(exit, failure);
    }
    deliver(exit, output, &found, Some(&found), &SearchPage(&found))
}

/// Writes a result, which may fail where it succeeded.
fn deliver(
    exit: Exit,
    output: Output,
    result: &impl Serialize,
    table: Option<&dyn Display>,
    page: &impl Display,
) -> Exit {
    match output.write(result, table, page) {
        Ok(()) => exit,
        Err(error) => complain(exit.min(Exit::Environment), &error),
    }
}

fn complain(exit: Exit, message: &str) -> Exit {
    eprintln!("error: {message}");
    exit
}
