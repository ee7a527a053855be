//! Every malformed handshake gets its HTTP status and a short reason, however
//! slowly or quickly it comes; other connections are not affected.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use hioload::{App, Config, Conn, Message, Refusal, Request, Response, Upgrade};
use hioload_protocol::frame::OpCode;
use support::client::{Client, dial, frame};
use support::http::{Answer, exchange, expect_eof, get, upgrade};
use support::wait::{PATIENCE, until_equal};
use support::{Serving, config};

/// Echoes; refuses some paths; answers plain requests with their path.
struct Site;

impl App for Site {
    type State = ();

    fn upgrade(&mut self, request: &Request<'_>, (): &mut ()) -> Upgrade {
        match request.path() {
            "/forbidden" => Refusal::Forbidden.into(),
            "/missing" => Refusal::NotFound.into(),
            "/invalid" => Upgrade::accept().header("X-Forged", "a\r\nX-Other: b"),
            "/chosen" => Upgrade::accept()
                .protocol("chat")
                .header("X-Served-By", "hioload"),
            _ => Upgrade::accept(),
        }
    }

    fn http(&mut self, request: &Request<'_>) -> Response {
        match request.path() {
            "/missing" => Response::not_found(),
            path => Response::ok("text/plain", path.as_bytes().to_vec()),
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.send(message);
    }
}

/// A GET with these lines after the request line.
fn plain(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\n{lines}\r\n")
}

fn headers(count: usize) -> String {
    (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect()
}

/// A name, the status, and what is sent.
type Case = (&'static str, u16, String);

/// What is no HTTP/1.1 request, or none that is served here.
fn bad_requests() -> Vec<Case> {
    let get = |lines| plain(&format!("Host: a\r\n{lines}"));
    let post = |lines| get(lines).replace("GET", "POST");
    let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
    vec![
        ("garbage", 400, "\u{1}\u{2}\u{3}\r\n\r\n".into()),
        ("no request line", 400, "\r\n\r\n\r\n".into()),
        ("TLS", 400, "\u{16}\u{3}\u{1}\u{0}\u{5}hello\r\n\r\n".into()),
        ("bare line feeds", 400, "GET / HTTP/1.1\nHost: a\n\n".into()),
        ("a space before the colon", 400, plain("Host : a\r\n")),
        ("a folded header", 400, get("X: 1\r\n 2\r\n")),
        ("a control character", 400, get("X: \u{7}\r\n")),
        ("no Host", 400, plain("")),
        ("two Hosts", 400, get("Host: b\r\n")),
        ("a bad Host", 400, plain("Host: a b\r\n")),
        ("a bad target", 400, get("").replace("/ ", "a ")),
        ("a bad length", 400, get("Content-Length: x\r\n")),
        ("two ways to say the length", 400, get(both)),
        ("a large body", 413, post("Content-Length: 1048577\r\n")),
        (
            "a long header",
            431,
            get(&format!("X: {}\r\n", "a".repeat(9000))),
        ),
        ("many headers", 431, get(&headers(64))),
        ("a gzip coding", 501, get("Transfer-Encoding: gzip\r\n")),
        ("HTTP/2", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
    ]
}

/// What asks for a WebSocket and does not get one.
fn bad_upgrades() -> Vec<Case> {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    let good = upgrade("/");
    let edit = |from: &str, to: &str| good.replace(from, to);
    let with = |line: &str| edit("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
    let key = format!("Sec-WebSocket-Key: {KEY}");
    let long = format!("/{}", "a".repeat(5000));
    vec![
        ("HTTP/1.0", 400, edit("HTTP/1.1", "HTTP/1.0")),
        ("no key", 400, edit(&key, "X-Key: none")),
        ("a short key", 400, edit(KEY, "c2hvcnQ=")),
        ("a key that is no base64", 400, edit("dGhl", "!!!!")),
        ("two keys", 400, with(&key)),
        (
            "no version",
            400,
            edit("Sec-WebSocket-Version", "X-Version"),
        ),
        ("a body", 413, with("Content-Length: 5")),
        ("a chunked body", 413, with("Transfer-Encoding: chunked")),
        ("refused by the app", 403, upgrade("/forbidden")),
        ("not found by the app", 404, upgrade("/missing")),
        ("POST", 405, edit("GET", "POST")),
        ("a long request line", 414, upgrade(&long)),
        ("version 12", 426, edit("Version: 13", "Version: 12")),
        ("an invalid header of the app", 500, upgrade("/invalid")),
    ]
}

fn cases() -> Vec<Case> {
    [bad_requests(), bad_upgrades()].concat()
}

#[test]
fn each_malformed_handshake_gets_its_status() {
    let serving = Serving::start(config(), |_| Site);
    let mut others: Vec<_> = (0..4)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    let cases = cases();
    for (name, status, request) in &cases {
        let answer = exchange(serving.addr(), request.as_bytes());
        assert_eq!(answer.status, *status, "{name}: {}", answer.head);
        let reason = answer.text();
        assert!(
            reason.ends_with('\n') && reason.lines().count() == 1,
            "{name}: {reason:?}"
        );
        assert!((5..100).contains(&reason.len()), "{name}: {reason:?}");
        let connection = answer.header("connection").unwrap_or_default();
        assert!(connection.starts_with("close"), "{name}: {}", answer.head);
        match status {
            405 => assert!(
                answer
                    .header("allow")
                    .is_some_and(|allow| allow.contains("GET"))
            ),
            426 => {
                assert_eq!(answer.header("sec-websocket-version"), Some("13"));
                assert_eq!(answer.header("upgrade"), Some("websocket"));
            }
            _ => {}
        }
        others.iter_mut().for_each(|other| other.check_echo(name));
    }
    let refused: u64 = serving.metrics().refusals().values().sum();
    assert_eq!(
        refused,
        cases.len() as u64,
        "{:?}",
        serving.metrics().refusals()
    );
    drop(others);
    serving.wait_until_idle();
    serving.stop();
}

#[test]
fn the_same_statuses_come_when_every_byte_comes_alone() {
    let serving = Serving::start(config(), |_| Site);
    // The long ones take longer and say nothing new.
    for (name, status, request) in bad_requests().iter().filter(|case| case.2.len() < 1000) {
        let mut stream = dial(serving.addr());
        for byte in request.as_bytes() {
            // The answer may come before the end of the request.
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        assert_eq!(Answer::read(&mut stream).status, *status, "{name}");
    }
    serving.wait_until_idle();
    serving.stop();
}

#[test]
fn a_handshake_byte_by_byte_is_a_handshake() {
    let serving = Serving::start(config(), |_| Site);
    let mut stream = dial(serving.addr());
    let offer = "Sec-WebSocket-Protocol: superchat, chat\r\n\r\n";
    let request = upgrade("/chosen").replacen("\r\n\r\n", &format!("\r\n{offer}"), 1);
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).expect("taken");
    }
    let answer = Answer::read_head(&mut stream);
    assert_eq!(answer.status, 101);
    // The key and its answer of RFC 6455 section 1.3.
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(answer.header("sec-websocket-protocol"), Some("chat"));
    assert_eq!(answer.header("x-served-by"), Some("hioload"));
    for byte in frame(true, OpCode::Text, b"byte by byte") {
        stream.write_all(&[byte]).expect("taken");
    }
    expect_frame(&mut stream, b"\x81\x0cbyte by byte");
    serving.cut();
}

#[test]
fn a_subprotocol_nobody_offered_is_the_apps_error() {
    let serving = Serving::start(config(), |_| Site);
    let mut stream = dial(serving.addr());
    stream
        .write_all(upgrade("/chosen").as_bytes())
        .expect("taken");
    assert_eq!(Answer::read(&mut stream).status, 500);
    serving.stop();
}

fn expect_frame(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).expect("a frame");
    assert_eq!(bytes, expected);
}

#[test]
fn an_independent_client_shakes_hands_and_is_refused() {
    let serving = Serving::start(config(), |_| Site);
    let url = |path| format!("ws://{}{path}", serving.addr());
    let (mut socket, response) =
        tungstenite::client(url("/any"), dial(serving.addr())).expect("a handshake");
    assert_eq!(response.status(), 101);
    socket.send("hello".into()).expect("sent");
    assert_eq!(
        socket.read().expect("an echo").into_text().expect("text"),
        "hello"
    );
    for (path, status) in [("/forbidden", 403), ("/missing", 404)] {
        match tungstenite::client(url(path), dial(serving.addr())) {
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                assert_eq!(response.status(), status);
            }
            other => panic!("{other:?}"),
        }
    }
    drop(socket);
    serving.cut();
}

#[test]
fn frames_in_the_handshakes_own_segment_are_not_lost() {
    let serving = Serving::start(config(), |_| Site);
    let mut stream = dial(serving.addr());
    let mut wire = upgrade("/").into_bytes();
    wire.extend(frame(true, OpCode::Text, b"early"));
    wire.extend(frame(false, OpCode::Binary, b"half "));
    stream.write_all(&wire).expect("taken");
    assert_eq!(Answer::read_head(&mut stream).status, 101);
    expect_frame(&mut stream, b"\x81\x05early");
    stream
        .write_all(&frame(true, OpCode::Continuation, b"whole"))
        .expect("taken");
    expect_frame(&mut stream, b"\x82\x0ahalf whole");
    serving.cut();
}

#[test]
fn requests_in_one_segment_are_answered_in_order() {
    let serving = Serving::start(config(), |_| Site);
    let mut stream = dial(serving.addr());
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut wire = request("/one") + &request("/two") + &request("/missing");
    wire += &request("/head").replace("GET", "HEAD");
    // An upgrade after plain requests, and its first frame.
    wire += &upgrade("/");
    let mut wire = wire.into_bytes();
    wire.extend(frame(true, OpCode::Text, b"upgraded"));
    stream.write_all(&wire).expect("taken");
    for path in ["/one", "/two"] {
        let answer = Answer::read(&mut stream);
        assert_eq!((answer.status, answer.text()), (200, path));
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
    assert_eq!(Answer::read(&mut stream).status, 404);
    let head = Answer::read_head(&mut stream);
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("5"))
    );
    assert_eq!(Answer::read_head(&mut stream).status, 101);
    expect_frame(&mut stream, b"\x81\x08upgraded");
    serving.cut();
}

#[test]
fn a_client_that_asks_for_the_end_gets_it() {
    let serving = Serving::start(config(), |_| Site);
    let mut stream = dial(serving.addr());
    let close = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream
        .write_all(format!("{close}GET /never HTTP/1.1\r\n").as_bytes())
        .expect("taken");
    let answer = Answer::read(&mut stream);
    assert_eq!(
        (answer.text(), answer.header("connection")),
        ("/last", Some("close"))
    );
    expect_eof(&mut stream);
    // HTTP/1.0 ends by default.
    let answer = exchange(serving.addr(), b"GET /old HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status, answer.text()), (200, "/old"));
    drop(stream);
    serving.wait_until_idle();
    serving.stop();
}

/// Writes a byte now and then until an answer comes.
fn drip(stream: &mut TcpStream, bytes: &[u8]) -> Answer {
    stream
        .set_read_timeout(Some(Duration::from_millis(40)))
        .expect("a timeout");
    for byte in bytes {
        stream.write_all(&[*byte]).expect("the server still reads");
        let mut peeked = [0];
        if stream.peek(&mut peeked).is_ok() {
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            return Answer::read(stream);
        }
    }
    panic!("no answer to {} bytes", bytes.len());
}

#[test]
fn a_slow_handshake_is_cut_by_the_deadline() {
    let deadline = Duration::from_millis(600);
    let serving = Serving::start(
        Config {
            handshake_timeout: deadline,
            ..config()
        },
        |_| Site,
    );
    let mut other = Client::connect(serving.addr(), "/");
    let before = Instant::now();
    let mut stream = dial(serving.addr());
    let answer = drip(&mut stream, upgrade("/").as_bytes());
    assert_eq!(answer.status, 408);
    let took = before.elapsed();
    assert!(
        took >= deadline && took < deadline + Duration::from_millis(1500),
        "{took:?}"
    );
    expect_eof(&mut stream);

    // The time of a second request begins with the end of the first.
    let mut stream = dial(serving.addr());
    let request = "GET /one HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("taken");
    assert_eq!(Answer::read(&mut stream).status, 200);
    assert_eq!(drip(&mut stream, upgrade("/").as_bytes()).status, 408);

    // Between two requests the end comes without an answer.
    let mut stream = dial(serving.addr());
    stream.write_all(request.as_bytes()).expect("taken");
    assert_eq!(Answer::read(&mut stream).status, 200);
    expect_eof(&mut stream);

    // A WebSocket is under no such deadline.
    other.check_echo("still here");
    drop((stream, other));
    serving.wait_until_idle();
    assert_eq!(serving.metrics().refusals().get("timeout"), Some(&2));
    serving.stop();
}

#[test]
fn a_head_is_refused_as_soon_as_it_is_too_large() {
    let serving = Serving::start(
        Config {
            max_head: 1024,
            ..config()
        },
        |_| Site,
    );
    for start in ["", "\r\n"] {
        let mut stream = dial(serving.addr());
        stream
            .write_all(format!("{start}GET / HTTP/1.1\r\nX: ").as_bytes())
            .expect("taken");
        // Piece by piece, so that the head is collected, and never ended.
        let mut sent = 0;
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("a timeout");
        while stream.peek(&mut [0]).is_err() {
            assert!(sent < 100_000, "{sent} bytes of a head were taken");
            sent += stream.write(&[b'x'; 100]).expect("taken");
        }
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        assert_eq!(Answer::read(&mut stream).status, 431, "after {start:?}");
    }
    // Exactly as long as allowed.
    let head = |len: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(len - start.len() - 4))
    };
    assert_eq!(exchange(serving.addr(), head(1024).as_bytes()).status, 200);
    assert_eq!(exchange(serving.addr(), head(1025).as_bytes()).status, 431);
    serving.cut();
}

