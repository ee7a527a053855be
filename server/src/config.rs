//! Settings: defaults, then the TOML file, then the environment, then flags.

mod admin;
mod application;
mod chat;
mod environment;
mod keys;
mod notify;
mod persistence;
mod rate;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use hioload::backend::Choice;
use hioload::control::{DebugToken, WeakToken};
use hioload::placement::CpuList;
use hioload::topology::ListError;
use hioload::{
    Backpressure, CloseCode, Config, DeflateConfig, DeflateMode, ListenerMode, NetworkError,
    Networks, placement,
};
use hioload_store::Options;
use serde::Deserialize;
use thiserror::Error;

use crate::cli::{Cli, Seats};
pub(crate) use admin::AdminAccess;
pub(crate) use application::{Address, Application, Event, Mode};
pub(crate) use chat::{Changes, ChatSettings, ClientTable, DeltaType, Namespace, RatesTable, Who};
use chat::{ChatError, Secret};
pub(crate) use keys::{TokenKey, TokenKeys};
pub(crate) use notify::{Mail, NotifySettings, SinkSettings, Smtp, SmtpTls, Webhook};
use notify::{MailTable, NotifyError, NotifyTable, SmtpTable, WebhookTable};
use persistence::{PersistenceError, PersistenceTable};
pub(crate) use rate::Rate;

/// What the server runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Without TLS.
    pub(crate) listen: Vec<String>,
    pub(crate) tls_listen: Vec<String>,
    /// Pairs of a certificate's file and its key's.
    pub(crate) certificates: Vec<(PathBuf, PathBuf)>,
    pub(crate) log: String,
    pub(crate) hand_over: Option<PathBuf>,
    pub(crate) config: Config,
    pub(crate) echo: bool,
    pub(crate) broadcast: bool,
    pub(crate) echo_root: bool,
    pub(crate) sse: bool,
    pub(crate) http_stream: bool,
    pub(crate) debug_token: Option<DebugToken>,
    pub(crate) admin: AdminAccess,
    pub(crate) otlp_endpoint: Option<String>,
    pub(crate) chat: ChatSettings,
    /// Who is asked about what clients do.
    pub(crate) applications: Vec<Application>,
    /// The store that outlives the process.
    pub(crate) persistence: Option<Options>,
    pub(crate) notify: NotifySettings,
    /// Variables that look like settings and are none.
    pub(crate) unknown_variables: Vec<String>,
}

/// The file or a flag is wrong.
#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the configuration {} is wrong in line {line}, {content:?}: {cause}", path.display())]
    Parse {
        path: PathBuf,
        line: usize,
        content: String,
        cause: String,
    },
    #[error("the variable {name} is wrong, which is {setting} of the configuration: {cause}")]
    Variable {
        name: String,
        setting: String,
        cause: String,
    },
    #[error(
        "{certificates} --tls-cert but {keys} --tls-key were given; each certificate needs its \
         key, in the same order"
    )]
    TlsPairs { certificates: usize, keys: usize },
    #[error(
        "{addr} should speak TLS, but there is no certificate; give --tls-cert FILE --tls-key FILE, \
         or [tls] certificates in the configuration"
    )]
    TlsWithoutCertificate { addr: String },
    #[error(
        "--shards 0 would serve nobody; give 1 to 64, or leave --shards out for one per physical \
         core"
    )]
    NoShards,
    #[error(
        "--max-connections 0 would serve nobody; give a number, or leave it out for as many as \
         the limit of open files allows"
    )]
    NoConnections,
    #[error("the CPUs {list:?} are wrong: {source}")]
    Cpus { list: String, source: ListError },
    #[error("proxies.trusted: {0}")]
    Trusted(#[from] NetworkError),
    #[error("--cpus lists no CPU; write a list such as 0-3,8, or leave --cpus out")]
    NoCpus,
    #[error(transparent)]
    Application(#[from] application::ApplicationError),
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error(transparent)]
    Persistence(#[from] PersistenceError),
    #[error(transparent)]
    Notify(#[from] NotifyError),
    #[error("debug_token is wrong: {0}")]
    DebugToken(#[from] WeakToken),
    #[error(
        "admin.token is wrong: it has at least {} visible ASCII characters, such as the output \
         of: openssl rand -hex 32",
        DebugToken::LEAST
    )]
    AdminToken,
    #[error(
        "otlp_endpoint is set, but this hioload-server was built without OpenTelemetry; build it \
         with --features otel"
    )]
    #[cfg(not(feature = "otel"))]
    NoOpenTelemetry,
    #[error("{settings}: needs a restart")]
    NeedsRestart { settings: String },
    #[error("the log filter {filter:?} is wrong: {cause}")]
    Log { filter: String, cause: String },
}

