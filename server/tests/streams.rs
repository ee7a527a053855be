//! Clients that cannot upgrade, as raw HTTP: what they hear, what they may say,
//! and what they are told that say something else.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use support::Serving;
use support::client::{Client, dial};
use support::http::{self, Answer};
use support::wait::until_equal;

const STREAM: &str = "/connection/http_stream";
const SSE: &str = "/connection/sse";
const EMULATION: &str = "/emulation";
const KEY: &str = "a-key-for-the-tests-alone";

/// A server with a configuration of its own, which ends with its test.
struct Chat {
    serving: Serving,
    file: PathBuf,
}

impl Chat {
    /// `name` is that of the test; `toml` is about `[client]` first.
    fn start(name: &str, toml: &str) -> Self {
        let name = format!("hioload-streams-{name}-{}.toml", std::process::id());
        let file = std::env::temp_dir().join(name);
        let toml = format!("api.key = '{KEY}'\n[client]\ninsecure = true\n{toml}");
        std::fs::write(&file, toml).expect("a file");
        let serving = Serving::start(&["--config", file.to_str().expect("text")]);
        Self { serving, file }
    }

    fn addr(&self) -> SocketAddr {
        self.serving.addr
    }

    fn post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = dial(self.addr());
        let head = post_head(path, headers, body.len());
        // A refusal may come before the whole body was taken.
        let _refused = stream.write_all(&[head.as_bytes(), body].concat());
        Answer::read(&mut stream)
    }

    fn emulate(&self, body: &Value) -> u16 {
        self.post(EMULATION, "", body.to_string().as_bytes()).status
    }

    fn open(&self, first: &str) -> Peer {
        let head = post_head(STREAM, "", first.len());
        Peer::open(self.addr(), &format!("{head}{first}"))
    }

    fn open_events(&self, first: &str) -> Peer {
        let query: String = first.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let request = format!("GET {SSE}?cf_connect={query} HTTP/1.1\r\nHost: a\r\n\r\n");
        Peer::open(self.addr(), &request)
    }

    /// One that is let in.
    fn connected(&self) -> Peer {
        let mut peer = self.open(CONNECT);
        peer.is_let_in();
        peer
    }

    fn call(&self, method: &str, body: &Value) {
        let key = format!("X-API-Key: {KEY}\r\n");
        let path = format!("/api/{method}");
        let answer = self.post(&path, &key, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("result"), "{}", answer.text());
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.file);
    }
}

const CONNECT: &str = r#"{"id":1,"connect":{"name":"raw"}}"#;

fn post_head(path: &str, headers: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n")
}

/// What a client hears, and who it is.
struct Peer {
    head: Answer,
    body: BufReader<TcpStream>,
    /// What is left of the last chunk.
    lines: VecDeque<String>,
    session: String,
    node: String,
}

impl Peer {
    fn open(addr: SocketAddr, request: &str) -> Self {
        let mut stream = dial(addr);
        stream.write_all(request.as_bytes()).expect("it is taken");
        let head = Answer::read_head(&mut stream);
        assert_eq!(head.status, 200, "{}", head.head);
        assert_eq!(head.header("Transfer-Encoding"), Some("chunked"));
        assert_eq!(head.header("X-Accel-Buffering"), Some("no"));
        Self {
            head,
            body: BufReader::new(stream),
            lines: VecDeque::new(),
            session: String::new(),
            node: String::new(),
        }
    }

    /// The next chunk; nothing at the end of the answer.
    fn chunk(&mut self) -> Vec<u8> {
        let mut length = String::new();
        self.body.read_line(&mut length).expect("a chunk");
        let length = usize::from_str_radix(length.trim_end(), 16).expect("its length");
        let mut chunk = vec![0; length + 2];
        self.body.read_exact(&mut chunk).expect("all of it");
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(length);
        chunk
    }

    /// The next message; `None` at the end.
    fn read(&mut self) -> Option<Value> {
        while self.lines.is_empty() {
            let chunk = String::from_utf8(self.chunk()).expect("text");
            if chunk.is_empty() {
                let mut rest = Vec::new();
                self.body.read_to_end(&mut rest).expect("an orderly end");
                assert_eq!(rest, b"");
                return None;
            }
            let is_events = self.head.header("Content-Type") == Some("text/event-stream");
            assert!(
                chunk.ends_with(if is_events { "\n\n" } else { "\n" }),
                "{chunk}"
            );
            let lines = chunk.lines().filter(|line| !line.is_empty());
            let data = |line: &str| match is_events {
                true => line.strip_prefix("data: ").expect("data").to_owned(),
                false => line.to_owned(),
            };
            self.lines.extend(lines.map(data));
        }
        let line = self.lines.pop_front().expect("a line");
        Some(serde_json::from_str(&line).expect("JSON"))
    }

