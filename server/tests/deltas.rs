//! Publications as deltas, to clients that ask for them, over a raw WebSocket.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::Write;

use serde_json::{Value, json};
use support::client::{Client, dial};
use support::http::Answer;
use support::peer::{Chat, PATH, Peer};

const KEY: &str = "a-key-for-the-tests-alone";

/// Deltas are for channels `d:...` alone.
const CONFIG: &str = "api.key = 'a-key-for-the-tests-alone'\nclient.insecure = true\n\
                      [[namespace]]\nname = 'd'\nallowed_delta_types = ['fossil']\n\
                      [[namespace]]\nname = 'plain'\n";

fn start(name: &str) -> Chat {
    Chat::start(&format!("deltas-{name}"), CONFIG)
}

const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// A number at the beginning, and the rest.
fn number(delta: &[u8]) -> (usize, &[u8]) {
    let digit = |byte: &u8| DIGITS.iter().position(|known| known == byte);
    let count = delta
        .iter()
        .take_while(|byte| digit(byte).is_some())
        .count();
    let digits = delta[..count].iter().filter_map(digit);
    (
        digits.fold(0, |value, digit| value << 6 | digit),
        &delta[count..],
    )
}

/// What a delta makes of what was before.
fn applied(from: &[u8], delta: &[u8]) -> Vec<u8> {
    let (length, mut rest) = number(delta);
    rest = rest.strip_prefix(b"\n").expect("the end of the length");
    let mut out = Vec::new();
    loop {
        let (count, after) = number(rest);
        match after[0] {
            b'@' => {
                let (offset, after) = number(&after[1..]);
                out.extend_from_slice(&from[offset..offset + count]);
                rest = after.strip_prefix(b",").expect("the end of a copy");
            }
            b':' => {
                out.extend_from_slice(&after[1..=count]);
                rest = &after[1 + count..];
            }
            b';' => {
                assert_eq!((out.len(), after.len()), (length, 1));
                return out;
            }
            other => panic!("{other} in {delta:?}"),
        }
    }
}

/// What a client makes of publications.
#[derive(Default)]
struct Reader {
    before: String,
    deltas: usize,
}

impl Reader {
    /// The value of a publication.
    fn read(&mut self, publication: &Value) -> Value {
        let data = publication["data"].as_str().expect("a text");
        if publication["delta"] == true {
            let made = applied(self.before.as_bytes(), data.as_bytes());
            self.before = String::from_utf8(made).expect("text");
            self.deltas += 1;
        } else {
            data.clone_into(&mut self.before);
        }
        serde_json::from_str(&self.before).expect("JSON")
    }

    fn next(&mut self, peer: &mut Peer) -> Value {
        self.read(&pushed(peer))
    }
}

/// The next publication.
fn pushed(peer: &mut Peer) -> Value {
    loop {
        let publication = peer.next()["push"]["pub"].take();
        if publication.is_object() {
            return publication;
        }
    }
}

fn subscribe(id: u32, channel: &str, delta: &str) -> Value {
    json!({ "id": id, "subscribe": { "channel": channel, "delta": delta } })
}

/// A client that is told deltas of this channel.
fn told_deltas(chat: &Chat, channel: &str) -> Peer {
    let mut peer = chat.connected();
    let reply = peer.ask(&subscribe(2, channel, "fossil"));
    assert_eq!(reply["subscribe"]["delta"], true, "{reply}");
    peer
}

