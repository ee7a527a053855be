//! Settings: defaults, then the TOML file, then flags.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use hioload::backend::Choice;
use hioload::placement::CpuList;
use hioload::topology::ListError;
use hioload::{
    Backpressure, CloseCode, Config, DeflateConfig, DeflateMode, ListenerMode, placement,
};
use serde::Deserialize;
use thiserror::Error;

use crate::cli::{Cli, Seats};

/// What the server runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Without TLS.
    pub(crate) listen: Vec<String>,
    pub(crate) tls_listen: Vec<String>,
    /// Pairs of a certificate's file and its key's.
    pub(crate) certificates: Vec<(PathBuf, PathBuf)>,
    pub(crate) log: String,
    pub(crate) config: Config,
    pub(crate) echo: bool,
    pub(crate) broadcast: bool,
    pub(crate) echo_root: bool,
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
    #[error("--cpus lists no CPU; write a list such as 0-3,8, or leave --cpus out")]
    NoCpus,
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
    log: Option<String>,
    tls: TlsTable,
    routes: RoutesTable,
    limits: LimitsTable,
    timeouts: TimeoutsTable,
    backpressure: BackpressureTable,
    deflate: DeflateTable,
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
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsTable {
    max_connections: Option<usize>,
    max_message: Option<usize>,
    max_head: Option<usize>,
    max_headers: Option<usize>,
    recv_buffers: Option<u16>,
    recv_buffers_max: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TimeoutsTable {
    handshake: Option<Span>,
    close: Option<Span>,
    idle: Option<Span>,
    ping: Option<Span>,
    pong: Option<Span>,
    drain: Option<Span>,
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
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Span(Duration);

impl TryFrom<String> for Span {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        humantime::parse_duration(&text).map(Self)
    }
}

impl Settings {
    pub(crate) fn load(cli: &Cli) -> Result<Self, SettingsError> {
        Self::merge(cli, &file(&cli.seats)?)
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
        let relay = cli.dev || addrs.all(|addr| is_loopback(addr));
        Ok(Self {
            log: cli
                .log
                .clone()
                .or_else(|| file.log.clone())
                .unwrap_or_else(|| "info".into()),
            echo: cli.dev || file.routes.echo.unwrap_or(relay),
            broadcast: cli.dev || file.routes.broadcast.unwrap_or(relay),
            echo_root: cli.echo_root || file.routes.echo_root.unwrap_or(false),
            config: config(cli, file)?,
            listen,
            tls_listen,
            certificates,
        })
    }

    pub(crate) fn relay_is_off(&self) -> bool {
        !self.echo && !self.broadcast
    }
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

fn read(path: &Path) -> Result<File, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: path.into(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| {
        let (line, content) = line_at(&text, error.span().map_or(0, |span| span.start));
        SettingsError::Parse {
            path: path.into(),
            line,
            content: content.trim().to_owned(),
            // The error's own text draws the line below it; one line is promised.
            cause: error.message().replace('\n', " "),
        }
    })
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
    seated(seats, &file(seats)?)
}

fn file(seats: &Seats) -> Result<File, SettingsError> {
    let file = seats.config.as_deref().map(read).transpose()?;
    Ok(file.unwrap_or_default())
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
    Ok(Config {
        max_message: cli
            .max_message
            .or(file.limits.max_message)
            .unwrap_or(default.max_message),
        max_head: file.limits.max_head.unwrap_or(default.max_head),
        max_headers: file.limits.max_headers.unwrap_or(default.max_headers),
        // Who asks for few at most need not know how many there are at first.
        recv_buffers: file
            .limits
            .recv_buffers
            .unwrap_or(default.recv_buffers.min(recv_buffers_max)),
        recv_buffers_max,
        handshake_timeout: span(&file.timeouts.handshake, default.handshake_timeout),
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
        backpressure: match file.backpressure.policy {
            None | Some(Policy::Close) => Backpressure::Close(code),
            Some(Policy::Drop) => Backpressure::Drop,
            Some(Policy::PauseReading) => Backpressure::PauseReading,
        },
        drain_timeout: cli
            .drain_timeout
            .unwrap_or_else(|| span(&file.timeouts.drain, default.drain_timeout)),
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
mod tests {
    use clap::Parser;

    use super::*;

    fn settings(args: &[&str], file: &str) -> Settings {
        let args = ["hioload-server"].iter().chain(args);
        Settings::merge(&Cli::parse_from(args), &toml::from_str(file).unwrap()).unwrap()
    }

    #[test]
    fn certificates_switch_tls_on_and_addresses_of_its_own_leave_the_others_plain() {
        let pair = &["--tls-cert", "c.pem", "--tls-key", "k.pem"][..];
        let none: [&str; 0] = [];
        let only = settings(pair, "");
        assert_eq!(only.listen, none);
        assert_eq!(only.tls_listen, ["127.0.0.1:8000"]);
        let moved = settings(&[pair, &["--listen", "127.0.0.1:1"]].concat(), "");
        assert_eq!(moved.listen, none);
        assert_eq!(moved.tls_listen, ["127.0.0.1:1"]);
        let apart = settings(&[pair, &["--tls-listen", "127.0.0.1:2"]].concat(), "");
        assert_eq!(apart.listen, none);
        assert_eq!(apart.tls_listen, ["127.0.0.1:2"]);
        let file = "listen = ['127.0.0.1:1']\n[tls]\nlisten = ['0.0.0.0:2']\n\
             certificates = [{ cert = 'a', key = 'b' }, { cert = 'c', key = 'd' }]";
        let both = settings(&[], file);
        assert_eq!(both.listen, ["127.0.0.1:1"]);
        assert_eq!(both.tls_listen, ["0.0.0.0:2"]);
        assert_eq!(both.certificates.len(), 2);
        assert!(both.relay_is_off(), "a TLS address is reachable too");
        assert_eq!(settings(pair, file).certificates.len(), 1);
    }

    #[test]
    fn a_certificate_without_its_key_and_tls_without_a_certificate_are_refused() {
        let merge = |args: &[&str]| {
            let args = ["hioload-server"].iter().chain(args);
            Settings::merge(&Cli::parse_from(args), &File::default()).unwrap_err()
        };
        let pairs = merge(&["--tls-cert", "a", "--tls-cert", "b", "--tls-key", "c"]);
        assert!(pairs.to_string().contains("2 --tls-cert but 1 --tls-key"));
        let bare = merge(&["--tls-listen", "127.0.0.1:443"]);
        assert!(bare.to_string().contains("127.0.0.1:443"), "{bare}");
    }

    #[test]
    fn the_relay_is_on_only_where_just_this_machine_can_reach_it() {
        for (args, file, on) in [
            (&[][..], "", true),
            (&["--listen", "[::1]:80"], "", true),
            (&["--listen", "localhost:80"], "", true),
            (&["--listen", "0.0.0.0:80"], "", false),
            (
                &["--listen", "127.0.0.1:80", "--listen", "10.0.0.1:80"],
                "",
                false,
            ),
            (&["--listen", "0.0.0.0:80", "--dev"], "", true),
            (
                &["--listen", "0.0.0.0:80"],
                "[routes]\necho = true\nbroadcast = true",
                true,
            ),
            (&[], "[routes]\necho = false\nbroadcast = false", false),
        ] {
            let settings = settings(args, file);
            assert_eq!(
                (settings.echo, settings.broadcast),
                (on, on),
                "{args:?} {file:?}"
            );
        }
    }

    #[test]
    fn flags_override_the_file_and_the_file_the_defaults() {
        let file = "shards = 3\nlisten = ['127.0.0.1:1']\n[timeouts]\nidle = '7s'\nping = '0s'";
        let from_file = settings(&[], file);
        assert_eq!(from_file.config.shards, 3);
        assert_eq!(from_file.listen, ["127.0.0.1:1"]);
        assert_eq!(from_file.config.idle_timeout, Some(Duration::from_secs(7)));
        assert_eq!(from_file.config.ping_interval, None);
        let flags = settings(&["--shards", "1", "--idle-timeout", "9s"], file);
        assert_eq!(flags.config.shards, 1);
        assert_eq!(flags.config.idle_timeout, Some(Duration::from_secs(9)));
        assert_eq!(flags.config.max_message, Config::default().max_message);
    }

    #[test]
    fn cpus_and_placement_come_from_flags_or_the_file() {
        let file = "cpus = '0-3,8'\nplacement = 'pack'\n[limits]\nmax_connections = 50";
        let from_file = settings(&[], file).config;
        assert_eq!(from_file.cpus.as_slice(), [0, 1, 2, 3, 8]);
        assert_eq!(from_file.placement, placement::Placement::Pack);
        assert_eq!(from_file.max_connections, 50);
        let args = [
            "--cpus",
            "5",
            "--placement",
            "spread",
            "--max-connections",
            "60",
        ];
        let flags = settings(&args, file).config;
        assert_eq!(flags.cpus.as_slice(), [5]);
        assert_eq!(flags.placement, placement::Placement::Spread);
        assert_eq!(flags.max_connections, 60);
        let probe = [
            "hioload-server",
            "probe",
            "--cpus",
            "5",
            "--max-connections",
            "60",
        ];
        let Some(crate::cli::Command::Probe { seats, json }) = Cli::parse_from(probe).command
        else {
            panic!("no probe");
        };
        let config = seated(&seats, &toml::from_str(file).unwrap()).unwrap();
        assert_eq!((config.cpus, config.max_connections), (flags.cpus, 60));
        assert_eq!(config.placement, placement::Placement::Pack);
        assert!(!json);
    }

    #[test]
    fn the_receive_pool_begins_with_no_more_than_it_may_have() {
        let few = settings(&["--recv-buffers-max", "3"], "").config;
        assert_eq!((few.recv_buffers, few.recv_buffers_max), (3, 3));
        let many = settings(&[], "[limits]\nrecv_buffers_max = 200").config;
        assert_eq!((many.recv_buffers, many.recv_buffers_max), (16, 200));
        few.check().unwrap();
    }

    #[test]
    fn deflate_is_shared_unless_said_otherwise() {
        let mode = |args: &[&str], file: &str| settings(args, file).config.deflate.map(|d| d.mode);
        assert_eq!(mode(&[], ""), Some(DeflateMode::Shared));
        assert_eq!(mode(&["--deflate", "off"], ""), None);
        let file = "[deflate]\nmode = 'dedicated'";
        assert_eq!(mode(&[], file), Some(DeflateMode::Dedicated));
        assert_eq!(
            mode(&["--deflate", "shared"], file),
            Some(DeflateMode::Shared)
        );
    }

    #[test]
    fn a_misspelt_setting_is_named() {
        let error = toml::from_str::<File>("[limits]\nmax_mesage = 5").unwrap_err();
        assert!(error.to_string().contains("max_mesage"), "{error}");
    }

    #[test]
    fn the_documented_example_states_the_defaults() {
        let example = settings(&[], include_str!("../hioload-server.toml"));
        let default = settings(&[], "");
        assert_eq!(format!("{example:?}"), format!("{default:?}"));
    }
}