    fn next(&mut self) -> Value {
        self.read().expect("more")
    }

    fn is_let_in(&mut self) {
        let reply = self.next();
        let text = |name: &str| reply["connect"][name].as_str().map(str::to_owned);
        self.session = text("session").unwrap_or_else(|| panic!("{reply}"));
        self.node = text("node").expect("a node");
    }

    fn says(&self, data: &str) -> Value {
        json!({ "session": self.session, "node": self.node, "data": data })
    }

    /// Says something to this server and hears the reply.
    fn ask(&mut self, chat: &Chat, command: &Value) -> Value {
        assert_eq!(chat.emulate(&self.says(&command.to_string())), 204);
        loop {
            let next = self.next();
            if next["id"] == command["id"] {
                return next;
            }
        }
    }

    /// This is pushed next, or soon.
    fn is_pushed(&mut self, what: &str) {
        while !self.next()["push"][what].is_object() {}
    }

    /// The farewell, and nothing after it.
    fn ends_with(mut self, code: u16) {
        let last = self.next();
        assert_eq!(last["push"]["disconnect"]["code"], code, "{last}");
        assert!(last["push"]["disconnect"]["reason"].is_string(), "{last}");
        assert!(self.read().is_none());
    }
}

#[test]
fn who_hears_a_stream_says_what_a_websocket_would() {
    let chat = Chat::start("all", "");
    let mut lines = chat.open(CONNECT);
    assert_eq!(
        lines.head.header("Content-Type"),
        Some("application/x-ndjson")
    );
    let mut events = chat.open_events(CONNECT);
    for peer in [&mut lines, &mut events] {
        peer.is_let_in();
        let subscribe = json!({ "id": 2, "subscribe": { "channel": "room" } });
        assert_eq!(
            peer.ask(&chat, &subscribe)["subscribe"]["recoverable"],
            true
        );
    }
    assert_eq!(chat.serving.metric("hioload_chat_streams"), 2);
    assert_eq!(chat.serving.metric("hioload_chat_clients"), 2);
    let say = |id: u32, n: u32| {
        let data = json!({ "n": n, "text": "a\nb \u{1F600} \"" });
        json!({ "id": id, "publish": { "channel": "room", "data": data } }).to_string()
    };
    // Two commands of one frame, in their order.
    assert_eq!(
        chat.emulate(&lines.says(&[say(3, 1), say(4, 2)].join("\n"))),
        204
    );
    for peer in [&mut lines, &mut events] {
        let mut heard = Vec::new();
        while heard.len() < 2 {
            let next = peer.next();
            if next["push"]["pub"].is_object() {
                assert_eq!(next["push"]["pub"]["data"]["text"], "a\nb \u{1F600} \"");
                heard.push(next["push"]["pub"]["data"]["n"].as_u64());
            }
        }
        assert_eq!(heard, [Some(1), Some(2)]);
    }
    let presence = json!({ "id": 5, "presence_stats": { "channel": "room" } });
    assert_eq!(
        events.ask(&chat, &presence)["presence_stats"]["num_clients"],
        2
    );
    drop(events);
    until_equal("one has gone", &1, || {
        chat.serving.metric("hioload_chat_clients")
    });
    assert_eq!(
        lines.ask(&chat, &presence)["presence_stats"]["num_clients"],
        1
    );
    assert_eq!(chat.serving.metric("hioload_chat_streams"), 1);
}

