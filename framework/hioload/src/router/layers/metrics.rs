//! Counts by route.

use crate::app::{Conn, Upgrade};
use crate::http::{Request, Response};
use crate::metrics::RouteCounters;
use crate::router::chain::{Counters, Event, Middleware, Next, Start};

/// Counts answers by route and class of status, and messages by route, as
/// `hioload_route_requests_total` and `hioload_route_messages_total`. What no
/// route takes counts for the route `""`. Paths do not become labels, so the
/// number of series is that of the routes.
///
/// One is enough, and the outermost counts what others refuse.
#[derive(Debug, Default)]
pub struct RouteMetrics {
    counters: Counters,
}

impl RouteMetrics {
    /// A middleware that counts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn count(&self, route: Option<usize>, count: impl FnOnce(&RouteCounters)) {
        let table = self.counters.get().and_then(|shard| shard.routes.get());
        let index = route.map_or(0, |number| number + 1);
        if let Some(route) = table.and_then(|table| table.get(index)) {
            count(route);
        }
    }
}

impl Middleware for RouteMetrics {
    fn started(&mut self, start: &Start<'_>) {
        self.counters = Counters::of(start);
        if let Some(shard) = self.counters.get() {
            // Another one of this router may have made the same table.
            let _same = shard.routes.set(RouteCounters::table(start.routes));
        }
    }

    fn upgrade(&mut self, request: &Request<'_>, next: Next<'_>) -> Upgrade {
        let route = next.route_number();
        let upgrade = next.upgrade(request);
        self.count(route, |counters| counters.answered(upgrade.status()));
        upgrade
    }

    fn http(&mut self, request: &Request<'_>, next: Next<'_>) -> Response {
        let route = next.route_number();
        let response = next.http(request);
        self.count(route, |counters| counters.answered(response.status()));
        response
    }

    fn event(&mut self, conn: &mut Conn<'_>, event: Event<'_>, next: Next<'_>) {
        if matches!(event, Event::Message(_)) {
            self.count(next.route_number(), |counters| counters.messages.add(1));
        }
        next.event(conn, event);
    }
}
