//! What clients may: tokens by public keys, subscriptions by tokens, how many
//! connections and commands, and what of it a reload changes.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use support::Serving;
use support::client::Client;
use support::http;

const SECRET: &str = "a secret for the tests alone";

fn key_file(name: &str) -> PathBuf {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    keys.join(name)
}

/// A server whose configuration can change, which ends with its test.
struct Chat {
    serving: Serving,
    file: PathBuf,
}

impl Chat {
    fn start(name: &str, toml: &str) -> Self {
        let name = format!("hioload-limits-{name}-{}.toml", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, toml).expect("a file");
        let serving = Serving::start(&["--config", file.to_str().expect("text")]);
        Self { serving, file }
    }

    fn reload(&self, toml: &str, logged: &str) {
        std::fs::write(&self.file, toml).expect("a file");
        self.serving.process.ask_to_reload();
        self.serving.process.wait_for_log(logged);
    }

    fn open(&self) -> Peer {
        Peer(Client::connect(self.serving.addr, "/connection/websocket"))
    }

    fn connected(&self, token: &str) -> Peer {
        let mut peer = self.open();
        let reply = peer.ask(&json!({ "id": 1, "connect": { "token": token } }));
        assert!(reply["connect"].is_object(), "{reply}");
        peer
    }

    fn refused(&self, token: &str, code: u16) {
        let mut peer = self.open();
        peer.tell(&json!({ "id": 1, "connect": { "token": token } }));
        peer.0.expect_end(code);
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.file);
    }
}

struct Peer(Client);

impl Peer {
    fn tell(&mut self, command: &Value) {
        self.0.text(&command.to_string());
    }

    /// The one reply in the next frame that is no ping.
    fn next(&mut self) -> Value {
        loop {
            let frame = self.0.expect_text();
            if frame != "{}" {
                return serde_json::from_str(&frame).expect("one line of JSON");
            }
        }
    }

    fn ask(&mut self, command: &Value) -> Value {
        self.tell(command);
        self.next()
    }
}

fn signed(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::default(), claims, &key).expect("a token")
}

fn token(claims: &Value) -> String {
    signed(SECRET, claims)
}

#[test]
fn tokens_by_public_keys_and_key_sets_let_in() {
    let toml = format!(
        "[client]\ntoken_public_keys = [{:?}]\ntoken_jwks = {:?}\n",
        key_file("rsa.pub.pem"),
        key_file("jwks.json")
    );
    let chat = Chat::start("keys", &toml);
    let claims = json!({ "sub": "42" });
    let pem = |name| std::fs::read(key_file(name)).expect("a key");
    let rsa = EncodingKey::from_rsa_pem(&pem("rsa.pem")).expect("a key");
    let ec = EncodingKey::from_ec_pem(&pem("ec.pem")).expect("a key");
    let by = |algorithm, kid: Option<&str>, key: &EncodingKey| {
        let mut header = Header::new(algorithm);
        header.kid = kid.map(Into::into);
        encode(&header, &claims, key).expect("a token")
    };
    chat.connected(&by(Algorithm::RS256, None, &rsa));
    chat.connected(&by(Algorithm::RS256, Some("rsa-1"), &rsa));
    chat.connected(&by(Algorithm::ES256, Some("ec-1"), &ec));
    // No PEM file is for ES256, and the set's key has a name.
    chat.refused(&by(Algorithm::ES256, None, &ec), 3500);
    chat.refused(&by(Algorithm::RS256, Some("ec-1"), &rsa), 3500);
    // A public key is no secret.
    let public = EncodingKey::from_secret(&pem("rsa.pub.pem"));
    chat.refused(&by(Algorithm::HS256, None, &public), 3500);
    chat.refused(&by(Algorithm::HS256, Some("rsa-1"), &public), 3500);
}