/// The file. Everything may be left out; unknown names are errors, so that a
/// misspelt limit does not pass for one that is set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Vec<String>,
    shards: Option<usize>,
    placement: Option<Placement>,
    cpus: Option<String>,
    pin: Option<bool>,
    backend: Option<Backend>,
    listener: Option<Listener>,
    hand_over: PathBuf,
    log: Option<String>,
    debug_token: Secret,
    trace_sample: Option<f64>,
    otlp_endpoint: String,
    tls: TlsTable,
    routes: RoutesTable,
    limits: LimitsTable,
    proxies: ProxiesTable,
    timeouts: TimeoutsTable,
    backpressure: BackpressureTable,
    deflate: DeflateTable,
    offload: OffloadTable,
    client: chat::ClientTable,
    api: chat::ApiTable,
    admin: admin::AdminTable,
    channel: Namespace,
    namespace: Vec<Namespace>,
    persistence: PersistenceTable,
    notify: NotifyTable,
    webhook: Vec<WebhookTable>,
    smtp: SmtpTable,
    mail: Vec<MailTable>,
    application: Vec<Application>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OffloadTable {
    workers: Option<usize>,
    queue: Option<usize>,
    timeout: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsTable {
    listen: Vec<String>,
    certificates: Vec<CertificateTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateTable {
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RoutesTable {
    echo: Option<bool>,
    broadcast: Option<bool>,
    echo_root: Option<bool>,
    sse: Option<bool>,
    http_stream: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsTable {
    max_connections: Option<usize>,
    max_connections_per_address: Option<usize>,
    max_message: Option<usize>,
    max_head: Option<usize>,
    max_headers: Option<usize>,
    max_body: Option<usize>,
    recv_buffers: Option<u16>,
    recv_buffers_max: Option<u16>,
    drain_waves: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ProxiesTable {
    trusted: Vec<String>,
    protocol: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TimeoutsTable {
    handshake: Option<Span>,
    body: Option<Span>,
    close: Option<Span>,
    idle: Option<Span>,
    ping: Option<Span>,
    pong: Option<Span>,
    drain: Option<Span>,
    send: Option<Span>,
    lifetime: Option<Span>,
    drain_spread: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BackpressureTable {
    limit: Option<usize>,
    shard_limit: Option<usize>,
    policy: Option<Policy>,
    close_code: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DeflateTable {
    mode: Option<Deflate>,
    level: Option<u8>,
    mem_level: Option<u8>,
    window_bits: Option<u8>,
    min_size: Option<usize>,
    max_ratio: Option<u32>,
}

/// Which CPUs shards take.
#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Placement {
    /// Over NUMA nodes, then L3 caches, then cores.
    Spread,
    /// Fill an L3 cache, then a NUMA node, before the next.
    Pack,
}

impl From<Placement> for placement::Placement {
    fn from(order: Placement) -> Self {
        match order {
            Placement::Spread => Self::Spread,
            Placement::Pack => Self::Pack,
        }
    }
}

/// What shards stand on.
#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    /// io_uring where this process may use it, else compio; a line of the log
    /// says why.
    Auto,
    /// io_uring, or no start.
    Uring,
    /// epoll on Linux, completion ports on Windows.
    Compio,
}

impl From<Backend> for Choice {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::Uring => Self::Uring,
            Backend::Compio => Self::Compio,
        }
    }
}

/// How connections come to shards.
#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Listener {
    /// Each shard listens on the port, and the kernel spreads connections over
    /// them by a hash.
    ReusePort,
    /// One shard accepts, and gives each connection to the shard with the
    /// fewest.
    Distribute,
}

impl From<Listener> for ListenerMode {
    fn from(listener: Listener) -> Self {
        match listener {
            Listener::ReusePort => Self::ReusePort,
            Listener::Distribute => Self::Distribute,
        }
    }
}

/// permessage-deflate: not at all, or who compresses.
#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Deflate {
    /// Never.
    Off,
    /// The shard's compressor, each message on its own: connections hold
    /// nothing, a broadcast is compressed once.
    Shared,
    /// A compressor per connection that remembers earlier messages: smaller
    /// messages, for 150 to 350 KiB per connection that uses it.
    Dedicated,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    Drop,
    Close,
    PauseReading,
}

/// A duration written as `25s`, `500ms`, `2min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Span(Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = |cause| {
            format!(
                "{text:?} is no duration ({cause}); write such as \"25s\", \"500ms\" or \"2min\""
            )
        };
        humantime::parse_duration(&text).map(Self).map_err(wrong)
    }
}