#[test]
fn connections_above_the_limit_are_answered_503() {
    let serving = Serving::start(
        Config {
            max_connections: 3,
            ..config()
        },
        |_| Site,
    );
    let mut clients: Vec<_> = (0..3)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    for _ in 0..5 {
        assert_eq!(get(serving.addr(), "/").status, 503);
        until_equal("the refused one is gone", &3, || {
            serving.metrics().sockets()
        });
    }
    clients
        .iter_mut()
        .for_each(|client| client.check_echo("not affected"));
    clients.remove(0).close_and_wait();
    until_equal("one left", &2, || serving.metrics().sockets());
    let mut late = Client::connect(serving.addr(), "/");
    late.check_echo("in its place");
    assert_eq!(serving.metrics().refusals().get("unavailable"), Some(&5));
    drop((clients, late));
    serving.wait_until_idle();
    serving.stop();
}

/// Whether it ends with a FIN, a reset or half a close: it is noticed, and not
/// only by the handshake deadline.
#[test]
fn connections_that_end_in_the_handshake_leave_nothing() {
    let config = Config {
        handshake_timeout: 10 * PATIENCE,
        ..config()
    };
    let serving = Serving::start(config, |_| Site);
    let request = upgrade("/");
    for cut in (0..request.len()).step_by(7) {
        for end in [drop::<TcpStream>, support::client::reset] {
            let mut stream = dial(serving.addr());
            stream.write_all(&request.as_bytes()[..cut]).expect("taken");
            end(stream);
        }
        let mut stream = dial(serving.addr());
        stream.write_all(&request.as_bytes()[..cut]).expect("taken");
        stream.shutdown(Shutdown::Write).expect("a FIN");
        expect_eof(&mut stream);
    }
    serving.wait_until_idle();
    let mut client = Client::connect(serving.addr(), "/");
    client.check_echo("unimpressed");
    client.close_and_wait();
    serving.wait_until_idle();
    serving.stop();
}
