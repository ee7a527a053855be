//! Middleware keeps its promises: a panic ends one connection, what exceeds a
//! limit is refused, foreign pages stay out, everything is counted by route.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use hioload::router::{
    ConnectionLimit, Excess, Logging, OriginCheck, Rate, RateLimit, Recovery, RouteMetrics,
    on_message,
};
use hioload::{App, Close, Config, Conn, Echo, Message, Response, Router, Turn, Upgrade};
use support::client::{Client, Dial, Seen};
use support::http::{Answer, exchange, get, upgrade};
use support::wait::until_equal;
use support::{Serving, config};

fn one_shard() -> Config {
    Config {
        shards: 1,
        ..config()
    }
}

/// So many at once, then one per second: far fewer than a test asks for.
fn slow(burst: u64) -> Rate {
    Rate::per_second(1).burst(burst)
}

/// Panics wherever it is told to, by the query or a message.
struct Fragile;

impl App for Fragile {
    type State = Option<&'static str>;

    fn upgrade(
        &mut self,
        request: &hioload::Request<'_>,
        at: &mut Option<&'static str>,
    ) -> Upgrade {
        *at = match request.query() {
            Some("upgrade") => panic!("at the upgrade"),
            Some("open") => Some("open"),
            Some("close") => Some("close"),
            _ => None,
        };
        Upgrade::accept()
    }

    fn open(&mut self, _conn: &mut Conn<'_>, at: &mut Option<&'static str>) {
        assert_ne!(*at, Some("open"), "at the open");
    }

    fn message(
        &mut self,
        conn: &mut Conn<'_>,
        _at: &mut Option<&'static str>,
        message: Message<'_>,
    ) {
        match message.as_text() {
            Some("panic") => {
                conn.send_text("last words");
                panic!("at a message");
            }
            Some("cut") => {
                let parts = ["a", "b", "c"].into_iter();
                let parts = parts.inspect(|part| assert_ne!(*part, "c", "within a message"));
                conn.send_fragmented(hioload::Kind::Text, parts);
            }
            Some("timer") => {
                conn.schedule(0, 1).expect("room");
                conn.schedule(0, 2).expect("room");
            }
            _ => {
                conn.send(message);
            }
        }
    }

    fn ping(&mut self, _: &mut Conn<'_>, _: &mut Option<&'static str>, payload: &[u8]) {
        assert!(payload.is_empty(), "at a ping");
    }

    fn timer(&mut self, turn: &mut Turn<'_, Option<&'static str>>, key: u64) {
        assert_ne!(key, 1, "at a timer");
        turn.stop_server();
    }

    fn close(&mut self, _: &mut Conn<'_>, at: &mut Option<&'static str>, _: &Close<'_>) {
        assert_ne!(*at, Some("close"), "at the close");
    }
}