#[test]
fn a_stream_speaks_protobuf_where_the_request_does() {
    let chat = Chat::start("protobuf", "");
    let binary = "Content-Type: application/octet-stream\r\n";
    // Command { id: 1, connect: {} } after its length.
    let first = b"\x04\x08\x01\x22\x00";
    let head = post_head(STREAM, binary, first.len());
    let mut request = head;
    request.push_str(std::str::from_utf8(first).expect("low bytes"));
    let mut peer = Peer::open(chat.addr(), &request);
    let kind = peer.head.header("Content-Type");
    assert_eq!(kind, Some("application/octet-stream"));
    let (session, node) = fields(&peer.chunk());
    let body = |data: &[u8]| {
        let mut body = Vec::new();
        for (tag, field) in [
            (0x0a, node.as_bytes()),
            (0x12, session.as_bytes()),
            (0x1a, data),
        ] {
            body.push(tag);
            body.push(u8::try_from(field.len()).expect("short"));
            body.extend_from_slice(field);
        }
        body
    };
    // Command { id: 2, ping: {} }
    let answer = chat.post(EMULATION, binary, &body(b"\x04\x08\x02\x5a\x00"));
    assert_eq!(answer.status, 204);
    // Reply { id: 2, ping: {} }
    assert_eq!(peer.chunk()[..3], b"\x04\x08\x02"[..]);
    // Cut off: it is no command.
    assert_eq!(chat.post(EMULATION, binary, &body(b"\x04\x08")).status, 204);
    let last = peer.chunk();
    let reason = b"bad request";
    assert!(
        last.windows(reason.len()).any(|part| part == reason),
        "{last:?}"
    );
    assert_eq!(peer.chunk(), b"");
}

/// A session and a node of a reply, by what they look like.
fn fields(reply: &[u8]) -> (String, String) {
    let text: Vec<String> = reply
        .split(|byte| !byte.is_ascii_hexdigit() && !b".-".contains(byte))
        .filter(|part| part.len() >= 36)
        .map(|part| String::from_utf8(part.to_vec()).expect("ASCII"))
        .collect();
    let session = text
        .iter()
        .find(|part| part.contains('.'))
        .expect("a session");
    let node = text
        .iter()
        .rfind(|part| !part.contains('.'))
        .expect("a node");
    let node = &node[node.len() - 36..];
    (session.clone(), node.to_owned())
}

#[test]
fn what_is_no_connect_command_ends_the_stream_with_3501() {
    let chat = Chat::start("malformed", "");
    for first in [
        "{",
        "[]",
        "{\"id\":-1}",
        "\u{0}",
        "{\"id\":1,\"connect\":7}",
        "{\"id\":1,\"ping\":{}}",
        "{}",
        "{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":1}}",
    ] {
        chat.open(first).ends_with(3501);
        chat.open_events(first).ends_with(3501);
    }
    assert_eq!(chat.post(STREAM, "", b"\xff\xfe").status, 200);
    assert_eq!(chat.serving.metric("hioload_chat_clients"), 0);
}

