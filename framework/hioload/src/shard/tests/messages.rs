//! Requests that become connections of the app, on virtual time.

use std::time::Duration;

use super::*;
use crate::app::{ConnId, Turn};
use crate::hub::SubscribeOutcome;

/// What a client of such a connection has got.
struct Reader {
    token: Token,
    chunked: bool,
}

impl Reader {
    /// `path` says the framing; its head is taken.
    fn open(shard: &mut Shard, path: &str, version: &str) -> Self {
        let token = shard.accept();
        let request = format!("GET {path} HTTP/{version}\r\nHost: h\r\n\r\n");
        shard.feed(token, request.as_bytes());
        let head = String::from_utf8(wire(shard, token)).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Connection: close\r\n"), "{head}");
        assert!(!head.contains("Content-Length"), "{head}");
        let chunked = head.contains("Transfer-Encoding: chunked\r\n");
        assert_eq!(chunked, version == "1.1");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        Self { token, chunked }
    }

    /// What was sent since this was asked last, without its chunks; and
    /// whether that was all there will be.
    fn take(&self, shard: &mut Shard) -> (Vec<u8>, bool) {
        let bytes = wire(shard, self.token);
        if !self.chunked {
            return (bytes, shard.wire(self.token).shut);
        }
        let (mut rest, mut body) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
            let len = std::str::from_utf8(&rest[..end]).unwrap();
            let len = usize::from_str_radix(len, 16).unwrap();
            let (chunk, after) = rest[end + 2..].split_at(len);
            assert_eq!(&after[..2], b"\r\n");
            body.extend_from_slice(chunk);
            rest = &after[2..];
            if len == 0 {
                assert_eq!(rest, b"", "nothing comes after the last chunk");
                return (body, true);
            }
        }
        (body, false)
    }

    fn expect(&self, shard: &mut Shard, body: &str) {
        let (got, ended) = self.take(shard);
        assert_eq!((std::str::from_utf8(&got).unwrap(), ended), (body, false));
    }

    fn expect_end(&self, shard: &mut Shard, body: &str) {
        let (got, ended) = self.take(shard);
        assert_eq!((std::str::from_utf8(&got).unwrap(), ended), (body, true));
    }
}

fn wire(shard: &mut Shard, token: Token) -> Vec<u8> {
    std::mem::take(&mut shard.wires[token.index()].bytes)
}

/// Nothing of a connection is left.
fn assert_over(shard: &mut Shard, token: Token) {
    shard.core.receive_ended(token, &RecvEnd::Eof);
    shard.turn();
    assert!(shard.wire(token).closed);
    assert_eq!(shard.metrics.connections(), 0);
    let cx = shard.core.context();
    assert_eq!((cx.topics.len(), cx.wheel.len()), (0, 0));
    assert_eq!(cx.outboxes.pending(), 0);
    assert_eq!(shard.metrics.sockets(), 0);
}

/// Publishes from elsewhere.
fn publish(shard: &mut Shard, message: Message<'_>) {
    with_turn(shard, |turn| {
        turn.publish("/news", message);
    });
}

