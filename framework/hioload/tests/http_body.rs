//! Bodies of plain requests reach the app whole or in parts, keep to their
//! limits, and never hide where the next request begins.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

#[allow(dead_code, reason = "its main function is not called")]
#[path = "../examples/upload.rs"]
mod upload;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use hioload::http::{BodyPart, Upload};
use hioload::router::{Middleware, Next};
use hioload::{App, Config, Conn, ConnId, Echo, Message, Request, Response, Router, Turn};
use support::client::dial;
use support::http::{Answer, exchange, expect_eof};
use support::random::Random;
use support::wait::{PATIENCE, until, until_equal};
use support::{Serving, config};

/// Says what it was asked.
struct Site;

impl App for Site {
    type State = ();

    fn upload(&mut self, request: &Request<'_>, (): &mut ()) -> Upload {
        assert_eq!(request.body(), b"");
        match request.path() {
            "/unwanted" => Upload::answer(Response::text(403, "not here\n")),
            _ => Upload::collect(),
        }
    }

    fn http(&mut self, request: &Request<'_>) -> Response {
        let head = format!("{} {} ", request.method(), request.path());
        Response::ok("text/plain", [head.as_bytes(), request.body()].concat())
    }

    fn message(&mut self, _: &mut Conn<'_>, (): &mut (), _: Message<'_>) {}
}

fn post(path: &str, lines: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

fn counted(path: &str, body: &str) -> String {
    post(path, &format!("Content-Length: {}\r\n", body.len()), body)
}

fn chunked(path: &str, chunks: &str) -> String {
    post(path, "Transfer-Encoding: chunked\r\n", chunks)
}

fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).expect("it is taken");
}

/// Sends, and reads the answer's text.
fn ask(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) -> String {
    send(stream, bytes);
    answer(stream)
}

fn answer(stream: &mut TcpStream) -> String {
    let answer = Answer::read(stream);
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer.text().to_owned()
}

#[test]
fn every_method_and_body_reaches_the_app() {
    let serving = Serving::start(config(), |_| Site);
    let mut stream = dial(serving.addr());
    assert_eq!(ask(&mut stream, counted("/a", "hello")), "POST /a hello");
    let chunks = "5;x=1\r\nhello\r\n7\r\n, world\r\n0\r\nA: b\r\n\r\n";
    assert_eq!(
        ask(&mut stream, chunked("/b", chunks)),
        "POST /b hello, world"
    );
    assert_eq!(ask(&mut stream, counted("/c", "")), "POST /c ");
    for method in ["PUT", "DELETE", "PATCH", "GET", "BREW"] {
        let request = post("/d", "", "").replace("POST", method);
        assert_eq!(ask(&mut stream, request), format!("{method} /d "));
        let request = counted("/e", "x").replace("POST", method);
        assert_eq!(ask(&mut stream, request), format!("{method} /e x"));
    }
    drop(stream);
    serving.stop();
}

#[test]
fn requests_after_a_body_are_found_however_they_are_cut() {
    let serving = Serving::start(config(), |_| Site);
    let requests = [
        counted("/1", "GET /wrong HTTP/1.1\r\n\r\n"),
        chunked("/2", "3\r\n0\r\n\r\n0\r\n\r\n"),
        "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        counted("/4", ""),
        counted("/5", "end"),
    ];
    let expected = [
        "POST /1 GET /wrong HTTP/1.1\r\n\r\n",
        "POST /2 0\r\n",
        "GET /3 ",
        "POST /4 ",
        "POST /5 end",
    ];
    let wire = requests.concat();
    let mut stream = dial(serving.addr());
    for size in [wire.len(), 1, 2, 7, 50] {
        for piece in wire.as_bytes().chunks(size) {
            send(&mut stream, piece);
        }
        for expected in expected {
            assert_eq!(answer(&mut stream), expected, "cut at {size}");
        }
    }
    drop(stream);
    serving.stop();
}

