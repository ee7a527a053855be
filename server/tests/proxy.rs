//! The application is asked about what clients do, by event: what it is told, and
//! what clients are told of its answers.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::application::{Answer, Application, Asked, Gate};
use support::client::{Client, dial};
use support::peer::{Chat, PATH, SECRET, token};
use support::wait::{until, until_equal};

/// A server without tokens that asks about these events.
fn start(name: &str, application: &Application, events: &str, toml: &str) -> Chat {
    let endpoint = application.endpoint();
    Chat::start(
        &format!("proxy-{name}"),
        &format!(
            "{toml}\n[[application]]\nname = 'app'\nendpoints = ['{endpoint}']\n\
             events = {events}\ntimeout = '20s'\ntotal_timeout = '25s'\nretries = 0\n"
        ),
    )
}

const ANONYMOUS: &str = "client.anonymous = true\nchannel.allow_subscribe = 'anyone'\n\
                         channel.allow_history = 'anyone'\nchannel.allow_presence = 'anyone'\n";

/// Seconds of the Unix clock.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

#[test]
fn the_application_says_who_a_client_is_and_what_it_is_subscribed_to() {
    let application = Application::start(|_| {
        Answer::result(&json!({
            "user": "ann", "info": { "name": "Ann" }, "data": { "hello": [1] },
            "channels": ["news"],
            "subs": { "own": { "info": { "role": "owner" }, "data": "welcome" } },
        }))
    });
    let chat = start("connect", &application, "['connect']", ANONYMOUS);
    let mut peer = chat.open();
    let reply = peer.ask(&json!({ "id": 7, "connect": {
        "data": { "from": "page" }, "name": "js", "version": "1.2",
        "subs": { "news": { "recover": true, "epoch": "0", "offset": 0 } } } }));
    let connected = &reply["connect"];
    assert_eq!(connected["data"], json!({ "hello": [1] }));
    assert_eq!(connected["subs"]["own"]["data"], "welcome");
    assert_eq!(connected["subs"]["news"]["was_recovering"], true);
    assert_eq!(connected["expires"], Value::Null);
    let presence = peer.ask(&json!({ "id": 8, "presence": { "channel": "own" } }));
    let client = connected["client"].as_str().expect("a client");
    assert_eq!(
        presence["presence"]["presence"][client],
        json!({ "user": "ann", "client": client, "conn_info": { "name": "Ann" },
            "chan_info": { "role": "owner" } })
    );
    let seen = application.about("connect");
    assert_eq!(seen.len(), 1);
    assert_eq!(
        seen[0].body,
        json!({ "client": client, "transport": "websocket", "protocol": "json",
            "encoding": "json", "data": { "from": "page" }, "name": "js", "version": "1.2",
            "channels": ["news"] })
    );
    assert_eq!(seen[0].headers["content-type"], "application/json");
    assert_eq!(seen[0].headers["x-hioload-event"], "connect");
    assert_eq!(seen[0].headers["idempotency-key"].len(), 36);
}