fn with_turn(shard: &mut Shard, act: impl FnOnce(&mut Turn<'_, String>)) {
    let ShardCore { slab, cx, .. } = &mut shard.core;
    act(&mut Turn { slab, cx });
    shard.core.deliver();
    shard.turn();
}

#[test]
fn each_framing_tells_messages_apart() {
    for version in ["1.1", "1.0"] {
        for (path, text, binary) in [
            ("/lines", "{}\n", "\x01\x02\n"),
            ("/bare", "{}", "\x01\x02"),
            ("/events", "data: {}\n\n", "data: AQI=\n\n"),
        ] {
            let mut shard = Shard::new(&silent());
            let reader = Reader::open(&mut shard, path, version);
            assert_eq!(shard.app().opened, 1);
            publish(&mut shard, Message::text("{}"));
            publish(&mut shard, Message::binary(&[1, 2]));
            reader.expect(&mut shard, &[text, binary].concat());
            // By name, as from a timer or another shard.
            let id = ConnId(reader.token);
            with_turn(&mut shard, |turn| {
                let (mut conn, _) = turn.conn(id).unwrap();
                conn.send("{}");
                conn.send_fragmented(Kind::Text, ["{", "", "}"]);
            });
            reader.expect(&mut shard, &[text, text].concat());
        }
    }
}

#[test]
fn a_large_publication_is_sent_as_it_is_and_copied_for_nobody() {
    let mut shard = Shard::new(&silent());
    let paths = ["/lines", "/bare", "/events"];
    let readers = paths.map(|path| Reader::open(&mut shard, path, "1.1"));
    for reader in &readers {
        shard.wires[reader.token.index()].stuck = true;
    }
    let text = "x".repeat(300_000);
    publish(&mut shard, Message::text(&text));
    // Chunks are all that connections have of their own, and heads fit the
    // smallest.
    let chunks = shard.core.context().outboxes.chunks().stats();
    assert!(chunks.iter().skip(1).all(|class| class.peak == 0));
    let framed = [
        format!("{text}\n"),
        text.clone(),
        format!("data: {text}\n\n"),
    ];
    for (reader, framed) in readers.iter().zip(framed) {
        shard.unstick(reader.token);
        reader.expect(&mut shard, &framed);
    }
}

#[test]
fn a_message_of_nothing_does_not_end_the_answer() {
    let mut shard = Shard::new(&silent());
    let reader = Reader::open(&mut shard, "/bare", "1.1");
    publish(&mut shard, Message::text(""));
    publish(&mut shard, Message::text("more"));
    reader.expect(&mut shard, "more");
}

#[test]
fn a_close_says_farewell_and_the_app_hears_of_it_once() {
    for (path, farewell) in [
        ("/lines", "{}\n4000: bye\n"),
        ("/bare", "{}4000: bye"),
        ("/events", "data: {}\n\ndata: 4000: bye\n\n"),
    ] {
        for version in ["1.1", "1.0"] {
            let mut shard = Shard::new(&silent());
            let reader = Reader::open(&mut shard, path, version);
            let id = ConnId(reader.token);
            with_turn(&mut shard, |turn| {
                let (mut conn, _) = turn.conn(id).unwrap();
                conn.send("{}");
                conn.close(CloseCode(4000), "bye");
                assert!(conn.is_closing());
                conn.close(CloseCode(4001), "again");
                conn.send("too late");
            });
            assert!(shard.wire(reader.token).shut);
            reader.expect_end(&mut shard, farewell);
            assert_eq!(shard.app().closed, []);
            assert_over(&mut shard, reader.token);
            assert_eq!(shard.app().closed, [(4000, false)]);
            assert_eq!(wire(&mut shard, reader.token), b"", "nothing more");
        }
    }
}

#[test]
fn who_never_ends_after_the_farewell_is_cut() {
    let mut shard = Shard::new(&silent());
    let reader = Reader::open(&mut shard, "/lines", "1.1");
    shard.core.with(reader.token, |link, cx| {
        link.close(CloseCode(4000), "bye", cx);
    });
    shard.advance(5 * SECOND + MS);
    assert!(shard.wire(reader.token).closed);
    assert_eq!(shard.app().closed, [(4000, false)]);
}

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    for end in [
        RecvEnd::Eof,
        RecvEnd::Failed(std::io::ErrorKind::ConnectionReset.into()),
    ] {
        let mut shard = Shard::new(&silent());
        let reader = Reader::open(&mut shard, "/lines", "1.1");
        // What it says after its request means nothing.
        shard.feed(reader.token, b"GET / HTTP/1.1\r\n\r\n");
        publish(&mut shard, Message::text("{}"));
        reader.expect(&mut shard, "{}\n");
        shard.core.receive_ended(reader.token, &end);
        shard.turn();
        assert_eq!(shard.app().closed, [(1006, false)]);
        assert_over(&mut shard, reader.token);
        assert_eq!(shard.app().closed.len(), 1);
    }
}

#[test]
fn a_slow_reader_is_closed_with_the_code_of_its_policy() {
    for (policy, code) in [
        (Backpressure::Close(CloseCode(4008)), 4008),
        // There is nothing to be read that could be paused.
        (Backpressure::PauseReading, 1013),
    ] {
        let mut shard = Shard::new(&Config {
            backpressure_limit: 10_000,
            backpressure: policy,
            ..silent()
        });
        let reader = Reader::open(&mut shard, "/lines", "1.1");
        shard.wires[reader.token.index()].stuck = true;
        let text = "x".repeat(3000);
        for _ in 0..20 {
            publish(&mut shard, Message::text(&text));
        }
        assert!(shard.core.context().outboxes.pending() < 20_000);
        assert_eq!(shard.metrics.backpressure()["closed"], 1);
        shard.unstick(reader.token);
        let (got, ended) = reader.take(&mut shard);
        let got = String::from_utf8(got).unwrap();
        let (last, messages) = {
            let mut lines: Vec<_> = got.lines().collect();
            (lines.pop().unwrap(), lines)
        };
        assert!(ended && messages.iter().all(|line| *line == text));
        assert_eq!(last, format!("{code}: reads too slowly"));
        assert_over(&mut shard, reader.token);
        assert_eq!(shard.app().closed, [(code, false)]);
    }
}

#[test]
fn messages_are_dropped_where_that_is_the_policy_and_the_app_hears_of_room() {
    let mut shard = Shard::new(&Config {
        backpressure_limit: 10_000,
        backpressure: Backpressure::Drop,
        ..silent()
    });
    let reader = Reader::open(&mut shard, "/lines", "1.1");
    shard.wires[reader.token.index()].stuck = true;
    for _ in 0..20 {
        publish(&mut shard, Message::binary(&[b'x'; 3000]));
    }
    assert!(shard.metrics.backpressure()["dropped"] > 10);
    shard.unstick(reader.token);
    assert_eq!(shard.app().drained, 1);
    publish(&mut shard, Message::text("again"));
    let (got, ended) = reader.take(&mut shard);
    assert!(got.ends_with(b"x\nagain\n") && !ended);
}

