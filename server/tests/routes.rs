//! What is at which path, what the flags and the file change, and what a wrong
//! one says.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use support::client::{Client, Seen};
use support::http::{exchange, get, upgrade};
use support::wait::until_equal;
use support::{Process, Serving, expect_refusal, run, server};

/// A file that is gone after the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("hioload-{name}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("the file is still there");
    }
}

fn status(addr: SocketAddr, path: &str) -> u16 {
    exchange(addr, upgrade(path).as_bytes()).status
}

#[test]
fn only_reading_is_allowed() {
    let serving = Serving::start(&[]);
    for lines in ["", "Content-Length: 9000000\r\n"] {
        let request =
            format!("POST /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
        let answer = exchange(serving.addr, request.as_bytes());
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, HEAD"))
        );
    }
}

#[test]
fn plain_routes_answer() {
    let serving = Serving::start(&[]);
    let page = get(serving.addr, "/");
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("connect-src"),
        "{policy}"
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(
        page.text()
            .trim_start()
            .to_lowercase()
            .starts_with("<!doctype html>")
    );
    for foreign in ["src=\"http", "href=\"http", "url(http", "@import"] {
        assert!(
            !page.text().contains(foreign),
            "the page loads something: {foreign}"
        );
    }

    let health = get(serving.addr, "/health");
    assert_eq!(
        (health.status, health.text()),
        (200, "{\"status\":\"ok\"}\n")
    );
    assert_eq!(health.header("content-type"), Some("application/json"));

    let ready = get(serving.addr, "/ready");
    assert_eq!(
        (ready.status, ready.text()),
        (200, "{\"status\":\"ready\"}\n")
    );

    for missing in [
        "/missing",
        "/echo/more",
        "/broadcast",
        "/broadcast/a/b",
        "/health/",
    ] {
        assert_eq!(get(serving.addr, missing).status, 404, "{missing}");
    }
    for websocket in ["/echo", "/broadcast/room"] {
        let answer = get(serving.addr, websocket);
        assert_eq!(answer.status, 426, "{websocket}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        assert_eq!(answer.header("upgrade"), Some("websocket"));
    }
    serving.stop();
}

#[test]
fn upgrades_are_for_the_websocket_routes_only() {
    let serving = Serving::start(&[]);
    for (path, expected) in [
        ("/", 400),
        ("/health", 400),
        ("/ready", 400),
        ("/metrics", 400),
        ("/missing", 404),
        ("/broadcast", 404),
        ("/broadcast/%FF", 400),
    ] {
        assert_eq!(status(serving.addr, path), expected, "{path}");
    }
    assert_eq!(
        status(serving.addr, &format!("/broadcast/{}", "a".repeat(256))),
        400
    );
    let mut echo = Client::connect(serving.addr, "/echo?query=1");
    echo.check_echo("hello");
    echo.close_and_wait();
    serving.stop();
}

#[test]
fn a_topic_is_the_decoded_segment() {
    let serving = Serving::start(&[]);
    let mut members: Vec<_> = ["/broadcast/caf%C3%A9", "/broadcast/caf%c3%a9?x=1"]
        .map(|path| Client::connect(serving.addr, path))
        .into();
    let mut stranger = Client::connect(serving.addr, "/broadcast/cafe");
    // An answer to a ping: the subscription was made before.
    for client in members.iter_mut().chain([&mut stranger]) {
        client.ping(b"ready");
        assert_eq!(client.next(), Seen::Pong(b"ready".to_vec()));
    }
    members[0].text("bonjour");
    assert_eq!(members[1].expect_text(), "bonjour");
    for client in [&mut stranger, &mut members[0]] {
        client.ping(b"nothing before this");
        assert_eq!(client.next(), Seen::Pong(b"nothing before this".to_vec()));
    }
    drop((members, stranger));
    serving.stop();
}

#[test]
fn metrics_count_what_happened() {
    let serving = Serving::start(&[]);
    let mut client = Client::connect(serving.addr, "/echo");
    client.check_echo("counted");
    assert_eq!(serving.metric("hioload_connections"), 1);
    until_equal("the one that asks is counted", &2, || {
        serving.metric("hioload_sockets")
    });
    client.close_and_wait();
    assert_eq!(status(serving.addr, "/missing"), 404);
    let metrics = serving.metrics();
    let of = |name: &str, label: &str| -> u64 {
        let named = metrics
            .iter()
            .filter(|(key, _)| key.starts_with(name) && key.contains(label));
        named.map(|(_, value)| value).sum()
    };
    assert_eq!(of("hioload_messages_received_total{", ""), 1);
    assert_eq!(of("hioload_messages_sent_total{", ""), 1);
    assert!(of("hioload_bytes_received_total{", "") > 100);
    assert!(of("hioload_bytes_sent_total{", "") > 100);
    assert_eq!(of("hioload_closes_total{", "code=\"1000\""), 1);
    assert_eq!(
        of("hioload_handshake_refusals_total{", "reason=\"not_found\""),
        1
    );
    assert_eq!(of("hioload_backpressure_total{", ""), 0);
    for shard in ["shard=\"0\"", "shard=\"1\""] {
        assert!(metrics.keys().any(|key| key.contains(shard)), "{shard}");
    }
    serving.stop();
}

#[test]
fn a_server_without_room_is_not_ready() {
    let serving = Serving::start(&["--max-connections", "2"]);
    let held = [(); 2].map(|()| Client::connect(serving.addr, "/echo"));
    assert_eq!(get(serving.addr, "/ready").status, 503);
    drop(held);
    until_equal("gone", &200, || get(serving.addr, "/ready").status);
    serving.stop();
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    // Some are there only if there is something to count.
    let file = File::new(
        "dashboard",
        "[[application]]\nname = 'app'\nendpoints = ['http://127.0.0.1:9/']\nevents = ['rpc']\n\
         [[webhook]]\nname = 'app'\nurl = 'http://127.0.0.1:9/'\nevents = ['mention']\n",
    );
    let serving = Serving::start(&["--dev", "--config", file.path()]);
    let exported = get(serving.addr, "/metrics");
    let known: BTreeSet<&str> = exported
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let dashboard = include_str!("../dist/grafana-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            let names = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for name in names.filter(|name| name.starts_with("hioload_")) {
                assert!(known.contains(name), "{name} of {query}");
                asked += 1;
            }
        }
    }
    assert!(asked > 30, "{asked} metrics asked for");
    serving.stop();
}

