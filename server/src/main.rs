//! The standalone server.

#![forbid(unsafe_code)]

mod admin;
mod bridge;
mod broadcast;
mod chat;
mod cli;
mod commands;
mod config;
mod kept;
mod log;
mod notify;
mod page;
mod probe;
mod proxy;
mod reload;
mod site;
#[cfg_attr(feature = "otel", path = "traces/otlp.rs")]
#[cfg_attr(not(feature = "otel"), path = "traces/none.rs")]
mod traces;

use std::process::ExitCode;

use clap::Parser;
use hioload::control::{DebugEndpoint, DebugToken, WeakToken};
use hioload::tls::TlsConfig;
use hioload::{InheritedSocket, Running, Server, inherit};
use hioload_store::Store;

use admin::Admin;
use bridge::Bridge;
use chat::{ChatMetrics, Rules};
use cli::{Cli, Command, Seats};
use config::{AdminAccess, Settings, SettingsError};
use log::Log;
use notify::Notices;
use proxy::Proxies;
use reload::Reload;
use site::{Beside, Routes, Site};
use traces::Traces;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Probe { json, ref seats }) => probe(seats, json),
        Some(ref command) => commands::run(command).unwrap_or(Ok(ExitCode::SUCCESS)),
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
    let rules = Rules::new(&settings.chat);
    let chat_metrics = ChatMetrics::default();
    let (admin, made_up) = admin_token(&settings.admin)?;
    let routes = Routes::new(&settings, &rules, admin.is_some())?;
    let proxies = Proxies::new(&settings.applications)?;
    let dev = cli.dev;
    let reload = Reload {
        cli,
        started: settings.clone(),
        log,
        rules: rules.clone(),
    };
    let server = listening(&settings)?.reload_from(move || reload.read());
    let (server, store) = kept::open(server, &settings)?;
    let token = settings.debug_token.clone();
    let notices = Notices::new(&settings.notify, &rules);
    let beside = Beside {
        store: store.clone(),
        notices: notices.clone(),
        proxies: proxies.clone(),
    };
    let patience = settings.config.drain_timeout;
    let mut started = Ok(None);
    let ended = server.run_with(
        move |shard| {
            let handle = shard.handle();
            if let Some(store) = &beside.store {
                chat::listen(store, handle.clone());
            }
            let debug = DebugEndpoint::new(handle.clone(), token.clone());
            let admin = Admin::new(admin.clone(), handle);
            Site::new(
                routes.clone(),
                rules.clone(),
                chat_metrics.clone(),
                beside.clone(),
                shard,
                debug,
                admin,
            )
        },
        |running| {
            // Here, where signals are held and no CPU is a shard's.
            started = begin(store.as_ref(), &notices, &proxies);
            if started.is_err() {
                running.handle().stop();
            }
            if let Some(traces) = &traces {
                traces.begin();
            }
            tell_of(&settings, dev);
            announce_addresses(running);
            if let Some(token) = &made_up {
                announce(&format!("the token for /admin, for this run: {token}"));
            }
        },
    );
    // First, as a successor waits for it.
    let closed = store.map(|store| store.close(patience)).transpose();
    if let Some(traces) = &traces {
        traces.end();
    }
    ended?;
    if let Some(bridge) = started? {
        notices.close(&bridge.handle(), patience);
        bridge.end();
    }
    closed?;
    Ok(ExitCode::SUCCESS)
}

/// Starts what has threads of its own.
fn begin(
    store: Option<&Store>,
    notices: &Notices,
    proxies: &Proxies,
) -> Result<Option<Bridge>, Box<dyn std::error::Error>> {
    if let Some(store) = store {
        store.start()?;
    }
    if !notices.is_on() && !proxies.are_some() {
        return Ok(None);
    }
    let bridge = Bridge::start()?;
    notices.start(&bridge.handle())?;
    proxies.start(&bridge.handle());
    Ok(Some(bridge))
}

/// The admin page's token, and again if it is made up and to be told to who
/// started the server.
fn admin_token(access: &AdminAccess) -> Result<(Option<DebugToken>, Option<String>), WeakToken> {
    Ok(match access {
        AdminAccess::Off => (None, None),
        AdminAccess::Token(token) => (Some(token.clone()), None),
        AdminAccess::Printed => {
            let token = uuid::Uuid::new_v4().simple().to_string();
            (Some(DebugToken::new(token.as_str())?), Some(token))
        }
    })
}

fn announce_addresses(running: &Running) {
    for &addr in running.addrs() {
        let scheme = if running.is_tls(addr) {
            "https"
        } else {
            "http"
        };
        announce(&format!("listening on {scheme}://{addr}"));
    }
}

/// Says what of the settings may be a surprise.
fn tell_of(settings: &Settings, dev: bool) {
    warn_of_insecurity(settings, dev);
    if !settings.unknown_variables.is_empty() {
        let names = settings.unknown_variables.join(", ");
        tracing::warn!("no setting is named by the environment's {names}");
    }
    if settings.relay_is_off() {
        tracing::info!(
            "/echo and /broadcast are off on addresses other than loopback; \
             --dev or [routes] in the configuration switches them on"
        );
    }
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
