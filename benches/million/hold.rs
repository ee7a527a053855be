//! The client of a pair.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hioload::client::{Accepted, Client, Dial, DialError};
use hioload::{App, Close, CloseCode, Config, Conn, ConnId, Message, Turn};

use crate::Failure;
use crate::serve::say;

/// Dials under way at once, and pings: a server's queue of connections that
/// wait to be accepted is longer, and what is queued for the rest of them takes
/// no memory meanwhile.
const AT_ONCE: u32 = 256;

/// The connections of one client process.
struct Holder {
    dial: Arc<Dial>,
    wanted: u32,
    dialled: u32,
    open: Vec<ConnId>,
    /// Pings sent since the last order to ping, and pongs to them.
    pinged: usize,
    pongs: usize,
    /// Receivers of the broadcast.
    heard: u32,
    closed: usize,
}

impl Holder {
    fn dial_one(&mut self, turn: &mut Turn<'_, ()>) {
        if self.dialled < self.wanted && turn.connect(&self.dial, 0).is_ok() {
            self.dialled += 1;
        }
    }

    /// Pings the next connection that has not been.
    fn ping_one(&mut self, turn: &mut Turn<'_, ()>) {
        if let Some(&id) = self.open.get(self.pinged) {
            self.pinged += 1;
            if let Some((mut conn, ())) = turn.conn(id) {
                conn.ping(b"");
            }
        }
    }

    fn ping_all(&mut self, turn: &mut Turn<'_, ()>) {
        (self.pinged, self.pongs) = (0, 0);
        for _ in 0..AT_ONCE {
            self.ping_one(turn);
        }
    }

    fn close_all(&mut self, turn: &mut Turn<'_, ()>) {
        for &id in &self.open {
            if let Some((mut conn, ())) = turn.conn(id) {
                conn.close(CloseCode::NORMAL, "");
            }
        }
    }
}

/// Tells the coordinator. When that is gone, so is the end of the input, which
/// ends this process.
fn tell(line: &str) {
    let _gone = say(line);
}

impl App for Holder {
    type State = ();

    fn started(&mut self, turn: &mut Turn<'_, ()>) {
        for _ in 0..AT_ONCE {
            self.dial_one(turn);
        }
    }

    fn connected(&mut self, _accepted: &Accepted<'_>, (): &mut ()) {}

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.open.push(conn.id());
        if self.dialled < self.wanted && conn.connect(&self.dial, 0).is_ok() {
            self.dialled += 1;
        }
        if self.open.len() == self.wanted as usize {
            tell("open");
        }
    }

    fn dial_failed(&mut self, _turn: &mut Turn<'_, ()>, _key: u64, error: &DialError) {
        tell(&format!(
            "failed after {} connections: {error}",
            self.open.len()
        ));
    }

    fn message(&mut self, _conn: &mut Conn<'_>, (): &mut (), _message: Message<'_>) {
        self.heard += 1;
        if self.heard == self.wanted {
            tell("heard");
        }
    }

    fn pong(&mut self, conn: &mut Conn<'_>, (): &mut (), _payload: &[u8]) {
        self.pongs += 1;
        if self.pongs == self.open.len() {
            tell("pinged");
        } else if self.pongs.is_multiple_of(AT_ONCE as usize) {
            // The next of them, in a turn of its own.
            let _full = conn.schedule(0, 0);
        }
    }

    fn timer(&mut self, turn: &mut Turn<'_, ()>, _key: u64) {
        for _ in 0..AT_ONCE {
            self.ping_one(turn);
        }
    }

    fn close(&mut self, _conn: &mut Conn<'_>, (): &mut (), close: &Close<'_>) {
        self.closed += 1;
        if close.code != CloseCode::NORMAL {
            tell(&format!("failed: a connection ended with {:?}", close.code));
        }
        if self.closed == self.open.len() {
            tell("closed");
        }
    }
}

/// Says `open` once all are; obeys `ping` (says `pinged`) and `close` (says
/// `closed`); says `heard` once all have had the broadcast. Ends at the end of
/// its input.
pub(crate) fn run(connections: u32, server: SocketAddr, source: IpAddr) -> Result<(), Failure> {
    let config = Config {
        shards: 1,
        pin: false,
        max_connections: connections as usize,
        idle_timeout: None,
        ping_interval: None,
        ..Config::default()
    };
    let dial = Dial::new(&format!("ws://{server}/"))?
        .source(source)
        .timeout(Duration::from_secs(120));
    let dial = Arc::new(dial);
    let client = Client::new().config(config);
    let running = client.start(move |_| Holder {
        dial: Arc::clone(&dial),
        wanted: connections,
        dialled: 0,
        open: Vec::with_capacity(connections as usize),
        pinged: 0,
        pongs: 0,
        heard: 0,
        closed: 0,
    })?;
    let handle = running.handle();
    for line in io::stdin().lines() {
        match line?.as_str() {
            "ping" => handle.post::<Holder, _>(0, Holder::ping_all)?,
            "close" => handle.post::<Holder, _>(0, Holder::close_all)?,
            other => return Err(format!("{other:?} is no command of a client").into()),
        }
    }
    running.handle().stop_now();
    running.join()?;
    Ok(())
}
