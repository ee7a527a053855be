//! A server with a store is replaced: no connect fails, nothing that was
//! answered is lost, and who comes back has everything once.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::{Client, Dial, Seen};
use support::peer::PATH;
use support::wait::{until, until_equal};
use support::{Process, Serving, server};

const HAND_OVERS: usize = 10;
const PUBLISHERS: u64 = 4;
const SUBSCRIBERS: usize = 3;
/// Threads that connect, ask once and close, one connection after the other.
const HURRIED: u8 = 2;
/// Publications that are answered between two hand-overs, at least.
const PER_HAND_OVER: u64 = 100;

/// A directory with a configuration, a store and a place to hand over at.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let name = format!("hioload-hand-over-{name}-{}", std::process::id());
        let home = Self(std::env::temp_dir().join(name));
        std::fs::create_dir(&home.0).expect("a directory of this process");
        home.configure(&home.store());
        home
    }

    fn configure(&self, store: &Path) {
        let toml = format!(
            "[client]\ninsecure = true\n[channel]\npersist = true\nhistory_size = 10000\n\
             history_ttl = '1h'\n[persistence]\npath = '{}'\n",
            store.display()
        );
        std::fs::write(self.file(), toml).expect("a file");
    }

    fn file(&self) -> PathBuf {
        self.0.join("server.toml")
    }

    fn store(&self) -> PathBuf {
        self.0.join("history.redb")
    }

    fn spawn(&self, addr: &str, more: &[&str]) -> Process {
        let mut command = server(&["--listen", addr, "--hand-over"]);
        command.arg(self.0.join("hand-over"));
        command.arg("--config").arg(self.file()).args(more);
        Process::spawn(command)
    }

    fn start(&self, addr: &str, more: &[&str]) -> Serving {
        Serving::of(self.spawn(addr, more))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that failed tells more than this would.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// What the clients share.
#[derive(Default)]
struct Load {
    done: AtomicBool,
    /// Numbers of publications that were answered.
    answered: Mutex<BTreeSet<u64>>,
    /// Subscribers that have begun, before anything is published.
    begun: AtomicUsize,
    /// The last offset that each subscriber has.
    heard: [AtomicU64; SUBSCRIBERS],
    /// Connections of the hurried that were answered.
    hurried: AtomicU64,
    /// Milliseconds from a connect to the reply to the connect command.
    slowest: AtomicU64,
}

impl Load {
    fn answered(&self) -> u64 {
        self.answered.lock().expect("no panic").len() as u64
    }

    /// A client that is let in; no connect fails, and none is cut.
    fn connect(&self, addr: SocketAddr, source: IpAddr) -> Client {
        let dial = Dial {
            source: Some(source),
            ..Dial::default()
        };
        let before = Instant::now();
        loop {
            let stream = dial.tcp(addr).expect("no connect fails");
            let mut client = Client::over(stream, PATH);
            client.text(&json!({ "id": 1, "connect": {} }).to_string());
            match client.message() {
                Seen::Text(_) => {
                    let took = u64::try_from(before.elapsed().as_millis()).expect("a short time");
                    self.slowest.fetch_max(took, Ordering::Relaxed);
                    return client;
                }
                Seen::Closed(3001, _) => {}
                seen => panic!("{seen:?} instead of an answer"),
            }
        }
    }

    /// Publishes one by one; who is closed goes on with the next number.
    fn publish(&self, addr: SocketAddr, by: u64) {
        let mut client = self.connect(addr, Ipv4Addr::LOCALHOST.into());
        for n in 0.. {
            if self.done.load(Ordering::SeqCst) {
                return client.close_and_wait();
            }
            let data = json!({ "n": n * PUBLISHERS + by, "by": by });
            let publish = json!({ "id": 2 + n, "publish": { "channel": "r", "data": data } });
            client.text(&publish.to_string());
            match lines(&mut client).as_deref() {
                Some([reply]) if reply["publish"] == json!({}) => {
                    let mut answered = self.answered.lock().expect("no panic");
                    answered.insert(n * PUBLISHERS + by);
                }
                // The channel's shard has ended before this client's.
                Some([reply]) => assert_eq!(reply["error"]["temporary"], true, "{reply}"),
                Some(replies) => panic!("{replies:?}"),
                None => {
                    // The server waits for the end of it, and others for that.
                    drop(client);
                    client = self.connect(addr, Ipv4Addr::LOCALHOST.into());
                }
            }
        }
    }

    /// Hears until it is closed in the end; the numbers, in the order of
    /// offsets, of which none is missing and none comes twice.
    fn subscribe(&self, addr: SocketAddr, place: usize) -> Vec<(u64, u64)> {
        let (mut epoch, mut heard) = (None, Vec::new());
        while !self.done.load(Ordering::SeqCst) {
            let mut client = self.connect(addr, Ipv4Addr::LOCALHOST.into());
            let offset = heard.len();
            let wish = json!({ "channel": "r", "recover": epoch.is_some(),
                "epoch": epoch.clone().unwrap_or_default(), "offset": offset });
            client.text(&json!({ "id": 2, "subscribe": wish }).to_string());
            while let Some(lines) = lines(&mut client) {
                for line in lines {
                    if line["id"] == 2 {
                        let told = &line["subscribe"];
                        let known = told["epoch"].as_str().expect("an epoch").to_owned();
                        assert!(told["recovered"] == true || epoch.is_none(), "{line}");
                        if epoch.is_none() {
                            self.begun.fetch_add(1, Ordering::SeqCst);
                        }
                        assert!(epoch.is_none_or(|epoch| epoch == known), "{line}");
                        epoch = Some(known);
                        let missed = told["publications"].as_array();
                        for publication in missed.into_iter().flatten() {
                            take(&mut heard, publication);
                        }
                    } else {
                        take(&mut heard, &line["push"]["pub"]);
                    }
                }
                self.heard[place].store(heard.len() as u64, Ordering::SeqCst);
            }
        }
        heard
    }

    fn hurry(&self, addr: SocketAddr, thread: u8) {
        for count in 0_u64.. {
            if self.done.load(Ordering::SeqCst) {
                return;
            }
            // From one source address the ports would be used up.
            let third = u8::try_from(count / 1000 % 250).expect("below 250");
            let source = Ipv4Addr::new(127, 40 + thread, third, 1);
            let mut client = self.connect(addr, source.into());
            client.close(1000, "done");
            // Both may close at once.
            let code = client.expect_close();
            assert!(code == 1000 || code == 3001, "{code}");
            self.hurried.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The messages of the next frame other than pings; `None`: the server closes,
/// as it does for a stop.
fn lines(client: &mut Client) -> Option<Vec<Value>> {
    loop {
        let text = match client.message() {
            Seen::Text(text) => text,
            Seen::Closed(3001, _) => {
                assert_eq!(client.message(), Seen::Eof);
                return None;
            }
            seen => panic!("{seen:?} instead of a message"),
        };
        let lines = text.lines().map(serde_json::from_str);
        let mut lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("JSON");
        lines.retain(|line| *line != json!({}));
        if !lines.is_empty() {
            return Some(lines);
        }
    }
}

/// The next publication, and no other.
fn take(heard: &mut Vec<(u64, u64)>, publication: &Value) {
    let offset = publication["offset"].as_u64();
    assert_eq!(offset, Some(heard.len() as u64 + 1), "{publication}");
    let data = &publication["data"];
    let number = |name: &str| data[name].as_u64().expect("a number");
    heard.push((number("n"), number("by")));
}

/// Other numbers of shards than the one before, other backends, and one that
/// accepts for all.
const FLAGS: [&[&str]; 5] = [
    &["--shards", "2"],
    &["--shards", "3", "--backend", "compio"],
    &["--shards", "1"],
    &["--shards", "2", "--backend", "compio"],
    &["--shards", "3", "--listener", "distribute"],
];

/// Hands over again and again; the last server.
fn hand_over(home: &Home, mut serving: Serving, load: &Load) -> Serving {
    let addr = serving.addr.to_string();
    for flags in FLAGS.iter().cycle().skip(1).take(HAND_OVERS) {
        let enough = load.answered() + PER_HAND_OVER;
        until("load", || match load.answered() {
            answered if answered < enough => Err(answered),
            _ => Ok(()),
        });
        let successor = home.start(&addr, flags);
        let mut old = std::mem::replace(&mut serving, successor);
        let ended = old.process.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        let trouble = ["ERROR", "cuts connections"].map(|text| ended.stderr.contains(text));
        assert_eq!(trouble, [false, false], "{}", ended.stderr);
        serving.process.wait_for_log("the store is taken over");
    }
    serving
}

#[test]
fn ten_hand_overs_under_load_lose_nothing_that_was_answered() {
    let home = Home::new("load");
    let serving = home.start("127.0.0.1:0", FLAGS[0]);
    let (addr, load, began) = (serving.addr, Load::default(), Instant::now());
    let load = &load;
    let all_heard = std::thread::scope(|scope| {
        let subscribers: Vec<_> = (0..SUBSCRIBERS)
            .map(|place| scope.spawn(move || load.subscribe(addr, place)))
            .collect();
        until_equal("subscribers", &SUBSCRIBERS, || {
            load.begun.load(Ordering::SeqCst)
        });
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|by| scope.spawn(move || load.publish(addr, by)))
            .collect();
        for thread in 0..HURRIED {
            scope.spawn(move || load.hurry(addr, thread));
        }
        // Whatever fails here ends the threads too.
        let handed_over = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let serving = hand_over(&home, serving, load);
            until("everybody has what was published", || {
                let heard = load
                    .heard
                    .each_ref()
                    .map(|heard| heard.load(Ordering::SeqCst));
                let all = heard.iter().all(|heard| *heard >= load.answered());
                if all { Ok(()) } else { Err(heard) }
            });
            serving
        }));
        load.done.store(true, Ordering::SeqCst);
        let serving = handed_over.unwrap_or_else(|failure| std::panic::resume_unwind(failure));
        for publisher in publishers {
            publisher.join().expect("no connect failed");
        }
        serving.stop();
        let subscribers = subscribers.into_iter();
        let heard = subscribers.map(|thread| thread.join().expect("nothing missing"));
        heard.collect::<Vec<_>>()
    });
    let answered = load.answered.lock().expect("no panic");
    for heard in all_heard {
        let numbers: BTreeSet<u64> = heard.iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers.len(), heard.len(), "a publication came twice");
        let lost: Vec<_> = answered.difference(&numbers).collect();
        assert!(lost.is_empty(), "answered and lost: {lost:?}");
        for by in 0..PUBLISHERS {
            let own = heard.iter().filter(|(_, of)| *of == by);
            assert!(own.map(|(n, _)| n).is_sorted(), "out of order");
        }
    }
    println!(
        "{} publications answered, {} hurried connections, the slowest {} ms, {HAND_OVERS} \
         hand-overs in {:?}",
        answered.len(),
        load.hurried.load(Ordering::Relaxed),
        load.slowest.load(Ordering::Relaxed),
        began.elapsed()
    );
}