/// Through a loopback address, on which only the listener's own counts.
fn on_all_addresses(args: &[&str]) -> (Serving, SocketAddr) {
    let serving = Serving::listening_on("0.0.0.0:0", args);
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, serving.addr.port()));
    (serving, local)
}

#[test]
fn the_relay_is_off_on_other_addresses_unless_asked_for() {
    let (serving, local) = on_all_addresses(&[]);
    for path in ["/echo", "/broadcast/room"] {
        assert_eq!(status(local, path), 404, "{path}");
        assert_eq!(get(local, path).status, 404, "{path}");
    }
    for path in ["/", "/health", "/metrics"] {
        assert_eq!(get(local, path).status, 200, "{path}");
    }
    serving.stop();

    let (serving, local) = on_all_addresses(&["--dev"]);
    Client::connect(local, "/echo").check_echo("asked for");
    Client::connect(local, "/broadcast/room").close_and_wait();
    serving.stop();

    let file = File::new("relay", "[routes]\necho = true\n");
    let (serving, local) = on_all_addresses(&["--config", file.path()]);
    Client::connect(local, "/echo").check_echo("asked for");
    assert_eq!(status(local, "/broadcast/room"), 404);
    serving.stop();
}

#[test]
fn the_root_echoes_when_asked_to() {
    let serving = Serving::start(&["--echo-root"]);
    Client::connect(serving.addr, "/").check_echo("at the root");
    assert_eq!(
        get(serving.addr, "/").status,
        200,
        "the page is there all the same"
    );
    serving.stop();
}

