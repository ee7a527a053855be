//! Each example does what its documentation says, as a process of its own, and
//! stops when it is asked to.
//!
//! Where no tests are named, cargo builds the examples with them. For this file
//! alone: `cargo build -p hioload --examples && cargo test -p hioload --test examples`.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::collections::BTreeSet;
use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use support::client::{Client, Seen, dial};
use support::http::{Answer, exchange, get, upgrade};
use support::process::{Ended, Process};
use support::wait::{until, until_equal};

/// Where cargo puts examples: beside the directory of the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let built = test.parent().and_then(Path::parent).expect("target/debug");
    let path = built.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    assert!(
        path.exists(),
        "{} is not built: cargo build -p hioload --examples",
        path.display()
    );
    path
}

fn source(name: &str) -> String {
    let path = examples().join(format!("{name}.rs"));
    std::fs::read_to_string(path).expect("the source of an example")
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// An example that listens.
struct Example {
    process: Process,
    addr: SocketAddr,
}

impl Example {
    fn start(name: &str) -> Self {
        Self::of(Command::new(program(name)))
    }

    fn of(mut command: Command) -> Self {
        command.arg("127.0.0.1:0");
        let process = Process::spawn(command);
        process.wait_for_log("listening on ");
        let log = process.logged();
        let line = log
            .lines()
            .find_map(|line| line.strip_prefix("listening on "));
        let addr = line.expect("a whole line").parse().expect("an address");
        Self { process, addr }
    }

    fn connect(&self, target: &str) -> Client {
        Client::connect(self.addr, target)
    }

    /// The status that answers an upgrade with one more header.
    fn upgrade_status(&self, target: &str, header: &str) -> u16 {
        let request = upgrade(target).replacen("\r\n", &format!("\r\n{header}\r\n"), 1);
        let mut stream = dial(self.addr);
        stream.write_all(request.as_bytes()).expect("taken");
        Answer::read_head(&mut stream).status
    }

    /// As SIGTERM: these clients are closed with 1001, and the process ends
    /// well.
    fn stop(mut self, clients: impl IntoIterator<Item = Client>) -> Ended {
        self.process.ask_to_stop();
        for mut client in clients {
            assert_eq!(client.expect_close(), 1001);
        }
        let ended = self.process.wait();
        assert!(ended.status.success(), "{ended:?}");
        ended
    }
}

/// The next message that is no report or price of its own accord.
fn expect_text(client: &mut Client, passed_over: impl Fn(&str) -> bool) -> String {
    loop {
        let text = client.expect_text();
        if !passed_over(&text) {
            return text;
        }
    }
}

#[test]
fn each_is_short_and_says_how_to_run_it() {
    let files = std::fs::read_dir(examples()).expect("the examples");
    let paths = files.map(|file| file.expect("a file").path());
    let names: BTreeSet<String> = paths
        .filter_map(|path| path.file_stem().and_then(OsStr::to_str).map(str::to_owned))
        .collect();
    assert!(names.len() >= 11, "{names:?}");
    for name in &names {
        let source = source(name);
        let lines = source.lines().count();
        assert!(lines < 60, "{name} has {lines} lines");
        let command = format!("cargo run --release -p hioload --example {name}");
        assert!(
            source.starts_with("//! ") && source.contains(&command),
            "{name}"
        );
    }
}

#[test]
fn echo_app_sends_back_what_came_and_closes_with_1001_when_stopped() {
    let example = Example::start("echo_app");
    let mut client = example.connect("/");
    client.check_echo("hello");
    client.binary(b"\x00\xff");
    assert_eq!(client.expect_binary(), b"\x00\xff");
    example.stop([client]);
}

#[test]
fn chat_tells_a_room_what_is_said_in_it_and_who_comes_and_goes() {
    let example = Example::start("chat");
    let mut alice = example.connect("/rooms/tea/alice");
    assert_eq!(alice.expect_text(), "* alice has joined, 1 here");
    let mut carol = example.connect("/rooms/coffee/carol");
    assert_eq!(carol.expect_text(), "* carol has joined, 1 here");
    let mut bob = example.connect("/rooms/tea/bob");
    assert_eq!(bob.expect_text(), "* bob has joined, 2 here");
    assert_eq!(alice.expect_text(), "* bob has joined, 2 here");
    alice.text("good morning");
    assert_eq!(bob.expect_text(), "alice: good morning");
    bob.close_and_wait();
    assert_eq!(alice.expect_text(), "* bob has left");
    carol.ping(b"all");
    assert_eq!(carol.next(), Seen::Pong(b"all".to_vec()), "another room");
    example.stop([alice, carol]);
}

#[test]
fn ticker_sends_the_prices_that_were_asked_for() {
    let example = Example::start("ticker");
    let mut client = example.connect("/");
    client.text("ACME");
    let prices: Vec<String> = (0..3).map(|_| client.expect_text()).collect();
    assert!(
        prices.iter().all(|price| price.starts_with("ACME 1")),
        "{prices:?}"
    );
    assert!(prices[0] != prices[2], "{prices:?}");
    example.stop([client]);
}

#[test]
fn async_offload_answers_with_factors_in_order() {
    let example = Example::start("async_offload");
    let mut client = example.connect("/");
    for question in ["4294967291", "1001", "many", "1"] {
        client.text(question);
    }
    assert_eq!(client.expect_text(), "4294967291 = 4294967291");
    assert_eq!(client.expect_text(), "1001 = 7 * 11 * 13");
    assert_eq!(client.expect_text(), "a number, please");
    assert_eq!(client.expect_text(), "1 = ");
    example.stop([client]);
}

#[test]
fn middleware_limits_recovers_refuses_counts_and_logs() {
    let example = Example::start("middleware");
    let greeted = get(example.addr, "/api/greet/J%C3%BCrgen");
    assert_eq!((greeted.status, greeted.text()), (200, "hello, Jürgen\n"));
    until("more than three in a second are refused", || {
        match get(example.addr, "/api/greet/you").status {
            429 => Ok(()),
            status => Err(status),
        }
    });
    assert_eq!(get(example.addr, "/metrics").status, 200, "no limit there");

    let foreign = "Origin: https://evil.example";
    assert_eq!(example.upgrade_status("/live/echo", foreign), 403);
    let mut bystander = example.connect("/live/echo");
    let mut unlucky = example.connect("/live/panic");
    unlucky.text("now");
    unlucky.expect_end(1011);
    drop(unlucky);
    bystander.check_echo("the shard lives on");

    let metrics = get(example.addr, "/metrics");
    let counted = "hioload_rate_limited_total";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
    let log = example.stop([bystander]).stderr;
    assert!(
        log.contains("/api/greet/you") && log.contains("429"),
        "{log}"
    );
}

/// A token of the example's secret.
fn token(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::default(), claims, &key).expect("a token")
}