impl Settings {
    pub(crate) fn load(cli: &Cli) -> Result<Self, SettingsError> {
        let (file, unknown) = file(cli.seats.config.as_deref())?;
        let settings = Self::merge(cli, &file)?;
        Ok(Self {
            unknown_variables: unknown,
            ..settings
        })
    }

    fn merge(cli: &Cli, file: &File) -> Result<Self, SettingsError> {
        let certificates = certificates(cli, file)?;
        let (listen, tls_listen) = addresses(cli, file, !certificates.is_empty());
        if let Some(addr) = tls_listen.first()
            && certificates.is_empty()
        {
            return Err(SettingsError::TlsWithoutCertificate { addr: addr.clone() });
        }
        // An open relay is a choice: by default only on this machine.
        let mut addrs = listen.iter().chain(&tls_listen);
        let local = addrs.all(|addr| is_loopback(addr));
        let relay = cli.dev || local;
        let chat = ChatSettings::new(
            &file.client,
            &file.channel,
            &file.namespace,
            &file.api,
            cli.dev && local,
        )?;
        let hand_over = cli
            .hand_over
            .clone()
            .or_else(|| Some(file.hand_over.clone()).filter(|path| !path.as_os_str().is_empty()));
        let persistence = file.persistence.options(&chat)?;
        let tables = (&file.notify, &*file.webhook, &file.smtp, &*file.mail);
        Ok(Self {
            notify: NotifySettings::new(tables, &chat)?,
            log: cli
                .log
                .clone()
                .or_else(|| file.log.clone())
                .unwrap_or_else(|| "info".into()),
            hand_over,
            echo: cli.dev || file.routes.echo.unwrap_or(relay),
            broadcast: cli.dev || file.routes.broadcast.unwrap_or(relay),
            echo_root: cli.echo_root || file.routes.echo_root.unwrap_or(false),
            sse: file.routes.sse.unwrap_or(true),
            http_stream: file.routes.http_stream.unwrap_or(true),
            config: Config {
                max_subscriptions: chat.subscriptions(),
                ..config(cli, file)?
            },
            applications: application::checked(&file.application, &chat.namespaces)?,
            chat,
            persistence,
            debug_token: debug_token(file)?,
            admin: file.admin.access(cli.dev && local)?,
            otlp_endpoint: Some(file.otlp_endpoint.clone()).filter(|url| !url.is_empty()),
            listen,
            tls_listen,
            certificates,
            unknown_variables: Vec::new(),
        })
    }

