//! The chat's protocol in Protobuf over a raw WebSocket, beside clients that speak
//! JSON.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::Serving;
use support::client::{Client, Seen};

const PATH: &str = "/connection/websocket";

/// Fewer than 16,384 bytes after their length.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let (low, high) = (bytes.len() % 128, bytes.len() / 128);
    let byte = |part: usize| u8::try_from(part).expect("short");
    if high == 0 {
        [&[byte(low)][..], bytes].concat()
    } else {
        [&[byte(low) | 0x80, byte(high)][..], bytes].concat()
    }
}

/// A field with bytes, text or a message.
fn field(number: u8, inner: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &sized(inner)].concat()
}

/// A command, as frames hold it.
fn command(id: u8, number: u8, request: &[u8]) -> Vec<u8> {
    sized(&[&[0x08, id][..], &field(number, request)].concat())
}

fn publish(id: u8, channel: &str, data: &[u8]) -> Vec<u8> {
    let request = [field(1, channel.as_bytes()), field(2, data)].concat();
    command(id, 7, &request)
}

fn subscribe(id: u8, channel: &str) -> Vec<u8> {
    command(
        id,
        5,
        &[&field(1, channel.as_bytes())[..], b"\x58\x01"].concat(),
    )
}

/// A client that speaks Protobuf since the query says so.
struct Binary(Client);

impl Binary {
    fn open(serving: &Serving, query: &str) -> Self {
        Self(Client::connect(serving.addr, &format!("{PATH}?{query}")))
    }

    fn connected(serving: &Serving) -> Self {
        let mut client = Self::open(serving, "format=protobuf");
        client.0.binary(&command(1, 4, b""));
        client.expect(b"\x08\x01\x2a");
        client
    }

    /// The next frame that has this in it.
    fn expect(&mut self, part: &[u8]) -> Vec<u8> {
        loop {
            let frame = self.0.expect_binary();
            if frame.windows(part.len()).any(|window| window == part) {
                return frame;
            }
        }
    }
}

/// A client that speaks JSON.
fn text(serving: &Serving) -> Client {
    let mut client = Client::connect(serving.addr, PATH);
    client.text(r#"{"id":1,"connect":{}}"#);
    assert!(client.expect_text().contains(r#""connect":"#));
    client
}

/// The next line that has a field of this name.
fn line(client: &mut Client, name: &str) -> Value {
    loop {
        let frame = client.expect_text();
        for line in frame.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            if line
                .get(name)
                .is_some_and(|told| told.get("join").is_none())
            {
                return line;
            }
        }
    }
}

#[test]
fn a_room_hears_everybody_in_its_own_encoding() {
    let serving = Serving::start(&["--dev"]);
    let mut ann = text(&serving);
    ann.text(r#"{"id":2,"subscribe":{"channel":"room"}}"#);
    line(&mut ann, "subscribe");
    let mut bob = Binary::connected(&serving);
    bob.0.binary(&subscribe(2, "room"));
    bob.expect(b"\x08\x02\x32");
    let mut eve = Binary::open(&serving, "x=1&cf_protocol=protobuf");
    // Both in one frame, with the answer to a ping between them that came early.
    let both = [command(1, 4, b""), subscribe(2, "room")].concat();
    eve.0.binary(&both);
    eve.expect(b"\x08\x02\x32");
    // Who hears comings hears this one in its encoding.
    bob.expect(&field(2, b"room"));

    ann.text(r#"{"id":3,"publish":{"channel":"room","data":{ "n": 1.0 }}}"#);
    for peer in [&mut bob, &mut eve] {
        peer.expect(&field(4, br#"{ "n": 1.0 }"#));
    }
    let told = line(&mut ann, "push");
    assert_eq!(told["push"]["pub"]["offset"], 1);
    assert!(told["push"]["pub"]["time"].as_i64() > Some(1_600_000_000_000));

    bob.0.binary(&publish(3, "room", b"{\n\"n\": 2}"));
    let told = line(&mut ann, "push");
    assert_eq!(told["push"]["pub"]["data"], json!({ "n": 2 }));
    assert_eq!(told["push"]["pub"]["offset"], 2);
    assert!(told["push"]["pub"]["info"]["client"].is_string(), "{told}");
    eve.expect(b"{\n\"n\": 2}");

    // What JSON has no place for ends those who speak nothing else.
    bob.0.binary(&publish(4, "room", b"\x00\xff"));
    eve.expect(&field(4, b"\x00\xff"));
    bob.expect(&field(4, b"\x00\xff"));
    assert_eq!(ann.expect_close(), 3506);

    // It is in the history too.
    let history = [&field(1, b"room")[..], b"\x38\x0a"].concat();
    bob.0.binary(&command(5, 10, &history));
    let past = bob.expect(b"\x08\x05\x5a");
    for data in [&br#"{ "n": 1.0 }"#[..], b"{\n\"n\": 2}", b"\x00\xff"] {
        let data = field(4, data);
        assert!(
            past.windows(data.len()).any(|window| window == data),
            "{past:?}"
        );
    }
    let mut late = text(&serving);
    late.text(r#"{"id":2,"history":{"channel":"room","limit":2}}"#);
    line(&mut late, "history");
    late.text(r#"{"id":3,"history":{"channel":"room","limit":-1}}"#);
    assert_eq!(late.expect_close(), 3506);
}

#[test]
fn what_is_not_the_protocol_ends_with_3501() {
    let serving = Serving::start(&["--dev"]);
    let connect = command(1, 4, b"");
    for bad in [
        vec![0x80],
        vec![0x7f, 0x08],
        vec![0xff; 12],
        sized(&[0x08, 0x01, 0x22, 0x05]),
        sized(&[0x0a, 0x01, 0x01]),
        sized(&[0x0b]),
        // Neither an id nor something that is known; an answer to no ping.
        sized(&field(4, b"")),
        [&connect[..], &sized(&[0x08, 0x02])].concat(),
        [&connect[..], &sized(b"")].concat(),
        [&connect[..], &publish(2, "a", b"")].concat(),
        [&connect[..], &publish(2, "", b"1")].concat(),
        [&connect[..], &command(2, 5, &field(1, b"\xff"))].concat(),
        [&connect[..], &connect].concat(),
    ] {
        let mut client = Binary::open(&serving, "format=protobuf").0;
        client.binary(&bad);
        assert_eq!(client.expect_close(), 3501, "{bad:?}");
    }
    let mut client = Binary::open(&serving, "format=protobuf").0;
    client.text("{}");
    assert_eq!(client.expect_close(), 3506);
    let mut client = Client::connect(serving.addr, PATH);
    client.binary(&connect);
    assert_eq!(client.expect_close(), 3506);
}

#[test]
fn pings_are_empty_messages_and_errors_are_replied() {
    let mut serving = Serving::start(&["--dev"]);
    let mut client = Binary::connected(&serving);
    let asked = [command(2, 11, b""), command(3, 13, &field(2, b"none"))].concat();
    client.0.binary(&asked);
    let not_found = [&b"\x08\x68"[..], &field(2, b"method not found")].concat();
    let expected = [
        sized(b"\x08\x02\x62\x00"),
        sized(&[&b"\x08\x03"[..], &field(2, &not_found)].concat()),
    ];
    assert_eq!(client.0.expect_binary(), expected.concat());
    serving.process.ask_to_stop();
    assert_eq!(client.0.message(), Seen::Closed(3001, "shutdown".into()));
    drop(client);
    assert_eq!(serving.process.wait().status.code(), Some(0));
}
