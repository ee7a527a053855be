//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Backend, Deflate, Listener, Placement};

/// WebSocket chat and broadcast server.
///
/// Speaks Centrifugo's client protocol on /connection/websocket, serves a chat
/// page on /, echoes on /echo, relays on /broadcast/{topic}, and answers /health,
/// /ready and /metrics (Prometheus), POST /api/{method} to who has the api.key of the
/// file or of HIOLOAD_API_KEY, and /debug/state to who has the debug_token of the
/// file or of HIOLOAD_DEBUG_TOKEN. SIGINT or SIGTERM drains and
/// exits with 0; a second one cuts what is left. SIGHUP reads the file and the
/// certificates again: limits, timeouts and the log's level follow, or the log
/// says why nothing changes. A start that fails says why in one line and exits
/// with 2.
///
/// Started with sockets (socket activation, LISTEN_FDS of systemd), it serves
/// those instead of --listen and --tls-listen. With certificates they speak TLS,
/// but those named "http" (FileDescriptorName=).
#[derive(Clone, Debug, Parser)]
#[command(
    name = "hioload-server",
    version,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Address to listen on; repeat for several. Port 0 lets the kernel
    /// choose. [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<String>,

    /// PEM file with the server's certificate and then its intermediates;
    /// switches TLS on. Repeat it, with a --tls-key for each, for several names
    /// (SNI); the first serves clients that name none. SIGHUP reads all files
    /// again.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Vec<PathBuf>,

    /// PEM file with the private key of the --tls-cert at the same place.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Vec<PathBuf>,

    /// Address to listen on with TLS; repeat for several. Without it, and with
    /// certificates, the --listen addresses speak TLS; with it they do not, and
    /// there is none unless given.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) tls_listen: Vec<String>,

    #[command(flatten)]
    pub(crate) seats: Seats,

    /// Log filter: error, warn, info, debug, trace, or per target such as
    /// hioload=debug. Logs go to standard error. [default: info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,

    /// Development mode. On loopback addresses clients of
    /// /connection/websocket need no token and may do everything; a warning
    /// says so. On every address /echo and /broadcast are on: they relay for
    /// anybody, so off loopback they are off by default.
    #[arg(long)]
    pub(crate) dev: bool,

    /// Upgrades on / echo, for conformance suites that speak to / only.
    #[arg(long)]
    pub(crate) echo_root: bool,

    /// Largest message in bytes, all fragments together; beyond it the
    /// connection is closed with 1009. [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_message: Option<usize>,

    /// Receive buffers of 64 KiB a shard has at most; it begins with few and
    /// doubles them while it has too few. [default: 64]
    #[arg(long, value_name = "N")]
    pub(crate) recv_buffers_max: Option<u16>,

    /// permessage-deflate for clients that offer it. [default: shared]
    #[arg(long, value_name = "MODE")]
    pub(crate) deflate: Option<Deflate>,

    /// Silence before a peer is closed with 1001, such as 120s; 0s is never.
    /// Answers to pings are not silence. [default: 120s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) idle_timeout: Option<Duration>,

    /// Silence before a peer is pinged, such as 25s; 0s is never.
    /// [default: 25s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) ping_interval: Option<Duration>,

    /// Unix socket at which a new hioload-server takes this one's place: start
    /// it with the same path. It takes the listening sockets over, so that no
    /// connection is refused; the old one closes its WebSockets with 1001 in
    /// waves and exits with 0. Only this user's processes and root's are
    /// answered. Not on Windows.
    #[arg(long, value_name = "PATH")]
    pub(crate) hand_over: Option<PathBuf>,

    /// Longest wait for connections to end after SIGTERM. [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) drain_timeout: Option<Duration>,
}

/// What decides where shards run and what they need: the same for the server
/// and the probe.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Seats {
    /// Shards, each a thread with its own ring, at most 64. [default: one per
    /// CPU in --cpus, or else one per physical core]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<usize>,

    /// CPUs to pin shards to, one each, such as 0-3,8. [default: chosen by
    /// --placement]
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<String>,

    /// Order in which shards take CPUs. [default: spread]
    #[arg(long, value_name = "ORDER")]
    pub(crate) placement: Option<Placement>,

    /// What the shards stand on. [default: auto]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<Backend>,

    /// How connections come to shards. [default: reuse-port; on Windows, which
    /// has no such thing, distribute]
    #[arg(long, value_name = "MODE")]
    pub(crate) listener: Option<Listener>,

    /// Open connections; more are answered 503. The start fails when the limit
    /// of open files does not suffice. [default: up to 1000000, as far as that
    /// limit reaches]
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<usize>,

    /// TOML file; flags override it. See server/hioload-server.toml for every
    /// setting with its default.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what this machine offers and what holds it back: the backend,
    /// io_uring features, limits, CPUs, where the shards would run. Exits with
    /// 2 when the server could not run here.
    Probe {
        /// For programs; docs/probe.md has the fields.
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        seats: Seats,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
