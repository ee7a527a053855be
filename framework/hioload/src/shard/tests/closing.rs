//! The deadline of the end: once a connection is closing, it is gone after
//! `close_timeout`, whatever its peer does or leaves undone.

use hioload_platform::Token;
use hioload_protocol::frame::{MAX_HEADER, OpCode, encode_header};
use hioload_protocol::{CloseCode, DeflateConfig, Kind, Output};

use super::{Client, MS, Shard, silent};
use crate::config::{Backpressure, Config};

/// The connection has begun to close just now. `act` is done ten times a
/// second, and after `close_timeout` the driver is told to close it; not
/// before, and at most a tick of the timers later.
pub(super) fn cut_after_five_seconds(
    shard: &mut Shard,
    token: Token,
    mut act: impl FnMut(&mut Shard),
) {
    for tenth in 0..50 {
        act(shard);
        shard.advance(100 * MS - 1);
        assert!(!shard.wire(token).closed, "in {tenth} tenths of a second");
        shard.advance(1);
    }
    shard.advance(1000);
    assert!(shard.wire(token).closed);
}

/// A masked frame.
fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let key = [1, 2, 3, 4];
    let mut header = [0; MAX_HEADER];
    let used = encode_header(&mut header, fin, opcode, payload.len() as u64, Some(key));
    let mut out = Vec::new();
    out.frame(&header[..used], payload, Some(key));
    out
}

/// What a peer may go on with.
fn inputs() -> [Vec<u8>; 6] {
    [
        Vec::new(),
        frame(true, OpCode::Binary, &[1; 300]),
        frame(true, OpCode::Ping, b"?"),
        // The second is one fragment too early, so the protocol is violated.
        frame(false, OpCode::Text, b"never finished"),
        // Each is taken for the payload of the first.
        frame(true, OpCode::Binary, &[1; 60_000])[..1000].to_vec(),
        vec![0xFF; 40],
    ]
}

fn close(shard: &mut Shard, token: Token) {
    shard.core.with(token, |link, cx| {
        link.close(CloseCode(4000), "bye", cx);
    });
    shard.turn();
}

#[test]
fn after_our_close_neither_silence_nor_more_input_moves_the_deadline() {
    for input in inputs() {
        let mut shard = Shard::new(&silent());
        let client = Client::open(&mut shard, "/echo");
        close(&mut shard, client.token);
        cut_after_five_seconds(&mut shard, client.token, |shard| {
            shard.feed(client.token, &input);
        });
        assert_eq!(shard.app().closed.len(), 1);
        assert_eq!(shard.metrics.sockets(), 0);
    }
}

#[test]
fn after_the_peers_close_neither_silence_nor_more_input_moves_the_deadline() {
    for input in inputs() {
        let mut shard = Shard::new(&silent());
        let client = Client::open(&mut shard, "/echo");
        shard.feed(client.token, &frame(true, OpCode::Close, &[]));
        assert!(shard.wire(client.token).shut, "our side has ended");
        cut_after_five_seconds(&mut shard, client.token, |shard| {
            shard.feed(client.token, &input);
        });
        assert_eq!(shard.app().closed, [(1005, true)]);
    }
}

#[test]
fn after_a_refusal_neither_silence_nor_more_input_moves_the_deadline() {
    for input in [&b""[..], b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &[0; 5000]] {
        let mut shard = Shard::new(&silent());
        let token = shard.accept();
        shard.feed(token, b"NO\r\n\r\n");
        assert!(shard.wire(token).shut, "it was refused");
        cut_after_five_seconds(&mut shard, token, |shard| shard.feed(token, input));
    }
}

#[test]
fn with_deflate_the_deadline_is_the_same() {
    let offer = DeflateConfig::default();
    let text = b"the same words again and again, ".repeat(40);
    // Whole messages, and one that is never finished.
    for whole in [true, false] {
        let mut shard = Shard::new(&silent());
        let mut client = Client::open_with(&mut shard, "/echo", Some(&offer));
        close(&mut shard, client.token);
        let mut first = true;
        cut_after_five_seconds(&mut shard, client.token, |shard| {
            let mut bytes = Vec::new();
            let Client {
                protocol,
                resources,
                ..
            } = &mut client;
            if whole {
                protocol
                    .send(Kind::Text, &text, resources, &mut bytes)
                    .unwrap();
            } else {
                protocol
                    .send_fragment(Kind::Text, &text, first, false, resources, &mut bytes)
                    .unwrap();
            }
            first = false;
            shard.feed(client.token, &bytes);
        });
        assert_eq!(shard.app().closed, [(4000, false)]);
    }
}

#[test]
fn a_peer_that_is_paused_and_takes_nothing_is_cut_by_the_same_deadline() {
    let config = Config {
        backpressure_limit: 10_000,
        backpressure: Backpressure::PauseReading,
        ..silent()
    };
    for input in inputs() {
        let mut shard = Shard::new(&config);
        let mut client = Client::open(&mut shard, "/echo");
        let token = client.token;
        shard.wires[token.index()].stuck = true;
        for _ in 0..20 {
            client.send(&mut shard, &[1; 1000]);
        }
        assert!(!shard.wire(token).receiving, "it is paused");
        close(&mut shard, token);
        assert!(shard.wire(token).receiving, "its answer would be read");
        cut_after_five_seconds(&mut shard, token, |shard| shard.feed(token, &input));
        assert_eq!(shard.app().closed.len(), 1);
        shard.core.exchange();
        assert_eq!(shard.metrics.send_bytes_pending(), 0);
        assert_eq!(shard.core.cx.held, 0);
    }
}
