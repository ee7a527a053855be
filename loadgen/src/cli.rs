//! The command line.

mod chat;
mod connect;
mod idle;
mod mixed;
mod processes;
mod rates;
mod scenario;
mod span;

use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;

use clap::{Args, Parser, Subcommand};
use hioload::DeflateConfig;
use hioload::client::{ClientTls, Target};

use hioload_platform::Nanos;
use hioload_platform::backend::Choice;
use hioload_protocol::Kind;
use hioload_protocol::handshake::ClientRequest;

use crate::help;
use crate::mixed::Scenario;
use crate::payload::stamp_len;
use crate::reporting::Reporting;
use crate::settings::{Load, MAX_OUTSTANDING, Pace, Settings};
use crate::shape::Shape;
use crate::size::Sizes;
use crate::source::Sources;
use crate::tolerance::Tolerance;

use mixed::Mixed;
use processes::Processes;
use rates::Rates;

const SECOND: Nanos = 1_000_000_000;

/// The most connections of one run.
const MAX_CONNECTIONS: u32 = 4_000_000;

/// The most sequence checks (receivers times publishers of their topic) of a
/// broadcast run: 16 bytes each, so 1 GiB.
const MAX_CHECKS: usize = 64 << 20;

/// Deliveries per second a broadcast run makes by default, and the bounds of
/// the publishes per second that follow from it.
const DEFAULT_DELIVERIES: f64 = 20_000.0;
const DEFAULT_PUBLISHES: (f64, f64) = (1.0, 1_000.0);

/// Puts load on a WebSocket server, verifies every message that comes back, and
/// says when its own numbers are not to be trusted.
#[derive(Debug, Parser)]
#[command(name = "hioload-loadgen", version, after_help = help::below(), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every connection sends messages and expects each one back, in order.
    #[command(after_help = help::below())]
    Echo(Echo),
    /// Publishers send to topics; all other members of the topic must receive.
    #[command(after_help = help::below())]
    Broadcast(Broadcast),
    /// Connections open, have one message echoed, and close: a storm of them.
    /// Or, with --reconnect, they are held and come back after a restart of the
    /// server.
    #[command(after_help = help::below())]
    Connect(connect::Connect),
    /// Users enter rooms, talk after think times, leave and enter others.
    #[command(after_help = help::below())]
    Chat(chat::Chat),
    /// Connections are held open; pings are answered, and sent if asked.
    #[command(after_help = help::below())]
    Idle(idle::Idle),
    /// Several patterns at the same time, as a scenario file (TOML) says;
    /// --example prints one.
    #[command(after_help = help::below())]
    Mixed(Mixed),
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Job {
    /// A run, or a search of several.
    Run(Box<Settings>),
    /// Several runs at the same time.
    Mixed(Scenario),
    /// A text on standard output.
    Print(&'static str),
}

#[derive(Debug, Args)]
struct Echo {
    /// The server's echo endpoint.
    #[arg(long, default_value = "ws://127.0.0.1:8000/echo")]
    url: String,
    /// Connections to open.
    #[arg(long, short, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CONNECTIONS)))]
    connections: u32,
    /// Payload bytes of a message, or a range to choose from at random:
    /// `20`, `16k`, `1M`, `0..4096`.
    #[arg(long, short, default_value = "20", value_name = "BYTES|MIN..MAX")]
    size: Sizes,
    /// Open loop: so many messages per second over all connections, at times
    /// planned beforehand. Latency counts from the planned time, not from when
    /// the message left: a server that stalls delays the messages behind it,
    /// and a generator that waited for it would never notice how long they
    /// would have taken (coordinated omission).
    #[arg(long, short, value_name = "MSGS_PER_SECOND", value_parser = rate, conflicts_with_all = ["ramp", "steps"])]
    rate: Option<f64>,
    /// Closed loop: each connection keeps so many messages unanswered and
    /// sends the next when one comes back. Finds the highest throughput; its
    /// latencies are those of a server under full load [default: 1, when
    /// there is no rate]
    #[arg(long, short, conflicts_with_all = ["rate", "ramp", "steps", "find_max"], value_name = "D", value_parser = clap::value_parser!(u16).range(1..=4096))]
    depth: Option<u16>,
    #[command(flatten)]
    rates: Rates,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Args)]
