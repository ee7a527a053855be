//! A line per request, upgrade and end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hioload_platform::Nanos;
use rustc_hash::FxHashMap;

use crate::app::{Close, Conn, ConnId, Upgrade};
use crate::http::{Request, Response};
use crate::router::chain::{Event, Middleware, Next};

/// Writes a line (`tracing`, level info, target `hioload::access`) for each
/// plain request, each upgrade, and each end of a WebSocket: what, path,
/// status or close code, duration, peer.
///
/// A request's duration is that of its handler, by the system's clock; a
/// WebSocket's is from open to end. Paths are escaped, so that no request can
/// forge a line.
#[derive(Debug)]
pub struct Logging {
    one_in: u64,
    seen: u64,
    /// The path of the upgrade just accepted, if its end is to be told.
    accepted: Option<Box<str>>,
    /// Open WebSockets whose end will be told.
    open: FxHashMap<ConnId, (Box<str>, Nanos)>,
}

impl Default for Logging {
    fn default() -> Self {
        Self::new()
    }
}

impl Logging {
    /// Logs everything.
    #[must_use]
    pub fn new() -> Self {
        Self {
            one_in: 1,
            seen: 0,
            accepted: None,
            open: FxHashMap::default(),
        }
    }

    /// Logs one of so many requests and upgrades, and the ends of the
    /// WebSockets among them. Statuses from 500 on are always logged.
    #[must_use]
    pub fn one_in(mut self, n: u32) -> Self {
        self.one_in = u64::from(n.max(1));
        self
    }

    fn sampled(&mut self) -> bool {
        self.seen = self.seen.wrapping_add(1);
        self.seen % self.one_in == 1 % self.one_in
    }
}

impl Middleware for Logging {
    fn upgrade(&mut self, request: &Request<'_>, next: Next<'_>) -> Upgrade {
        let sampled = self.sampled();
        let begun = Instant::now();
        let upgrade = next.upgrade(request);
        let status = upgrade.status();
        if sampled || status >= 500 {
            log_request("upgrade", request, status, begun.elapsed());
        }
        // Its open follows at once, before anything else on this shard.
        self.accepted = (sampled && status == 101).then(|| request.path().into());
        upgrade
    }

    fn http(&mut self, request: &Request<'_>, next: Next<'_>) -> Response {
        let sampled = self.sampled();
        let begun = Instant::now();
        let response = next.http(request);
        if sampled || response.status() >= 500 {
            log_request("request", request, response.status(), begun.elapsed());
        }
        response
    }

    fn event(&mut self, conn: &mut Conn<'_>, event: Event<'_>, next: Next<'_>) {
        match event {
            Event::Open => {
                let accepted = self.accepted.take();
                // What was dialled from here has no upgrade and no address.
                if let Some(path) = accepted.filter(|_| conn.peer_addr().is_some()) {
                    self.open.insert(conn.id(), (path, conn.now()));
                }
                next.event(conn, event);
            }
            Event::Close(close) => {
                next.event(conn, event);
                if let Some((path, opened)) = self.open.remove(&conn.id()) {
                    let lasted = conn.now().saturating_sub(opened);
                    log_end(&path, &close, lasted, conn.peer_addr());
                }
            }
            _ => next.event(conn, event),
        }
    }
}

fn log_request(what: &str, request: &Request<'_>, status: u16, took: Duration) {
    tracing::info!(
        target: "hioload::access",
        what,
        method = request.method(),
        path = ?request.path(),
        status,
        microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        peer = request.peer().map(tracing::field::display),
    );
}

fn log_end(path: &str, close: &Close<'_>, lasted: Nanos, peer: Option<SocketAddr>) {
    tracing::info!(
        target: "hioload::access",
        what = "close",
        path = ?path,
        code = close.code.0,
        clean = close.clean,
        milliseconds = lasted / 1_000_000,
        peer = peer.map(tracing::field::display),
    );
}
