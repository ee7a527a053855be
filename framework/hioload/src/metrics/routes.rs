//! The counters of a router's routes.

use std::fmt::Write;
use std::rc::Rc;

use super::counter::{Counter, Metrics};
use super::render::describe;

/// Classes of statuses, 1xx to 5xx.
const CLASSES: usize = 5;

/// What one route of one shard was asked. There are as many as routes, however
/// many paths those serve.
#[derive(Debug)]
pub(crate) struct RouteCounters {
    /// The route, as a label's value.
    label: Box<str>,
    requests: [Counter; CLASSES],
    pub(crate) messages: Counter,
}

impl RouteCounters {
    /// Of all routes: first what no route takes, then each in its order.
    pub(crate) fn table(routes: &[Rc<str>]) -> Box<[Self]> {
        let none: &str = "";
        let all = std::iter::once(none).chain(routes.iter().map(|route| &**route));
        all.map(Self::new).collect()
    }

    fn new(route: &str) -> Self {
        Self {
            label: route.replace('\\', "\\\\").replace('"', "\\\"").into(),
            requests: Default::default(),
            messages: Counter::default(),
        }
    }

    /// A request or an upgrade was answered.
    pub(crate) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES) - 1;
        self.requests[class].add(1);
    }
}

impl Metrics {
    /// One line per shard, route and class of statuses that occurred.
    pub(super) fn render_routes(&self, out: &mut String) {
        if self.0.iter().all(|shard| shard.routes.get().is_none()) {
            return;
        }
        let name = "hioload_route_requests_total";
        describe(out, name, "counter", "Requests and upgrades answered.");
        self.each_route(|shard, route| {
            for (class, counter) in (1..).zip(&route.requests) {
                let (label, value) = (&route.label, counter.get());
                if value > 0 {
                    let _infallible = writeln!(
                        out,
                        "{name}{{shard=\"{shard}\",route=\"{label}\",class=\"{class}xx\"}} {value}"
                    );
                }
            }
        });
        let name = "hioload_route_messages_total";
        describe(out, name, "counter", "Messages received.");
        self.each_route(|shard, route| {
            let (label, value) = (&route.label, route.messages.get());
            if value > 0 {
                let _infallible =
                    writeln!(out, "{name}{{shard=\"{shard}\",route=\"{label}\"}} {value}");
            }
        });
    }

    fn each_route(&self, mut visit: impl FnMut(usize, &RouteCounters)) {
        for (index, shard) in self.0.iter().enumerate() {
            let routes = shard.routes.get().map_or(&[][..], |routes| routes);
            routes.iter().for_each(|route| visit(index, route));
        }
    }
}
