//! Webhooks and mails about what happens in the chat, at receivers that answer,
//! are slow, or are not there.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{EncodingKey, Header, encode};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use sha2::Sha256;
use support::client::Client;
use support::http;
use support::receiver::{Answer, MailServer, Posted, Receiver, Tls};
use support::wait::{until, until_equal};
use support::{Process, Serving};

const TOKENS: &str = "a secret for the tests alone";
const SECRET: &str = "a secret between the two of us";
const KEY: &str = "a-key-for-the-tests-alone";

/// A server with a chat and the tables of a test, which ends with it.
struct Chat {
    serving: Option<Serving>,
    file: PathBuf,
}

impl Chat {
    /// `name` is that of the test.
    fn start(name: &str, tables: &str) -> Self {
        let file = file(name, "toml");
        let toml = format!(
            "client.token_secret = '{TOKENS}'\napi.key = '{KEY}'\n[channel]\n\
             allow_subscribe = 'user'\nallow_publish = 'user'\n\
             [[namespace]]\nname = 'quiet'\nallow_publish = 'user'\n{tables}"
        );
        std::fs::write(&file, toml).expect("a file");
        let mut command = support::server(&["--listen", "127.0.0.1:0", "--shards", "2"]);
        command.arg("--config").arg(&file);
        // Whom it trusts, instead of the system's authorities.
        command.env("SSL_CERT_FILE", file.with_extension("pem"));
        Self {
            serving: Some(Serving::of(Process::spawn(command))),
            file,
        }
    }

    fn serving(&self) -> &Serving {
        self.serving.as_ref().expect("it runs")
    }

    fn stop(mut self) -> support::Ended {
        self.serving.take().expect("it runs").stop()
    }

    /// What was asked to stop already.
    fn ended(mut self) -> support::Ended {
        let ended = self.serving.take().expect("it runs").process.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        ended
    }

    fn connected(&self, user: &str) -> Peer {
        let key = EncodingKey::from_secret(TOKENS.as_bytes());
        let token = encode(&Header::default(), &json!({ "sub": user }), &key).expect("a token");
        let client = Client::connect(self.serving().addr, "/connection/websocket");
        let mut peer = Peer { client, id: 0 };
        let reply = peer.ask("connect", &json!({ "token": token }));
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        peer
    }

    /// Events of a sink by what became of them.
    fn events(&self, sink: &str, name: &str, outcome: &str) -> u64 {
        let key = format!(
            "hioload_notify_events_total{{sink=\"{sink}\",name=\"{name}\",outcome=\"{outcome}\"}}"
        );
        self.serving().metrics()[&key]
    }

    fn until(&self, sink: &str, outcome: &str, count: u64) {
        until_equal(outcome, &count, || self.events(sink, "app", outcome));
    }

