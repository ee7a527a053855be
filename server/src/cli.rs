//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Backend, Deflate, Listener, Placement};

const EXAMPLES: &str = "\
Examples:
  Try it on this machine, without tokens:
    hioload-server --dev
  Begin a configuration with secrets of its own, look at it, serve:
    hioload-server gen-config -o hioload-server.toml
    hioload-server check-config hioload-server.toml
    hioload-server --config hioload-server.toml --listen 0.0.0.0:8000
  A token for the user 42, and what the server thinks of it:
    hioload-server gen-token --user 42 --config hioload-server.toml | tee token
    hioload-server check-token - --config hioload-server.toml < token
  Settings of a container:
    HIOLOAD_LISTEN=0.0.0.0:8000 HIOLOAD_API_KEY=... hioload-server
  Follow a changed file without a restart:
    kill -HUP $(pidof hioload-server)";

/// WebSocket chat and broadcast server.
///
/// Speaks Centrifugo's client protocol on /connection/websocket, serves a chat
/// page on /, echoes on /echo, relays on /broadcast/{topic}, and answers /health,
/// /ready and /metrics (Prometheus), POST /api/{method} to who has the api.key,
/// and /debug/state to who has the debug_token. /admin is a page for who has the
/// admin.token. SIGINT or SIGTERM drains and
/// exits with 0; a second one cuts what is left. SIGHUP reads the file, keys and
/// certificates again: limits, timeouts, permissions, token keys and the log's
/// level follow, or the log says why nothing changes. A start that fails says
/// why in one line and exits with 2.
///
/// Flags override the environment, the environment the file, the file the
/// defaults. HIOLOAD_LIMITS_MAX_MESSAGE is limits.max_message of the file,
/// HIOLOAD_LISTEN is listen, and so is every other setting; a list has commas,
/// or is written as in the file. Secrets have no flags, which everybody on the
/// machine can read.
///
/// Started with sockets (socket activation, LISTEN_FDS of systemd), it serves
/// those instead of --listen and --tls-listen. With certificates they speak TLS,
/// but those named "http" (FileDescriptorName=).
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "hioload-server",
    version,
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES
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
    /// says so; a token for /admin is made up and printed. On every address /echo and /broadcast are on: they relay for
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
    /// connection is refused; the old one closes its WebSockets with 1001 (those
    /// of the chat with 3001) in waves and exits with 0. With persistence
    /// connections wait until it has let the store go, 2s or less after that;
    /// it is waited for three times --drain-timeout and 5s, then the new one
    /// exits with 2. Only this user's processes and root's are answered. Not on
    /// Windows.
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

    /// Say what is wrong with a configuration: the file, the line or the
    /// setting, and what is allowed. Nothing is started.
    ///
    /// The file is read with the environment, and with the keys and
    /// certificates it names. Exits with 1 when something is wrong.
    #[command(after_help = "Examples:
  hioload-server check-config /etc/hioload-server.toml
  HIOLOAD_LIMITS_MAX_MESSAGE=9 hioload-server check-config")]
    CheckConfig {
        /// TOML file; without it, the defaults with the environment.
        file: Option<PathBuf>,
    },

    /// Print a configuration: every setting with its default and what it
    /// means, with new secrets.
    #[command(after_help = "Examples:
  hioload-server gen-config | less
  hioload-server gen-config -o hioload-server.toml")]
    GenConfig {
        /// Write it there, for this user alone to read. A file that is there
        /// is not overwritten.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },

    /// Print a token (JWT, HS256) by client.token_secret.
    GenToken(GenToken),

    /// Say whether the server would take a token, or why not, and what it says
    /// and until when. Exits with 1 when it would not.
    #[command(after_help = "Examples:
  hioload-server check-token - --config hioload-server.toml < token
  HIOLOAD_CLIENT_TOKEN_SECRET=... hioload-server check-token eyJhbGciOi...")]
    CheckToken {
        /// The token; \"-\" reads it from the input, unseen by others on the
        /// machine.
        token: String,

        /// TOML file with the keys.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// A token to be made.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  hioload-server gen-token --user 42 --config hioload-server.toml
  hioload-server gen-token --user 42 --ttl 10min --info '{\"name\":\"Ann\"}' --config hioload-server.toml
  hioload-server gen-token --user 42 --channel '$news' --config hioload-server.toml")]
pub(crate) struct GenToken {
    /// The user it is for (sub); empty is nobody in particular.
    #[arg(long)]
    pub(crate) user: String,

    /// From now to its end, such as 10min; 0s is for ever.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Duration,

    /// For a subscription to this channel, instead of a connection.
    #[arg(long)]
    pub(crate) channel: Option<String>,

    /// JSON that others are told of the user (info).
    #[arg(long, value_name = "JSON")]
    pub(crate) info: Option<String>,

    /// TOML file with client.token_secret, token_issuer and token_audience.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
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