#[test]
fn auth_jwt_lets_members_in_and_nobody_else() {
    let mut command = Command::new(program("auth_jwt"));
    command.env("JWT_SECRET", "hush");
    let example = Example::of(command);
    let documented = source("auth_jwt");
    let documented = documented
        .lines()
        .find_map(|line| line.strip_prefix("//! TOKEN="));
    let mut ann = example.connect(&format!("/?a=b&token={}", documented.expect("a token")));
    ann.text("hello");
    assert_eq!(ann.expect_text(), "you are ann");

    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let (hour_ago, in_an_hour) = (now.as_secs() - 3600, now.as_secs() + 3600);
    let member = |exp| json!({ "sub": "bo", "role": "member", "exp": exp });
    let guest = json!({ "sub": "bo", "role": "guest", "exp": in_an_hour });
    let timeless = json!({ "sub": "bo", "role": "member" });
    for (token, status) in [
        (token("hush", &member(in_an_hour)), 101),
        (token("hush", &guest), 403),
        (token("hush", &member(hour_ago)), 401),
        (token("hush", &timeless), 401),
        (token("guessed", &member(in_an_hour)), 401),
        ("no token".into(), 401),
    ] {
        let header = format!("Authorization: Bearer {token}");
        assert_eq!(example.upgrade_status("/", &header), status, "{token}");
    }
    let bare = exchange(example.addr, upgrade("/").as_bytes());
    assert_eq!(
        (bare.status, bare.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    example.stop([ann]);
}

#[test]
fn jobs_are_counted_and_reported() {
    let example = Example::start("jobs");
    let mut client = example.connect("/");
    client.text("100");
    client.text("30000");
    let is_report = |text: &str| text.ends_with(" done");
    let mut answers = [0, 1].map(|_| expect_text(&mut client, is_report));
    answers.sort();
    assert_eq!(answers, ["below 100: 25", "below 30000: 3245"]);
    let report = expect_text(&mut client, |text| !is_report(text));
    assert_eq!(report, "0 wait, 2 done");
    example.stop([client]);
}

#[test]
fn log_batcher_writes_soon_and_at_the_stop() {
    let place = std::env::temp_dir().join(format!("hioload-lines-{}", std::process::id()));
    std::fs::create_dir(&place).expect("a directory of this test");
    let mut command = Command::new(program("log_batcher"));
    command.current_dir(&place);
    let example = Example::of(command);
    let file = place.join("lines.log");
    let lines = || std::fs::read_to_string(&file).expect("a file");
    let mut client = example.connect("/");
    client.text("first");
    until_equal("the file", &"first\n".to_owned(), lines);
    let mut expected = String::from("first\n");
    for n in 0..10_000 {
        client.text(&format!("line {n}"));
        expected += &format!("line {n}\n");
    }
    client.ping(b"all");
    assert_eq!(client.next(), Seen::Pong(b"all".to_vec()));
    example.stop([client]);
    assert!(lines() == expected, "lines are missing or in disorder");
    std::fs::remove_dir_all(&place).expect("it was this test's");
}

#[test]
fn client_prints_the_answers_and_ends() {
    let server = Example::start("echo_app");
    let mut command = Command::new(program("client"));
    command.args([&format!("ws://{}/", server.addr), "hello", "world"]);
    let ended = Process::spawn(command).wait();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stdout, ["hello", "world"]);
    server.stop([]);
}

#[test]
fn client_without_lines_prints_what_comes_until_the_server_stops() {
    let server = Example::start("chat");
    let mut command = Command::new(program("client"));
    command.arg(format!("ws://{}/rooms/tea/dora", server.addr));
    let mut listener = Process::spawn(command);
    assert_eq!(listener.line(), "* dora has joined, 1 here");
    server.stop([]);
    let ended = listener.wait();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn client_says_why_it_could_not_connect() {
    let mut command = Command::new(program("client"));
    // Nobody may listen on port 0.
    command.args(["ws://127.0.0.1:0/", "hello"]);
    let ended = Process::spawn(command).wait();
    assert!(!ended.stderr.is_empty(), "{ended:?}");
}

#[test]
fn upload_stores_what_is_put_under_a_plain_name() {
    let place = std::env::temp_dir().join(format!("hioload-upload-{}", std::process::id()));
    std::fs::create_dir(&place).expect("a directory of this test");
    let mut command = Command::new(program("upload"));
    command.current_dir(&place);
    let example = Example::of(command);
    let put = |name: &str, body: &[u8]| {
        let length = body.len();
        let mut request =
            format!("PUT /{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
                .into_bytes();
        request.extend_from_slice(body);
        let mut stream = dial(example.addr);
        stream.write_all(&request).expect("taken");
        Answer::read(&mut stream).status
    };
    let film: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    assert_eq!(put("film.mp4", &film), 201);
    assert_eq!(put("empty", b""), 201);
    assert_eq!(put(".hidden", b""), 400);
    let stored = |name| std::fs::read(place.join(name)).expect("stored");
    assert!(stored("film.mp4") == film && stored("empty").is_empty());
    let files = std::fs::read_dir(&place).expect("the folder").count();
    assert_eq!(files, 2, "no parts are left");
    example.stop([]);
    std::fs::remove_dir_all(&place).expect("it was this test's");
}

#[test]
fn sse_serves_a_page_and_relays_to_its_readers() {
    let example = Example::start("sse");
    assert!(get(example.addr, "/").text().contains("EventSource"));
    let mut reader = dial(example.addr);
    let request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    reader.write_all(request).expect("taken");
    let head = Answer::read_head(&mut reader);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    // The answer may come before the topic's home knows of the reader.
    let mut writer = example.connect("/");
    for _ in 0..20 {
        writer.text("hello");
        writer.ping(b"?");
        assert_eq!(writer.next(), Seen::Pong(b"?".to_vec()));
    }
    let mut events = BufReader::new(reader)
        .lines()
        .map(|line| line.expect("a line"));
    assert!(events.any(|line| line == "data: hello"));
    drop(events);
    example.stop([writer]);
}