    fn call(&self, method: &str, body: &Value) {
        let body = body.to_string();
        let length = body.len();
        let request = format!(
            "POST /api/{method} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             X-API-Key: {KEY}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = http::exchange(self.serving().addr, request.as_bytes());
        assert!(answer.text().contains("result"), "{}", answer.text());
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        for end in ["toml", "pem"] {
            let _gone = std::fs::remove_file(self.file.with_extension(end));
        }
    }
}

fn file(test: &str, end: &str) -> PathBuf {
    let name = format!("hioload-notify-{test}-{}.{end}", std::process::id());
    std::env::temp_dir().join(name)
}

/// A certificate for this machine, which the server of the test trusts.
fn certified(test: &str) -> Arc<ServerConfig> {
    let names = vec!["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::write(file(test, "pem"), made.cert.pem()).expect("a file");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    Arc::new(config.expect("a pair"))
}

/// A client of the chat.
struct Peer {
    client: Client,
    id: u64,
}

impl Peer {
    /// The reply to a command, whatever comes before.
    fn ask(&mut self, what: &str, body: &Value) -> Value {
        self.id += 1;
        self.client
            .text(&json!({ "id": self.id, what: body }).to_string());
        loop {
            let frame = self.client.expect_text();
            let lines = frame
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"));
            let mut replies = lines.filter(|line: &Value| line["id"] == self.id);
            if let Some(reply) = replies.next() {
                assert!(reply.get("error").is_none(), "{reply}");
                return reply;
            }
        }
    }

    fn publish(&mut self, channel: &str, data: &Value) {
        self.ask("publish", &json!({ "channel": channel, "data": data }));
    }

    fn mention(&mut self, users: &[&str]) {
        self.publish("room", &json!({ "text": "come here", "mentions": users }));
    }
}

/// A webhook to a receiver, with more lines.
fn webhook(receiver: &Receiver, events: &str, more: &str) -> String {
    let addr = receiver.addr;
    format!(
        "[[webhook]]\nname = 'app'\nurl = 'http://{addr}/hook'\nevents = {events}\n\
         batch_wait = '1ms'\nbackoff_min = '10ms'\nbackoff_max = '50ms'\n{more}\n"
    )
}

fn mail(server: &MailServer, more: &str) -> String {
    let port = server.addr.port();
    format!(
        "[smtp]\nhost = '127.0.0.1'\nport = {port}\ntls = 'none'\nuser = 'chat'\n\
         password = 'the password'\nfrom = 'Chat <chat@example.org>'\n\
         [[mail]]\nname = 'app'\nevents = ['mention']\nto = '{{user}}@example.org'\n\
         backoff_min = '10ms'\nbackoff_max = '50ms'\n{more}\n"
    )
}

/// The events of requests, each of which is signed.
fn events(posted: &[Posted]) -> Vec<Value> {
    let mut events = Vec::new();
    for one in posted {
        verify(one);
        let mut body: Value = serde_json::from_str(&one.body).expect("JSON");
        assert_eq!(body["id"].as_str(), one.header("x-hioload-delivery"));
        assert_eq!(one.header("content-type"), Some("application/json"));
        let Value::Array(some) = body["events"].take() else {
            panic!("no events in {body}");
        };
        events.extend(some);
    }
    events
}

/// As a receiver does it.
fn verify(posted: &Posted) {
    let header = posted.header("x-hioload-signature").expect("a signature");
    let (time, signature) = header.split_once(",v1=").expect("two parts");
    let time = time.strip_prefix("t=").expect("a time");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(format!("{time}.{}", posted.body).as_bytes());
    let bytes = mac.finalize().into_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, signature);
}

fn signed(more: &str) -> String {
    format!("secret = '{SECRET}'\n{more}")
}

fn types(events: &[Value]) -> Vec<&str> {
    let types = events.iter().map(|event| event["type"].as_str());
    types.map(|kind| kind.expect("a type")).collect()
}

#[test]
fn who_is_mentioned_and_away_is_told_of_by_a_signed_request_and_a_mail() {
    let (receiver, post) = (Receiver::start(), MailServer::start());
    let hook = webhook(&receiver, "['mention']", &signed(""));
    let chat = Chat::start("mention", &format!("{hook}{}", mail(&post, "")));
    let mut ann = chat.connected("ann");
    let bob = chat.connected("bob");
    ann.mention(&["bob", "ann"]);
    ann.mention(&["bob", "carol"]);

    let told = events(&receiver.at_least(1));
    assert_eq!(told.len(), 1, "{told:?}");
    let event = &told[0];
    assert_eq!(event["type"], "mention");
    assert_eq!(event["mentioned"], "carol", "who is here needs no telling");
    assert_eq!(
        (&event["user"], &event["channel"]),
        (&json!("ann"), &json!("room"))
    );
    assert_eq!(event["data"]["text"], "come here");
    assert!(event["id"].is_string() && event["time"].is_i64(), "{event}");

    let mails = post.at_least(1);
    assert_eq!(mails.len(), 1, "{mails:?}");
    let mail = &mails[0];
    assert!(mail.from.contains("<chat@example.org>"), "{mail:?}");
    assert_eq!(mail.to.len(), 1);
    assert!(mail.to[0].contains("<carol@example.org>"), "{mail:?}");
    assert_eq!(mail.header("subject"), Some("ann mentions you in room"));
    assert_eq!(mail.header("auto-submitted"), Some("auto-generated"));
    assert!(
        mail.header("message-id")
            .is_some_and(|id| id.ends_with("@example.org>"))
    );
    assert_eq!(mail.text(), "ann wrote in room:\r\n\r\ncome here\r\n");
    assert!(
        mail.auth
            .as_ref()
            .is_some_and(|auth| auth.starts_with("AUTH PLAIN"))
    );

    // Once is enough for the person, not for the application.
    ann.mention(&["carol"]);
    ann.mention(&["no address", "carol@evil.example\r\nBcc: dave@evil.example"]);
    chat.until("mail", "held_back", 1);
    chat.until("mail", "refused", 2);
    chat.until("webhook", "sent", 4);
    assert_eq!(events(&receiver.all()).len(), 4);
    // Away is who has no connection left.
    drop(bob);
    until_equal("users", &1, || chat.serving().metric("hioload_chat_users"));
    ann.mention(&["bob"]);
    let mails = post.at_least(2);
    assert!(mails[1].to[0].contains("<bob@example.org>"), "{mails:?}");
    let logged = chat.serving().process.logged();
    for secret in [SECRET, "the password"] {
        assert!(!logged.contains(secret), "a secret is in the log");
    }
}

#[test]
fn all_that_happens_is_told_in_order_to_who_asks_for_it() {
    let receiver = Receiver::start();
    let all = "['connect', 'disconnect', 'subscribe', 'unsubscribe', 'publish', \
               'channel_occupied', 'channel_vacated']";
    let hook = webhook(&receiver, all, &signed("namespaces = ['']"));
    let chat = Chat::start("all", &hook);
    let mut ann = chat.connected("ann");
    ann.ask("subscribe", &json!({ "channel": "room" }));
    let count = |count: usize| {
        let seen = || events(&receiver.all()).len();
        until_equal("events", &count, seen);
    };
    count(3);
    ann.publish("quiet:room", &json!(0));
    ann.publish("room", &json!([1]));
    count(4);
    chat.call(
        "publish",
        &json!({ "channel": "room", "data": { "by": "the application" } }),
    );
    chat.call("publish", &json!({ "channel": "quiet:room", "data": 0 }));
    chat.call(
        "publish",
        &json!({ "channel": "room", "data": 7, "skip_history": true }),
    );
    count(6);
    ann.ask("unsubscribe", &json!({ "channel": "room" }));
    count(8);
    drop(ann);
    count(9);
    let told = events(&receiver.all());
    let mut kinds = types(&told);
    // The channel's home tells of it, which may be another shard.
    kinds[1..3].sort_unstable();
    kinds[6..8].sort_unstable();
    assert_eq!(
        kinds,
        [
            "connect",
            "channel_occupied",
            "subscribe",
            "publish",
            "publish",
            "publish",
            "channel_vacated",
            "unsubscribe",
            "disconnect"
        ]
    );
    assert_eq!(
        (&told[3]["user"], &told[3]["data"]),
        (&json!("ann"), &json!([1]))
    );
    assert!(told[4].get("user").is_none(), "the application is no user");
    assert_eq!(told[5]["data"], 7);
    let ids: std::collections::BTreeSet<_> = told.iter().map(|one| one["id"].as_str()).collect();
    assert_eq!(ids.len(), told.len(), "no two events have one id");
}

#[test]
fn what_fails_for_now_is_tried_again_as_the_same_delivery() {
    let (receiver, post) = (Receiver::start(), MailServer::start());
    receiver.answer([Answer::None, Answer::Status(503), Answer::Peace(1)]);
    post.answer(["450 not now", "450 not now"]);
    let hook = webhook(&receiver, "['mention']", &signed(""));
    let chat = Chat::start("retry", &format!("{hook}{}", mail(&post, "")));
    let began = Instant::now();
    chat.connected("ann").mention(&["carol"]);
    chat.until("webhook", "sent", 1);
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "it was asked for peace"
    );
    let posted = receiver.at_least(4);
    assert_eq!(posted.len(), 4);
    assert!(posted.iter().all(|one| one.body == posted[0].body));
    events(&posted);
    chat.until("mail", "sent", 1);
    assert_eq!(post.all().len(), 1);
    assert_eq!(chat.serving().metric("hioload_notify_retries_total"), 5);
}

