//! Benchmarks of whole servers; the micro-benchmarks are in `micro/`.

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod peers;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use clap::Parser as _;

    /// Measures hioload beside other servers.
    #[derive(Debug, clap::Parser)]
    #[command(name = "hioload-benches", version, max_term_width = 100)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Command {
        Peers(peers::Args),
    }

    match Cli::parse().command {
        Command::Peers(args) => peers::run(&args),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("error: servers are measured through /proc, which only Linux has");
    ExitCode::FAILURE
}