fn call(chat: &Chat, method: &str, body: &Value) {
    let (body, mut stream) = (body.to_string(), dial(chat.serving.addr));
    let head = format!("POST /api/{method} HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("it is taken");
    let answer = Answer::read(&mut stream);
    assert!(answer.text().contains("result"), "{}", answer.text());
}

fn publish(chat: &Chat, channel: &str, data: &Value) {
    call(
        chat,
        "publish",
        &json!({ "channel": channel, "data": data }),
    );
}

/// A document of which a part changes.
fn document(n: usize) -> Value {
    json!({ "title": "h\u{e9}llo \u{1f600}", "text": "a text that stays the same ".repeat(8),
        "n": n, "mood": if n.is_multiple_of(2) { "\u{e9}" } else { "\u{ea}" } })
}

#[test]
fn who_asks_for_deltas_gets_them_and_others_get_publications() {
    let chat = start("all");
    let (mut first, mut plain) = (told_deltas(&chat, "d:a"), chat.connected());
    plain.ask(&json!({ "id": 2, "subscribe": { "channel": "d:a" } }));
    let mut reads = Reader::default();
    for n in 0..5 {
        publish(&chat, "d:a", &document(n));
        let publication = pushed(&mut first);
        assert_eq!(publication["delta"] == true, n > 0, "{publication}");
        assert_eq!(publication["offset"], n + 1);
        assert_eq!(reads.read(&publication), document(n));
        assert_eq!(pushed(&mut plain)["data"], document(n));
    }
    // Who comes later begins with a whole one, while others go on.
    let (mut second, mut begins) = (told_deltas(&chat, "d:a"), Reader::default());
    for n in 5..10 {
        publish(&chat, "d:a", &document(n));
        assert_eq!(reads.next(&mut first), document(n));
        assert_eq!(begins.next(&mut second), document(n));
    }
    assert_eq!((reads.deltas, begins.deltas), (9, 4));
    assert_eq!(chat.serving.metric("hioload_chat_deltas_total"), 13);
    // Who unsubscribes and comes back begins again.
    first.ask(&json!({ "id": 3, "unsubscribe": { "channel": "d:a" } }));
    publish(&chat, "d:a", &document(10));
    first.ask(&subscribe(4, "d:a", "fossil"));
    publish(&chat, "d:a", &document(11));
    assert_eq!(pushed(&mut first)["delta"], Value::Null);
    for n in [10, 11] {
        assert_eq!(begins.next(&mut second), document(n));
    }
    // The history is as it was published.
    let history = json!({ "id": 5, "history": { "channel": "d:a", "limit": 1 } });
    let history = first.ask(&history);
    assert_eq!(history["history"]["publications"][0]["data"], document(0));
}

#[test]
fn deltas_are_for_who_may_and_only_in_a_format_that_there_is() {
    let chat = start("none");
    let mut peer = chat.connected();
    for (id, channel, delta) in [
        (2, "plain:a", "fossil"),
        (3, "d:a", "xdelta"),
        (4, "d:b", ""),
    ] {
        let reply = peer.ask(&subscribe(id, channel, delta));
        assert_eq!(reply["subscribe"]["delta"], Value::Null, "{reply}");
        publish(&chat, channel, &json!({ "n": id }));
        let publication = pushed(&mut peer);
        assert_eq!(publication["data"], json!({ "n": id }));
        assert_eq!(publication["delta"], Value::Null);
    }
}

#[test]
fn what_was_missed_comes_whole_and_then_deltas_again() {
    let chat = start("recovery");
    let mut peer = chat.connected();
    let reply = peer.ask(&subscribe(2, "d:a", "fossil"));
    let epoch = reply["subscribe"]["epoch"].clone();
    let mut reads = Reader::default();
    publish(&chat, "d:a", &document(0));
    assert_eq!(reads.next(&mut peer), document(0));
    drop(peer);
    for n in 1..4 {
        publish(&chat, "d:a", &document(n));
    }
    let mut peer = chat.connected();
    let reply = peer.ask(
        &json!({ "id": 2, "subscribe": { "channel": "d:a", "delta": "fossil",
        "recover": true, "epoch": epoch, "offset": 1 } }),
    );
    assert_eq!(reply["subscribe"]["recovered"], true);
    let missed = reply["subscribe"]["publications"].as_array().expect("some");
    for (n, publication) in (1..).zip(missed) {
        assert_eq!(publication["delta"], Value::Null);
        assert_eq!(reads.read(publication), document(n));
    }
    for n in 4..7 {
        publish(&chat, "d:a", &document(n));
        assert_eq!(reads.next(&mut peer), document(n));
    }
    assert_eq!((missed.len(), reads.deltas), (3, 2));
}

#[test]
fn what_is_short_or_large_or_not_numbered_keeps_the_order() {
    let chat = start("odd");
    let mut peer = told_deltas(&chat, "d:a");
    let mut reads = Reader::default();
    let large = json!("x".repeat(80_000));
    let all = [
        (document(0), false),
        (json!(1), false),
        (json!(1), false),
        (document(1), false),
        (document(2), true),
        (large.clone(), false),
        (large, false),
        (document(3), false),
        (document(4), true),
    ];
    for (data, is_delta) in &all {
        publish(&chat, "d:a", data);
        let before = reads.deltas;
        assert_eq!(reads.next(&mut peer), *data);
        assert_eq!(reads.deltas > before, *is_delta, "{data}");
    }
    let body =
        json!({ "channel": "d:a", "data": document(5), "skip_history": true, "delta": true });
    call(&chat, "publish", &body);
    let publication = pushed(&mut peer);
    assert_eq!(
        (&publication["delta"], &publication["offset"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(reads.read(&publication), document(5));
    publish(&chat, "d:a", &document(6));
    assert_eq!(reads.next(&mut peer), document(6));
}

/// The only field of this number with bytes, in the only message of a frame.
fn field(message: &[u8], number: u8) -> Vec<u8> {
    let mut rest = message;
    while let [tag, after @ ..] = rest {
        let (mut value, mut shift, mut after) = (0_usize, 0, after);
        while let [byte, next @ ..] = after {
            value |= usize::from(byte & 0x7f) << shift;
            (shift, after) = (shift + 7, next);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let length = if tag & 7 == 2 { value } else { 0 };
        if *tag == number << 3 | 2 {
            return after[..length].to_vec();
        }
        rest = &after[length..];
    }
    Vec::new()
}

#[test]
fn deltas_of_bytes_are_bytes() {
    let chat = start("protobuf");
    let mut client = Client::connect(chat.serving.addr, &format!("{PATH}?format=protobuf"));
    // {id: 1, connect: {}}, then {id: 2, subscribe: {channel: "d:a", delta: "fossil"}}.
    client.binary(b"\x04\x08\x01\x22\x00");
    client.expect_binary();
    client.binary(b"\x11\x08\x02\x2a\x0d\x0a\x03d:a\x62\x06fossil");
    let reply = client.expect_binary();
    assert!(reply.ends_with(b"\x68\x01"), "{reply:?}");
    let mut before = Vec::new();
    for n in 0..4 {
        publish(&chat, "d:a", &document(n));
        let publication = loop {
            let frame = client.expect_binary();
            // Its length has two bytes, or one where it is a delta.
            let start = if frame[0] & 0x80 == 0 { 1 } else { 2 };
            let publication = field(&field(&frame[start..], 4), 4);
            if !publication.is_empty() {
                break publication;
            }
        };
        let data = field(&publication, 4);
        let is_delta = publication.windows(2).any(|two| two == b"\x40\x01");
        assert_eq!(is_delta, n > 0);
        before = if is_delta {
            applied(&before, &data)
        } else {
            data
        };
        let value: Value = serde_json::from_slice(&before).expect("JSON");
        assert_eq!(value, document(n));
    }
}