struct Broadcast {
    /// The server's broadcast endpoint; `{topic}` becomes the topic's name.
    #[arg(long, default_value = "ws://127.0.0.1:8000/broadcast/{topic}")]
    url: String,
    /// Connections that publish; they receive what others publish to their
    /// topic, and must not receive their own.
    #[arg(long, short, default_value_t = 1, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CONNECTIONS)))]
    publishers: u32,
    /// Connections that only receive.
    #[arg(long, short = 'S', default_value_t = 100, value_name = "S", value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_CONNECTIONS)))]
    subscribers: u32,
    /// Topics; publishers and subscribers are dealt to them in turn.
    #[arg(long, short, default_value_t = 1, value_name = "T", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CONNECTIONS)))]
    topics: u32,
    /// Payload bytes of a message, or a range to choose from at random. At
    /// least 32, or 64 with --text: a receiver recognises publisher, sequence
    /// and planned time by them.
    #[arg(long, short, default_value = "64", value_name = "BYTES|MIN..MAX")]
    size: Sizes,
    /// Publishes per second over all publishers together, at times planned
    /// beforehand; latency counts from the planned publish to each receipt.
    /// By default as many as make 20,000 deliveries per second, at least 1 and
    /// at most 1,000.
    #[arg(long, short, value_name = "PUBLISHES_PER_SECOND", value_parser = rate, conflicts_with_all = ["ramp", "steps"])]
    rate: Option<f64>,
    #[command(flatten)]
    rates: Rates,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Args)]
struct Run {
    /// Trust the certificates of this PEM file, and no others, when the URL is
    /// wss://. Without it the system's are trusted.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Trust any certificate: for servers on your own machines. A line on
    /// standard error says so.
    #[arg(long)]
    insecure: bool,
    /// Offer permessage-deflate (RFC 7692). The result says how many
    /// connections use it. Payloads are random, so they hardly shrink.
    #[arg(long)]
    deflate: bool,
    /// Offer a subprotocol; may be given several times, preferred first.
    #[arg(long, value_name = "NAME", value_parser = subprotocol)]
    subprotocol: Vec<String>,
    /// Add a header to each handshake, such as 'Authorization: Bearer ...';
    /// may be given several times.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The server is no WebSocket server: it sends the bytes it gets back (echo)
    /// or to all other connections (broadcast). There is no handshake, and the
    /// frames that return are those that were sent: what a WebSocket server
    /// costs beyond TCP is the difference.
    #[arg(long, conflicts_with_all = ["deflate", "subprotocol", "header"])]
    raw: bool,
    /// Send text messages (ASCII) instead of binary ones.
    #[arg(long)]
    text: bool,
    /// Send so long before measuring. Verified like the rest.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = duration)]
    warmup: Nanos,
    /// Measure so long. Times are written 500ms, 10s, 2m or 1h.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    duration: Nanos,
    /// After the end, wait so long for what is still unanswered; what is then
    /// missing is lost. The close handshakes get as much again.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration)]
    drain_timeout: Nanos,
    /// Generator threads [default: half of the CPUs]
    #[arg(long, short = 'T', value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    processes: Processes,
    /// What the generator itself stands on: auto takes io_uring where this
    /// process may use it, else compio, and says why; compio is epoll on Linux
    /// and completion ports on Windows.
    #[arg(long, value_name = "auto|uring|compio", default_value_t)]
    backend: Choice,
    /// CPUs to pin the threads to, in turn: `1` or `2-5` or `1,3`.
    #[arg(long, value_name = "CPUS", value_parser = cpus)]
    pin: Option<CpuList>,
    /// Local addresses to connect from, in turn. One address serves some
    /// 28,000 connections to one server address. For servers on 127.0.0.0/8 an
    /// address is added by itself every 12,000 connections.
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    source: Vec<IpAddr>,
    /// Connect from 127.0.0.1 to 127.0.0.N in turn.
    #[arg(long, value_name = "N", conflicts_with = "source", value_parser = clap::value_parser!(u16).range(1..))]
    source_count: Option<u16>,
    /// New connections per second [default: as fast as they open]
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    connect_rate: Option<f64>,
    /// Connections being opened at the same time.
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    connect_concurrency: u32,
    /// How long one connection may take to open, handshake included.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    timeout: Nanos,
    /// How many connections may fail before the run does: a number, a share of
    /// all (`5%`), or `all`. Refused ones, timeouts, resets and disconnects are
    /// counted by cause in any case. What was outstanding on a connection that
    /// failed is cut off, not lost.
    #[arg(long, default_value = "0", value_name = "N|N%|all")]
    tolerate: Tolerance,
    /// Write the result as JSON to FILE, or to standard output instead of the
    /// table for `-`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// End with exit code 4 when the numbers are not valid, not only with the
    /// line that says so.
    #[arg(long)]
    require_valid: bool,
    #[command(flatten)]
    reporting: Reporting,
    /// No live view on standard error: connections, errors, rates, and p50, p99
    /// and maximum of the latencies of the last second; on a terminal as it
    /// happens, else as a line every three seconds.
    #[arg(long, short)]
    quiet: bool,
}