#[test]
fn who_takes_nothing_is_ended() {
    let mut shard = Shard::new(&Config {
        send_timeout: Some(Duration::from_secs(1)),
        ..silent()
    });
    let reader = Reader::open(&mut shard, "/lines", "1.1");
    shard.wires[reader.token.index()].stuck = true;
    publish(&mut shard, Message::binary(&[0; 5000]));
    // It is looked at once a second.
    shard.advance(2 * SECOND + 2 * MS);
    assert!(shard.wire(reader.token).closed);
    assert_eq!(shard.app().closed, [(1006, false)]);
    assert_over(&mut shard, reader.token);
}

#[test]
fn silence_ends_nothing_and_events_get_comments() {
    let mut shard = Shard::new(&Config {
        ping_interval: Some(Duration::from_secs(1)),
        idle_timeout: Some(Duration::from_secs(3)),
        ..silent()
    });
    let paths = ["/lines", "/bare", "/events"];
    let [lines, bare, events] = paths.map(|path| Reader::open(&mut shard, path, "1.1"));
    shard.advance(999 * MS);
    events.expect(&mut shard, "");
    shard.advance(2 * MS);
    events.expect(&mut shard, ":\n\n");
    publish(&mut shard, Message::text("1"));
    events.expect(&mut shard, "data: 1\n\n");
    shard.advance(998 * MS);
    events.expect(&mut shard, "");
    shard.advance(9 * SECOND);
    events.expect(&mut shard, &":\n\n".repeat(9));
    lines.expect(&mut shard, "1\n");
    bare.expect(&mut shard, "1");
}

#[test]
fn it_ends_when_it_has_lived_as_long_as_it_may() {
    let mut shard = Shard::new(&Config {
        max_lifetime: Some(Duration::from_secs(10)),
        ..silent()
    });
    let reader = Reader::open(&mut shard, "/lines", "1.1");
    shard.advance(8900 * MS);
    reader.expect(&mut shard, "");
    shard.advance(1400 * MS);
    reader.expect_end(&mut shard, "1001: connected for too long\n");
    assert_over(&mut shard, reader.token);
}

#[test]
fn a_stop_says_what_the_app_says_and_refuses_new_ones() {
    let mut shard = Shard::new(&silent());
    let reader = Reader::open(&mut shard, "/events", "1.1");
    let waits = shard.accept();
    shard.feed(waits, b"GET /lines HT");
    shard.core.stop(false, None);
    shard.turn();
    reader.expect_end(&mut shard, "data: 1001: the server is stopping\n\n");
    shard.feed(waits, b"TP/1.1\r\nHost: h\r\n\r\n");
    assert!(wire(&mut shard, waits).starts_with(b"HTTP/1.1 503 "));
    shard.core.receive_ended(waits, &RecvEnd::Eof);
    assert_over(&mut shard, reader.token);
    assert!(shard.core.is_drained());
}

#[test]
fn one_that_opens_after_a_hand_over_is_closed_later() {
    let mut shard = Shard::new(&silent());
    let waits = shard.accept();
    shard.feed(waits, b"GET /lines HT");
    shard.core.stop(true, None);
    shard.feed(waits, b"TP/1.1\r\nHost: h\r\n\r\n");
    assert!(wire(&mut shard, waits).starts_with(b"HTTP/1.1 200 "));
    shard.advance(SECOND + MS);
    let chunked = true;
    let reader = Reader {
        token: waits,
        chunked,
    };
    reader.expect_end(&mut shard, "1001: the server is stopping\n");
}

#[test]
fn only_the_head_is_answered_to_head() {
    let mut shard = Shard::new(&silent());
    let token = shard.accept();
    shard.feed(token, b"HEAD /lines HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = wire(&mut shard, token);
    assert!(head.starts_with(b"HTTP/1.1 200 ") && head.ends_with(b"\r\n\r\n"));
    assert_eq!((shard.app().opened, shard.metrics.connections()), (0, 0));
}

#[test]
fn it_publishes_and_unsubscribes_like_any_other() {
    let mut shard = Shard::new(&silent());
    let [one, other] = [(); 2].map(|()| Reader::open(&mut shard, "/lines", "1.1"));
    let id = ConnId(one.token);
    with_turn(&mut shard, |turn| {
        let (mut conn, _) = turn.conn(id).unwrap();
        conn.publish("/news", "1");
        assert_eq!(conn.subscribe("/more"), SubscribeOutcome::Subscribed);
        assert!(conn.unsubscribe("/news"));
    });
    publish(&mut shard, Message::text("2"));
    one.expect(&mut shard, "");
    other.expect(&mut shard, "1\n2\n");
}