    /// The settings beside [`Config`] that differ and that a running server
    /// does not follow; [`ChatSettings::changes`] has those of the chat.
    pub(crate) fn fixed_differences(&self, other: &Self) -> Vec<String> {
        // No `..`: a new setting is decided about here.
        let Self {
            listen,
            tls_listen,
            certificates,
            hand_over,
            log: _,
            config: _,
            echo,
            broadcast,
            echo_root,
            sse,
            http_stream,
            debug_token,
            admin,
            otlp_endpoint,
            chat: _,
            applications,
            unknown_variables: _,
            persistence,
            notify,
        } = other;
        let differences = [
            ("listen", &self.listen != listen),
            ("tls.listen", &self.tls_listen != tls_listen),
            ("tls.certificates", &self.certificates != certificates),
            ("hand_over", &self.hand_over != hand_over),
            ("routes.echo", self.echo != *echo),
            ("routes.broadcast", self.broadcast != *broadcast),
            ("routes.echo_root", self.echo_root != *echo_root),
            ("routes.sse", self.sse != *sse),
            ("routes.http_stream", self.http_stream != *http_stream),
            ("debug_token", &self.debug_token != debug_token),
            ("admin.token", &self.admin != admin),
            ("otlp_endpoint", &self.otlp_endpoint != otlp_endpoint),
            ("persistence", &self.persistence != persistence),
            ("notify, webhook, smtp, mail", &self.notify != notify),
            ("[[application]]", &self.applications != applications),
        ];
        let differing = differences.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(name, _)| name.to_owned()).collect()
    }

    /// Whether an application says who clients without a token are.
    pub(crate) fn asks_who_connects(&self) -> bool {
        let mut applications = self.applications.iter();
        applications.any(|one| one.takes(Event::Connect, ""))
    }

    pub(crate) fn relay_is_off(&self) -> bool {
        !self.echo && !self.broadcast
    }
}

fn debug_token(file: &File) -> Result<Option<DebugToken>, WeakToken> {
    let token = file.debug_token.reveal();
    (!token.is_empty())
        .then(|| DebugToken::new(token))
        .transpose()
}

/// The addresses without TLS and those with it.
fn addresses(cli: &Cli, file: &File, certificates: bool) -> (Vec<String>, Vec<String>) {
    let first = |lists: [&Vec<String>; 2]| {
        let given = lists.into_iter().find(|list| !list.is_empty());
        given.cloned().unwrap_or_default()
    };
    let mut listen = first([&cli.listen, &file.listen]);
    let tls_listen = first([&cli.tls_listen, &file.tls.listen]);
    if listen.is_empty() && tls_listen.is_empty() {
        listen.push("127.0.0.1:8000".into());
    }
    // Certificates without an address of their own: who gives one wants no
    // plaintext.
    if certificates && tls_listen.is_empty() {
        (tls_listen, listen)
    } else {
        (listen, tls_listen)
    }
}

fn certificates(cli: &Cli, file: &File) -> Result<Vec<(PathBuf, PathBuf)>, SettingsError> {
    if cli.tls_cert.len() != cli.tls_key.len() {
        return Err(SettingsError::TlsPairs {
            certificates: cli.tls_cert.len(),
            keys: cli.tls_key.len(),
        });
    }
    let flags = cli.tls_cert.iter().zip(&cli.tls_key);
    let flags: Vec<_> = flags
        .map(|(cert, key)| (cert.clone(), key.clone()))
        .collect();
    if !flags.is_empty() {
        return Ok(flags);
    }
    let pairs = file.tls.certificates.iter();
    Ok(pairs
        .map(|pair| (pair.cert.clone(), pair.key.clone()))
        .collect())
}

/// The file's table, which is a [`File`].
fn read(path: &Path) -> Result<toml::Table, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: path.into(),
        source,
    })?;
    let parsed = toml::from_str::<File>(&text).and_then(|_| toml::from_str(&text));
    parsed.map_err(|error| {
        let (line, content) = line_at(&text, error.span().map_or(0, |span| span.start));
        SettingsError::Parse {
            path: path.into(),
            line,
            content: without_secret(content.trim()),
            // The error's own text draws the line below it; one line is promised.
            cause: error.message().replace('\n', " "),
        }
    })
}