/// A header as it is written in HTTP.
fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("'{text}' is no header; write 'Name: value'"))?;
    let (name, value) = (name.trim(), value.trim());
    writable(&[], &[(name, value)])?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The name of a subprotocol, which the request would leave out if it were
/// none.
fn subprotocol(text: &str) -> Result<String, String> {
    writable(&[text], &[])
        .map_err(|error| format!("{text:?} is no name of a subprotocol: {error}"))?;
    Ok(text.to_owned())
}

/// Checks what goes into every request.
fn writable(protocols: &[&str], headers: &[(&str, &str)]) -> Result<(), String> {
    let request = ClientRequest {
        host: "h",
        target: "/",
        protocols,
        headers,
        origin: None,
        deflate: None,
    };
    request.validate().map_err(|error| error.to_string())
}

/// CPU numbers, in the order they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CpuList(Vec<usize>);

impl Cli {
    /// Checks what the options mean together.
    ///
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn job(self, run: u32) -> Result<Job, String> {
        let settings = match self.command {
            Command::Echo(echo) => echo.settings(run),
            Command::Broadcast(broadcast) => broadcast.settings(run),
            Command::Connect(connect) => connect.settings(run),
            Command::Chat(chat) => chat.settings(run),
            Command::Idle(idle) => idle.settings(run),
            Command::Mixed(mixed) if mixed.example => return Ok(Job::Print(mixed::EXAMPLE)),
            Command::Mixed(mixed) => return mixed.scenario(run).map(Job::Mixed),
        };
        settings.map(|settings| Job::Run(Box::new(settings)))
    }
}

impl Echo {
    fn settings(self, run: u32) -> Result<Settings, String> {
        let pace = match self.rates.first(self.rate) {
            Some(rate) => Pace::Open { rate },
            None => Pace::Closed {
                depth: self.depth.map_or(1, usize::from),
            },
        };
        let load = Load::Echo {
            connections: self.connections as usize,
            pace,
        };
        let mut settings = self.run.settings(&self.url, self.size, load, run)?;
        self.rates.apply(&mut settings)?;
        Ok(settings)
    }
}

