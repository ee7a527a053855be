//! Whole servers, one after the other on one CPU, under the load generator on
//! another.
//!
//! Every measurement starts a fresh server process, and rounds go over all
//! servers before any is measured again, so that a slow change of the machine
//! reaches all alike. What makes two virtual CPUs slow to reach each other is
//! watched by a [`canary`].

mod args;
mod build;
mod canary;
mod catalog;
mod certificate;
mod foreign;
mod load;
mod machine;
mod measure;
mod process_time;
mod record;
mod schedule;
mod server;
mod stats;
mod storm;
mod table;
mod workload;

use std::io::{self, Write as _};
use std::process::ExitCode;

pub(crate) use args::Args;

use hioload_platform::limits;

use build::{Binaries, Made};
use catalog::Peer;
use machine::Machine;
use measure::Bench;
use schedule::{Cell, Row};
use workload::Workload;

/// Open files of a server with 18,000 connections.
const DESCRIPTORS: u64 = 19_000;

/// Runs what was asked for. Success is that everything could be measured.
pub(crate) fn run(args: &Args) -> ExitCode {
    match compare(args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("error: {failed} measurements failed; they are named above");
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints; how many measurements failed.
fn compare(args: &Args) -> Result<usize, String> {
    let (peers, workloads) = (args.peers()?, args.workloads()?);
    if args.list {
        return list(&peers, &workloads).map(|()| 0);
    }
    args.check_cpus()?;
    // Servers inherit it, and not all raise it by themselves.
    if let Err(error) = limits::raise_nofile(DESCRIPTORS) {
        eprintln!("warning: {error}; servers will fail with many connections");
    }
    let machine = Machine::look(args)?;
    let made = if args.smoke {
        Made::Quickly
    } else {
        Made::Optimised
    };
    let bench = Bench {
        args,
        binaries: Binaries::build(&peers, made)?,
        certificate: certificate::Files::create()?,
    };
    print(&format!("{}\n\n", machine.sentence()))?;
    let mut rows: Vec<Row> = Vec::new();
    for workload in &workloads {
        let row = schedule::measure(&bench, workload, &peers);
        print(&format!("{}\n", table::of(&row)))?;
        rows.push(row);
    }
    if args.record {
        let file = record::write(&machine, &rows)?;
        eprintln!(
            "written: {} and the table in benches/README.md",
            file.display()
        );
    }
    let failed = rows.iter().flat_map(|row| &row.cells);
    Ok(failed
        .filter(|(_, cell)| matches!(cell, Cell::Failed(_)))
        .count())
}

fn list(peers: &[Peer], workloads: &[Workload]) -> Result<(), String> {
    let mut text = String::from("Peers (--only):\n");
    for peer in peers {
        text.push_str(&format!("  {:26} {}\n", peer.name, peer.about));
    }
    text.push_str("\nWorkloads (--workload):\n");
    for workload in workloads {
        text.push_str(&format!("  {:26} {}\n", workload.name, workload.about));
    }
    print(&text)
}

fn print(text: &str) -> Result<(), String> {
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| format!("cannot write to standard output: {error}"))
}