#[test]
fn a_panic_ends_its_connection_and_no_other() {
    let server = Serving::start(one_shard(), |_| {
        Router::new()
            .layer(RouteMetrics::new())
            .layer(Recovery::new())
            .get("/panic", |_| panic!("in a page"))
            .ws("/fragile", Fragile)
    });
    let addr = server.addr();
    let metrics = server.metrics();
    let mut witness = Client::connect(addr, "/fragile");
    let mut expected = 0;
    let mut check = |witness: &mut Client| {
        expected += 1;
        until_equal("panics counted", &expected, || metrics.panics());
        witness.check_echo("alive");
    };

    assert_eq!(get(addr, "/panic").status, 500);
    check(&mut witness);
    assert_eq!(
        exchange(addr, upgrade("/fragile?upgrade").as_bytes()).status,
        500
    );
    check(&mut witness);
    Client::connect(addr, "/fragile?open").expect_end(1011);
    check(&mut witness);

    let ends = |act: fn(&mut Client)| {
        let mut client = Client::connect(addr, "/fragile");
        act(&mut client);
        client.expect_end(1011);
    };
    ends(|client| {
        client.text("panic");
        assert_eq!(client.expect_text(), "last words");
    });
    check(&mut witness);
    ends(|client| client.text("cut"));
    check(&mut witness);
    ends(|client| {
        client.ping(b"x");
        assert_eq!(client.next(), Seen::Pong(b"x".to_vec()));
    });
    check(&mut witness);
    Client::connect(addr, "/fragile?close").close_and_wait();
    check(&mut witness);

    let text = metrics.render();
    for line in [
        "hioload_panics_total{shard=\"0\"} 7\n",
        "hioload_route_requests_total{shard=\"0\",route=\"/panic\",class=\"5xx\"} 1\n",
        "hioload_route_requests_total{shard=\"0\",route=\"/fragile\",class=\"5xx\"} 1\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    // The timer after the one that panics stops the server.
    witness.text("timer");
    assert_eq!(witness.expect_close(), 1001);
    assert_eq!(metrics.panics(), 8);
    drop(witness);
    server.into_running().join().expect("no shard panicked");
}

#[test]
fn answers_and_messages_are_counted_by_route() {
    let server = Serving::start(one_shard(), |_| {
        Router::new()
            .layer(RouteMetrics::new())
            .get("/users/:id", |_| Response::text(200, "here"))
            .ws("/echo", Echo)
    });
    for path in ["/users/1", "/users/2", "/none", "/nowhere"] {
        get(server.addr(), path);
    }
    let mut client = Client::connect(server.addr(), "/echo");
    client.check_echo("one");
    client.check_echo("two");
    let text = server.metrics().render();
    for line in [
        "hioload_route_requests_total{shard=\"0\",route=\"/users/:id\",class=\"2xx\"} 2\n",
        "hioload_route_requests_total{shard=\"0\",route=\"\",class=\"4xx\"} 2\n",
        "hioload_route_requests_total{shard=\"0\",route=\"/echo\",class=\"1xx\"} 1\n",
        "hioload_route_messages_total{shard=\"0\",route=\"/echo\"} 2\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(!text.contains("/users/1"), "{text}");
    server.cut();
}

/// A connection from another address of the loopback network.
fn from(source: &str, addr: SocketAddr) -> TcpStream {
    let source: IpAddr = source.parse().expect("an address");
    let dial = Dial {
        source: Some(source),
        ..Dial::default()
    };
    dial.tcp(addr).expect("the server accepts")
}

fn ask(source: &str, addr: SocketAddr, request: &str) -> Answer {
    let mut stream = from(source, addr);
    std::io::Write::write_all(&mut stream, request.as_bytes()).expect("taken");
    Answer::read_head(&mut stream)
}

#[test]
fn requests_of_an_address_have_a_rate_on_all_shards_together() {
    let limit = RateLimit::new().requests_per_address(slow(6));
    let server = Serving::start(config(), move |_| {
        Router::new()
            .layer(limit.clone())
            .get("/", |_| Response::text(200, "here"))
            .ws("/echo", Echo)
    });
    let page = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answers: Vec<Answer> = (0..40)
        .map(|_| ask("127.0.0.1", server.addr(), page))
        .collect();
    let refused: Vec<&Answer> = answers.iter().filter(|one| one.status == 429).collect();
    // As many as came back meanwhile may pass, on a slow machine.
    assert!(
        (20..=34).contains(&refused.len()),
        "{} of 40",
        refused.len()
    );
    assert!(
        refused
            .iter()
            .all(|one| one.header("retry-after") == Some("1"))
    );
    let limited = server.metrics().rate_limited();
    assert_eq!(limited, refused.len() as u64);
    assert_eq!(ask("127.0.0.2", server.addr(), page).status, 200);
    Client::over(from("127.0.0.3", server.addr()), "/echo").check_echo("in");
    let mut statuses = (0..40).map(|_| ask("127.0.0.3", server.addr(), &upgrade("/echo")).status);
    assert!(statuses.any(|status| status == 429));
    server.cut();
}

#[test]
fn messages_above_a_connections_rate_close_it_or_are_dropped() {
    let server = Serving::start(one_shard(), |_| {
        let limit = || RateLimit::new().messages_per_connection(slow(3));
        Router::new()
            .group("/close", |group| group.layer(limit()).ws("", Echo))
            .group("/drop", |group| {
                group.layer(limit().excess(Excess::Drop)).ws("", Echo)
            })
            .group("/bytes", |group| {
                let limit = RateLimit::new().bytes_per_connection(slow(100));
                group.layer(limit).ws("", Echo)
            })
    });
    let addr = server.addr();
    let flood = |path: &str| {
        let mut client = Client::connect(addr, path);
        let mut burst = Vec::new();
        for n in 0..20 {
            let text = format!("{n}");
            client.encode(hioload::Kind::Text, text.as_bytes(), &[], None, &mut burst);
        }
        client.raw(&burst);
        client
    };
    let mut closed = flood("/close");
    let mut heard = 0;
    while let Seen::Text(_) = closed.message() {
        heard += 1;
    }
    assert!((3..20).contains(&heard), "{heard} messages before the end");

    let mut dropping = flood("/drop");
    dropping.close(1000, "");
    let mut heard = Vec::new();
    while let Seen::Text(text) = dropping.message() {
        heard.push(text);
    }
    assert_eq!(heard[..3], ["0", "1", "2"]);
    assert!(heard.len() < 20, "{heard:?}");

    let mut large = Client::connect(addr, "/bytes");
    large.check_echo(&"x".repeat(100));
    large.text(&"x".repeat(101));
    large.expect_end(1008);
    // A limit is of a connection, not of all.
    Client::connect(addr, "/bytes").check_echo("another");
    server.cut();
}

#[test]
fn messages_of_an_address_have_a_rate_over_its_connections() {
    let limit = RateLimit::new().messages_per_address(slow(10));
    let server = Serving::start(config(), move |_| {
        Router::new().layer(limit.clone()).ws("/echo", Echo)
    });
    let ends = (0..40).filter(|n| {
        let mut client = Client::connect(server.addr(), "/echo");
        client.text(&n.to_string());
        matches!(client.message(), Seen::Closed(1008, _))
    });
    let ends = ends.count();
    assert!((10..=30).contains(&ends), "{ends} of 40");
    let other = from("127.0.0.2", server.addr());
    Client::over(other, "/echo").check_echo("unaffected");
    server.cut();
}

#[test]
fn rates_change_while_they_limit() {
    let limit = RateLimit::new().messages_per_connection(slow(1000));
    let served = limit.clone();
    let server = Serving::start(config(), move |_| {
        Router::new().layer(served.clone()).ws("/echo", Echo)
    });
    let mut client = Client::connect(server.addr(), "/echo");
    for n in 0..10 {
        client.check_echo(&n.to_string());
    }
    limit.change(&RateLimit::new().messages_per_connection(slow(2)));
    let mut burst = Vec::new();
    for _ in 0..20 {
        client.encode(hioload::Kind::Text, b"x", &[], None, &mut burst);
    }
    client.raw(&burst);
    let mut heard = 0;
    let end = loop {
        match client.message() {
            Seen::Text(_) => heard += 1,
            end => break end,
        }
    };
    assert!((2..20).contains(&heard), "{heard} messages before the end");
    assert!(matches!(end, Seen::Closed(1008, _)), "{end:?}");
    server.cut();
}

#[test]
fn foreign_origins_are_refused() {
    let server = Serving::start(one_shard(), |_| {
        let check = OriginCheck::new()
            .allow("https://example.com")
            .same_origin();
        Router::new().layer(check).ws("/echo", Echo)
    });
    let status = |origin: &str| {
        let request = upgrade("/echo");
        let request = request.trim_end();
        let request = format!("{request}\r\nOrigin: {origin}\r\n\r\n");
        ask("127.0.0.1", server.addr(), &request).status
    };
    assert_eq!(status("https://example.com"), 101);
    assert_eq!(status("http://localhost"), 101);
    assert_eq!(status("https://evil.example"), 403);
    assert_eq!(status("null"), 403);
    server.cut();
}

#[test]
fn connections_have_limits_per_address_and_in_all() {
    let limit = ConnectionLimit::new().per_address(2).in_all(3);
    let server = Serving::start(config(), move |_| {
        Router::new().layer(limit.clone()).ws("/echo", Echo).ws(
            "/refusing",
            on_message(|_, _| {}).on_upgrade(|_| hioload::Refusal::Forbidden.into()),
        )
    });
    let addr = server.addr();
    let status = |source: &str| ask(source, addr, &upgrade("/refusing")).status;
    let mut first = Client::connect(addr, "/echo");
    first.check_echo("1");
    assert_eq!(status("127.0.0.1"), 403, "refused further in: not counted");
    let mut second = Client::connect(addr, "/echo");
    second.check_echo("2");
    assert_eq!(status("127.0.0.1"), 429);
    let mut third = Client::over(from("127.0.0.2", addr), "/echo");
    third.check_echo("3");
    assert_eq!(status("127.0.0.2"), 503);

    first.close_and_wait();
    until_equal("a place is free again", &403, || status("127.0.0.2"));
    drop((second, third));
    server.wait_until_idle();
    Client::connect(addr, "/echo").check_echo("again");
    server.cut();
}

/// Collects what is logged on every thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let line = String::from_utf8_lossy(bytes).into_owned();
        self.0.lock().expect("no panic").push(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_tells_of_each_request_upgrade_and_end() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .with_env_filter("hioload::access=info")
        .init();
    let server = Serving::start(one_shard(), |_| {
        Router::new()
            .group("/all", |all| {
                all.layer(Logging::new())
                    .get("/page", |_| Response::text(200, "here"))
                    .ws("/echo", Echo)
            })
            .group("/few", |few| {
                few.layer(Logging::new().one_in(10))
                    .get("/page", |_| Response::text(200, "here"))
                    .get("/broken", |_| Response::text(500, "broken"))
            })
    });
    let addr = server.addr();
    get(addr, "/all/page");
    let mut client = Client::connect(addr, "/all/echo");
    client.check_echo("x");
    client.close_and_wait();
    for _ in 0..20 {
        get(addr, "/few/page");
    }
    get(addr, "/few/broken");
    server.wait_until_idle();
    server.stop();
    let lines = lines.0.lock().expect("no panic").clone();
    let with = |parts: &[&str]| {
        let all = |line: &&String| parts.iter().all(|part| line.contains(part));
        lines.iter().filter(all).count()
    };
    assert_eq!(
        with(&["request", "\"/all/page\"", "status=200", "peer=127.0.0.1:"]),
        1,
        "{lines:?}"
    );
    assert_eq!(
        with(&["upgrade", "\"/all/echo\"", "status=101"]),
        1,
        "{lines:?}"
    );
    assert_eq!(
        with(&["close", "\"/all/echo\"", "code=1000", "clean=true"]),
        1,
        "{lines:?}"
    );
    assert_eq!(with(&["\"/few/page\""]), 2, "{lines:?}");
    assert_eq!(with(&["\"/few/broken\"", "status=500"]), 1, "{lines:?}");
}