impl Broadcast {
    fn settings(self, run: u32) -> Result<Settings, String> {
        let (publishers, subscribers) = (self.publishers as usize, self.subscribers as usize);
        let topics = self.topics as usize;
        let kind = if self.run.text {
            Kind::Text
        } else {
            Kind::Binary
        };
        if self.size.min() < stamp_len(kind) {
            return Err(format!(
                "broadcast messages need at least {} bytes of {}, not {}: a receiver recognises \
                 publisher, sequence and planned time by them",
                stamp_len(kind),
                if self.run.text { "text" } else { "payload" },
                self.size.min(),
            ));
        }
        if topics > publishers {
            return Err(format!(
                "{topics} topics need as many publishers, not {publishers}"
            ));
        }
        if publishers + subscribers < topics + 1 {
            return Err("there is nobody to receive; raise --subscribers".into());
        }
        if topics > 1 && !self.url.contains("{topic}") {
            return Err(format!(
                "{}: several topics need '{{topic}}' in the URL",
                self.url
            ));
        }
        let members = (publishers + subscribers).div_ceil(topics);
        let checks = (publishers + subscribers).saturating_mul(publishers.div_ceil(topics));
        if checks > MAX_CHECKS {
            return Err(format!(
                "{checks} sequences to check (receivers x publishers of their topic) exceed the \
                 limit of {MAX_CHECKS}; use fewer publishers or more topics"
            ));
        }
        let (least, most) = DEFAULT_PUBLISHES;
        let usual = (DEFAULT_DELIVERIES / (members - 1).max(1) as f64).clamp(least, most);
        let rate = self.rate.unwrap_or(usual);
        let rate = self.rates.first(Some(rate)).unwrap_or(rate);
        let load = Load::Broadcast {
            publishers,
            subscribers,
            topics,
            rate,
        };
        let mut settings = self.run.settings(&self.url, self.size, load, run)?;
        self.rates.apply(&mut settings)?;
        Ok(settings)
    }
}

impl Run {
    /// Whom the server must be, if it is to prove it.
    fn trust(&self, target: &Target) -> Result<Option<ClientTls>, String> {
        let tls = match (target.is_secure(), &self.ca, self.insecure) {
            (false, None, false) => return Ok(None),
            (false, ..) => {
                return Err(format!("{target}: --ca and --insecure are for wss:// URLs"));
            }
            (true, Some(path), _) => ClientTls::with_ca(path),
            (true, None, true) => ClientTls::insecure(),
            (true, None, false) => ClientTls::system(),
        };
        tls.map(Some).map_err(|error| error.to_string())
    }

    fn settings(self, url: &str, sizes: Sizes, load: Load, run: u32) -> Result<Settings, String> {
        let target = Target::resolve(url).map_err(|error| error.to_string())?;
        let tls = self.trust(&target)?;
        let sources = Sources::choose(target.addr(), &self.source, self.source_count)?;
        if self.raw && !matches!(load, Load::Echo { .. } | Load::Broadcast { .. }) {
            return Err("--raw works with echo and broadcast only".into());
        }
        if self.duration == 0 {
            return Err("--duration must be longer than zero".into());
        }
        if self.timeout == 0 {
            return Err("--timeout must be longer than zero".into());
        }
        let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get());
        let threads =
            (self.threads).map_or((cpus / 2).max(self.processes.least_threads()), usize::from);
        let mut settings = Settings {
            target,
            tls,
            insecure: self.insecure,
            deflate: self.deflate.then(DeflateConfig::default),
            protocols: self.subprotocol,
            headers: self.header,
            warmup: self.warmup,
            duration: self.duration,
            drain_timeout: self.drain_timeout,
            backend: self.backend,
            threads,
            cpus: self.pin.map_or_else(Vec::new, |list| list.0),
            sources,
            connect_rate: self.connect_rate,
            connect_concurrency: self.connect_concurrency as usize,
            timeout: self.timeout,
            tolerate: self.tolerate,
            sizes,
            raw: self.raw,
            kind: if self.text { Kind::Text } else { Kind::Binary },
            json: self.json,
            require_valid: self.require_valid,
            reporting: self.reporting,
            quiet: self.quiet,
            run,
            load,
            centrifugo: None,
            shape: Shape::Constant,
            find_max: None,
            processes: 1,
            is_part: false,
            part: None,
            name: None,
            start: 0,
        };
        settings.threads = threads.min(settings.connections());
        self.processes.apply(&mut settings)?;
        if settings.load.renews() {
            settings.connect_concurrency = settings.connections();
        }
        Ok(settings)
    }
}

const _: () = assert!(MAX_OUTSTANDING >= 4096, "--depth allows 4096");

fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .parse::<f64>()
        .ok()
        .filter(|rate| (1e-3..=1e9).contains(rate));
    rate.ok_or_else(|| "a rate is a number per second from 0.001 to 1000000000".into())
}

