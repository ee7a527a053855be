//! As many idle connections as this machine holds: opens them over loopback,
//! pings each, broadcasts once to all, closes them, and tells what that took.
//!
//! A process may have so many descriptors and no more, so the connections are
//! those of pairs of processes: a server of the framework, and a client of it
//! that dials from an address of its own in 127/8. Both are this program, which
//! coordinates them by lines on their standard streams.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "printing is its purpose")]

mod coordinator;
mod hold;
mod machine;
mod pair;
mod plan;
mod process;
mod report;
mod serve;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Whatever went wrong, in words for the person who started this.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Holds as many idle WebSockets as asked for, or as this machine allows, in
/// pairs of server and client processes over loopback; pings all, broadcasts
/// once to all, closes all. Ends by itself. Linux only: it reads /proc.
#[derive(Debug, Parser)]
#[command(name = "million", version)]
struct Arguments {
    #[command(flatten)]
    wanted: Wanted,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What is asked for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Wanted {
    /// Connections to open.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    connections: u32,
    /// Connections of one pair of processes; fewer where a process may not
    /// have as many descriptors. Beyond half of the 28,000 ports of the client's
    /// address Linux looks at all of that half for each connection.
    #[arg(long, default_value_t = 14_000, value_parser = clap::value_parser!(u32).range(1..=28_000))]
    per_pair: u32,
    /// Pairs that connect at the same time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    at_once: u32,
    /// Memory that stays available, in MiB: nothing is started that would take
    /// it, and no more pairs once less is left.
    #[arg(long, default_value_t = 3072)]
    keep_free: u64,
    /// Seconds after which it gives up.
    #[arg(long, default_value_t = 600)]
    within: u64,
    /// Where to write the result as JSON.
    #[arg(long)]
    record: Option<PathBuf>,
}

impl Wanted {
    fn within(&self) -> Duration {
        Duration::from_secs(self.within)
    }
}

/// One process of a pair; not for people.
#[derive(Debug, Subcommand)]
enum Role {
    /// Accepts, and publishes when told to.
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        connections: u32,
    },
    /// Dials, and pings when told to.
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        connections: u32,
        #[arg(long)]
        server: SocketAddr,
        #[arg(long)]
        source: IpAddr,
    },
}

fn main() -> ExitCode {
    let Arguments { wanted, role } = Arguments::parse();
    let outcome = match role {
        None => coordinator::run(&wanted),
        Some(Role::Serve { connections }) => serve::run(connections),
        Some(Role::Hold {
            connections,
            server,
            source,
        }) => hold::run(connections, server, source),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("million: {error}");
            ExitCode::FAILURE
        }
    }
}
