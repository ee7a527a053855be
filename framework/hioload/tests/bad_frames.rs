//! Every protocol violation gets its close code, whoever does not take part in
//! the end is cut, and other connections are not affected.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use hioload::{App, CloseCode, Config, Conn, Kind, Message};
use hioload_protocol::frame::OpCode;
use support::client::{Client, Seen, dial, frame};
use support::random::Random;
use support::wait::{PATIENCE, until_equal};
use support::{Serving, config};

const MAX_MESSAGE: usize = 1000;

/// Echoes text, and accepts nothing else.
struct TextOnly;

impl App for TextOnly {
    type State = ();

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        match message.as_text() {
            Some("close") => conn.close(CloseCode::NORMAL, "as asked"),
            Some("burst") => {
                for _ in 0..100 {
                    conn.send(&[7; 100_000][..]);
                }
            }
            Some(text) => {
                conn.send(text);
            }
            None => conn.close(CloseCode::UNSUPPORTED, "text only"),
        }
    }
}

fn start(close_timeout: Duration) -> Serving {
    let config = Config {
        max_message: MAX_MESSAGE,
        backpressure_limit: 64 << 20,
        close_timeout,
        ..config()
    };
    Serving::start(config, |_| TextOnly)
}

fn text(payload: &[u8]) -> Vec<u8> {
    frame(true, OpCode::Text, payload)
}

/// A frame with these two first bytes, a key of zeros and this payload.
fn odd(first: u8, second: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[first, second][..], length, &[0; 4], payload].concat()
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(true, OpCode::Close, &[&code.to_be_bytes(), reason].concat())
}

