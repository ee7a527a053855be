//! The application's calls over HTTP: who may, what is refused, what they do.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::Serving;
use support::client::Client;
use support::http::{self, Answer};

const KEY: &str = "a-key-for-the-tests-alone";

/// A server with an API, which ends with its test.
struct Api {
    serving: Serving,
    file: PathBuf,
}

impl Api {
    /// `name` is that of the test.
    fn start(name: &str) -> Self {
        let name = format!("hioload-api-{name}-{}.toml", std::process::id());
        let file = std::env::temp_dir().join(name);
        let toml = format!(
            "api.key = '{KEY}'\nclient.anonymous = true\n[channel]\nallow_subscribe = 'anyone'\n\
             [[namespace]]\nname = 'quiet'\npresence = false\nhistory_size = 0\n\
             recovery = false\npositioning = false\n"
        );
        std::fs::write(&file, toml).expect("a file");
        let serving = Serving::start(&["--config", file.to_str().expect("text")]);
        Self { serving, file }
    }

    fn raw(&self, path: &str, headers: &str, body: &str) -> Answer {
        raw(self.serving.addr, path, headers, body)
    }

    fn post(&self, method: &str, body: &str) -> Answer {
        let headers = format!("X-API-Key: {KEY}\r\n");
        self.raw(&format!("/api/{method}"), &headers, body)
    }

    fn call(&self, method: &str, body: &Value) -> Value {
        let answer = self.post(method, &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_str(answer.text()).expect("JSON")
    }

    fn result(&self, method: &str, body: &Value) -> Value {
        let mut answer = self.call(method, body);
        assert!(answer["result"].is_object(), "{method}: {answer}");
        answer["result"].take()
    }

    fn error(&self, method: &str, body: &Value) -> u64 {
        let answer = self.call(method, body);
        let code = answer["error"]["code"].as_u64();
        code.unwrap_or_else(|| panic!("{method}: {answer}"))
    }
}

fn raw(addr: SocketAddr, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    http::exchange(addr, request.as_bytes())
}

impl Drop for Api {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.file);
    }
}

/// The next publication, without when it was.
fn heard(client: &mut Client) -> Value {
    let mut heard: Value = serde_json::from_str(&client.expect_text()).expect("JSON");
    let mut publication = heard["push"]["pub"].take();
    let time = publication
        .as_object_mut()
        .and_then(|one| one.remove("time"));
    assert!(time.is_some_and(|time| time.is_i64()));
    publication
}

#[test]
fn without_the_key_nothing_is_told() {
    let api = Api::start("keys");
    let wrong = format!("X-API-Key: {KEY}x\r\n");
    for headers in ["", &wrong, "X-API-Key:\r\n", "Authorization: Bearer x\r\n"] {
        for path in ["/api/info", "/api/none"] {
            let answer = api.raw(path, headers, "{}");
            assert_eq!(answer.status, 401, "{path} {headers}");
        }
    }
    assert_eq!(api.post("none", "{}").status, 404);
    let answer = http::get(api.serving.addr, "/api/info");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(api.post("info", "{}").status, 200);
    let logged = api.serving.process.logged();
    assert!(!logged.contains(KEY), "the key is in the log");

    let none = Serving::start(&["--dev"]);
    let answer = http::get(none.addr, "/api/info");
    assert_eq!(answer.status, 404, "there is no API without a key");
}