#[test]
fn a_mail_server_that_hangs_in_the_middle_is_left_and_come_back_to() {
    let post = MailServer::start();
    let mail = mail(&post, "").replace("tls = 'none'", "tls = 'none'\ntimeout = '500ms'");
    let chat = Chat::start("hangs", &mail);
    let mut ann = chat.connected("ann");
    ann.mention(&["carol"]);
    chat.until("mail", "sent", 1);
    post.shut();
    ann.mention(&["dave"]);
    until("a retry", || {
        match chat.serving().metric("hioload_notify_retries_total") {
            0 => Err("none"),
            _ => Ok(()),
        }
    });
    assert_eq!(chat.events("mail", "app", "sent"), 1);
    post.open();
    ann.mention(&["erin"]);
    chat.until("mail", "sent", 3);
    let to: Vec<_> = post
        .all()
        .into_iter()
        .map(|mail| mail.to.concat())
        .collect();
    for (mail, user) in to.iter().zip(["carol", "dave", "erin"]) {
        assert!(mail.contains(user), "{to:?}");
    }
}

#[test]
fn what_a_receiver_will_not_have_is_counted_and_said_once() {
    let (receiver, post) = (Receiver::start(), MailServer::start());
    receiver.answer([Answer::Status(400), Answer::Status(404)]);
    post.answer(["550 nobody of this name"]);
    let hook = webhook(&receiver, "['mention']", &signed("batch_max = 1"));
    let chat = Chat::start("final", &format!("{hook}{}", mail(&post, "")));
    let mut ann = chat.connected("ann");
    ann.mention(&["carol"]);
    chat.until("mail", "failed", 1);
    ann.mention(&["carol"]);
    chat.until("webhook", "failed", 2);
    chat.until("mail", "sent", 1);
    ann.mention(&["dave"]);
    chat.until("webhook", "sent", 1);
    assert_eq!(receiver.all().len(), 3, "nothing was tried again");
    let ended = chat.stop();
    let said = ended
        .stderr
        .matches("notifications are not delivered")
        .count();
    assert_eq!(said, 2, "once for each of both: {}", ended.stderr);
    assert!(
        !ended.stderr.contains("/hook"),
        "an address may be a secret"
    );
}

