//! The options of `idle`.

use clap::Args;

use hioload_platform::Nanos;

use super::{MAX_CONNECTIONS, Run, duration};
use crate::settings::{Load, Settings};
use crate::size::Sizes;

#[derive(Debug, Args)]
pub(super) struct Idle {
    /// Where to connect; any WebSocket endpoint that sends nothing by itself.
    #[arg(long, default_value = "ws://127.0.0.1:8000/echo")]
    url: String,
    /// Connections to hold.
    #[arg(long, short, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CONNECTIONS)))]
    connections: u32,
    /// Ping the server so often on each connection, spread evenly over all and
    /// planned beforehand; the time to the pong, counted from the planned ping,
    /// is the latency. Without it only the server's pings are answered.
    #[arg(long, value_name = "TIME", value_parser = interval)]
    ping_interval: Option<Nanos>,
    #[command(flatten)]
    run: Run,
}

fn interval(text: &str) -> Result<Nanos, String> {
    match duration(text)? {
        0 => Err("an interval must be longer than zero".into()),
        interval => Ok(interval),
    }
}

impl Idle {
    /// Checks what the options mean together.
    pub(super) fn settings(self, run: u32) -> Result<Settings, String> {
        let load = Load::Idle {
            connections: self.connections as usize,
            ping_interval: self.ping_interval,
        };
        self.run.settings(&self.url, Sizes::NONE, load, run)
    }
}