#[test]
fn what_is_no_call_is_refused() {
    let api = Api::start("malformed");
    for (method, body, named) in [
        ("publish", "{", "EOF"),
        ("publish", "[]", "invalid length"),
        ("publish", r#"{"channel":"a"}"#, "data"),
        ("publish", r#"{"channel":"a","data":1,"loud":true}"#, "loud"),
        ("batch", r#"{"commands":[{"sing":{}}]}"#, "sing"),
        (
            "batch",
            r#"{"commands":[{"publish":{"channel":"a","data":1}},{"publish":{"channel":"a"}}]}"#,
            "in publish: missing field `data`",
        ),
        ("refresh", r#"{"user":"a","expire_at":"soon"}"#, "u64"),
        ("publish", r#"{"channel":7,"data":1}"#, "string"),
        (
            "disconnect",
            r#"{"user":"a","disconnect":{"code":99999}}"#,
            "u16",
        ),
        ("info", r#"{"all":1}"#, "all"),
    ] {
        let answer = api.post(method, body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert!(answer.text().contains(named), "{body}: {}", answer.text());
    }
    let large = format!(r#"{{"channel":"a","data":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(api.post("publish", &large).status, 413);
}

#[test]
fn what_can_not_be_done_has_its_error() {
    let api = Api::start("errors");
    for (method, body, code) in [
        ("publish", json!({ "channel": "none:a", "data": 1 }), 102),
        ("publish", json!({ "channel": "", "data": 1 }), 107),
        (
            "publish",
            json!({ "channel": "x".repeat(256), "data": 1 }),
            107,
        ),
        ("history", json!({ "channel": "quiet:a" }), 108),
        ("history_remove", json!({ "channel": "quiet:a" }), 108),
        ("presence", json!({ "channel": "quiet:a" }), 108),
        ("presence_stats", json!({ "channel": "none:a" }), 102),
        (
            "subscribe",
            json!({ "user": "a", "channel": "none:a" }),
            102,
        ),
        ("unsubscribe", json!({ "user": "", "channel": "a" }), 107),
        ("disconnect", json!({ "user": "" }), 107),
        (
            "disconnect",
            json!({ "user": "a", "disconnect": { "code": 1000 } }),
            107,
        ),
        (
            "broadcast",
            json!({ "channels": vec!["a"; 10_001], "data": 1 }),
            106,
        ),
        ("refresh", json!({ "user": "" }), 107),
        (
            "publish",
            json!({ "channel": "a", "data": 1, "idempotency_key": "k".repeat(256) }),
            107,
        ),
        (
            "batch",
            json!({ "commands": vec![json!({ "info": {} }); 1001] }),
            106,
        ),
    ] {
        assert_eq!(api.error(method, &body), code, "{method} {body}");
    }
}

#[test]
fn what_is_published_is_numbered_kept_and_forgotten() {
    let api = Api::start("publish");
    let mut client = Client::connect(api.serving.addr, "/connection/websocket");
    client.text("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    while !client.expect_text().contains("\"subscribe\"") {}
    let mut epochs = Vec::new();
    for n in 1..=3 {
        let said = json!({ "channel": "a", "data": { "n": n }, "tags": { "t": "x" } });
        let published = api.result("publish", &said);
        assert_eq!(published["offset"], n);
        epochs.push(published["epoch"].clone());
        let mut heard: Value = serde_json::from_str(&client.expect_text()).expect("JSON");
        let mut publication = heard["push"]["pub"].take();
        let time = publication["time"].take().as_i64();
        assert!(time > Some(1_600_000_000_000), "milliseconds: {time:?}");
        let expected =
            json!({ "data": { "n": n }, "tags": { "t": "x" }, "time": null, "offset": n });
        assert_eq!(publication, expected);
    }
    assert_eq!(epochs[0], epochs[2]);
    // Written over several lines, told in one.
    let answer = api.post("publish", "{\n\"channel\": \"a\",\n\"data\": [1,\n2]\n}");
    assert_eq!(answer.status, 200);
    assert!(client.expect_text().contains("\"data\":[1, 2]"));

    let past = api.result(
        "history",
        &json!({ "channel": "a", "limit": 2, "reverse": true }),
    );
    assert_eq!((&past["offset"], &past["epoch"]), (&json!(4), &epochs[0]));
    let offsets: Vec<_> = past["publications"]
        .as_array()
        .expect("two")
        .iter()
        .map(|one| one["offset"].clone())
        .collect();
    assert_eq!(offsets, [4, 3]);
    assert_eq!(
        api.result("history_remove", &json!({ "channel": "a" })),
        json!({})
    );
    let past = api.result("history", &json!({ "channel": "a", "limit": -1 }));
    assert_eq!(past, json!({ "epoch": epochs[0], "offset": 4 }));
    let last = api.result("publish", &json!({ "channel": "a", "data": 5 }));
    assert_eq!(last["offset"], 5);

    let sent = api.result(
        "broadcast",
        &json!({ "channels": ["a", "b", "none:c", "quiet:d"], "data": 6 }),
    );
    let responses = sent["responses"].as_array().expect("four");
    assert_eq!(responses[0]["result"]["offset"], 6);
    assert_eq!(responses[1]["result"]["offset"], 1);
    assert_eq!(responses[2]["error"]["code"], 102);
    assert_eq!(responses[3], json!({ "result": {} }));
}

#[test]
fn a_server_says_what_is_there() {
    let api = Api::start("info");
    let mut clients = Vec::new();
    for channel in ["a", "a", "b"] {
        let mut client = Client::connect(api.serving.addr, "/connection/websocket");
        client.text(&format!("{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}"));
        while !client.expect_text().contains("\"subscribe\"") {}
        clients.push(client);
    }
    let channels = api.result("channels", &json!({}));
    let expected = json!({ "channels": { "a": { "num_clients": 2 }, "b": { "num_clients": 1 } } });
    assert_eq!(channels, expected);
    let stats = api.result("presence_stats", &json!({ "channel": "a" }));
    assert_eq!(stats, json!({ "num_clients": 2, "num_users": 1 }));
    let presence = api.result("presence", &json!({ "channel": "a" }));
    assert_eq!(presence["presence"].as_object().expect("clients").len(), 2);
    let node = &api.result("info", &json!({}))["nodes"][0];
    assert_eq!(
        (
            &node["num_clients"],
            &node["num_users"],
            &node["num_channels"]
        ),
        (&json!(3), &json!(0), &json!(2)),
        "{node}"
    );
}

/// A client of a user that is subscribed to a channel.
fn subscribed(api: &Api, channel: &str) -> Client {
    let mut client = Client::connect(api.serving.addr, "/connection/websocket");
    client.text(&format!(
        "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}"
    ));
    while !client.expect_text().contains("\"subscribe\"") {}
    client
}

#[test]
fn a_batch_is_answered_in_order_one_reply_each() {
    let api = Api::start("batch");
    for parallel in [false, true] {
        let channel = format!("batch-{parallel}");
        let publish = |n: u32| json!({ "publish": { "channel": channel, "data": n } });
        let answer = api.call(
            "batch",
            &json!({ "parallel": parallel, "commands": [
                publish(1), publish(2),
                { "publish": { "channel": "none:a", "data": 1 } },
                { "broadcast": { "channels": ["quiet:a", "none:b"], "data": 1 } },
                { "info": {} },
                { "history": { "channel": channel, "limit": 10 } },
            ] }),
        );
        let replies = answer["replies"].as_array().expect("replies");
        assert_eq!(replies.len(), 6, "{answer}");
        let offsets = [
            &replies[0]["publish"]["offset"],
            &replies[1]["publish"]["offset"],
        ];
        assert_eq!(offsets, [&json!(1), &json!(2)]);
        assert_eq!(replies[2]["error"]["code"], 102);
        let responses = &replies[3]["broadcast"]["responses"];
        assert_eq!(responses[0], json!({ "result": {} }));
        assert_eq!(responses[1]["error"]["code"], 102);
        assert!(replies[4]["info"]["nodes"].is_array(), "{answer}");
        if !parallel {
            // Each is begun when those before it are done.
            assert_eq!(replies[5]["history"]["offset"], 2);
        }
    }
    assert_eq!(
        api.call("batch", &json!({ "commands": [] })),
        json!({ "replies": [] })
    );
}

#[test]
fn the_same_key_publishes_once_also_at_the_same_time() {
    let api = Api::start("idempotency");
    let mut client = subscribed(&api, "a");
    let call = json!({ "channel": "a", "data": "once", "idempotency_key": "k" });
    let (addr, body) = (api.serving.addr, call.to_string());
    let publish = move || {
        let answer = raw(
            addr,
            "/api/publish",
            &format!("X-API-Key: {KEY}\r\n"),
            &body,
        );
        let mut answer: Value = serde_json::from_str(answer.text()).expect("JSON");
        answer["result"].take()
    };
    let results: Vec<Value> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16).map(|_| scope.spawn(&publish)).collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("a result"))
            .collect()
    });
    assert_eq!(results[0]["offset"], 1);
    assert!(results.iter().all(|one| *one == results[0]), "{results:?}");
    // Another key, another channel, and a broadcast with the key known in one.
    let other = json!({ "channel": "a", "data": "other", "idempotency_key": "l" });
    assert_eq!(api.result("publish", &other)["offset"], 2);
    let sent = api.result(
        "broadcast",
        &json!({ "channels": ["a", "b", "a"], "data": "new", "idempotency_key": "k" }),
    );
    let offsets: Vec<_> = sent["responses"]
        .as_array()
        .expect("three")
        .iter()
        .map(|one| one["result"]["offset"].clone())
        .collect();
    assert_eq!(offsets, [1, 1, 1]);
    let last = api.result("publish", &json!({ "channel": "a", "data": "last" }));
    assert_eq!(last["offset"], 3);
    for (n, data) in [(1, "once"), (2, "other"), (3, "last")] {
        assert_eq!(heard(&mut client), json!({ "data": data, "offset": n }));
    }
    // What failed may be tried again.
    let failing = json!({ "channel": "none:a", "data": 1, "idempotency_key": "k" });
    assert_eq!(api.error("publish", &failing), 102);
    assert_eq!(api.error("publish", &failing), 102);
}

#[test]
fn what_skips_the_history_is_told_and_not_kept() {
    let api = Api::start("skip");
    let mut client = subscribed(&api, "a");
    let mut other = subscribed(&api, "a");
    assert_eq!(
        api.result("publish", &json!({ "channel": "a", "data": 1 }))["offset"],
        1
    );
    let skipped = json!({ "channel": "a", "data": 2, "skip_history": true, "tags": { "t": "x" },
        "idempotency_key": "k" });
    assert_eq!(api.result("publish", &skipped), json!({}));
    assert_eq!(api.result("publish", &skipped), json!({}));
    let sent = json!({ "channels": ["a"], "data": 3, "skip_history": true });
    assert_eq!(
        api.result("broadcast", &sent),
        json!({ "responses": [{ "result": {} }] })
    );
    assert_eq!(
        api.result("publish", &json!({ "channel": "a", "data": 4 }))["offset"],
        2
    );
    for client in [&mut client, &mut other] {
        for expected in [
            json!({ "data": 1, "offset": 1 }),
            json!({ "data": 2, "tags": { "t": "x" } }),
            json!({ "data": 3 }),
            json!({ "data": 4, "offset": 2 }),
        ] {
            assert_eq!(heard(client), expected);
        }
    }
    let past = api.result("history", &json!({ "channel": "a", "limit": -1 }));
    assert_eq!(past["publications"].as_array().expect("two").len(), 2);
}

#[test]
fn a_refresh_prolongs_or_ends_what_a_user_was_granted() {
    let secret = "a secret for the tests alone";
    let name = format!("hioload-api-refresh-{}.toml", std::process::id());
    let file = std::env::temp_dir().join(name);
    let toml = format!("api.key = '{KEY}'\nclient.token_secret = '{secret}'\n");
    std::fs::write(&file, toml).expect("a file");
    let serving = Serving::start(&["--config", file.to_str().expect("text")]);
    let api = Api { serving, file };
    let connect = |user: &str| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        let claims = json!({ "sub": user });
        let header = jsonwebtoken::Header::default();
        let token = jsonwebtoken::encode(&header, &claims, &key).expect("a token");
        let mut client = Client::connect(api.serving.addr, "/connection/websocket");
        client.text(&json!({ "id": 1, "connect": { "token": token } }).to_string());
        let reply: Value = serde_json::from_str(&client.expect_text()).expect("JSON");
        let id = reply["connect"]["client"]
            .as_str()
            .expect("an id")
            .to_owned();
        (client, id)
    };
    let (mut first, first_id) = connect("ann");
    let (mut second, _) = connect("ann");
    let (mut bob, _) = connect("bob");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let in_an_hour = now.expect("after 1970").as_secs() + 3600;
    let refresh = json!({ "user": "ann", "client": first_id, "expire_at": in_an_hour });
    assert_eq!(api.result("refresh", &refresh), json!({}));
    let told: Value = serde_json::from_str(&first.expect_text()).expect("JSON");
    let until = &told["push"]["refresh"];
    assert_eq!(until["expires"], true, "{told}");
    assert!(
        (3500..=3600).contains(&until["ttl"].as_u64().expect("seconds")),
        "{told}"
    );
    // The other one heard nothing of it; for ever is for both.
    assert_eq!(api.result("refresh", &json!({ "user": "ann" })), json!({}));
    for client in [&mut first, &mut second] {
        let told: Value = serde_json::from_str(&client.expect_text()).expect("JSON");
        assert_eq!(told, json!({ "push": { "refresh": {} } }));
    }
    let past = json!({ "user": "ann", "client": first_id, "expire_at": 1 });
    assert_eq!(api.result("refresh", &past), json!({}));
    first.expect_end(3005);
    assert_eq!(
        api.result("refresh", &json!({ "user": "ann", "expired": true })),
        json!({})
    );
    second.expect_end(3005);
    bob.text("{\"id\":2,\"ping\":{}}");
    assert_eq!(bob.expect_text(), "{\"id\":2,\"ping\":{}}");
}