#[test]
fn requests_that_lead_nowhere_are_told_so() {
    let chat = Chat::start("refused", "");
    let status = |request: &str| {
        let mut stream = dial(chat.addr());
        stream.write_all(request.as_bytes()).expect("it is taken");
        let answer = Answer::read(&mut stream);
        (answer.status, answer.header("Allow").map(str::to_owned))
    };
    for (method, path, expected) in [
        ("GET", STREAM, (405, Some("POST, OPTIONS"))),
        ("PUT", STREAM, (405, Some("POST, OPTIONS"))),
        ("POST", STREAM, (400, None)),
        ("DELETE", SSE, (405, Some("GET, POST, OPTIONS"))),
        ("GET", SSE, (400, None)),
        ("GET", "/connection/sse?cf_connect=", (400, None)),
        ("GET", "/connection/sse?other=1&cf", (400, None)),
        ("GET", EMULATION, (405, Some("POST, OPTIONS"))),
        ("POST", EMULATION, (400, None)),
    ] {
        let got = status(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let expected = (expected.0, expected.1.map(str::to_owned));
        assert_eq!(got, expected, "{method} {path}");
        let empty = "Content-Length: 0\r\n\r\n";
        let got = status(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{empty}"));
        assert_eq!(got, expected, "{method} {path}, no body");
    }
    let upgrade = http::exchange(chat.addr(), http::upgrade(STREAM).as_bytes());
    assert_eq!(upgrade.status, 400);

    let large = vec![b' '; (64 << 10) + 1];
    assert_eq!(chat.post(STREAM, "", &large).status, 413);
    assert_eq!(chat.post(SSE, "", &large).status, 413);
    let chunked = format!(
        "POST {STREAM} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        large.len(),
        " ".repeat(large.len()),
    );
    assert_eq!(status(&chunked).0, 413);
}

#[test]
fn only_who_has_the_session_speaks_for_it() {
    let chat = Chat::start("sessions", "");
    let mut peer = chat.connected();
    let ping = r#"{"id":2,"ping":{}}"#;
    assert_eq!(chat.emulate(&json!({})), 400);
    assert_eq!(
        chat.emulate(&json!({ "data": ping, "node": peer.node })),
        400
    );
    for body in [&b"{"[..], b"\xff", b"[]"] {
        assert_eq!(chat.post(EMULATION, "", body).status, 400);
    }
    let (place, secret) = peer.session.rsplit_once('.').expect("a secret");
    assert_eq!(secret.len(), 32);
    let (shard, key) = place.split_once('.').expect("a shard and a key");
    let other = if shard == "0" { "1" } else { "0" };
    let none = "0".repeat(32);
    for session in [
        "x".to_owned(),
        place.to_owned(),
        format!("{place}."),
        format!("{place}.{none}"),
        format!("{place}.{}", &secret[..31]),
        format!("{place}.{secret}0"),
        format!("{other}.{key}.{secret}"),
        format!("40.{key}.{secret}"),
        format!("{shard}.{key}f.{secret}"),
        format!("ffffffffffffffffffff.{key}.{secret}"),
        format!("-1.{key}.{secret}"),
    ] {
        let body = json!({ "session": session, "node": peer.node, "data": ping });
        assert_eq!(chat.emulate(&body), 404, "{session}");
    }
    for node in ["", "another"] {
        let body = json!({ "session": peer.session, "node": node, "data": ping });
        assert_eq!(chat.emulate(&body), 404, "{node}");
    }
    // A WebSocket has none, and another stream another one.
    let mut socket = Client::connect(chat.addr(), "/connection/websocket");
    socket.text(CONNECT);
    let reply: Value = serde_json::from_str(&socket.expect_text()).expect("JSON");
    assert!(reply["connect"]["session"].is_null(), "{reply}");
    assert_ne!(chat.connected().session, peer.session);

    let large = "x".repeat((64 << 10) + 1);
    assert_eq!(chat.emulate(&peer.says(&large)), 413);
    let larger = "x".repeat(1 << 20);
    assert_eq!(chat.emulate(&peer.says(&larger)), 413);
    // None of it has hurt; once the stream is gone, nobody is there.
    assert_eq!(peer.ask(&chat, &json!({ "id": 3, "ping": {} }))["id"], 3);
    let last = peer.says(ping);
    drop(peer);
    until_equal("it is gone", &404, || chat.emulate(&last));
}

#[test]
fn a_frame_as_large_as_a_websocket_takes_is_heard_in_spite_of_its_quotes() {
    let chat = Chat::start("large", "");
    let mut peer = chat.connected();
    let empty = json!({ "id": 2, "publish": { "channel": "room", "data": "" } }).to_string();
    let filler = "\\\"".repeat(((64 << 10) - empty.len()) / 2);
    let frame = empty.replace(r#""data":"""#, &format!(r#""data":"{filler}""#));
    assert!(frame.len() > (64 << 10) - 3 && frame.len() <= 64 << 10);
    assert_eq!(chat.emulate(&peer.says(&frame)), 204);
    assert_eq!(peer.next(), json!({ "id": 2, "publish": {} }));
}

#[test]
fn posts_behind_one_another_on_one_connection_are_heard_in_order() {
    const POSTS: u64 = 200;
    let chat = Chat::start("order", "[client.rates]\npublish = 'off'\n");
    let mut peer = chat.connected();
    let mut stream = dial(chat.addr());
    let mut posts = String::new();
    for id in 2..2 + POSTS {
        let publish = json!({ "id": id, "publish": { "channel": "room", "data": id } });
        let body = peer.says(&publish.to_string()).to_string();
        posts += &post_head(EMULATION, "", body.len());
        posts += &body;
    }
    stream.write_all(posts.as_bytes()).expect("they are taken");
    for id in 2..2 + POSTS {
        assert_eq!(Answer::read(&mut stream).status, 204);
        assert_eq!(peer.next()["id"], id);
    }
    let history = json!({ "id": 1000, "history": { "channel": "room", "limit": -1 } });
    let reply = peer.ask(&chat, &history);
    let kept = reply["history"]["publications"].as_array().expect("a list");
    let order: Vec<_> = kept.iter().map(|one| one["data"].as_u64()).collect();
    assert!(order.is_sorted() && order.len() > 1, "{order:?}");
    let posted = chat.serving.metric("hioload_chat_emulated_total");
    assert_eq!(posted, POSTS + 1);
}

#[test]
fn what_clients_misdo_ends_their_stream_as_it_would_a_websocket() {
    let toml = "stale = '1s'\nuser_connection_limit = 1\n[client.rates]\npublish = '1/1h'\n\
        refused = '1/1h'\n";
    let chat = Chat::start("limits", toml);
    // Says nothing that makes sense to wait for.
    chat.open(" ").ends_with(3502);
    let mut peer = chat.connected();
    let publish = |id: u32| json!({ "id": id, "publish": { "channel": "room", "data": 1 } });
    assert_eq!(peer.ask(&chat, &publish(2))["publish"], json!({}));
    assert_eq!(peer.ask(&chat, &publish(3))["error"]["code"], 111);
    assert_eq!(chat.emulate(&peer.says(&publish(4).to_string())), 204);
    peer.ends_with(3013);
    let peer = chat.connected();
    // After what ends it nothing is done, and nobody is told another thing.
    let frame = format!("{{\n{}", publish(2));
    assert_eq!(chat.emulate(&peer.says(&frame)), 204);
    peer.ends_with(3501);
}

#[test]
fn pings_are_answered_by_posts_or_the_stream_ends() {
    let chat = Chat::start("pings", "ping = '1s'\npong = '900ms'\n");
    let mut alive = chat.connected();
    for _ in 0..3 {
        assert_eq!(alive.next(), json!({}));
        assert_eq!(chat.emulate(&alive.says("{}")), 204);
    }
    let mut silent = chat.connected();
    assert_eq!(silent.next(), json!({}));
    silent.ends_with(3012);
}

/// A connect command of a user.
fn connect_as(user: &str) -> String {
    let key = EncodingKey::from_secret(b"no key to check it with");
    let token = encode(&Header::default(), &json!({ "sub": user }), &key).expect("a token");
    json!({ "id": 1, "connect": { "token": token } }).to_string()
}

#[test]
fn a_session_names_one_connection_of_a_user() {
    let chat = Chat::start("named", "");
    let [mut first, mut second] = [(); 2].map(|()| chat.open(&connect_as("ann")));
    first.is_let_in();
    second.is_let_in();
    let of = |user: &str, peer: &Peer| json!({ "user": user, "session": peer.session });
    // Of somebody else, or of nobody: nothing happens.
    chat.call("refresh", &of("bob", &first));
    chat.call("refresh", &json!({ "user": "ann", "session": "" }));
    let mut both = of("ann", &first);
    both["client"] = json!("another");
    chat.call("disconnect", &both);
    let ping = |id: u32| json!({ "id": id, "ping": {} });
    for peer in [&mut first, &mut second] {
        assert_eq!(chat.emulate(&peer.says(&ping(2).to_string())), 204);
        assert_eq!(peer.next()["id"], 2);
    }
    chat.call("refresh", &of("ann", &first));
    assert_eq!(first.next(), json!({ "push": { "refresh": {} } }));
    let mut expired = of("ann", &first);
    expired["expired"] = json!(true);
    chat.call("refresh", &expired);
    first.ends_with(3005);
    let mut room = of("ann", &second);
    room["channel"] = json!("room");
    chat.call("subscribe", &room);
    second.is_pushed("subscribe");
    assert_eq!(chat.emulate(&second.says(&ping(3).to_string())), 204);
    assert_eq!(second.next()["id"], 3);
    chat.call("disconnect", &of("ann", &second));
    second.ends_with(3503);
}

#[test]
fn the_application_ends_streams_and_a_stop_is_told() {
    let chat = Chat::start("ends", "");
    let mut ann = chat.open(&connect_as("ann"));
    ann.is_let_in();
    chat.call("subscribe", &json!({ "user": "ann", "channel": "room" }));
    ann.is_pushed("subscribe");
    chat.call("unsubscribe", &json!({ "user": "ann", "channel": "room" }));
    ann.is_pushed("unsubscribe");
    chat.call("disconnect", &json!({ "user": "ann" }));
    ann.ends_with(3503);

    let mut left = [chat.open(CONNECT), chat.open_events(CONNECT)];
    left.iter_mut().for_each(Peer::is_let_in);
    let mut stopping = chat;
    stopping.serving.process.ask_to_stop();
    for peer in left {
        peer.ends_with(3001);
    }
    assert_eq!(stopping.serving.process.wait().status.code(), Some(0));
}

#[test]
fn pages_of_admitted_origins_may_read_the_answers_and_no_others() {
    let chat = Chat::start("origins", "allowed_origins = ['https://example.org']\n");
    let origin = |of: &str| format!("Origin: {of}\r\n");
    let (known, foreign) = (
        origin("https://example.org"),
        origin("https://evil.example"),
    );
    let allowed = |answer: &Answer| {
        let header = answer.header("Access-Control-Allow-Origin");
        header.map(str::to_owned)
    };
    for path in [STREAM, SSE, EMULATION] {
        let ask = |headers: &str| {
            let request = format!(
                "OPTIONS {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\
                 Access-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: content-type\r\n\r\n"
            );
            http::exchange(chat.addr(), request.as_bytes())
        };
        let answer = ask(&known);
        assert_eq!(answer.status, 204);
        assert_eq!(allowed(&answer).as_deref(), Some("https://example.org"));
        let headers = answer.header("Access-Control-Allow-Headers");
        assert_eq!(headers, Some("Content-Type"));
        let methods = answer.header("Access-Control-Allow-Methods");
        assert!(methods.is_some_and(|methods| methods.contains("POST")));
        let answer = ask(&foreign);
        assert_eq!((answer.status, allowed(&answer)), (403, None));
        let answer = chat.post(path, &foreign, CONNECT.as_bytes());
        assert_eq!((answer.status, allowed(&answer)), (403, None));
    }
    let own = origin(&format!("http://{}", chat.addr()));
    for headers in [&known, &own, &String::new()] {
        let host = format!("Host: {}\r\n", chat.addr());
        let head = post_head(STREAM, headers, CONNECT.len()).replace("Host: a\r\n", &host);
        let mut peer = Peer::open(chat.addr(), &format!("{head}{CONNECT}"));
        peer.is_let_in();
        let sent = headers.trim_end().strip_prefix("Origin: ");
        assert_eq!(allowed(&peer.head).as_deref(), sent);
        let answer = chat.post(EMULATION, &known, peer.says("").to_string().as_bytes());
        assert_eq!(answer.status, 204);
        assert_eq!(allowed(&answer).as_deref(), Some("https://example.org"));
    }
    // One that is refused can read why.
    let answer = chat.post(EMULATION, &known, b"{");
    assert_eq!((answer.status, allowed(&answer).is_some()), (400, true));
}

#[test]
fn who_reads_too_slowly_ends_with_3008() {
    let chat = Chat::start("slow", "[backpressure]\nlimit = 65536\n");
    let mut slow = chat.connected();
    let subscribe = json!({ "id": 2, "subscribe": { "channel": "room" } });
    assert!(slow.ask(&chat, &subscribe)["subscribe"].is_object());
    let data = "x".repeat(40 << 10);
    let mut said = 0;
    // More than the kernel keeps for both ends.
    let is_closed = |(name, count): (&String, &u64)| {
        name.starts_with("hioload_backpressure_total") && name.contains("closed") && *count > 0
    };
    while !chat.serving.metrics().iter().any(is_closed) {
        for _ in 0..10 {
            chat.call("publish", &json!({ "channel": "room", "data": data }));
            said += 1;
        }
        assert!(said < 2000, "80 MB wait somewhere");
    }
    let mut heard = 0;
    let last = loop {
        let next = slow.next();
        if next["push"]["disconnect"].is_object() {
            break next;
        }
        heard += 1;
    };
    assert_eq!(last["push"]["disconnect"]["code"], 3008, "{last}");
    assert!(heard < said, "{heard} of {said}");
    assert!(slow.read().is_none());
}

#[test]
fn switched_off_there_is_no_such_thing() {
    let chat = Chat::start("off", "[routes]\nsse = false\n");
    assert_eq!(http::get(chat.addr(), SSE).status, 404);
    assert_eq!(chat.emulate(&json!({})), 400);
    chat.connected();
    let chat = Chat::start("off-all", "[routes]\nsse = false\nhttp_stream = false\n");
    for path in [SSE, STREAM, EMULATION] {
        assert_eq!(http::get(chat.addr(), path).status, 404, "{path}");
    }
}