#[test]
fn what_is_too_large_is_refused_as_soon_as_that_shows() {
    let limited = Config {
        max_body: 100,
        ..config()
    };
    let serving = Serving::start(limited, |_| Site);
    let next = counted("/smuggled", "x");
    let large = post("/", "Content-Length: 101\r\n", "");
    let chunks = format!("64\r\n{}\r\n1", "a".repeat(100));
    for request in [large, chunked("/", "65\r\n"), chunked("/", &chunks)] {
        let answer = exchange(serving.addr(), (request + &next).as_bytes());
        assert_eq!(answer.status, 413, "{}", answer.head);
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let whole = "a".repeat(100);
    let mut stream = dial(serving.addr());
    assert!(ask(&mut stream, counted("/", &whole)).ends_with(&whole));
    drop(stream);
    serving.wait_until_idle();
    serving.stop();
}

/// Bodies that another server might end elsewhere.
#[test]
fn no_request_is_smuggled_behind_another() {
    let serving = Serving::start(config(), |_| Site);
    let inner = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    let twice = "Content-Length: 0\r\nContent-Length: 38\r\n";
    let coding = |value| post("/", &format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 38\r\n";
    let cases = [
        (400, post("/", both, "0\r\n\r\n")),
        (400, post("/", twice, "")),
        (400, post("/", "Content-Length: +0\r\n", "")),
        (400, post("/", "Content-Length: 0, 38\r\n", "")),
        (400, post("/", "Content-Length: \u{b}0\r\n", "")),
        (501, coding("gzip, chunked")),
        (501, coding("chunked, identity")),
        (501, coding("\"chunked\"")),
        (400, coding("chunked").replace("HTTP/1.1", "HTTP/1.0")),
        (400, chunked("/", "0\n\n")),
        (400, chunked("/", "0\r\n\n")),
        (400, chunked("/", "0x0\r\n\r\n")),
        (400, chunked("/", "-0\r\n\r\n")),
        (400, chunked("/", "1\r\nab\r\n0\r\n\r\n")),
        (400, chunked("/", "1;\n\r\na\r\n0\r\n\r\n")),
        (400, chunked("/", "0\r\nGET /x HTTP/1.1\r\n\r\n")),
        (413, chunked("/", "10000000000000000\r\n")),
        (413, post("/", upgrade, "")),
        (403, counted("/unwanted", "")),
        (403, counted("/unwanted", inner)),
    ];
    for (status, request) in cases {
        let answer = exchange(serving.addr(), (request.clone() + inner).as_bytes());
        assert_eq!(answer.status, status, "{request:?}: {}", answer.head);
    }
    serving.stop();
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let serving = Serving::start(config(), |_| Site);
    let mut stream = dial(serving.addr());
    let expecting = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    send(&mut stream, post("/a", expecting, ""));
    let interim = Answer::read_head(&mut stream);
    assert_eq!(interim.status, 100);
    assert_eq!(ask(&mut stream, "hello"), "POST /a hello");
    send(&mut stream, post("/unwanted", expecting, ""));
    assert_eq!(Answer::read(&mut stream).status, 403, "before the body");
    expect_eof(&mut stream);
    let large = "Expect: 100-continue\r\nContent-Length: 1048577\r\n";
    let answer = exchange(serving.addr(), post("/", large, "").as_bytes());
    assert_eq!(answer.status, 413, "before the body");
    drop(stream);
    serving.stop();
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let impatient = Config {
        body_timeout: Duration::from_millis(300),
        ..config()
    };
    let serving = Serving::start(impatient, |_| Site);
    let half = post("/", "Content-Length: 10\r\n", "half");
    let answer = exchange(serving.addr(), half.as_bytes());
    assert_eq!(answer.status, 408);
    let mut stream = dial(serving.addr());
    send(&mut stream, half);
    stream.shutdown(Shutdown::Write).expect("connected");
    expect_eof(&mut stream);
    serving.wait_until_idle();
    serving.stop();
}

#[test]
fn collected_bodies_share_the_memory_of_their_shard() {
    let tight = Config {
        shards: 1,
        backpressure_limit: 64 << 10,
        send_memory: 256 << 10,
        ..config()
    };
    let serving = Serving::start(tight, |_| Site);
    let part = post("/", "Content-Length: 200000\r\n", &"a".repeat(199_999));
    let mut streams: Vec<_> = (0..2).map(|_| dial(serving.addr())).collect();
    for stream in &mut streams {
        send(stream, &part);
        stream.set_nonblocking(true).expect("a socket");
    }
    // Whichever grew last.
    let mut refused = None;
    until("one is answered", || {
        refused = streams
            .iter()
            .position(|stream| stream.peek(&mut [0]).is_ok());
        refused.map(|_| ()).ok_or("none")
    });
    let mut refused = streams.remove(refused.expect("one is answered"));
    refused.set_nonblocking(false).expect("a socket");
    assert_eq!(Answer::read(&mut refused).status, 503);
    let mut kept = streams.remove(0);
    kept.set_nonblocking(false).expect("a socket");
    assert!(ask(&mut kept, "b").ends_with("ab"));
    drop(refused);
    drop(kept);
    serving.wait_until_idle();
    serving.stop();
}

#[test]
fn a_router_gives_bodies_to_handlers_and_parts_to_mounted_apps() {
    let (sender, seen) = channel();
    let states = Arc::new(AtomicUsize::new(0));
    let counted_states = Arc::clone(&states);
    let serving = Serving::start(config(), move |_| {
        let streaming = || Streaming {
            seen: sender.clone(),
            waiting: None,
            states: Arc::clone(&counted_states),
        };
        Router::new()
            .layer(NoSecrets)
            .post("/notes/:name", |request| {
                let name = request.param("name").unwrap_or_default();
                Response::ok("text/plain", [name.as_bytes(), request.body()].concat())
            })
            .ws("/files/*name", streaming())
            .ws("/late", streaming())
            .ws("/slow", streaming())
            .ws("/echo", Echo)
    });
    let watched = Watched {
        serving,
        seen,
        states,
    };
    let addr = watched.serving.addr();
    let mut stream = dial(addr);
    assert_eq!(ask(&mut stream, counted("/notes/a%20b", " c")), "a b c");
    for path in ["/files/x/y", "/slow", "/late"] {
        send(&mut stream, chunked(path, "2\r\nhi\r\n0\r\n\r\n"));
        assert_eq!(watched.body(), (b"hi".to_vec(), Seen::End), "{path}");
        let said = answer(&mut stream);
        assert_eq!(said, if path == "/late" { "late\n" } else { "done\n" });
    }
    // A WebSocket on the same connection, after an upload and its state.
    send(&mut stream, support::http::upgrade("/echo"));
    assert_eq!(Answer::read_head(&mut stream).status, 101);
    drop(stream);
    let put = counted("/notes/a", "x").replace("POST", "PUT");
    let secret = counted("/files/secret", "x");
    let cases = [
        (404, counted("/nowhere", "x")),
        (405, put),
        (426, counted("/echo", "x")),
        (403, secret),
        (413, post("/notes/a", "Content-Length: 1048577\r\n", "")),
    ];
    for (status, request) in cases {
        let answer = exchange(addr, request.as_bytes());
        assert_eq!(answer.status, status, "{request}: {}", answer.head);
    }
    watched.stop();
}

/// Stands before handlers and uploads alike.
struct NoSecrets;

impl Middleware for NoSecrets {
    fn http(&mut self, request: &Request<'_>, next: Next<'_>) -> Response {
        if request.path().contains("secret") {
            return Response::text(403, "not yours\n");
        }
        next.http(request)
    }
}

/// Answers with the body: collected, streamed, or with a pause after each part.
struct Mirror;

impl App for Mirror {
    type State = (bool, Vec<u8>);

    fn upload(&mut self, request: &Request<'_>, state: &mut Self::State) -> Upload {
        state.0 = request.path() == "/pause";
        match request.path() {
            "/collect" => Upload::collect(),
            _ => Upload::stream(1 << 20),
        }
    }

    fn http(&mut self, request: &Request<'_>) -> Response {
        Response::ok("text/plain", request.body().to_vec())
    }

    fn body(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, part: BodyPart<'_>) {
        match part {
            BodyPart::Bytes(bytes) => {
                state.1.extend_from_slice(bytes);
                if state.0 {
                    conn.pause();
                    let resumed = |conn: &mut Conn<'_>, _| conn.resume();
                    conn.offload(|_| (), resumed).expect("there is room");
                }
            }
            BodyPart::End => {
                let body = std::mem::take(&mut state.1);
                assert!(conn.answer(Response::ok("text/plain", body)));
            }
            BodyPart::Aborted => panic!("every body is whole"),
        }
    }

    fn message(&mut self, _: &mut Conn<'_>, _: &mut Self::State, _: Message<'_>) {}
}

/// A request of [`Mirror`], as bytes.
fn random_request(random: &mut Random, body: &[u8]) -> Vec<u8> {
    let path = random.pick(&["/collect", "/stream", "/pause"]);
    if random.one_in(2) {
        let lines = format!("Content-Length: {}\r\n", body.len());
        return [post(path, &lines, "").as_bytes(), body].concat();
    }
    let mut bytes = post(path, "Transfer-Encoding: chunked\r\n", "").into_bytes();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.between(1, rest.len()));
        bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        rest = after;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn pipelined_bodies_come_back_in_order_however_they_are_cut_taken_and_paused() {
    let mut random = Random::from_environment();
    let serving = Serving::start(config(), |_| Mirror);
    for _ in 0..30 {
        let bodies: Vec<Vec<u8>> = (0..12)
            .map(|_| {
                let length = random.magnitude(13);
                random.bytes(length)
            })
            .collect();
        let wire: Vec<u8> = bodies
            .iter()
            .flat_map(|body| random_request(&mut random, body))
            .collect();
        let mut stream = dial(serving.addr());
        let mut writer = stream.try_clone().expect("a second handle");
        let largest = random.between(1, 20_000);
        let mut cuts = random.clone();
        let writing = std::thread::spawn(move || {
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let size = cuts.between(1, largest).min(rest.len());
                send(&mut writer, &rest[..size]);
                rest = &rest[size..];
            }
        });
        for body in &bodies {
            let answer = Answer::read(&mut stream);
            assert_eq!(answer.status, 200, "{}", answer.head);
            assert!(answer.body == *body, "{} bytes", body.len());
        }
        writing.join().expect("all of it is sent");
    }
    serving.wait_until_idle();
    serving.stop();
}

/// What a [`Streaming`] app has seen.
#[derive(Debug, PartialEq)]
enum Seen {
    Bytes(Vec<u8>),
    End,
    Aborted,
}

/// Streams, as its paths say.
struct Streaming {
    seen: Sender<Seen>,
    waiting: Option<ConnId>,
    states: Arc<AtomicUsize>,
}

/// Counts those that there are.
#[derive(Default)]
struct Counted {
    path: String,
    states: Option<Arc<AtomicUsize>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(states) = &self.states {
            states.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl App for Streaming {
    type State = Counted;

    fn upload(&mut self, request: &Request<'_>, state: &mut Counted) -> Upload {
        self.states.fetch_add(1, Ordering::Relaxed);
        *state = Counted {
            path: request.path().to_owned(),
            states: Some(Arc::clone(&self.states)),
        };
        Upload::stream(1 << 30)
    }

    fn body(&mut self, conn: &mut Conn<'_>, state: &mut Counted, part: BodyPart<'_>) {
        let seen = match part {
            BodyPart::Bytes(bytes) => Seen::Bytes(bytes.to_vec()),
            BodyPart::End => Seen::End,
            BodyPart::Aborted => Seen::Aborted,
        };
        let _over = self.seen.send(seen);
        match (state.path.as_str(), part) {
            ("/slow", BodyPart::Bytes(_)) => {
                conn.pause();
                let resumed = |conn: &mut Conn<'_>, _| conn.resume();
                conn.offload(|_| (), resumed).expect("there is room");
            }
            ("/late", BodyPart::End) => {
                self.waiting = Some(conn.id());
                conn.schedule(20_000_000, 0).expect("there is room");
            }
            ("/early", BodyPart::Bytes(_)) => {
                assert!(conn.answer(Response::text(409, "no more\n")));
                assert!(!conn.answer(Response::text(200, "twice\n")));
            }
            ("/never", _) => {}
            (_, BodyPart::End) => {
                assert!(conn.answer(Response::text(200, "done\n")));
            }
            _ => {}
        }
    }

    fn timer(&mut self, turn: &mut Turn<'_, Counted>, _: u64) {
        let id = self.waiting.take().expect("an upload waits");
        let (mut conn, state) = turn.conn(id).expect("it waits still");
        assert_eq!(state.path, "/late");
        assert!(conn.answer(Response::text(200, "late\n")));
    }

    fn message(&mut self, _: &mut Conn<'_>, _: &mut Counted, _: Message<'_>) {}
}

/// A server of [`Streaming`] apps, what they see, and the states they have.
struct Watched {
    serving: Serving,
    seen: Receiver<Seen>,
    states: Arc<AtomicUsize>,
}

impl Watched {
    fn start(config: Config) -> Self {
        let (sender, seen) = channel();
        let states = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&states);
        let serving = Serving::start(config, move |_| Streaming {
            seen: sender.clone(),
            waiting: None,
            states: Arc::clone(&counted),
        });
        Self {
            serving,
            seen,
            states,
        }
    }

    fn next(&self) -> Seen {
        self.seen
            .recv_timeout(PATIENCE)
            .expect("the app hears of it")
    }

    /// The bytes up to what is not bytes.
    fn body(&self) -> (Vec<u8>, Seen) {
        let mut body = Vec::new();
        loop {
            match self.next() {
                Seen::Bytes(bytes) => {
                    assert!(!bytes.is_empty());
                    body.extend_from_slice(&bytes);
                }
                end => return (body, end),
            }
        }
    }

    /// Nothing was told twice, and no state is left.
    fn stop(self) {
        self.serving.wait_until_idle();
        until_equal("states", &0, || self.states.load(Ordering::Relaxed));
        assert_eq!(self.seen.try_iter().count(), 0);
        self.serving.stop();
    }
}

#[test]
fn a_streamed_body_comes_in_parts_and_is_answered_at_its_end() {
    let watched = Watched::start(config());
    let mut stream = dial(watched.serving.addr());
    send(&mut stream, post("/", "Content-Length: 10\r\n", "first"));
    assert_eq!(watched.next(), Seen::Bytes(b"first".to_vec()));
    assert_eq!(ask(&mut stream, "after"), "done\n");
    assert_eq!(watched.body(), (b"after".to_vec(), Seen::End));
    let requests = [
        chunked("/", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        counted("/", ""),
        counted("/late", "wait"),
        counted("/slow", "now"),
    ];
    send(&mut stream, requests.concat());
    for (body, said) in [
        ("abcde", "done\n"),
        ("", "done\n"),
        ("wait", "late\n"),
        ("now", "done\n"),
    ] {
        assert_eq!(watched.body(), (body.as_bytes().to_vec(), Seen::End));
        assert_eq!(answer(&mut stream), said);
    }
    drop(stream);
    watched.stop();
}

#[test]
fn a_sender_waits_for_an_app_that_pauses() {
    let watched = Watched::start(config());
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut stream = dial(watched.serving.addr());
    let writer = std::thread::spawn(move || {
        let head = format!("Content-Length: {}\r\n", body.len());
        send(&mut stream, post("/slow", &head, ""));
        send(&mut stream, &body);
        // Half-closed, it still has its answer.
        stream.shutdown(Shutdown::Write).expect("connected");
        assert_eq!(answer(&mut stream), "done\n");
        body
    });
    let (received, end) = watched.body();
    assert_eq!(end, Seen::End);
    assert!(received == writer.join().expect("it is answered"));
    watched.stop();
}

#[test]
fn an_early_answer_ends_the_connection() {
    let watched = Watched::start(config());
    let early = post("/early", "Content-Length: 1000\r\n", "begin");
    let answer = exchange(watched.serving.addr(), early.as_bytes());
    assert_eq!(
        (answer.status, answer.header("connection")),
        (409, Some("close"))
    );
    assert_eq!(watched.next(), Seen::Bytes(b"begin".to_vec()));
    watched.stop();
}

#[test]
fn the_app_is_told_of_every_body_that_breaks_off() {
    let impatient = Config {
        body_timeout: Duration::from_millis(300),
        ..config()
    };
    let watched = Watched::start(impatient);
    let addr = watched.serving.addr();
    let half = post("/", "Content-Length: 10\r\n", "half");
    let aborted = |bytes: &str| {
        assert_eq!(watched.body(), (bytes.as_bytes().to_vec(), Seen::Aborted));
    };
    // Silence, a bad chunk, too much, no answer of the app.
    assert_eq!(exchange(addr, half.as_bytes()).status, 408);
    aborted("half");
    let bad = chunked("/", "4\r\nhalfX");
    assert_eq!(exchange(addr, bad.as_bytes()).status, 400);
    aborted("half");
    let large = chunked("/", "4\r\nhalf\r\n40000000\r\n");
    assert_eq!(exchange(addr, large.as_bytes()).status, 413);
    aborted("half");
    let never = counted("/never", "whole");
    assert_eq!(exchange(addr, never.as_bytes()).status, 500);
    assert_eq!(watched.body(), (b"whole".to_vec(), Seen::End));
    aborted("");
    // The end of the connection, in order and not.
    let mut stream = dial(addr);
    send(&mut stream, &half);
    stream.shutdown(Shutdown::Write).expect("connected");
    expect_eof(&mut stream);
    aborted("half");
    let mut stream = dial(addr);
    send(&mut stream, &half);
    assert_eq!(watched.next(), Seen::Bytes(b"half".to_vec()));
    drop(stream);
    aborted("");
    watched.stop();
}

#[test]
fn a_stop_cuts_uploads_and_the_app_hears_of_it() {
    let watched = Watched::start(config());
    let mut stream = dial(watched.serving.addr());
    send(&mut stream, post("/", "Content-Length: 10\r\n", "half"));
    assert_eq!(watched.next(), Seen::Bytes(b"half".to_vec()));
    watched.serving.handle().stop_now();
    assert_eq!(watched.next(), Seen::Aborted);
    watched.serving.stop();
}

#[test]
fn the_example_stores_what_it_is_sent_and_nothing_that_broke_off() {
    let folder = std::env::temp_dir().join(format!("hioload-uploads-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    let files = || {
        let entries = folder.read_dir().expect("it is there");
        let names = entries.map(|entry| entry.expect("readable").file_name());
        let mut names: Vec<_> = names
            .map(|name| name.into_string().expect("text"))
            .collect();
        names.sort();
        names
    };
    let target = folder.clone();
    let serving = Serving::start(config(), move |shard| {
        upload::Store(target.clone(), shard.index(), 0)
    });
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[2]).collect();
    let mut stream = dial(serving.addr());
    for name in ["a.bin", "b.bin"] {
        let head = post(&format!("/{name}"), "Content-Length: 5000000\r\n", "");
        send(&mut stream, head);
        send(&mut stream, &body);
        let answer = Answer::read(&mut stream);
        assert_eq!(answer.status, 201, "{}", answer.head);
        assert!(std::fs::read(folder.join(name)).expect("stored") == body);
    }
    let empty = Answer::read({
        send(&mut stream, counted("/empty", ""));
        &mut stream
    });
    assert_eq!(empty.status, 201);
    assert_eq!(
        exchange(serving.addr(), counted("/../x", "x").as_bytes()).status,
        400
    );
    send(&mut stream, post("/broken", "Content-Length: 100\r\n", "x"));
    until_equal("the part", &4, || files().len());
    drop(stream);
    until_equal("files", &vec!["a.bin", "b.bin", "empty"], || {
        let names = files();
        ["a.bin", "b.bin", "empty"]
            .into_iter()
            .filter(|name| names.len() == 3 && names.iter().any(|n| n == name))
            .collect()
    });
    serving.wait_until_idle();
    serving.stop();
    std::fs::remove_dir_all(&folder).expect("it can go");
}
