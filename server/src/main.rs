//! The standalone server.

#![forbid(unsafe_code)]

mod broadcast;
mod chat;
mod cli;
mod config;
mod log;
mod probe;
mod reload;
mod site;
#[cfg_attr(feature = "otel", path = "traces/otlp.rs")]
#[cfg_attr(not(feature = "otel"), path = "traces/none.rs")]
mod traces;

use std::process::ExitCode;

use clap::Parser;
use hioload::control::DebugEndpoint;
use hioload::tls::TlsConfig;
use hioload::{InheritedSocket, Server, inherit};

use chat::{ChatMetrics, Rules};
use cli::{Cli, Command, Seats};
use config::{Settings, SettingsError};
use log::Log;
use reload::Reload;
use site::{Routes, Site};
use traces::Traces;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Probe { json, ref seats }) => probe(seats, json),
        None => serve(cli),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("hioload-server: {error}");
        ExitCode::from(2)
    })
}

fn serve(cli: Cli) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let settings = Settings::load(&cli)?;
    let (traces, spans) = Traces::new(settings.otlp_endpoint.as_deref())?;
    let log = Log::start(&settings.log, spans)?;
    let routes = Routes::new(&settings)?;
    let rules = Rules::new(&settings.chat);
    let chat_metrics = ChatMetrics::default();
    let mut server = listening(&settings)?;
    for hub in chat::hubs(&settings.chat) {
        server = server.hub(hub);
    }
    if let Some(path) = &settings.hand_over {
        server = server.take_over_from(path).hand_over_at(path);
    }
    let (token, cli_dev) = (settings.debug_token.clone(), cli.dev);
    let reload = Reload {
        cli,
        started: settings.clone(),
        log,
    };
    let ended = server.reload_from(move || reload.read()).run_with(
        move |shard| {
            let handle = shard.handle();
            let debug = DebugEndpoint::new(handle.clone(), token.clone());
            Site::new(
                routes.clone(),
                rules.clone(),
                chat_metrics.clone(),
                handle,
                debug,
            )
        },
        |running| {
            if let Some(traces) = &traces {
                traces.begin();
            }
            warn_of_insecurity(&settings, cli_dev);
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
    );
    if let Some(traces) = &traces {
        traces.end();
    }
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Says when anybody may do everything, and when somebody may expect it in vain.
fn warn_of_insecurity(settings: &Settings, dev: bool) {
    if settings.chat.insecure {
        tracing::warn!(
            "insecure: clients of {} need no token and may do everything",
            chat::PATH
        );
    } else if dev {
        tracing::warn!(
            "clients of {} need tokens in spite of --dev, as others than this machine can reach \
             it; insecure = true in [client] of the configuration lets everybody in",
            chat::PATH
        );
    }
}

/// A server on the sockets this process was started with, or else on the
/// addresses of the settings.
fn listening(settings: &Settings) -> Result<Server, Box<dyn std::error::Error>> {
    let mut server = Server::default().config(settings.config.clone());
    let tls = match &settings.certificates[..] {
        [] => None,
        certificates => Some(TlsConfig::from_pem_files(certificates)?),
    };
    let inherited = inherit::names()?;
    for (index, name) in inherited.iter().enumerate() {
        let nth = InheritedSocket::Nth(index);
        server = match &tls {
            Some(tls) if name != "http" => server.listen_inherited_tls(nth, tls.clone()),
            None if name == "https" => {
                return Err(SettingsError::TlsWithoutCertificate {
                    addr: "the inherited socket named https".into(),
                }
                .into());
            }
            _ => server.listen_inherited(nth),
        };
    }
    if !inherited.is_empty() {
        tracing::info!(sockets = ?inherited, "serving the sockets this process was started with");
        return Ok(server);
    }
    for addr in &settings.listen {
        server = server.listen(addr);
    }
    for addr in &settings.tls_listen {
        let tls = tls
            .clone()
            .ok_or_else(|| SettingsError::TlsWithoutCertificate { addr: addr.clone() })?;
        server = server.listen_tls(addr, tls);
    }
    Ok(server)
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

/// A line on standard output, for people and for scripts that wait for it. A
/// closed output is no reason not to serve.
fn announce(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}
