//! Routes in groups, each with middleware of its own; the outermost sees all.
//!
//! ```sh
//! cargo run --release -p hioload --example middleware
//! curl -i http://127.0.0.1:8000/api/greet/you      # the fourth within a second: 429
//! curl http://127.0.0.1:8000/metrics
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/live/panic now
//! ```

use hioload::router::{Logging, OriginCheck, Rate, RateLimit, Recovery, RouteMetrics, on_message};
use hioload::{Echo, Request, Response, Router, Server, Shard};

/// The limit is one for all shards, since an address may be on any of them.
fn routes(shard: &Shard, limit: &RateLimit) -> Router {
    let metrics = shard.handle().metrics();
    Router::new()
        .layer(Logging::new())
        .layer(RouteMetrics::new())
        .layer(Recovery::new())
        .get("/metrics", move |_| {
            Response::ok("text/plain; version=0.0.4", metrics.render().into_bytes())
        })
        .group("/api", |api| {
            api.layer(limit.clone())
                .get("/greet/:name", |request: &Request<'_>| {
                    let name = request.param("name").unwrap_or_default();
                    Response::ok(
                        "text/plain; charset=utf-8",
                        format!("hello, {name}\n").into_bytes(),
                    )
                })
        })
        .group("/live", |live| {
            live.layer(OriginCheck::new().same_origin())
                .ws("/echo", Echo)
                .ws(
                    "/panic",
                    on_message(|_conn, _message| panic!("Recovery closes with 1011")),
                )
        })
}

fn main() -> hioload::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let limit = RateLimit::new().requests_per_address(Rate::per_second(3));
    Server::bind(addr).run_with(
        move |shard| routes(shard, &limit),
        |running| eprintln!("listening on {}", running.addrs()[0]),
    )
}