#[test]
fn an_independent_client_echoes_and_meets_the_limit() {
    let serving = Serving::start(&["--max-message", "1000"]);
    let url = format!("ws://{}/echo", serving.addr);
    let stream = support::client::dial(serving.addr);
    let (mut socket, _) = tungstenite::client(url, stream).expect("a handshake");
    let message = tungstenite::Message::text("x".repeat(1000));
    socket.send(message.clone()).expect("sent");
    assert_eq!(socket.read().expect("an echo"), message);
    socket
        .send(tungstenite::Message::text("x".repeat(1001)))
        .expect("sent");
    let tungstenite::Message::Close(Some(close)) = socket.read().expect("a close") else {
        panic!("no Close frame with a code");
    };
    assert_eq!(u16::from(close.code), 1009);
    drop(socket);
    serving.stop();
}

/// Several addresses, and a file for the rest.
#[test]
fn the_file_counts_where_no_flag_does() {
    let file = File::new(
        "settings",
        "listen = ['127.0.0.1:0', '127.0.0.2:0']\nshards = 3\n[limits]\nmax_message = 200\n",
    );
    let process = Process::spawn(server(&["--config", file.path(), "--shards", "1"]));
    let addrs = [process.line(), process.line()].map(|line| {
        let addr = line
            .strip_prefix("listening on http://")
            .expect("an address");
        addr.parse::<SocketAddr>().expect("an address")
    });
    assert_ne!(addrs[0].ip(), addrs[1].ip());
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo");
        client.check_echo(&"x".repeat(200));
        client.text(&"x".repeat(201));
        client.expect_end(1009);
    }
    let metrics = get(addrs[0], "/metrics");
    assert!(
        !metrics.text().contains("shard=\"1\""),
        "the flag says one shard"
    );
    drop(process);
}

#[test]
fn a_wrong_setting_is_named_and_nothing_starts() {
    for (text, named) in [
        ("[limits]\nmax_mesage = 5", &["max_mesage", "line 2"][..]),
        ("shards = 'many'", &["shards", "line 1"]),
        ("shards = ", &["line 1"]),
        ("[timeouts]\nidle = '7 parsecs'", &["parsecs"]),
        ("[backpressure]\npolicy = 'shout'", &["shout"]),
        ("shards = 1000", &["shards", "64"]),
        ("[limits]\nmax_message = 1", &["max_message"]),
        ("[backpressure]\nclose_code = 1005", &["1005"]),
        ("log = 'hioload=loud'", &["hioload=loud"]),
    ] {
        let file = File::new("wrong", text);
        expect_refusal(&["--listen", "127.0.0.1:0", "--config", file.path()], named);
    }
    expect_refusal(&["--config", "/no/such/file.toml"], &["/no/such/file.toml"]);
    expect_refusal(&["--listen", "nonsense"], &["nonsense"]);
    expect_refusal(&["--listen", "127.0.0.1:99999"], &["99999"]);
    expect_refusal(&["--listen", "203.0.113.77:0"], &["203.0.113.77"]);
    expect_refusal(
        &["--shards", "65", "--listen", "127.0.0.1:0"],
        &["shards", "64"],
    );
}

/// The command line's own errors come with its help: more than one line.
#[test]
fn a_wrong_flag_is_named() {
    for (args, named) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["--shards", "two"], "two"),
        (&["--idle-timeout", "soon"], "soon"),
        (&["--max-message"], "--max-message"),
        (&["serve"], "serve"),
    ] {
        let ended = run(args);
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(named), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    expect_refusal(&["--listen", &addr], &[&addr, "use"]);
}

/// Sharing a port is for the shards of one server, not for a second server
/// that is started by mistake and takes half of the connections.
#[test]
fn a_second_server_on_the_same_address_is_refused() {
    let serving = Serving::start(&[]);
    let addr = serving.addr.to_string();
    expect_refusal(&["--listen", &addr], &[&addr, "use"]);
    assert_eq!(get(serving.addr, "/health").status, 200);
    serving.stop();
}