#[test]
fn a_store_that_is_never_let_go_is_an_error_that_says_so() {
    let home = Home::new("never");
    // The one before has no store: somebody else does.
    let mut command = server(&["--listen", "127.0.0.1:0", "--shards", "2", "--hand-over"]);
    command.arg(home.0.join("hand-over"));
    let mut old = Serving::of(Process::spawn(command));
    let store = File::create(home.store()).expect("a file");
    store.lock().expect("nobody else has it");
    let before = Instant::now();
    let addr = old.addr.to_string();
    let ended = home.spawn(&addr, &["--drain-timeout", "100ms"]).wait();
    ended.expect_refusal(&[
        "history.redb",
        "in use still",
        "end the process that has the store",
    ]);
    assert!(before.elapsed() > Duration::from_secs(5));
    let ended = old.process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    // With nobody to take over from there is nothing to wait for.
    let before = Instant::now();
    let ended = home.spawn("127.0.0.1:0", &[]).wait();
    ended.expect_refusal(&["history.redb", "in use by another process"]);
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_successor_whose_store_can_not_be_used_changes_nothing() {
    let home = Home::new("damaged");
    let serving = home.start("127.0.0.1:0", &["--shards", "2"]);
    let damaged = home.0.join("damaged.redb");
    std::fs::write(&damaged, "no store at all".repeat(1000)).expect("a file");
    home.configure(&damaged);
    let ended = home.spawn(&serving.addr.to_string(), &[]).wait();
    ended.expect_refusal(&["damaged.redb", "damaged or no store"]);
    let load = Load::default();
    let client = load.connect(serving.addr, Ipv4Addr::LOCALHOST.into());
    client.close_and_wait();
    // Another store is nothing to wait for.
    home.configure(&home.0.join("other.redb"));
    let successor = home.start(&serving.addr.to_string(), &["--shards", "2"]);
    let mut old = serving;
    assert_eq!(old.process.wait().status.code(), Some(0));
    let client = load.connect(successor.addr, Ipv4Addr::LOCALHOST.into());
    client.close_and_wait();
    let logged = successor.stop().stderr;
    assert!(!logged.contains("the store is taken over"), "{logged}");
}