/// A line of the file for people: a secret in it is theirs alone.
fn without_secret(line: &str) -> String {
    // An address may hold a password.
    let telling = ["secret", "key", "token", "password", "webhook", "@"];
    if !telling.iter().any(|one| line.contains(one)) {
        return line.to_owned();
    }
    match line.split_once('=') {
        Some((name, _)) if !name.contains('@') => format!("{name}= ..."),
        _ => "...".to_owned(),
    }
}

/// The number, from 1, and the text of the line that holds byte `at`.
fn line_at(text: &str, at: usize) -> (usize, &str) {
    let mut end = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        end += line.len();
        if at < end {
            return (index + 1, line);
        }
    }
    (text.lines().count().max(1), "")
}

/// The configuration a probe is about.
pub(crate) fn probed(seats: &Seats) -> Result<Config, SettingsError> {
    seated(seats, &file(seats.config.as_deref())?.0)
}

/// What the file says and then the environment, and the variables that are
/// about no setting.
fn file(path: Option<&Path>) -> Result<(File, Vec<String>), SettingsError> {
    let table = path.map(read).transpose()?.unwrap_or_default();
    environment::overlay(table, &environment::variables())
}

/// The defaults with what decides where shards run and what they need.
fn seated(seats: &Seats, file: &File) -> Result<Config, SettingsError> {
    let default = Config::default();
    if seats.shards == Some(0) {
        return Err(SettingsError::NoShards);
    }
    if seats.max_connections == Some(0) {
        return Err(SettingsError::NoConnections);
    }
    let cpus = seats.cpus.as_ref().or(file.cpus.as_ref());
    let parse = |list: &String| {
        list.parse::<CpuList>()
            .map_err(|source| SettingsError::Cpus {
                list: list.clone(),
                source,
            })
    };
    let cpus = cpus.map(parse).transpose()?.unwrap_or_default();
    if seats.cpus.is_some() && cpus.is_empty() {
        return Err(SettingsError::NoCpus);
    }
    let placement = seats.placement.or(file.placement).map(Into::into);
    let backend = seats.backend.or(file.backend).map(Into::into);
    let listener = seats.listener.or(file.listener).map(Into::into);
    Ok(Config {
        shards: seats.shards.or(file.shards).unwrap_or(default.shards),
        placement: placement.unwrap_or(default.placement),
        cpus,
        pin: file.pin.unwrap_or(default.pin),
        backend: backend.unwrap_or(default.backend),
        listener: listener.unwrap_or(default.listener),
        max_connections: seats
            .max_connections
            .or(file.limits.max_connections)
            .unwrap_or(default.max_connections),
        ..default
    })
}

