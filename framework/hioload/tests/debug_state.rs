//! What a running server says of itself, to whom, and that no shard waits for
//! it.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hioload::control::{DebugEndpoint, DebugState, DebugToken};
use hioload::{App, Backpressure, Config, Conn, Message, Request, Response};
use hioload_protocol::frame::OpCode;
use support::client::{Client, frame};
use support::http::{Answer, exchange};
use support::wait::{PATIENCE, until, until_equal};
use support::{Serving, config, greeting};

const TOKEN: &str = "a token of sixteen bytes or more";

/// Greets with its shard's number, subscribes everybody, echoes; and stops the
/// shard's thread when it is told to.
struct Service {
    shard: usize,
    debug: DebugEndpoint,
    blocked: Arc<Mutex<Receiver<()>>>,
}

impl App for Service {
    type State = ();

    fn http(&mut self, request: &Request<'_>) -> Response {
        self.debug.answer(request)
    }

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.subscribe("everybody");
        conn.send(greeting(self.shard).as_str());
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        if message.as_text() == Some("block") {
            let blocked = self.blocked.lock().expect("no panic");
            blocked.recv_timeout(PATIENCE).expect("released");
        }
        conn.send(message);
    }
}

/// A server, and what lets a blocked shard go on.
fn serve(token: Option<&str>, config: Config) -> (Serving, Sender<()>) {
    let (release, blocked) = channel();
    let blocked = Arc::new(Mutex::new(blocked));
    let token = token.map(|token| DebugToken::new(token.replace(' ', "-")).expect("long"));
    let serving = Serving::start(config, move |shard| Service {
        shard: shard.index(),
        debug: DebugEndpoint::new(shard.handle(), token.clone()),
        blocked: Arc::clone(&blocked),
    });
    (serving, release)
}

fn sum(state: &DebugState, of: impl Fn(&hioload::control::ShardState) -> usize) -> usize {
    let shards = state.shards.iter();
    shards
        .map(|shard| of(shard.state.as_ref().expect("said")))
        .sum()
}

#[test]
fn shards_tell_of_connections_topics_timers_and_pools() {
    let idle = Config {
        idle_timeout: Some(Duration::from_secs(60)),
        ..config()
    };
    let (serving, _release) = serve(None, idle);
    let clients = serving.clients_on_each_shard("/", 3);
    until_equal("the surplus is gone", &6, || serving.metrics().sockets());
    let state = serving.handle().debug_state(PATIENCE);
    for shard in &state.shards {
        assert!(shard.answered, "{shard:?}");
        let said = shard.state.as_ref().expect("said");
        assert!(said.turns > 0 && !said.stopping);
        assert!(said.connection_timers.next_in_ns.is_some());
        let largest = &said.hub.largest[0];
        assert_eq!((&*largest.topic, said.hub.topics), ("everybody", 1));
        assert!(said.driver["completions"] > 0 || said.driver["enters"] > 0);
        assert!(!said.pools.is_empty());
        assert_eq!(said.queues.backlog, [0, 0]);
    }
    assert_eq!(sum(&state, |shard| shard.connections.websocket), 6);
    assert_eq!(sum(&state, |shard| shard.hub.subscriptions), 6);
    assert_eq!(sum(&state, |shard| shard.connection_timers.pending), 6);
    assert!(state.slowest.is_empty(), "{:?}", state.slowest);
    drop(clients);
    serving.cut();
}

#[test]
fn the_connection_that_is_behind_is_named() {
    let paused = Config {
        backpressure_limit: 64 << 10,
        backpressure: Backpressure::PauseReading,
        ..config()
    };
    let (serving, _release) = serve(None, paused);
    let quick = Client::connect(serving.addr(), "/");
    let slow = Client::connect_narrow(serving.addr(), "/");
    let peer = slow.stream().local_addr().expect("connected");
    let mut writer = slow.writer();
    let messages = frame(true, OpCode::Binary, &[7; 60_000]).repeat(300);
    // Fails when the server is cut.
    let writer = std::thread::spawn(move || drop(writer.write_all(&messages)));
    serving.wait_for_backpressure("paused", 1);
    // The kernel takes some more before the peer is behind for good.
    let mut state = serving.handle().debug_state(PATIENCE);
    until("it is behind", || {
        state = serving.handle().debug_state(PATIENCE);
        match &state.slowest[..] {
            [behind] if behind.pending > 32 << 10 && !behind.paused.is_empty() => Ok(()),
            others => Err(format!("{others:?}")),
        }
    });
    let behind = &state.slowest[0];
    assert_eq!(behind.peer, Some(peer));
    assert_eq!(
        (behind.stage, &*behind.paused),
        ("websocket", &["backpressure"][..])
    );
    assert_eq!(sum(&state, |shard| shard.connections.paused), 1);
    drop(quick);
    serving.cut();
    drop(slow);
    writer.join().expect("no panic");
}

#[test]
fn a_shard_that_is_stuck_holds_nobody_up_and_is_marked() {
    let (serving, release) = serve(None, config());
    let [mut first, mut second] = serving.clients_on_each_shard("/", 1);
    assert!(serving.handle().debug_state(PATIENCE).shards[0].answered);
    first[0].text("block");
    until("the shard is stuck", || {
        let state = serving.handle().debug_state(Duration::from_millis(50));
        let answered: Vec<_> = state.shards.iter().map(|shard| shard.answered).collect();
        if answered == [false, true] {
            Ok(())
        } else {
            Err(answered)
        }
    });
    let before = Instant::now();
    let state = serving.handle().debug_state(Duration::from_millis(200));
    assert!(before.elapsed() < PATIENCE / 2);
    assert!(state.shards[0].state.is_some(), "what it had said before");
    second[0].check_echo("the other goes on");
    release.send(()).expect("it waits for it");
    assert_eq!(first[0].expect_text(), "block");
    assert!(serving.handle().debug_state(PATIENCE).shards[0].answered);
    serving.cut();
}

fn ask(serving: &Serving, authorization: &str) -> Answer {
    let request =
        format!("GET /debug/state HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{authorization}\r\n");
    exchange(serving.addr(), request.as_bytes())
}

#[test]
fn only_who_has_the_token_is_answered() {
    let (without, _release) = serve(None, config());
    let right = format!("Authorization: Bearer {}\r\n", TOKEN.replace(' ', "-"));
    assert_eq!(ask(&without, &right).status, 404);
    without.stop();
    let (serving, _release) = serve(Some(TOKEN), config());
    let longer = right.replace("\r\n", "x\r\n");
    let shorter = right.replace("e\r\n", "\r\n");
    let other = right.replace("token", "t0ken");
    let basic = right.replace("Bearer", "Basic");
    for wrong in [
        "",
        "Authorization: Bearer\r\n",
        &longer,
        &shorter,
        &other,
        &basic,
    ] {
        let answer = ask(&serving, wrong);
        assert_eq!(answer.status, 401, "{wrong}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let first = ask(&serving, &right);
    assert_eq!(
        (first.status, first.header("retry-after")),
        (503, Some("1"))
    );
    let mut answer = first;
    until("all shards have said something", || {
        answer = ask(&serving, &right);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status == 200 && !text.contains("\"answered\": false") {
            Ok(())
        } else {
            Err(text)
        }
    });
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let state: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(state["shards"].as_array().map(Vec::len), Some(2));
    assert!(state["shards"][1]["state"]["queues"]["inbox"].is_u64());
    assert!(state["shards"][0]["state"]["pools"][0]["kind"] == "receive");
    serving.stop();
}
