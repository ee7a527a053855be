//! What was answered is there after the server was killed, or stopped.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use support::client::Client;
use support::{Serving, expect_refusal, wait};

const KEY: &str = "a-key-for-the-tests-alone";
const PATH: &str = "/connection/websocket";

/// A directory with a configuration and a store, which ends with its test.
struct Home(PathBuf);

impl Home {
    /// `name` is that of the test; `persistence` goes into that table.
    fn new(name: &str, persistence: &str) -> Self {
        let name = format!("hioload-persistence-{name}-{}", std::process::id());
        let home = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&home.0).expect("a directory");
        home.configure(persistence);
        home
    }

    fn configure(&self, persistence: &str) {
        let store = self.0.join("history.redb");
        let toml = format!(
            "api.key = '{KEY}'\n[client]\ninsecure = true\n[channel]\npersist = true\n\
             history_size = 10000\nhistory_ttl = '1h'\n[[namespace]]\nname = 'memory'\n\
             [persistence]\npath = '{}'\n{persistence}\n",
            store.display()
        );
        std::fs::write(self.file(), toml).expect("a file");
    }

    fn file(&self) -> PathBuf {
        self.0.join("server.toml")
    }

    fn start(&self) -> Serving {
        Serving::start(&["--config", text(&self.file())])
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Calls the API; `None`: the server went away before it answered.
fn try_call(addr: SocketAddr, method: &str, body: &Value) -> Option<Value> {
    let body = body.to_string();
    let request = format!(
        "POST /api/{method} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         X-API-Key: {KEY}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(addr).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

fn call(serving: &Serving, method: &str, body: &Value) -> Value {
    let answer = try_call(serving.addr, method, body);
    let mut answer = answer.expect("an answer");
    assert!(answer["result"].is_object(), "{method} {body}: {answer}");
    answer["result"].take()
}

fn publish(serving: &Serving, channel: &str, n: u64) -> Value {
    let data = json!({ "n": n });
    call(
        serving,
        "publish",
        &json!({ "channel": channel, "data": data }),
    )
}

/// What is kept of a channel: its epoch, and offsets with what was published.
fn history(serving: &Serving, channel: &str) -> (String, Vec<(u64, Value)>) {
    let mut all = Vec::new();
    loop {
        let mut asked = json!({ "channel": channel, "limit": -1 });
        if let Some((offset, _)) = all.last() {
            asked["since"] = json!({ "offset": offset, "epoch": "" });
        }
        let part = call(serving, "history", &asked);
        let publications = part["publications"].as_array().cloned();
        let publications = publications.unwrap_or_default();
        if publications.is_empty() {
            let epoch = part["epoch"].as_str().expect("an epoch").to_owned();
            let last = all.last().map_or(0, |(offset, _)| *offset);
            assert_eq!(part["offset"].as_u64().unwrap_or(0), last, "{channel}");
            return (epoch, all);
        }
        for one in publications {
            all.push((
                one["offset"].as_u64().expect("a number"),
                one["data"].clone(),
            ));
        }
    }
}

/// What was answered: by channel, numbers of publications with their offsets
/// where those were told.
#[derive(Clone, Default)]
struct Answered(Arc<Mutex<BTreeMap<&'static str, Numbers>>>);

type Numbers = BTreeMap<u64, Option<u64>>;

impl Answered {
    fn note(&self, channel: &'static str, n: u64, offset: Option<u64>) {
        let mut all = self.0.lock().expect("no panic");
        all.entry(channel).or_default().insert(n, offset);
    }

    fn count(&self) -> usize {
        let all = self.0.lock().expect("no panic");
        all.values().map(BTreeMap::len).sum()
    }
}

/// Publishes by the API until the server is gone.
fn publish_by_api(
    addr: SocketAddr,
    channel: &'static str,
    by: u64,
    numbers: &AtomicU64,
    answered: &Answered,
) {
    loop {
        let n = numbers.fetch_add(1, Ordering::SeqCst);
        let data = json!({ "n": n, "by": by });
        let asked = json!({ "channel": channel, "data": data });
        let Some(answer) = try_call(addr, "publish", &asked) else {
            return;
        };
        let offset = answer["result"]["offset"].as_u64();
        assert!(offset.is_some(), "{answer}");
        answered.note(channel, n, offset);
    }
}

/// Publishes by a WebSocket, some at once, until the server is gone.
fn publish_by_socket(
    addr: SocketAddr,
    channel: &'static str,
    by: u64,
    numbers: &AtomicU64,
    answered: &Answered,
) -> Option<()> {
    let stream = TcpStream::connect(addr).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .ok()?;
    let url = format!("ws://{addr}{PATH}");
    let (mut socket, _) = tungstenite::client(url, stream).ok()?;
    let connect = json!({ "id": 1, "connect": {} }).to_string();
    socket.send(connect.into()).ok()?;
    let mut waiting = BTreeMap::new();
    for id in 2.. {
        let n = numbers.fetch_add(1, Ordering::SeqCst);
        let data = json!({ "n": n, "by": by });
        let publish = json!({ "id": id, "publish": { "channel": channel, "data": data } });
        socket.send(publish.to_string().into()).ok()?;
        waiting.insert(id, n);
        while waiting.len() >= 8 {
            let message = socket.read().ok()?;
            for line in message.to_text().expect("text").lines() {
                let reply: Value = serde_json::from_str(line).expect("JSON");
                let Some(n) = reply["id"].as_u64().and_then(|id| waiting.remove(&id)) else {
                    continue;
                };
                assert!(reply["error"].is_null(), "{reply}");
                answered.note(channel, n, None);
            }
        }
    }
    Some(())
}

/// Each channel has all that was answered, with its offset, without a gap, and
/// what one publisher published in its order. Epochs stay as they are.
fn check(serving: &Serving, answered: &Answered, epochs: &mut BTreeMap<&'static str, String>) {
    let answered = answered.0.lock().expect("no panic").clone();
    for (channel, answered) in answered {
        let (epoch, found) = history(serving, channel);
        let known = epochs.entry(channel).or_insert_with(|| epoch.clone());
        assert_eq!(*known, epoch, "{channel} has another epoch");
        let mut by_number = BTreeMap::new();
        let mut last = BTreeMap::new();
        for (expected, (offset, data)) in (1..).zip(&found) {
            assert_eq!(*offset, expected, "{channel} has a gap");
            let n = data["n"].as_u64().expect("a number");
            let twice = by_number.insert(n, *offset);
            assert_eq!(twice, None, "{channel} has {n} twice");
            let before = last.insert(data["by"].as_u64(), n);
            assert!(before < Some(n), "{channel}: {n} after {before:?}");
        }
        for (n, offset) in answered {
            let there = by_number.get(&n);
            assert!(there.is_some(), "{channel}: {n} was answered and is lost");
            assert!(
                offset.is_none_or(|offset| there == Some(&offset)),
                "{channel}: {n}"
            );
        }
    }
}

#[test]
fn twenty_kills_in_a_row_lose_nothing_that_was_answered() {
    let home = Home::new("kills", "");
    let (answered, numbers) = (Answered::default(), Arc::new(AtomicU64::new(0)));
    let mut epochs = BTreeMap::new();
    let mut random = std::process::id();
    for round in 0..20_u64 {
        let serving = home.start();
        check(&serving, &answered, &mut epochs);
        let (addr, before) = (serving.addr, answered.count());
        let publishers = [("a", false), ("b", false), ("a", true), ("c", true)];
        let threads: Vec<_> = (0..)
            .zip(publishers)
            .map(|(who, (channel, by_socket))| {
                let (answered, numbers) = (answered.clone(), Arc::clone(&numbers));
                let by = round * 10 + who;
                std::thread::spawn(move || {
                    if by_socket {
                        publish_by_socket(addr, channel, by, &numbers, &answered);
                    } else {
                        publish_by_api(addr, channel, by, &numbers, &answered);
                    }
                })
            })
            .collect();
        // The moment is that of some publication.
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let more = 1 + usize::try_from(random >> 16).expect("small") % 150;
        wait::until("publications", || {
            let now = answered.count() - before;
            if now >= more { Ok(()) } else { Err(now) }
        });
        drop(serving);
        for thread in threads {
            thread.join().expect("a publisher that saw nothing wrong");
        }
    }
    let serving = home.start();
    check(&serving, &answered, &mut epochs);
    assert!(answered.count() >= 200, "{}", answered.count());
    serving.stop();
}

/// A client of the protocol.
struct Peer(Client);

impl Peer {
    fn connect(serving: &Serving) -> Self {
        let mut peer = Self(Client::connect(serving.addr, PATH));
        peer.ask(&json!({ "id": 1, "connect": {} }));
        peer
    }

    /// The reply to a command, and what came before it.
    fn ask(&mut self, command: &Value) -> Value {
        self.0.text(&command.to_string());
        self.until(|message| message["id"] == command["id"])
    }

    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.0.expect_text();
            let mut messages = frame
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            if let Some(found) = messages.find(&wanted) {
                return found;
            }
        }
    }
}

/// A subscriber that has seen all up to `offset` comes back and gets what it
/// missed.
fn recovers(serving: &Serving, epoch: &str, offset: u64, missed: &[u64]) {
    let wish = json!({ "channel": "r", "recover": true, "epoch": epoch, "offset": offset });
    let reply = Peer::connect(serving).ask(&json!({ "id": 2, "subscribe": wish }));
    let told = &reply["subscribe"];
    assert_eq!(told["recovered"], true, "{reply}");
    let publications = told["publications"].as_array().cloned().unwrap_or_default();
    let got = publications.iter().map(|one| one["data"]["n"].as_u64());
    assert_eq!(got.collect::<Option<Vec<_>>>().as_deref(), Some(missed));
    let offsets = publications.iter().map(|one| one["offset"].as_u64());
    let expected = (offset + 1..).take(missed.len()).map(Some);
    assert!(offsets.eq(expected), "{reply}");
}

#[test]
fn a_subscriber_recovers_across_a_stop_and_a_kill() {
    let home = Home::new("recovery", "");
    let serving = home.start();
    let mut peer = Peer::connect(&serving);
    let begun = peer.ask(&json!({ "id": 2, "subscribe": { "channel": "r" } }));
    let epoch = begun["subscribe"]["epoch"]
        .as_str()
        .expect("an epoch")
        .to_owned();
    for n in 1..=3 {
        assert_eq!(
            publish(&serving, "r", n),
            json!({ "offset": n, "epoch": epoch })
        );
    }
    let seen = peer.until(|push| push["push"]["pub"]["data"]["n"] == 3);
    assert_eq!(seen["push"]["pub"]["offset"], 3);
    let published =
        peer.ask(&json!({ "id": 3, "publish": { "channel": "r", "data": { "n": 4 } } }));
    assert_eq!(published["publish"], json!({}));
    publish(&serving, "memory:x", 1);
    serving.stop();

    let serving = home.start();
    recovers(&serving, &epoch, 2, &[3, 4]);
    recovers(&serving, &epoch, 4, &[]);
    assert_eq!(publish(&serving, "r", 5)["offset"], 5);
    assert_eq!(serving.metric("hioload_store_written_total"), 1);
    assert!(serving.metric("hioload_store_fsyncs_total") >= 1);
    assert!(history_is_empty(&serving, "memory:x"));
    drop(serving);

    let serving = home.start();
    recovers(&serving, &epoch, 3, &[4, 5]);
    call(&serving, "history_remove", &json!({ "channel": "r" }));
    assert_eq!(publish(&serving, "r", 6)["offset"], 6);
    serving.stop();

    let serving = home.start();
    let (same, found) = history(&serving, "r");
    assert_eq!((same, found), (epoch.clone(), vec![(6, json!({ "n": 6 }))]));
    recovers(&serving, &epoch, 5, &[6]);
    // Of an offset that was never given, nothing is recovered.
    let wish = json!({ "channel": "r", "recover": true, "epoch": epoch, "offset": 7 });
    let reply = Peer::connect(&serving).ask(&json!({ "id": 2, "subscribe": wish }));
    assert_ne!(reply["subscribe"]["recovered"], true, "{reply}");
    assert!(serving.metric("hioload_store_kept_bytes") > 0);
}

fn history_is_empty(serving: &Serving, channel: &str) -> bool {
    let part = call(
        serving,
        "history",
        &json!({ "channel": channel, "limit": -1 }),
    );
    part["publications"].as_array().is_none_or(Vec::is_empty)
}

#[test]
fn a_full_queue_refuses_for_the_moment_and_loses_nothing() {
    let home = Home::new("full", "queue = 1");
    let serving = home.start();
    let channels: Vec<_> = (0..300).map(|n| format!("c{n}")).collect();
    let asked = json!({ "channels": channels, "data": { "n": 1 } });
    let answer = call(&serving, "broadcast", &asked);
    let responses = answer["responses"].as_array().expect("a list").clone();
    let mut taken = BTreeSet::new();
    for (channel, response) in channels.iter().zip(&responses) {
        if response["error"].is_null() {
            assert_eq!(response["result"]["offset"], 1, "{response}");
            taken.insert(channel.clone());
        } else {
            assert_eq!(response["error"]["code"], 111, "{response}");
        }
    }
    assert!(!taken.is_empty() && taken.len() < 300, "{}", taken.len());
    let refused = serving.metric("hioload_store_refused_total");
    assert_eq!(refused, 300 - taken.len() as u64);
    serving.stop();

    let serving = home.start();
    for channel in &channels {
        let there = !history_is_empty(&serving, channel);
        assert_eq!(there, taken.contains(channel), "{channel}");
    }
    assert_eq!(
        publish(&serving, "c0", 2)["offset"],
        1 + u64::from(taken.contains("c0"))
    );
}

#[test]
fn a_store_that_can_not_be_used_is_an_error_at_the_start() {
    let home = Home::new("refused", "");
    let serving = home.start();
    let file = home.file();
    let args = ["--listen", "127.0.0.1:0", "--config", text(&file)];
    expect_refusal(&args, &["history.redb", "in use by another process"]);
    serving.stop();

    let store = home.0.join("history.redb");
    std::fs::write(&store, "no store at all".repeat(1000)).expect("a file");
    expect_refusal(
        &args,
        &["history.redb", "damaged or no store", "move the file away"],
    );
    std::fs::remove_file(&store).expect("a file");
    std::fs::create_dir(&store).expect("a directory");
    expect_refusal(&args, &["history.redb", "cannot open the store"]);
}

#[test]
fn an_interval_that_was_lost_is_admitted() {
    let home = Home::new("interval", "sync = 'interval'\ninterval = '1h'");
    let serving = home.start();
    let epoch = publish(&serving, "r", 1)["epoch"].clone();
    let epoch = epoch.as_str().expect("an epoch");
    publish(&serving, "r", 2);
    serving.stop();

    let serving = home.start();
    recovers(&serving, epoch, 1, &[2]);
    assert_eq!(publish(&serving, "r", 3)["offset"], 3);
    drop(serving);

    let serving = home.start();
    let (other, found) = history(&serving, "r");
    assert_ne!(other, epoch, "the offset 3 may be given a second time");
    assert_eq!(found[..2], [(1, json!({ "n": 1 })), (2, json!({ "n": 2 }))]);
    let wish = json!({ "channel": "r", "recover": true, "epoch": epoch, "offset": 1 });
    let reply = Peer::connect(&serving).ask(&json!({ "id": 2, "subscribe": wish }));
    assert_ne!(reply["subscribe"]["recovered"], true, "{reply}");
}