/// A time such as `500ms`, `10s`, `2m`, `1h`, at most 30 days.
fn duration(text: &str) -> Result<Nanos, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => SECOND / 1000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => {
            return Err(format!(
                "'{text}' is not a time; write 500ms, 10s, 2m or 1h"
            ));
        }
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|&nanos| nanos <= 30 * 24 * 3600 * SECOND)
        .ok_or_else(|| format!("'{text}' is not a time up to 30 days; write 500ms, 10s, 2m or 1h"))
}

/// A list such as `1`, `2-5` or `1,3`.
fn cpus(text: &str) -> Result<CpuList, String> {
    let wrong = || format!("'{text}' is not a list of CPUs; write 1 or 2-5 or 1,3");
    let mut list = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let from: u16 = from.parse().ok().ok_or_else(wrong)?;
        let to: u16 = to.parse().ok().filter(|&to| to >= from).ok_or_else(wrong)?;
        list.extend((from..=to).map(usize::from));
    }
    Ok(CpuList(list))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// What the options of a line come to.
    pub(super) fn settings(line: &str) -> Result<Settings, String> {
        let words = std::iter::once("hioload-loadgen").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        match cli.job(1)? {
            Job::Run(settings) => Ok(*settings),
            other => Err(format!("no run: {other:?}")),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn echo_is_a_closed_loop_of_depth_one_by_default() {
        let settings = settings("echo").unwrap();
        let Load::Echo { connections, pace } = settings.load else {
            panic!("not an echo")
        };
        assert_eq!((connections, pace), (100, Pace::Closed { depth: 1 }));
        assert_eq!((settings.warmup, settings.duration), (SECOND, 10 * SECOND));
        assert!(settings.threads >= 1);
    }

    #[test]
    fn a_rate_makes_an_open_loop_and_excludes_a_depth() {
        let open = settings("echo --rate 5000 --size 0..1k --connections 3 --threads 8").unwrap();
        assert!(matches!(
            open.load,
            Load::Echo {
                pace: Pace::Open { rate: 5000.0 },
                ..
            }
        ));
        assert_eq!(open.threads, 3);
        assert!(settings("echo --rate 5000 --depth 2").is_err());
    }

    #[test]
    fn the_default_broadcast_rate_is_modest() {
        let rate = |line| match settings(line).unwrap().load {
            Load::Broadcast { rate, .. } => rate,
            _ => panic!("not a broadcast"),
        };
        assert_eq!(rate("broadcast --subscribers 1000"), 20.0);
        assert_eq!(rate("broadcast --subscribers 1"), 1000.0);
        assert_eq!(rate("broadcast --subscribers 100000"), 1.0);
        assert_eq!(rate("broadcast --rate 7"), 7.0);
    }

    #[test]
    fn impossible_broadcasts_are_refused() {
        for bad in [
            "broadcast --size 20",
            "broadcast --size 40 --text",
            "broadcast --publishers 2 --topics 3",
            "broadcast --publishers 1 --subscribers 0",
            "broadcast --publishers 2 --topics 2 --url ws://127.0.0.1/x",
            "broadcast --publishers 100000 --subscribers 1000",
        ] {
            assert!(settings(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn bad_values_are_refused() {
        for bad in [
            "echo --rate 0",
            "echo --rate nan",
            "echo --depth 0",
            "echo --duration 10",
            "echo --duration 0s",
            "echo --duration 99999h",
            "echo --connections 0",
            "echo --pin 3-1",
            "echo --source ::1",
            "echo --url http://127.0.0.1/",
            "idle --raw",
        ] {
            assert!(settings(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn what_can_not_be_written_into_a_request_is_refused() {
        for bad in ["", "a b", "a,b", "a\r\nX-Smuggled: 1"] {
            assert!(subprotocol(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(subprotocol("chat.v2"), Ok("chat.v2".to_owned()));
        for bad in [
            "X-Token",
            ": v",
            "a b: v",
            "A: b\r\nX-Smuggled: 1",
            "Host: h",
        ] {
            assert!(header(bad).is_err(), "{bad:?} was accepted");
        }
        let read = ("Authorization".to_owned(), "Bearer a:b".to_owned());
        assert_eq!(header("Authorization: Bearer a:b "), Ok(read));
    }

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!(cpus("1,4-6"), Ok(CpuList(vec![1, 4, 5, 6])));
    }
}
