//! The server of a pair.

use std::io::{self, Write};
use std::time::Duration;

use hioload::{App, Config, Conn, Message, Server};

use crate::Failure;

/// What all connections are subscribed to.
const TOPIC: &str = "all";

/// What is broadcast: 100 bytes.
const NEWS: [u8; 100] = [b'n'; 100];

/// Longer than a run: timers are armed and do not fire.
const LONG: Duration = Duration::from_secs(3600);

struct Audience;

impl App for Audience {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.subscribe(TOPIC);
    }

    fn message(&mut self, _conn: &mut Conn<'_>, (): &mut (), _message: Message<'_>) {}
}

/// Says `ready PORT`; obeys `publish` and `stop`, and stops at the end of its
/// input.
pub(crate) fn run(connections: u32) -> Result<(), Failure> {
    let config = Config {
        shards: 1,
        pin: false,
        max_connections: connections as usize,
        idle_timeout: Some(LONG),
        ping_interval: Some(LONG / 2),
        // The machine is busy while others connect.
        handshake_timeout: Duration::from_secs(120),
        ..Config::default()
    };
    let server = Server::bind("127.0.0.1:0").config(config);
    let running = server.start(|_| Audience)?;
    say(&format!("ready {}", running.addrs()[0].port()))?;
    for line in io::stdin().lines() {
        match line?.as_str() {
            "publish" => running.handle().publish(TOPIC, &NEWS[..])?,
            "stop" => break,
            other => return Err(format!("{other:?} is no command of a server").into()),
        }
    }
    running.handle().stop_now();
    running.join()?;
    Ok(())
}

/// A line for the coordinator.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