#[test]
fn a_slow_receiver_fills_its_queue_and_nothing_else() {
    let receiver = Receiver::start();
    receiver.shut();
    let more = signed("batch_max = 1\nqueue = 5\ntimeout = '60s'");
    let chat = Chat::start("slow", &webhook(&receiver, "['publish']", &more));
    let mut ann = chat.connected("ann");
    ann.publish("room", &json!(0));
    receiver.at_least(1);
    // That one is at the receiver, and five wait.
    for n in 1..50 {
        ann.publish("room", &json!(n));
    }
    let metric = |name: &str| chat.serving().metric(name);
    until_equal("queued", &5, || metric("hioload_notify_queued"));
    chat.until("webhook", "dropped", 44);
    assert_eq!(metric("hioload_chat_publications_total"), 50);
    receiver.open();
    chat.until("webhook", "sent", 6);
    assert_eq!(metric("hioload_notify_queued_bytes"), 0);
    let told = events(&receiver.all());
    let told: Vec<_> = told.iter().map(|one| one["data"].as_u64()).collect();
    assert_eq!(told[..2], [Some(0), Some(1)], "in order");
    assert_eq!(told.len(), 6);
}

#[test]
fn a_stop_sends_what_waits() {
    let (receiver, post) = (Receiver::start(), MailServer::start());
    post.shut();
    let hook = webhook(&receiver, "['mention', 'disconnect']", &signed(""));
    let hook = hook.replace("batch_wait = '1ms'", "batch_wait = '60s'");
    let chat = Chat::start(
        "flush",
        &format!("[notify]\nflush = '25s'\n{hook}{}", mail(&post, "")),
    );
    let mut ann = chat.connected("ann");
    ann.mention(&["carol"]);
    assert_eq!(receiver.all().len(), 0, "it waits for more");
    chat.serving().process.ask_to_stop();
    ann.client.expect_close();
    let told = receiver.at_least(1);
    post.open();
    let ended = chat.ended();
    assert_eq!(types(&events(&told)), ["mention", "disconnect"]);
    assert_eq!(post.all().len(), 1);
    assert!(!ended.stderr.contains("before all"), "{}", ended.stderr);
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let receiver = Receiver::start();
    receiver.shut();
    let hook = webhook(
        &receiver,
        "['mention']",
        &signed("timeout = '60s'\nbatch_max = 1"),
    );
    let chat = Chat::start("late", &format!("[notify]\nflush = '300ms'\n{hook}"));
    let mut ann = chat.connected("ann");
    for user in ["carol", "dave", "erin"] {
        ann.mention(&[user]);
    }
    receiver.at_least(1);
    drop(ann);
    let ended = chat.stop();
    let said = "the server stops before all notifications are delivered";
    let line = ended.stderr.lines().find(|line| line.contains(said));
    assert!(
        line.is_some_and(|line| line.contains("left=3")),
        "{}",
        ended.stderr
    );
}

