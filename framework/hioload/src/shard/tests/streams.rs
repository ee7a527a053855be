//! Event streams on virtual time.

use std::time::Duration;

use super::*;

/// A stream of `/news`, its head taken.
fn open(shard: &mut Shard) -> Token {
    let token = shard.accept();
    shard.feed(token, b"GET /news HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = take(shard, token);
    assert!(head.contains("text/event-stream"), "{head}");
    assert_eq!(shard.metrics.event_streams(), 1);
    token
}

/// What was sent since this was asked last.
fn take(shard: &mut Shard, token: Token) -> String {
    let bytes = std::mem::take(&mut shard.wires[token.index()].bytes);
    String::from_utf8(bytes).unwrap()
}

/// The stream has ended, and nothing of it is left but its socket.
fn assert_over(shard: &mut Shard, token: Token) {
    shard.core.receive_ended(token, &RecvEnd::Eof);
    shard.turn();
    assert!(shard.wire(token).closed);
    assert_eq!(shard.metrics.event_streams(), 0);
    let cx = shard.core.context();
    assert_eq!((cx.topics.len(), cx.wheel.len()), (0, 0));
    assert_eq!(cx.outboxes.pending(), 0);
    assert_eq!(shard.metrics.sockets(), 0);
}

#[test]
fn a_comment_comes_when_nothing_was_sent_for_a_ping_interval() {
    let ping_interval = Some(Duration::from_secs(1));
    let mut shard = Shard::new(&Config {
        ping_interval,
        ..silent()
    });
    let token = open(&mut shard);
    shard.advance(999 * MS);
    assert_eq!(take(&mut shard, token), "");
    shard.advance(2 * MS);
    assert_eq!(take(&mut shard, token), ":\n\n");
    shard.advance(500 * MS);
    let mut publisher = Client::open(&mut shard, "/news");
    publisher.send(&mut shard, &[1]);
    assert_eq!(take(&mut shard, token), "data: AQ==\n\n");
    shard.advance(998 * MS);
    assert_eq!(take(&mut shard, token), "", "the event counts");
    shard.advance(4 * MS);
    assert_eq!(take(&mut shard, token), ":\n\n");
}

#[test]
fn a_stream_that_takes_nothing_is_ended_with_what_it_held() {
    let mut shard = Shard::new(&Config {
        send_timeout: Some(Duration::from_secs(1)),
        ..silent()
    });
    let token = open(&mut shard);
    shard.wires[token.index()].stuck = true;
    let mut publisher = Client::open(&mut shard, "/news");
    for _ in 0..3 {
        publisher.send(&mut shard, &[0; 5000]);
    }
    assert!(shard.core.context().outboxes.pending() > 10_000);
    shard.core.receive_ended(publisher.token, &RecvEnd::Eof);
    shard.turn();
    // It is looked at once a second.
    shard.advance(2 * SECOND + 2 * MS);
    assert_over(&mut shard, token);
}

#[test]
fn a_stream_ends_when_it_has_lived_as_long_as_it_may() {
    let mut shard = Shard::new(&Config {
        max_lifetime: Some(Duration::from_secs(10)),
        ..silent()
    });
    let token = open(&mut shard);
    shard.advance(8900 * MS);
    assert!(!shard.wire(token).shut);
    shard.advance(1400 * MS);
    assert!(shard.wire(token).shut);
    assert_over(&mut shard, token);
}