#[test]
fn a_token_subscribes_to_what_its_subs_name_with_what_they_say() {
    let channel = "[channel]\npresence = true\nallow_presence = 'subscriber'\n";
    let toml = format!("client.token_secret = '{SECRET}'\n{channel}");
    let chat = Chat::start("subs", &toml);
    let mut peer = chat.open();
    let token = token(&json!({ "sub": "42", "channels": ["a"], "subs": {
        "b": { "info": { "role": "guest" }, "data": { "motd": "hi" } },
        "c": { "override": { "presence": { "value": false } } },
    } }));
    let reply = peer.ask(&json!({ "id": 1, "connect": { "token": token } }));
    let subs = reply["connect"]["subs"].as_object().expect("three");
    assert_eq!(subs.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(subs["b"]["data"], json!({ "motd": "hi" }));
    assert_eq!(subs["a"].get("data"), None);
    let mut presence = |channel: &str| {
        let reply = peer.ask(&json!({ "id": 2, "presence": { "channel": channel } }));
        reply["presence"]["presence"]
            .as_object()
            .map_or(0, |list| list.len())
    };
    assert_eq!(["a", "b", "c"].map(&mut presence), [1, 1, 0]);
    chat.refused(
        &self::token(&json!({ "subs": { "b": { "infos": 1 } } })),
        3500,
    );
}

#[test]
fn a_user_has_as_many_connections_as_are_allowed() {
    let toml = format!(
        "[client]\ntoken_secret = '{SECRET}'\nuser_connection_limit = 2\nanonymous = true\n"
    );
    let chat = Chat::start("users", &toml);
    let ann = token(&json!({ "sub": "ann" }));
    // On whichever shards they are.
    let first = chat.connected(&ann);
    let _second = chat.connected(&ann);
    for _ in 0..4 {
        chat.refused(&ann, 3504);
    }
    chat.connected(&token(&json!({ "sub": "bob" })));
    let _nobodies: Vec<_> = (0..4).map(|_| chat.connected("")).collect();
    first.0.close_and_wait();
    chat.connected(&ann);
}

#[test]
fn commands_beyond_their_rate_are_refused_and_going_on_is_the_end() {
    let toml = "[client]\nanonymous = true\n[client.rates]\npublish = '3/1h'\nrefused = '2/1h'\n\
         other = '50/1h'\nread = 'off'\nerrors = '4/1h'\n[channel]\nallow_publish = 'anyone'\n\
         allow_presence = 'anyone'\n[[namespace]]\nname = 'shut'\n";
    let chat = Chat::start("rates", toml);
    let mut peer = chat.connected("");
    let publish = json!({ "id": 2, "publish": { "channel": "a", "data": 1 } });
    for _ in 0..3 {
        assert_eq!(peer.ask(&publish), json!({ "id": 2, "publish": {} }));
    }
    for _ in 0..2 {
        let refused = peer.ask(&publish);
        let expected = json!({ "code": 111, "message": "too many requests", "temporary": true });
        assert_eq!(refused["error"], expected);
    }
    // Other kinds go on, and what is off has no limit.
    assert_eq!(
        peer.ask(&json!({ "id": 3, "ping": {} })),
        json!({ "id": 3, "ping": {} })
    );
    let stats = json!({ "id": 4, "presence_stats": { "channel": "a" } });
    for _ in 0..100 {
        assert_eq!(peer.ask(&stats)["presence_stats"]["num_clients"], 0);
    }
    peer.tell(&publish);
    peer.0.expect_end(3013);

    let mut peer = chat.connected("");
    let denied = json!({ "id": 2, "subscribe": { "channel": "shut:a" } });
    for _ in 0..4 {
        assert_eq!(peer.ask(&denied)["error"]["code"], 103);
    }
    peer.tell(&denied);
    assert_eq!(peer.0.expect_close(), 3509);
}

#[test]
fn a_reload_changes_keys_origins_limits_and_permissions() {
    let start = format!("[client]\ntoken_secret = '{SECRET}'\n");
    let chat = Chat::start("reload", &start);
    let (old, claims) = (token(&json!({ "sub": "ann" })), json!({ "sub": "ann" }));
    let mut ann = chat.connected(&old);
    let publish = json!({ "id": 2, "publish": { "channel": "a", "data": 1 } });
    assert_eq!(ann.ask(&publish)["error"]["code"], 103);
    let from_page = |chat: &Chat| {
        let request = "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://app.example\r\n\r\n";
        let mut stream = support::client::dial(chat.serving.addr);
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("it reads");
        let mut head = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut head).expect("it answers");
        String::from_utf8(head.to_vec()).expect("text")
    };
    assert_eq!(from_page(&chat), "HTTP/1.1 403");

    let other = "another secret of the tests";
    let toml = format!(
        "[client]\ntoken_secret = '{other}'\nallowed_origins = ['https://app.example']\n\
         user_connection_limit = 2\n[channel]\nallow_publish = 'user'\n"
    );
    chat.reload(&toml, "allow_publish channel: Nobody -> channel: User");
    assert_eq!(ann.ask(&publish), json!({ "id": 2, "publish": {} }));
    chat.refused(&old, 3500);
    let new = signed(other, &claims);
    let _second = chat.connected(&new);
    // She was there before there was a limit, and counts.
    chat.refused(&new, 3504);
    assert_eq!(from_page(&chat), "HTTP/1.1 101");
    let logged = chat.serving.process.logged();
    for secret in [SECRET, other, &*old, &*new] {
        assert!(!logged.contains(secret), "a secret is in the log");
    }

    // What can not change is named, and nothing of the rest changes.
    let refused = "[client]\nanonymous = true\n[channel]\nhistory_size = 7\nallow_publish = 'anyone'\n\
         [[namespace]]\nname = 'new'\n";
    chat.reload(refused, "channel: history_size");
    assert_eq!(
        chat.serving
            .process
            .logged()
            .matches("the reload is refused")
            .count(),
        1
    );
    let mut nobody = chat.open();
    let reply = nobody.ask(&json!({ "id": 1, "connect": {} }));
    assert_eq!(reply["error"]["code"], 101);
    let bad = "[client]\ntoken_jwks = '/no/such/set.json'\n";
    chat.reload(bad, "cannot read /no/such/set.json");
    assert_eq!(ann.ask(&publish), json!({ "id": 2, "publish": {} }));
}

#[test]
fn an_address_has_as_many_connections_as_are_allowed() {
    let chat = Chat::start(
        "addresses",
        "client.anonymous = true\n[limits]\nmax_connections_per_address = 2\n",
    );
    let first = chat.connected("");
    let _second = chat.connected("");
    let answer = http::get(chat.serving.addr, "/health");
    assert_eq!(answer.status, 503);
    drop(first);
}