#[test]
#[cfg_attr(windows, ignore = "the system's own store decides there")]
fn receivers_are_spoken_to_with_tls_if_they_are_who_they_should_be() {
    for (way, upgraded) in [("starttls", true), ("tls", false)] {
        let config = certified(way);
        let receiver = Receiver::start_with(Tls::From(config.clone()));
        let hook = webhook(&receiver, "['mention']", &signed("")).replace("http:", "https:");
        let post = MailServer::start_with(if upgraded {
            Tls::Upgraded(config)
        } else {
            Tls::From(config)
        });
        let mail = mail(&post, "").replace("tls = 'none'", &format!("tls = '{way}'"));
        let chat = Chat::start(way, &format!("{hook}{mail}"));
        chat.connected("ann").mention(&["carol"]);
        chat.until("webhook", "sent", 1);
        chat.until("mail", "sent", 1);
        let mails = post.at_least(1);
        assert!(mails[0].auth.is_some(), "{way}: {mails:?}");
        assert_eq!(events(&receiver.all()).len(), 1);
    }
}

#[test]
#[cfg_attr(windows, ignore = "the system's own store decides there")]
fn who_is_not_who_it_should_be_or_speaks_in_the_clear_gets_nothing() {
    let _trusted = certified("stranger");
    let stranger = certified("nobody-trusts");
    std::fs::remove_file(file("nobody-trusts", "pem")).expect("it is there");
    let receiver = Receiver::start_with(Tls::From(stranger));
    // It does not offer STARTTLS.
    let post = MailServer::start();
    let hook = webhook(&receiver, "['mention']", &signed("retries = 1"));
    let mail = mail(&post, "retries = 1").replace("tls = 'none'", "tls = 'starttls'");
    let hook = hook.replace("http:", "https:");
    let chat = Chat::start("stranger", &format!("{hook}{mail}"));
    chat.connected("ann").mention(&["carol"]);
    chat.until("webhook", "failed", 1);
    chat.until("mail", "failed", 1);
    assert!(receiver.all().is_empty() && post.all().is_empty());
    let logged = chat.serving().process.logged();
    assert!(logged.contains("certificate"), "{logged}");
}

#[test]
fn what_persists_is_told_once_it_is_safe() {
    let receiver = Receiver::start();
    let store = file("persists", "redb");
    let hook = webhook(&receiver, "['publish', 'mention']", &signed(""));
    let path = store.to_str().expect("text");
    let tables = format!(
        "[[namespace]]\nname = 'kept'\nallow_publish = 'user'\npersist = true\n\
         [persistence]\npath = '{path}'\n{hook}"
    );
    let chat = Chat::start("persists", &tables);
    let data = json!({ "mentions": "carol" });
    chat.connected("ann").publish("kept:room", &data);
    chat.call(
        "publish",
        &json!({ "channel": "kept:room", "data": data, "idempotency_key": "k" }),
    );
    chat.call(
        "publish",
        &json!({ "channel": "kept:room", "data": data, "idempotency_key": "k" }),
    );
    chat.until("webhook", "sent", 4);
    let told = events(&receiver.all());
    assert_eq!(types(&told), ["publish", "mention", "publish", "mention"]);
    let users: Vec<_> = told.iter().map(|one| one["user"].as_str()).collect();
    assert_eq!(users, [Some("ann"), Some("ann"), None, None]);
    drop(chat);
    std::fs::remove_file(&store).expect("it is there");
}

#[test]
fn a_reload_that_changes_them_is_refused() {
    let receiver = Receiver::start();
    let hook = webhook(&receiver, "['mention']", &signed(""));
    let chat = Chat::start("reload", &hook);
    let toml = std::fs::read_to_string(&chat.file).expect("it is there");
    let toml = toml.replace("['mention']", "['publish']");
    std::fs::write(&chat.file, toml).expect("a file");
    let process = &chat.serving().process;
    process.ask_to_reload();
    process.wait_for_log("notify, webhook, smtp, mail: needs a restart");
    chat.connected("ann").mention(&["carol"]);
    assert_eq!(types(&events(&receiver.at_least(1))), ["mention"]);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_name() {
    let file = std::env::temp_dir().join(format!("hioload-notify-{}.toml", std::process::id()));
    for (toml, named) in [
        (
            "[[webhook]]\nname = 'app'\nevents = ['mention']",
            "url is no address",
        ),
        ("[[webhook]]\nname = 'app'\nevents = ['sing']", "`mention`"),
        (
            "[[mail]]\nname = 'm'\nevents = ['mention']\nto = '{user}'",
            "set smtp.host",
        ),
        ("[smtp]\npassword = 'p4ssw0rd!' x", "password = ..."),
    ] {
        std::fs::write(&file, toml).expect("a file");
        support::expect_refusal(&["--config", file.to_str().expect("text")], &[named]);
    }
    std::fs::remove_file(&file).expect("it is there");
}