/// A name, the code, and what is sent.
type Case = (&'static str, u16, Vec<u8>);

fn begin(payload: &[u8]) -> Vec<u8> {
    frame(false, OpCode::Text, payload)
}

fn rest(payload: &[u8]) -> Vec<u8> {
    frame(true, OpCode::Continuation, payload)
}

/// Frames that are none, or none in this place.
fn bad_framing() -> Vec<Case> {
    let long = odd(0x81, 0xFF, &[0, 0, 0, 0, 0, 0, 1, 0], b"");
    let short = odd(0x81, 0xFE, &[0, 125], &[b'x'; 125]);
    vec![
        ("an unmasked frame", 1002, b"\x81\x05hello".to_vec()),
        ("RSV1", 1002, odd(0xC1, 0x80, b"", b"")),
        ("RSV2", 1002, odd(0xA1, 0x80, b"", b"")),
        ("RSV3", 1002, odd(0x91, 0x80, b"", b"")),
        ("opcode 3", 1002, odd(0x83, 0x80, b"", b"")),
        ("opcode 11", 1002, odd(0x8B, 0x80, b"", b"")),
        ("a ping without FIN", 1002, odd(0x09, 0x80, b"", b"")),
        ("a close without FIN", 1002, odd(0x08, 0x80, b"", b"")),
        ("a long ping", 1002, odd(0x89, 0xFE, &[0, 126], &[0; 126])),
        ("a continuation of nothing", 1002, rest(b"")),
        (
            "a message in another",
            1002,
            [begin(b"a"), text(b"b")].concat(),
        ),
        ("16 bits for a short length", 1002, short),
        ("64 bits for a short length", 1002, long),
        ("the highest bit", 1002, odd(0x82, 0xFF, &[0xFF; 8], b"")),
        ("half a code", 1002, frame(true, OpCode::Close, &[3])),
        ("close code 999", 1002, close(999, b"")),
        ("close code 1005", 1002, close(1005, b"")),
        ("close code 1006", 1002, close(1006, b"")),
        ("close code 2999", 1002, close(2999, b"")),
        ("close code 5000", 1002, close(5000, b"")),
    ]
}

/// Payloads that are not what they should be.
fn bad_content() -> Vec<Case> {
    let half = vec![b'x'; MAX_MESSAGE / 2 + 1];
    let cut = "世界".as_bytes().split_at(5).0;
    let terabyte = odd(0x82, 0xFF, &[0, 0, 1, 0, 0, 0, 0, 0], b"");
    vec![
        ("binary", 1003, frame(true, OpCode::Binary, b"x")),
        ("Latin-1", 1007, text(b"caf\xE9")),
        ("an overlong encoding", 1007, text(b"\xC0\xAF")),
        ("a surrogate", 1007, text(b"\xED\xA0\x80")),
        ("a cut character", 1007, text(cut)),
        (
            "cut anew",
            1007,
            [begin(b"\xE4\xB8"), rest(b"\xE4")].concat(),
        ),
        ("a bad reason", 1007, close(1000, b"\xFF")),
        ("too much", 1009, text(&[b'x'; MAX_MESSAGE + 1])),
        ("a terabyte announced", 1009, terabyte),
        (
            "too much in pieces",
            1009,
            [begin(&half), rest(&half)].concat(),
        ),
    ]
}

#[test]
fn each_violation_gets_its_code() {
    let serving = start(PATIENCE);
    let mut others: Vec<_> = (0..4)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    for (name, code, wire) in [bad_framing(), bad_content()].concat() {
        eprintln!("{name}");
        // In one segment, and byte by byte.
        let mut client = Client::connect(serving.addr(), "/");
        client.check_echo("before");
        client.raw(&wire);
        client.expect_end(code);
        let mut client = Client::connect(serving.addr(), "/");
        for byte in &wire {
            // The server may have ended before the last byte.
            if client.try_raw(&[*byte]).is_err() {
                break;
            }
        }
        assert_eq!(client.expect_close(), code);
        others.iter_mut().for_each(|other| other.check_echo(name));
    }
    let closes = serving.metrics().closes();
    assert!(
        closes
            .keys()
            .all(|code| ["1002", "1003", "1007", "1009"].contains(&&**code))
    );
    drop(others);
    serving.wait_until_idle();
    serving.stop();
}

/// What lies just inside the limits is no violation.
#[test]
fn the_limits_themselves_are_allowed() {
    let serving = start(PATIENCE);
    let mut client = Client::connect(serving.addr(), "/");
    client.check_echo(&"x".repeat(MAX_MESSAGE));
    client.check_echo("");
    let all = "é".repeat(MAX_MESSAGE / 2);
    let mut wire = Vec::new();
    client.encode(
        Kind::Text,
        all.as_bytes(),
        &[0, 1, 1, 500, 999],
        Some(b"between"),
        &mut wire,
    );
    client.raw(&wire);
    assert_eq!(client.next(), Seen::Pong(b"between".to_vec()));
    assert_eq!(client.expect_text(), all);
    client.raw(&frame(true, OpCode::Ping, &[1; 125]));
    assert_eq!(client.next(), Seen::Pong(vec![1; 125]));
    client.raw(&frame(true, OpCode::Pong, b"unasked"));
    client.check_echo("still here");
    client.raw(&frame(true, OpCode::Close, b""));
    assert_eq!(client.message(), Seen::Closed(1005, String::new()));
    assert_eq!(client.message(), Seen::Eof);
    drop(client);
    serving.wait_until_idle();
    serving.stop();
}

#[test]
fn an_independent_client_sees_the_code() {
    let serving = start(PATIENCE);
    let url = format!("ws://{}/", serving.addr());
    for (message, code) in [
        (tungstenite::Message::binary(&b"x"[..]), 1003),
        (
            tungstenite::Message::text("x".repeat(MAX_MESSAGE + 1)),
            1009,
        ),
    ] {
        let (mut socket, _) = tungstenite::client(&url, dial(serving.addr())).expect("a handshake");
        socket.send(message).expect("sent");
        match socket.read().expect("a close") {
            tungstenite::Message::Close(Some(close)) => assert_eq!(u16::from(close.code), code),
            other => panic!("{other:?} instead of a close"),
        }
    }
    serving.wait_until_idle();
    serving.stop();
}

const CLOSE_TIMEOUT: Duration = Duration::from_millis(400);

#[test]
fn who_keeps_sending_after_the_close_is_cut() {
    let serving = start(CLOSE_TIMEOUT);
    let mut other = Client::connect(serving.addr(), "/");
    for (first, code) in [(text(b"close"), 1000), (vec![0xFF, 0xFF], 1002)] {
        let mut client = Client::connect(serving.addr(), "/");
        client.mute();
        client.raw(&first);
        assert_eq!(client.expect_close(), code);
        let before = Instant::now();
        let more = text(&[b'x'; 100]).repeat(100);
        while client.try_raw(&more).is_ok() {
            assert!(
                before.elapsed() < PATIENCE,
                "what follows a close is read for ever"
            );
        }
        assert!(
            before.elapsed() >= CLOSE_TIMEOUT / 2,
            "{:?}",
            before.elapsed()
        );
        other.check_echo("not affected");
    }
    until_equal("one left", &1, || serving.metrics().sockets());
    drop(other);
    serving.wait_until_idle();
    serving.stop();
}

#[test]
fn who_never_answers_the_close_is_cut() {
    let serving = start(CLOSE_TIMEOUT);
    let mut clients = Vec::new();
    for first in [text(b"close"), vec![0xFF, 0xFF], close(1000, b"bye")] {
        let before = Instant::now();
        let mut client = Client::connect(serving.addr(), "/");
        client.mute();
        client.raw(&first);
        client.expect_close();
        // Its connection stays open on this side.
        until_equal("cut", &0, || serving.metrics().sockets());
        let took = before.elapsed();
        let late = CLOSE_TIMEOUT + Duration::from_millis(1500);
        assert!(took >= CLOSE_TIMEOUT && took < late, "{took:?}");
        clients.push(client);
    }
    serving.wait_until_idle();
    serving.stop();
}

/// A connection in some state of its life.
type Stage = fn(&Serving) -> TcpStream;

fn stages() -> Vec<(&'static str, Stage)> {
    fn after(serving: &Serving, wire: &[u8]) -> TcpStream {
        let mut client = Client::connect(serving.addr(), "/");
        client.raw(wire);
        client.writer()
    }
    vec![
        ("connected", |serving| dial(serving.addr())),
        ("open", |serving| after(serving, b"")),
        ("in a header", |serving| after(serving, &[0x81])),
        ("in a long header", |serving| {
            after(serving, &[0x81, 0xFE, 1])
        }),
        ("in a payload", |serving| {
            after(serving, &text(b"cut short")[..9])
        }),
        ("between fragments", |serving| {
            after(serving, &frame(false, OpCode::Text, b"begin"))
        }),
        ("in a control frame", |serving| {
            after(serving, &frame(true, OpCode::Ping, b"ping")[..8])
        }),
        ("after a message", |serving| after(serving, &text(b"hello"))),
        ("with much to read", |serving| {
            after(serving, &text(b"burst"))
        }),
        ("after the server's close", |serving| {
            after(serving, &text(b"close"))
        }),
        ("after a violation", |serving| after(serving, &[0xFF, 0xFF])),
        ("after a close", |serving| after(serving, &close(1000, b""))),
        ("much to read, then a close", |serving| {
            after(serving, &[text(b"burst"), close(1000, b"")].concat())
        }),
    ]
}

#[test]
fn a_half_close_or_reset_at_any_stage_leaves_nothing() {
    let serving = start(CLOSE_TIMEOUT);
    let mut other = Client::connect(serving.addr(), "/");
    for (name, stage) in stages() {
        eprintln!("{name}");
        for _ in 0..5 {
            drop(stage(&serving));
            support::client::reset(stage(&serving));
            // Ends its direction, reads on: the server ends too.
            let mut stream = stage(&serving);
            stream.shutdown(std::net::Shutdown::Write).expect("a FIN");
            std::io::copy(&mut stream, &mut std::io::sink()).expect("an orderly end");
            // Ends its direction and never reads.
            let silent = stage(&serving);
            silent.shutdown(std::net::Shutdown::Write).expect("a FIN");
            until_equal("one left", &1, || serving.metrics().sockets());
        }
        other.check_echo(name);
    }
    drop(other);
    serving.wait_until_idle();
    serving.stop();
}

/// A message that is followed by a FIN is answered all the same.
#[test]
fn what_came_before_a_half_close_is_answered() {
    let serving = start(PATIENCE);
    let mut client = Client::connect(serving.addr(), "/");
    client.raw(
        &[
            text(b"one"),
            text(b"two"),
            frame(false, OpCode::Text, b"unfinished"),
        ]
        .concat(),
    );
    client.finish();
    assert_eq!(client.expect_text(), "one");
    assert_eq!(client.expect_text(), "two");
    assert_eq!(client.message(), Seen::Eof);
    serving.wait_until_idle();
    serving.stop();
}

/// Random bytes, or valid frames of which some bits are turned.
fn garbage(random: &mut Random) -> Vec<u8> {
    let len = random.magnitude(11);
    if random.one_in(2) {
        return random.bytes(len);
    }
    let mut wire = Vec::new();
    while wire.len() < len {
        let opcode = *random.pick(&[
            OpCode::Text,
            OpCode::Binary,
            OpCode::Continuation,
            OpCode::Ping,
            OpCode::Pong,
            OpCode::Close,
        ]);
        let payload = random.magnitude(7);
        wire.extend(frame(random.one_in(2), opcode, &random.bytes(payload)));
    }
    for _ in 0..random.below(4) {
        let at = random.below(wire.len().max(1));
        if let Some(byte) = wire.get_mut(at) {
            *byte ^= 1 << random.below(8);
        }
    }
    wire
}

#[test]
fn random_garbage_ends_in_an_orderly_way() {
    let serving = start(PATIENCE);
    let mut random = Random::from_environment();
    let mut other = Client::connect(serving.addr(), "/");
    for round in 0..500 {
        let seed = random.next();
        let mut own = Random::from_seed(seed);
        let wire = garbage(&mut own);
        let mut client = Client::connect(serving.addr(), "/");
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let size = own.magnitude(9).clamp(1, rest.len());
            // The server may have had enough.
            if client.try_raw(&rest[..size]).is_err() {
                break;
            }
            rest = &rest[size..];
        }
        client.finish();
        loop {
            // The client checks that what comes is valid.
            match client.next() {
                Seen::Eof | Seen::Reset => break,
                Seen::Closed(code, _) => {
                    assert!(
                        CloseCode(code).is_sendable() || code == 1005,
                        "{code}, {seed}"
                    );
                }
                _ => {}
            }
        }
        if round % 50 == 0 {
            other.check_echo("not affected");
        }
    }
    drop(other);
    serving.wait_until_idle();
    serving.stop();
}
