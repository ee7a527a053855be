//! Panics end a connection instead of a shard.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hioload_protocol::CloseCode;

use crate::app::{Conn, Turn, Upgrade};
use crate::http::{Refusal, Request, Response};
use crate::router::chain::{Counters, Event, Middleware, Next, Notice, Start};
use crate::router::dispatch::Routed;

/// Catches panics of what it stands around: the connection is closed with
/// 1011, a request answered with 500, and the shard serves the others. Each is
/// logged, and counted as `hioload_panics_total`.
///
/// Caught are panics of upgrades, requests, WebSocket events, timers and
/// failed dials. Not caught are those of `started` and `check`, which end the
/// start, of tasks of [`Handle::post`](crate::Handle::post), and all in a
/// program built with `panic = "abort"`.
///
/// What is left behind is sane as far as the framework goes: a callback only
/// appends to queues of the shard, each call either complete or not begun, and
/// a message cut within its fragments is followed by the Close frame, which
/// may stand between fragments (RFC 6455 section 5.4). The app's own data is
/// as the panic left it, as it would be behind a lock that ignores poisoning:
/// an app that shares data between its connections should change it at once,
/// after whatever may panic.
#[derive(Debug, Default)]
pub struct Recovery {
    counters: Counters,
}

impl Recovery {
    /// A middleware that catches panics; best as the outermost but for
    /// logging and metrics, which should see the 500.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `callback`; says and counts that it panicked, if it did.
    fn guard<R>(&self, what: &str, route: Option<&str>, callback: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(callback)) {
            Ok(result) => Some(result),
            Err(panic) => {
                if let Some(counters) = self.counters.get() {
                    counters.panics.add(1);
                }
                tracing::error!(what, route, panic = reason(&*panic), "a callback panicked");
                drop_quietly(panic);
                None
            }
        }
    }
}

/// What a panic said.
fn reason(panic: &(dyn Any + Send)) -> &str {
    let said = panic.downcast_ref::<&str>().copied();
    said.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

/// A panic's value may panic again when it is dropped.
fn drop_quietly(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}

impl Middleware for Recovery {
    fn started(&mut self, start: &Start<'_>) {
        self.counters = Counters::of(start);
    }

    fn upgrade(&mut self, request: &Request<'_>, next: Next<'_>) -> Upgrade {
        let route = next.route();
        self.guard("upgrade", route, || next.upgrade(request))
            .unwrap_or_else(|| Refusal::Internal.into())
    }

    fn http(&mut self, request: &Request<'_>, next: Next<'_>) -> Response {
        let route = next.route();
        self.guard("http", route, || next.http(request))
            .unwrap_or_else(|| Response::text(500, "the server failed\n"))
    }

    fn event(&mut self, conn: &mut Conn<'_>, event: Event<'_>, next: Next<'_>) {
        let route = next.route();
        let what = match event {
            Event::Open => "open",
            Event::Message(_) => "message",
            Event::Ping(_) => "ping",
            Event::Pong(_) => "pong",
            Event::Drain => "drain",
            Event::Deliver(_) => "deliver",
            Event::Subscription(_) => "subscription",
            Event::Close(_) => "close",
            Event::Body(_) => "body",
        };
        let done = self.guard(what, route, || next.event(conn, event));
        if done.is_none() {
            conn.close(CloseCode::INTERNAL, "the service failed");
            // An upload is no WebSocket.
            conn.answer(Response::text(500, "the service failed\n"));
        }
    }

    fn notice(&mut self, turn: &mut Turn<'_, Routed>, notice: Notice<'_>, next: Next<'_>) {
        let route = next.route();
        let what = match notice {
            Notice::Timer(_) => "timer",
            Notice::Sources(_) => "events",
            Notice::DialFailed(..) => "dial_failed",
        };
        self.guard(what, route, || next.notice(turn, notice));
    }
}