#[test]
fn a_token_has_the_word_where_there_is_one() {
    let application = Application::start(|_| Answer::result(&json!({ "user": "bob" })));
    let secret = format!("client.token_secret = '{SECRET}'\n");
    let chat = start("token", &application, "['connect', 'subscribe']", &secret);
    let mut peer = chat.open();
    let signed = token(&json!({ "sub": "ann" }));
    let reply = peer.ask(&json!({ "id": 1, "connect": { "token": signed } }));
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    let signed = token(&json!({ "sub": "ann", "channel": "$own" }));
    let reply = peer.ask(&json!({ "id": 2, "subscribe": { "channel": "$own", "token": signed } }));
    assert!(reply["subscribe"].is_object(), "{reply}");
    // Without its token such a channel is for nobody, whatever the application
    // would say.
    let other = json!({ "id": 3, "subscribe": { "channel": "$other" } });
    assert_eq!(peer.refused(&other), 103);
    let other = json!({ "id": 4, "subscribe": { "channel": "of#bob" } });
    assert_eq!(peer.refused(&other), 103);
    assert!(application.seen().is_empty());
    let mut other = chat.open();
    let expired = token(&json!({ "sub": "ann", "exp": 1 }));
    assert_eq!(
        other.refused(&json!({ "id": 1, "connect": { "token": expired } })),
        109
    );
    assert!(application.seen().is_empty());
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let application = Application::start(|asked| match asked.body["data"].as_str() {
        Some("error") => Answer::error(432),
        Some("disconnect") => Answer::disconnect(4501),
        Some("past") => Answer::result(&json!({ "user": "a", "expire_at": 1 })),
        Some("garbled") => Answer(200, b"{\"result\":{\"user\":[]}}".to_vec()),
        Some("status") => Answer::status(404),
        _ => Answer::result(&json!({ "user": "a", "channels": ["nowhere:x"] })),
    });
    let chat = start("refused", &application, "['connect']", ANONYMOUS);
    let refused = |data: &str| {
        let mut peer = chat.open();
        let reply = peer.ask(&json!({ "id": 1, "connect": { "data": data } }));
        // What it sent along is passed over; it may only leave.
        peer.tell(&json!({ "id": 2, "ping": {} }));
        peer.tell(&json!({ "id": 3, "connect": {} }));
        assert_eq!(peer.client.expect_close(), 3501);
        reply["error"].clone()
    };
    let own = json!({ "code": 432, "message": "the application says no" });
    assert_eq!(refused("error"), own);
    assert_eq!(refused("past")["code"], 110);
    for data in ["garbled", "status"] {
        let internal =
            json!({ "code": 100, "message": "internal server error", "temporary": true });
        assert_eq!(refused(data), internal, "{data}");
    }
    for (data, code) in [("disconnect", 4501), ("nowhere", 3004)] {
        let mut peer = chat.open();
        peer.tell(&json!({ "id": 1, "connect": { "data": data } }));
        assert_eq!(peer.client.expect_close(), code, "{data}");
    }
    until_equal("clients that were let in", &0, || {
        chat.serving.metric("hioload_chat_clients")
    });
}

