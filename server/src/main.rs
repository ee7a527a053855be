//! The standalone server.

#![forbid(unsafe_code)]

mod broadcast;
mod cli;
mod config;
mod probe;
mod site;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use hioload::Server;
use hioload::tls::TlsConfig;

use cli::{Cli, Command, Seats};
use config::{Settings, SettingsError};
use site::{Routes, Site};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Probe { json, ref seats }) => probe(seats, json),
        None => serve(&cli),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("hioload-server: {error}");
        ExitCode::from(2)
    })
}

fn serve(cli: &Cli) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let settings = Settings::load(cli)?;
    start_log(&settings.log)?;
    let routes = Routes::new(&settings)?;
    let mut server = Server::default().config(settings.config.clone());
    for addr in &settings.listen {
        server = server.listen(addr);
    }
    if !settings.tls_listen.is_empty() {
        let tls = TlsConfig::from_pem_files(&settings.certificates)?;
        for addr in &settings.tls_listen {
            server = server.listen_tls(addr, tls.clone());
        }
    }
    server.run_with(
        move |shard| Site::new(routes.clone(), shard.handle()),
        |running| {
            if settings.relay_is_off() {
                tracing::info!(
                    "/echo and /broadcast are off on addresses other than loopback; \
                     --dev or [routes] in the configuration switches them on"
                );
            }
            for &addr in running.addrs() {
                let scheme = if running.is_tls(addr) {
                    "https"
                } else {
                    "http"
                };
                announce(&format!("listening on {scheme}://{addr}"));
            }
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what the kernel offers; fails like `serve` would.
fn probe(seats: &Seats, json: bool) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let config = config::probed(seats)?;
    config.check()?;
    let report = config.probe()?;
    announce(&if json {
        probe::json(&report)
    } else {
        report.to_string()
    });
    Ok(if report.backend().is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

fn start_log(filter: &str) -> Result<(), SettingsError> {
    let filter =
        tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| SettingsError::Log {
            filter: filter.to_owned(),
            cause: error.to_string(),
        })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// A line on standard output, for people and for scripts that wait for it. A
/// closed output is no reason not to serve.
fn announce(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}