fn config(cli: &Cli, file: &File) -> Result<Config, SettingsError> {
    let default = seated(&cli.seats, file)?;
    let span = |value: &Option<Span>, default| value.map_or(default, |Span(span)| span);
    // Zero is how "never" is written where it may be.
    let optional = |flag: Option<Duration>, value: &Option<Span>, default: Option<Duration>| {
        let chosen = flag.or(value.map(|Span(span)| span));
        chosen.map_or(default, |span| (!span.is_zero()).then_some(span))
    };
    let recv_buffers_max = cli
        .recv_buffers_max
        .or(file.limits.recv_buffers_max)
        .unwrap_or(default.recv_buffers_max);
    let code = file
        .backpressure
        .close_code
        .map_or(CloseCode::TRY_AGAIN, CloseCode);
    let trusted: Result<Networks, _> = file.proxies.trusted.iter().map(|one| one.parse()).collect();
    Ok(Config {
        max_connections_per_address: file
            .limits
            .max_connections_per_address
            .unwrap_or(default.max_connections_per_address),
        trusted_proxies: trusted?,
        proxy_protocol: file.proxies.protocol.unwrap_or(default.proxy_protocol),
        max_message: cli
            .max_message
            .or(file.limits.max_message)
            .unwrap_or(default.max_message),
        max_head: file.limits.max_head.unwrap_or(default.max_head),
        max_headers: file.limits.max_headers.unwrap_or(default.max_headers),
        max_body: file.limits.max_body.unwrap_or(default.max_body),
        // Who asks for few at most need not know how many there are at first.
        recv_buffers: file
            .limits
            .recv_buffers
            .unwrap_or(default.recv_buffers.min(recv_buffers_max)),
        recv_buffers_max,
        handshake_timeout: span(&file.timeouts.handshake, default.handshake_timeout),
        body_timeout: span(&file.timeouts.body, default.body_timeout),
        close_timeout: span(&file.timeouts.close, default.close_timeout),
        idle_timeout: optional(cli.idle_timeout, &file.timeouts.idle, default.idle_timeout),
        ping_interval: optional(
            cli.ping_interval,
            &file.timeouts.ping,
            default.ping_interval,
        ),
        pong_timeout: span(&file.timeouts.pong, default.pong_timeout),
        backpressure_limit: file
            .backpressure
            .limit
            .unwrap_or(default.backpressure_limit),
        send_memory: file.backpressure.shard_limit.unwrap_or(default.send_memory),
        deflate: deflate(cli, &file.deflate),
        trace_sample: file.trace_sample.unwrap_or(default.trace_sample),
        backpressure: match file.backpressure.policy {
            None | Some(Policy::Close) => Backpressure::Close(code),
            Some(Policy::Drop) => Backpressure::Drop,
            Some(Policy::PauseReading) => Backpressure::PauseReading,
        },
        send_timeout: optional(None, &file.timeouts.send, default.send_timeout),
        max_lifetime: optional(None, &file.timeouts.lifetime, default.max_lifetime),
        offload_workers: file.offload.workers.unwrap_or(default.offload_workers),
        offload_queue: file.offload.queue.unwrap_or(default.offload_queue),
        offload_timeout: span(&file.offload.timeout, default.offload_timeout),
        drain_timeout: cli
            .drain_timeout
            .unwrap_or_else(|| span(&file.timeouts.drain, default.drain_timeout)),
        drain_waves: file.limits.drain_waves.unwrap_or(default.drain_waves),
        drain_spread: span(&file.timeouts.drain_spread, default.drain_spread),
        ..default
    })
}

fn deflate(cli: &Cli, table: &DeflateTable) -> Option<DeflateConfig> {
    let mode = match cli.deflate.or(table.mode).unwrap_or(Deflate::Shared) {
        Deflate::Off => return None,
        Deflate::Shared => DeflateMode::Shared,
        Deflate::Dedicated => DeflateMode::Dedicated,
    };
    let default = DeflateConfig::default();
    Some(DeflateConfig {
        mode,
        level: table.level.unwrap_or(default.level),
        mem_level: table.mem_level.unwrap_or(default.mem_level),
        window_bits: table.window_bits.unwrap_or(default.window_bits),
        min_size: table.min_size.unwrap_or(default.min_size),
        max_ratio: table.max_ratio.unwrap_or(default.max_ratio),
        ..default
    })
}

/// Whether only this machine can reach the address. A name other than
/// `localhost` is taken for reachable.
fn is_loopback(addr: &str) -> bool {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    addr.parse::<SocketAddr>()
        .map(|addr| addr.ip())
        .or_else(|_| host.parse::<IpAddr>())
        .map_or_else(
            |_| host.eq_ignore_ascii_case("localhost"),
            |ip| ip.is_loopback(),
        )
}

#[cfg(test)]
pub(crate) mod testing {
    //! Settings for the tests of others.

    use super::{ChatSettings, File};

    /// What a file says of the chat.
    pub(crate) fn chat(file: &str) -> ChatSettings {
        let file: File = toml::from_str(file).expect("a file");
        let File {
            client,
            channel,
            namespace,
            api,
            ..
        } = file;
        ChatSettings::new(&client, &channel, &namespace, &api, false).expect("settings")
    }
}

#[cfg(test)]
mod tests;