#[test]
fn who_is_about_to_be_let_in_is_heard_then() {
    let gate = Gate::default();
    let held = gate.clone();
    let application = Application::start(move |_| {
        held.pass();
        Answer::result(&json!({ "user": "a", "channels": ["news"] }))
    });
    let chat = start("early", &application, "['connect']", ANONYMOUS);
    let mut peer = chat.open();
    // As SDKs do when they come back: all in one frame, and then more.
    let lines = [
        json!({ "id": 1, "connect": {} }),
        subscribe(2, "room"),
        json!({ "id": 3, "ping": {} }),
    ];
    peer.client
        .text(&lines.map(|line| line.to_string()).join("\n"));
    peer.tell(&json!({ "id": 4, "ping": {} }));
    let mut twice = chat.open();
    let mut flood = chat.open();
    for connecting in [&mut twice, &mut flood] {
        connecting.tell(&json!({ "id": 1, "connect": {} }));
    }
    twice.tell(&json!({ "id": 2, "connect": {} }));
    let long = "x".repeat(40_000);
    for id in 2..4 {
        flood.tell(&rpc(id, "m", &json!(long)));
    }
    flood.client.expect_end(3013);
    until_equal("questions", &3, || application.seen().len());
    gate.open();
    let mut ids: Vec<_> = (0..4).map(|_| peer.next()["id"].as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(twice.client.expect_close(), 3501);
}

#[test]
fn nobody_waits_for_ever_to_be_let_in() {
    let gate = Gate::default();
    let held = gate.clone();
    let application = Application::start(move |_| {
        held.pass();
        Answer::result(&json!({ "user": "a" }))
    });
    let toml = format!("{ANONYMOUS}client.stale = '3s'\n");
    let chat = start("waiting", &application, "['connect']", &toml);
    let mut patient = chat.open();
    patient.tell(&json!({ "id": 1, "connect": {} }));
    patient.client.expect_end(3502);
    gate.open();
    // What comes for those that have gone is nobody's.
    let open = || chat.serving.metric("hioload_application_events_open");
    until_equal("events that are not answered", &0, open);
    assert_eq!(chat.serving.metric("hioload_chat_users"), 0);
    chat.connected();
}

#[test]
fn the_headers_that_are_named_are_passed_on_and_no_others() {
    let application = Application::start(|_| Answer::result(&json!({})));
    let toml = format!("{ANONYMOUS}[[namespace]]\nname = 'n'\n");
    let chat = start(
        "headers",
        &application,
        "['connect', 'rpc']\nheaders = ['Cookie', 'X-Lang']",
        &toml,
    );
    let request = tungstenite::http::Request::builder()
        .uri(format!("ws://{}{PATH}", chat.serving.addr))
        .header("Host", "localhost")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("cookie", "session=1")
        .header("Authorization", "Bearer no")
        .body(())
        .expect("a request");
    let stream = dial(chat.serving.addr);
    let (mut socket, _) = tungstenite::client(request, stream).expect("a handshake");
    let headers = json!({ "x-lang": "en", "Cookie": "session=2", "Authorization": "Bearer no" });
    for command in [
        json!({ "id": 1, "connect": { "headers": headers } }),
        json!({ "id": 2, "rpc": { "method": "m" } }),
    ] {
        socket.send(command.to_string().into()).expect("it is sent");
        let reply: Value =
            serde_json::from_str(socket.read().expect("a reply").to_text().unwrap()).expect("JSON");
        assert_eq!(reply["id"], command["id"]);
        assert_eq!(reply["error"], Value::Null);
    }
    let seen = application.seen();
    assert_eq!(seen.len(), 2);
    for asked in seen {
        assert_eq!(asked.headers["cookie"], "session=1");
        assert_eq!(asked.headers["x-lang"], "en");
        assert_eq!(asked.headers.get("authorization"), None);
    }
}

fn rpc(id: u32, method: &str, data: &Value) -> Value {
    json!({ "id": id, "rpc": { "method": method, "data": data } })
}

#[test]
fn a_method_is_called_and_its_answer_comes_back() {
    let application = Application::start(|asked| match asked.body["method"].as_str() {
        Some("double") => {
            let number = asked.body["data"].as_i64().expect("a number");
            // A line break would end the message to the client.
            Answer(
                200,
                format!("{{\"result\":\n{{\"data\":[\n{}]}}}}", 2 * number).into_bytes(),
            )
        }
        Some("base64") => Answer::result(&json!({ "b64data": "eyJhIjogMX0=" })),
        Some("nothing") => Answer::of(&json!({})),
        Some("error") => Answer::error(477),
        Some("garbled") => Answer(200, b"{\"result\":".to_vec()),
        Some("long") => Answer::result(&json!({ "data": "x".repeat(70_000) })),
        Some("broken") => Answer::status(500),
        _ => Answer::disconnect(4009),
    });
    let events = "['rpc']\nmax_response = 65536";
    let chat = start("rpc", &application, events, ANONYMOUS);
    let mut peer = chat.connected();
    let reply = peer.ask(&rpc(2, "double", &json!(21)));
    assert_eq!(reply, json!({ "id": 2, "rpc": { "data": [42] } }));
    let reply = peer.ask(&rpc(3, "base64", &json!(null)));
    assert_eq!(reply, json!({ "id": 3, "rpc": { "data": { "a": 1 } } }));
    assert_eq!(
        peer.ask(&rpc(4, "nothing", &json!(null))),
        json!({ "id": 4, "rpc": {} })
    );
    for (method, code) in [
        ("error", 477),
        ("garbled", 100),
        ("long", 100),
        ("broken", 100),
    ] {
        assert_eq!(peer.refused(&rpc(5, method, &json!({}))), code, "{method}");
    }
    assert_eq!(
        application.seen()[0].body["user"],
        Value::Null,
        "nobody in particular"
    );
    peer.tell(&rpc(6, "bye", &json!({})));
    peer.client.expect_end(4009);
    let events = |end: &str| {
        let labels = format!("{{application=\"app\",event=\"rpc\",end=\"{end}\"}}");
        chat.serving.metrics()[&format!("hioload_application_events_total{labels}")]
    };
    assert_eq!(
        ["result", "error", "failure", "disconnect"].map(events),
        [3, 1, 3, 1]
    );
}

#[test]
fn methods_have_namespaces_too() {
    let application = Application::start(|_| Answer::result(&json!({ "data": 1 })));
    let events = "['rpc']\nnamespaces = ['math']";
    let chat = start("methods", &application, events, ANONYMOUS);
    let mut peer = chat.connected();
    assert_eq!(peer.ask(&rpc(2, "math:add", &json!([1])))["rpc"]["data"], 1);
    for method in ["add", "text:add", "mathematics:add"] {
        assert_eq!(peer.refused(&rpc(3, method, &json!([1]))), 104, "{method}");
    }
    assert_eq!(application.seen().len(), 1);
}

#[test]
fn one_client_has_only_so_many_questions_open() {
    let gate = Gate::default();
    let held = gate.clone();
    let application = Application::start(move |_| {
        held.pass();
        Answer::result(&json!({ "data": 1 }))
    });
    let chat = start(
        "per-client",
        &application,
        "['rpc']\nmax_per_client = 3",
        ANONYMOUS,
    );
    let (mut peer, mut other) = (chat.connected(), chat.connected());
    for id in 2..5 {
        peer.tell(&rpc(id, "m", &json!(id)));
    }
    assert_eq!(peer.refused(&rpc(5, "m", &json!(5))), 111);
    other.tell(&rpc(2, "m", &json!(2)));
    gate.open();
    assert_eq!(other.reply(&json!(2))["rpc"]["data"], 1);
    let mut ids: Vec<_> = (0..3).map(|_| peer.next()["id"].as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [Some(2), Some(3), Some(4)]);
    assert_eq!(peer.ask(&rpc(6, "m", &json!(6)))["rpc"]["data"], 1);
}

fn message(data: &Value) -> Value {
    json!({ "send": { "data": data } })
}

#[test]
fn messages_are_passed_on_and_not_answered() {
    let application = Application::start(|asked| match asked.body["data"].as_str() {
        Some("error") => Answer::error(400),
        Some("garbled") => Answer(200, b"{\"result\":".to_vec()),
        Some("broken") => Answer::status(500),
        Some("bye") => Answer::disconnect(4009),
        Some("anything") => Answer::result(&json!([1, { "a": 2 }])),
        _ => Answer::of(&json!({})),
    });
    let toml = format!("{ANONYMOUS}routes.http_stream = true\n");
    let chat = start("messages", &application, "['message']", &toml);
    let mut peer = chat.open();
    let connected = peer.ask(&json!({ "id": 1, "connect": {} }));
    for said in ["hello", "error", "garbled", "broken", "anything"] {
        peer.tell(&message(&json!(said)));
    }
    peer.tell(&json!({ "send": {} }));
    until_equal("messages", &6, || application.about("message").len());
    let mut seen = application.about("message").into_iter();
    let hello = seen.find(|one| one.body["data"] == "hello");
    let client = &connected["connect"]["client"];
    assert_eq!(
        hello.expect("the first").body,
        json!({ "client": client, "transport": "websocket", "protocol": "json",
            "encoding": "json", "data": "hello" })
    );
    // Nothing is said of them, and a method still is nobody's.
    assert_eq!(peer.refused(&rpc(2, "m", &json!(1))), 104);
    let events = |end: &str| {
        let labels = format!("{{application=\"app\",event=\"message\",end=\"{end}\"}}");
        chat.serving.metrics()[&format!("hioload_application_events_total{labels}")]
    };
    until_equal("ends", &[3, 1, 2, 0], || {
        ["result", "error", "failure", "disconnect"].map(events)
    });
    peer.tell(&message(&json!("bye")));
    peer.client.expect_end(4009);

    let mut client = Client::connect(chat.serving.addr, &format!("{PATH}?format=protobuf"));
    // {id: 1, connect: {}}, then {send: {data: ff 00}}.
    client.binary(b"\x04\x08\x01\x22\x00");
    client.expect_binary();
    client.binary(b"\x06\x62\x04\x0a\x02\xff\x00");
    let of_bytes = || {
        let all = application.about("message").into_iter();
        all.filter(|one| one.body["b64data"] == "/wA=").count()
    };
    until_equal("messages in bytes", &1, of_bytes);
}

#[test]
fn messages_that_can_not_be_told_are_dropped_and_too_many_end_the_connection() {
    let gate = Gate::default();
    let held = gate.clone();
    let application = Application::start(move |_| {
        held.pass();
        Answer::of(&json!({}))
    });
    let toml = format!("{ANONYMOUS}client.rates.rpc = '8/1h'\nclient.rates.refused = '2/1h'\n");
    let events = "['message']\nmax_per_client = 3";
    let chat = start("messages-bound", &application, events, &toml);
    let mut peer = chat.connected();
    for number in 0..5 {
        peer.tell(&message(&json!(number)));
    }
    assert_eq!(peer.ask(&json!({ "id": 2, "ping": {} }))["ping"], json!({}));
    let dropped = || chat.serving.metric("hioload_chat_messages_dropped_total");
    assert_eq!(dropped(), 2);
    gate.open();
    let open = || chat.serving.metric("hioload_application_events_open");
    until_equal("messages that are not answered", &0, open);
    assert_eq!(application.seen().len(), 3);
    for number in 5..10 {
        peer.tell(&message(&json!(number)));
    }
    assert_eq!(peer.ask(&json!({ "id": 3, "ping": {} }))["ping"], json!({}));
    peer.tell(&message(&json!(11)));
    peer.client.expect_end(3013);
    until_equal("messages", &6, || application.seen().len());
}

#[test]
fn who_can_not_upgrade_says_messages_by_posts() {
    let application = Application::start(|_| Answer::of(&json!({})));
    let toml = format!("{ANONYMOUS}routes.http_stream = true\n");
    let chat = start("messages-stream", &application, "['message']", &toml);
    let post = |path: &str, body: &Value| {
        let (body, mut stream) = (body.to_string(), dial(chat.serving.addr));
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("taken");
        BufReader::new(stream).lines()
    };
    let connect = json!({ "id": 1, "connect": {} });
    let mut stream = post("/connection/http_stream", &connect);
    let reply = stream.find_map(|line| {
        let line = line.expect("a line");
        line.starts_with('{')
            .then(|| serde_json::from_str::<Value>(&line).expect("JSON"))
    });
    let reply = reply.expect("a reply");
    let said = message(&json!({ "n": 1 })).to_string();
    let (session, node) = (&reply["connect"]["session"], &reply["connect"]["node"]);
    let emulated = json!({ "session": session, "node": node, "data": said });
    let status = post("/emulation", &emulated).next().expect("a line");
    assert!(status.expect("text").contains("204"));
    until_equal("messages", &1, || application.about("message").len());
    let asked = &application.seen()[0].body;
    assert_eq!(asked["transport"], "http_stream");
    assert_eq!(asked["data"], json!({ "n": 1 }));
}

fn subscribe(id: u32, channel: &str) -> Value {
    json!({ "id": id, "subscribe": { "channel": channel } })
}

#[test]
fn the_application_decides_who_may_subscribe() {
    let application = Application::start(|asked| match asked.body["channel"].as_str() {
        Some("n:open") => Answer::result(&json!({ "info": [7], "data": { "topic": "t" } })),
        Some("n:hidden") => Answer::result(&json!({ "override": {
            "presence": { "value": false }, "force_recovery": { "value": true } } })),
        Some("n:past") => Answer::result(&json!({ "expire_at": 1 })),
        _ => Answer::error(403),
    });
    let toml = format!(
        "{ANONYMOUS}[[namespace]]\nname = 'n'\nallow_presence = 'anyone'\nrecovery = false\n\
         allowed_delta_types = ['fossil']\n"
    );
    let events = "['subscribe']\nnamespaces = ['n']";
    let chat = start("subscribe", &application, events, &toml);
    let mut peer = chat.connected();
    let wish = json!({ "id": 2, "subscribe": { "channel": "n:open", "data": { "w": 1 },
        "delta": "fossil" } });
    let reply = peer.ask(&wish);
    assert_eq!(reply["subscribe"]["delta"], true);
    assert_eq!(reply["subscribe"]["data"], json!({ "topic": "t" }));
    assert_eq!(reply["subscribe"]["recoverable"], Value::Null);
    let presence = peer.ask(&json!({ "id": 3, "presence": { "channel": "n:open" } }));
    assert!(
        presence.to_string().contains("\"chan_info\":[7]"),
        "{presence}"
    );
    let reply = peer.ask(&subscribe(4, "n:hidden"));
    assert_eq!(reply["subscribe"]["recoverable"], true);
    let presence = peer.ask(&json!({ "id": 5, "presence": { "channel": "n:hidden" } }));
    assert_eq!(presence["presence"]["presence"], json!({}));
    for (channel, code) in [("n:other", 403), ("n:past", 100), ("n:open", 105)] {
        assert_eq!(peer.refused(&subscribe(6, channel)), code, "{channel}");
    }
    let asked = application.about("subscribe");
    assert_eq!(asked[0].body["data"], json!({ "w": 1 }));
    // A namespace that is not its own.
    assert!(peer.ask(&subscribe(7, "room"))["subscribe"].is_object());
    assert_eq!(application.seen().len(), asked.len());
}

#[test]
fn a_subscription_that_is_decided_about_is_one_and_may_be_given_up() {
    let gate = Gate::default();
    let held = gate.clone();
    let application = Application::start(move |_| {
        held.pass();
        Answer::result(&json!({}))
    });
    let chat = start("pending", &application, "['subscribe']", ANONYMOUS);
    let mut peer = chat.connected();
    peer.tell(&subscribe(2, "a"));
    peer.tell(&subscribe(3, "b"));
    assert_eq!(peer.refused(&subscribe(4, "a")), 105);
    peer.tell(&json!({ "id": 5, "unsubscribe": { "channel": "a" } }));
    assert_eq!(
        peer.next(),
        json!({ "id": 2, "error": {
        "code": 100, "message": "internal server error", "temporary": true } })
    );
    assert_eq!(peer.next(), json!({ "id": 5, "unsubscribe": {} }));
    let mut leaver = chat.connected();
    leaver.tell(&subscribe(2, "b"));
    until_equal("questions", &3, || application.seen().len());
    leaver.client.close_and_wait();
    gate.open();
    assert!(peer.reply(&json!(3))["subscribe"].is_object());
    let open = || chat.serving.metric("hioload_application_events_open");
    until_equal("events that are not answered", &0, open);
    // What was given up is not there, and may be wanted again.
    assert_eq!(chat.serving.metric("hioload_chat_subscriptions"), 1);
    assert!(peer.ask(&subscribe(6, "a"))["subscribe"].is_object());
}

fn publish(id: u32, channel: &str, data: &Value) -> Value {
    json!({ "id": id, "publish": { "channel": channel, "data": data } })
}

#[test]
fn the_application_decides_what_is_published() {
    let application = Application::start(|asked| match asked.body["data"].as_str() {
        Some("rewritten") => Answer::result(&json!({ "data": { "clean": true } })),
        Some("passing") => Answer::result(&json!({ "skip_history": true })),
        Some("rude") => Answer::error(450),
        Some("worse") => Answer::disconnect(4502),
        _ => Answer::result(&json!({})),
    });
    // Nobody may publish but by the application.
    let chat = start("publish", &application, "['publish']", ANONYMOUS);
    let (mut peer, mut hearer) = (chat.connected(), chat.connected());
    assert!(hearer.ask(&subscribe(2, "room"))["subscribe"].is_object());
    for (id, data) in [(2, "plain"), (3, "rewritten"), (4, "passing")] {
        let reply = peer.ask(&publish(id, "room", &json!(data)));
        assert_eq!(reply, json!({ "id": id, "publish": {} }));
    }
    assert_eq!(peer.refused(&publish(5, "room", &json!("rude"))), 450);
    assert_eq!(peer.refused(&publish(6, "nowhere:room", &json!("x"))), 102);
    let heard: Vec<Value> = (0..3)
        .map(|_| hearer.next()["push"]["pub"].clone())
        .collect();
    let heard: Vec<_> = heard
        .iter()
        .map(|one| (&one["data"], &one["offset"]))
        .collect();
    let (plain, clean, passing) = (json!("plain"), json!({ "clean": true }), json!("passing"));
    assert_eq!(
        heard,
        [
            (&plain, &json!(1)),
            (&clean, &json!(2)),
            (&passing, &Value::Null)
        ]
    );
    let history = peer.ask(&json!({ "id": 7, "history": { "channel": "room", "limit": 10 } }));
    let kept = history["history"]["publications"]
        .as_array()
        .expect("publications");
    assert_eq!(kept.len(), 2);
    assert_eq!(application.about("publish")[0].body["channel"], "room");
    peer.tell(&publish(8, "room", &json!("worse")));
    peer.client.expect_end(4502);
}

#[test]
fn publications_of_one_client_to_one_channel_keep_their_order() {
    let gate = Gate::default();
    let held = gate.clone();
    let application = Application::start(move |asked| {
        if asked.body["data"] == 2 {
            held.pass();
        }
        Answer::result(&json!({}))
    });
    let bound = "['publish']\nmax_per_client = 5";
    let chat = start("order", &application, bound, ANONYMOUS);
    let (mut peer, mut hearer) = (chat.connected(), chat.connected());
    assert!(hearer.ask(&subscribe(2, "room"))["subscribe"].is_object());
    for id in 2..6 {
        peer.tell(&publish(id, "room", &json!(id)));
    }
    // Other channels do not wait for this one, and all count.
    let other = peer.ask(&publish(6, "other", &json!("at once")));
    assert_eq!(other, json!({ "id": 6, "publish": {} }));
    peer.tell(&publish(7, "room", &json!(7)));
    assert_eq!(peer.refused(&publish(8, "room", &json!("many"))), 111);
    let asked = |channel: &str| {
        let all = application.about("publish").into_iter();
        all.filter(|asked| asked.body["channel"] == channel)
            .map(|asked| asked.body["data"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(asked("room"), [json!(2)]);
    gate.open();
    let order = [2, 3, 4, 5, 7].map(|id| json!(id));
    let heard = order.each_ref().map(|_| hearer.next());
    let heard = heard.map(|push| push["push"]["pub"]["data"].clone());
    assert_eq!(heard, order);
    let replies = order.each_ref().map(|_| peer.next()["id"].clone());
    assert_eq!(replies, order);
    assert_eq!(asked("room"), order);
    // All of them are answered, so that as many may come again.
    let again = peer.ask(&publish(9, "room", &json!("again")));
    assert_eq!(again, json!({ "id": 9, "publish": {} }));
}

#[test]
fn what_waits_for_a_publication_does_not_outlive_it_for_long() {
    let gate = Gate::default();
    let held = gate.clone();
    let application = Application::start(move |asked| match asked.body["data"].as_str() {
        Some("never") => {
            held.pass();
            Answer::result(&json!({}))
        }
        Some("worse") => Answer::disconnect(4502),
        _ => Answer::result(&json!({})),
    });
    let endpoint = application.endpoint();
    let chat = Chat::start(
        "proxy-late",
        &format!(
            "{ANONYMOUS}\n[[application]]\nname = 'app'\nendpoints = ['{endpoint}']\n\
             events = ['publish']\ntimeout = '400ms'\ntotal_timeout = '400ms'\nretries = 0\n"
        ),
    );
    let mut peer = chat.connected();
    let both = [(2, "never"), (3, "behind")].map(|(id, data)| publish(id, "room", &json!(data)));
    peer.client.text(&format!("{}\n{}", both[0], both[1]));
    for id in [2, 3] {
        assert_eq!(peer.reply(&json!(id))["error"]["code"], 100);
    }
    assert_eq!(application.about("publish").len(), 1);
    let next = peer.ask(&publish(4, "room", &json!("next")));
    assert_eq!(next, json!({ "id": 4, "publish": {} }));
    let both = [(5, "worse"), (6, "behind")].map(|(id, data)| publish(id, "room", &json!(data)));
    peer.client.text(&format!("{}\n{}", both[0], both[1]));
    peer.client.expect_end(4502);
    assert_eq!(application.about("publish").len(), 3);
    gate.open();
}

/// What is granted for two seconds, and then for ever, or no more.
fn granted(asked: &Asked, last: &Value) -> Answer {
    Answer::result(match asked.path.as_str() {
        "/app/connect" | "/app/subscribe" => {
            return Answer::result(&json!({ "user": "a", "expire_at": now() + 2 }));
        }
        _ => last,
    })
}

#[test]
fn what_was_granted_is_renewed_by_the_application() {
    let application = Application::start(|asked| granted(asked, &json!({ "expire_at": 0 })));
    let events = "['connect', 'refresh', 'subscribe', 'sub_refresh']";
    let chat = start("renewed", &application, events, ANONYMOUS);
    let mut peer = chat.connected();
    let reply = peer.ask(&subscribe(2, "room"));
    assert_eq!(
        reply["subscribe"]["expires"],
        Value::Null,
        "it is not the client's to renew"
    );
    for event in ["refresh", "sub_refresh"] {
        until_equal(event, &1, || application.about(event).len());
    }
    assert_eq!(application.about("sub_refresh")[0].body["channel"], "room");
    assert_eq!(application.about("refresh")[0].body["user"], "a");
    assert_eq!(peer.ask(&json!({ "id": 3, "ping": {} }))["ping"], json!({}));
    assert_eq!(chat.serving.metric("hioload_chat_subscriptions"), 1);
}

#[test]
fn what_is_not_renewed_ends() {
    let application = Application::start(|asked| granted(asked, &json!({ "expired": true })));
    let chat = start(
        "expired",
        &application,
        "['subscribe', 'sub_refresh']",
        ANONYMOUS,
    );
    let mut peer = chat.connected();
    assert!(peer.ask(&subscribe(2, "room"))["subscribe"].is_object());
    assert_eq!(
        peer.next(),
        json!({ "push": { "channel": "room", "unsubscribe": {
            "code": 2501, "reason": "subscription expired" } } })
    );
    for (name, events) in [
        ("ended", "['connect', 'refresh']"),
        ("not-asked", "['connect']"),
    ] {
        let chat = start(name, &application, events, ANONYMOUS);
        let mut peer = chat.connected();
        peer.client.expect_end(3005);
    }
}

#[test]
fn clients_that_speak_protobuf_may_say_what_is_not_json() {
    let application = Application::start(|asked| {
        let body = &asked.body;
        let said = [&body["protocol"], &body["encoding"], &body["b64data"]];
        assert_eq!(said, [&json!("protobuf"), &json!("binary"), &json!("/wA=")]);
        Answer::result(&json!({ "b64data": "AP8=" }))
    });
    let chat = start("protobuf", &application, "['rpc']", ANONYMOUS);
    let mut client = Client::connect(chat.serving.addr, &format!("{PATH}?format=protobuf"));
    // {id: 1, connect: {}}, then {id: 2, rpc: {data: ff 00, method: "m"}}.
    client.binary(b"\x04\x08\x01\x22\x00");
    assert_eq!(client.expect_binary()[1..4], *b"\x08\x01\x2a");
    client.binary(b"\x0b\x08\x02\x6a\x07\x0a\x02\xff\x00\x12\x01m");
    assert_eq!(
        client.expect_binary(),
        *b"\x08\x08\x02\x6a\x04\x0a\x02\x00\xff"
    );
}

#[test]
fn clients_that_can_not_upgrade_are_asked_about_too() {
    let application = Application::start(|_| Answer::result(&json!({ "user": "a", "data": "in" })));
    let events = "['connect']\nheaders = ['Cookie']";
    let toml = format!("{ANONYMOUS}routes.http_stream = true\n");
    let chat = start("stream", &application, events, &toml);
    let body = json!({ "id": 1, "connect": {} }).to_string();
    let head = "POST /connection/http_stream HTTP/1.1\r\nHost: a\r\nCookie: s=1\r\n";
    let mut stream = dial(chat.serving.addr);
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("it is taken");
    let mut lines = BufReader::new(stream).lines();
    let is_reply = |line: &String| line.contains("\"data\":\"in\"");
    assert!(lines.any(|line| is_reply(&line.expect("a line"))));
    let seen = application.about("connect");
    assert_eq!(seen[0].body["transport"], "http_stream");
    assert_eq!(seen[0].headers["cookie"], "s=1");
}

#[test]
fn the_server_stops_in_peace_while_the_application_is_asked() {
    let gate = Gate::default();
    let held = gate.clone();
    let application = Application::start(move |_| {
        held.pass();
        Answer::result(&json!({}))
    });
    let mut chat = start("stop", &application, "['rpc']", ANONYMOUS);
    let mut peer = chat.connected();
    peer.tell(&rpc(2, "m", &json!({})));
    until("a question", || {
        let count = application.seen().len();
        if count == 1 { Ok(()) } else { Err(count) }
    });
    // It is one of many threads now that a signal could come to.
    chat.serving.process.ask_to_stop();
    assert_eq!(peer.client.expect_close(), 3001);
    let ended = chat.serving.process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    gate.open();
}
