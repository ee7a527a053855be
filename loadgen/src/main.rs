//! Load generator for WebSocket servers.
//!
//! Every thread owns one I/O driver and a share of the connections. Load is
//! either an open loop, a plan of send times made before the run, or a closed
//! loop. Every payload is verified, and the generator says when it was itself
//! the bottleneck. `README.md` documents the exit codes and the JSON schema.

#![forbid(unsafe_code)]

mod broadcast;
mod cli;
mod control;
mod descriptors;
mod echo;
mod exit;
mod link;
mod links;
mod load;
mod outbox;
mod payload;
mod plan;
mod progress;
mod random;
mod report;
mod run;
mod sequence;
mod settings;
mod signals;
mod size;
mod source;
mod summary;
mod tally;
mod validity;
mod worker;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;
use exit::Exit;
use report::Report;
use settings::Settings;
use summary::Summary;

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
        Ok(run) => match cli.settings(run) {
            Err(message) => complain(Exit::Usage, &message),
            Ok(settings) => generate(&settings),
        },
    };
    exit.code().into()
}

/// Where the JSON goes.
enum Json {
    Nowhere,
    Stdout,
    File(PathBuf, File),
}

fn generate(settings: &Settings) -> Exit {
    let needed = descriptors::needed(settings.connections(), settings.threads);
    let json = match descriptors::reserve(needed).and_then(|()| open(settings.json.as_deref())) {
        Ok(json) => json,
        Err(message) => return complain(Exit::Environment, &message),
    };
    if settings.insecure {
        eprintln!(
            "warning: --insecure: whoever answers as {} is believed",
            settings.target
        );
    }
    let ended = match run::run(settings) {
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
    match write(&summary, json) {
        Ok(()) => exit,
        Err(error) => complain(exit.min(Exit::Environment), &error),
    }
}

/// Opens the file before the run, so that a long one is not in vain.
fn open(path: Option<&Path>) -> Result<Json, String> {
    match path {
        None => Ok(Json::Nowhere),
        Some(path) if path == Path::new("-") => Ok(Json::Stdout),
        Some(path) => match File::create(path) {
            Ok(file) => Ok(Json::File(path.to_owned(), file)),
            Err(error) => Err(format!("cannot write {}: {error}", path.display())),
        },
    }
}

/// Prints the table, unless the JSON takes its place, and writes the JSON.
fn write(summary: &Summary, json: Json) -> Result<(), String> {
    let mut text = serde_json::to_string_pretty(summary)
        .map_err(|error| format!("cannot write JSON: {error}"))?;
    text.push('\n');
    match json {
        Json::Stdout => return print(&text),
        Json::File(path, mut file) => file
            .write_all(text.as_bytes())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?,
        Json::Nowhere => {}
    }
    if summary.failure.is_none() {
        print(&Report(summary).to_string())?;
    }
    Ok(())
}

fn print(text: &str) -> Result<(), String> {
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| format!("cannot write to standard output: {error}"))
}

fn complain(exit: Exit, message: &str) -> Exit {
    eprintln!("error: {message}");
    exit
}
