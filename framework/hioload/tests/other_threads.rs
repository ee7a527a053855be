//! What other threads do to connections and shards: send, close, post. Nothing
//! of it blocks, and what came too late is said.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::sync::mpsc::{Receiver, Sender, channel};

use hioload::{
    App, Close, CloseCode, Conn, ConnRef, Message, PostError, Prepared, SendError, SendFailed,
    Tracked, Turn,
};
use support::client::{Client, Seen};
use support::wait::{PATIENCE, until};
use support::{Serving, config};

/// Gives every connection's reference to the test, and greets nobody.
struct Told(Sender<ConnRef>);

impl App for Told {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.0.send(conn.reference()).expect("the test listens");
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.send(message);
    }

    fn close(&mut self, conn: &mut Conn<'_>, (): &mut (), _close: &Close<'_>) {
        assert!(!conn.reference().is_open(), "a reference made now is over");
    }
}

fn told() -> (Serving, Receiver<ConnRef>) {
    let (tell, told) = channel();
    (Serving::start(config(), move |_| Told(tell.clone())), told)
}

fn opened(told: &Receiver<ConnRef>) -> ConnRef {
    told.recv_timeout(PATIENCE).expect("a connection opens")
}

/// Waits until a reference says that its connection has ended.
fn ended(conn: &ConnRef) -> SendError {
    let mut seen = None;
    until("the reference is over", || match conn.send("?") {
        Err(error @ SendError::Closed(_)) => {
            seen = Some(error);
            Ok(())
        }
        other => Err(other),
    });
    seen.expect("it was over")
}

#[test]
fn any_thread_sends_and_closes_and_hears_when_it_is_too_late() {
    let (serving, told) = told();
    let mut client = Client::connect(serving.addr(), "/");
    let conn = opened(&told);
    let other = conn.clone();
    let sender = std::thread::spawn(move || {
        for n in 0..100 {
            other.send(format!("{n}").as_str()).expect("it fits");
        }
    });
    for n in 0..100 {
        assert_eq!(client.expect_text(), n.to_string());
    }
    sender.join().expect("it sent");
    conn.send_prepared(&Prepared::new("prepared"))
        .expect("open");
    assert_eq!(client.expect_text(), "prepared");
    conn.close(CloseCode(4001), "enough").expect("open");
    client.expect_end(4001);
    assert_eq!(ended(&conn), SendError::Closed(CloseCode(4001)));
    assert_eq!(conn.terminate(), Err(SendError::Closed(CloseCode(4001))));

    // Whoever gets the slot next is somebody else.
    let mut next = Client::connect(serving.addr(), "/");
    let next_conn = opened(&told);
    assert!(conn.send("not for you").is_err());
    assert_ne!(conn, next_conn);
    next_conn.terminate().expect("open");
    assert_eq!(next.next(), Seen::Eof);
    serving.wait_until_idle();
    serving.stop();
    assert!(matches!(next_conn.send("x"), Err(SendError::Closed(_))));
}

#[test]
fn a_tracked_send_resolves_when_the_kernel_has_it_or_the_connection_ends() {
    let (serving, told) = told();
    let mut client = Client::connect(serving.addr(), "/");
    let conn = opened(&told);
    let tracked = conn.send_tracked("hello").expect("open");
    assert_eq!(tracked.wait(PATIENCE).expect("in time"), Ok(()));
    assert_eq!(client.expect_text(), "hello");

    // A peer that does not read: the socket buffers are full before this is out.
    let large = vec![7_u8; 900 << 10];
    let sends: Vec<_> = (0..16).map(|_| conn.send_tracked(&large[..])).collect();
    let last = sends.into_iter().last().expect("sixteen").expect("open");
    // Above the limit of 1 MiB the policy closed it, with 1013.
    let failed = last.wait(PATIENCE).expect("in time");
    let failed = failed.expect_err("it reads too slowly");
    assert!(
        matches!(&failed, SendFailed::Closed { code, .. } if code.0 == 1013),
        "{failed}"
    );
    client.reset();
    serving.wait_until_idle();
    serving.stop();
}

/// A connection whose peer does not read, and a send to it that stays under way.
fn under_way() -> (Serving, Client, ConnRef, Tracked) {
    let mut config = config();
    config.backpressure_limit = 64 << 20;
    let (tell, told) = channel();
    let serving = Serving::start(config, move |_| Told(tell.clone()));
    let client = Client::connect_narrow(serving.addr(), "/");
    let conn = opened(&told);
    // More than the buffers of two sockets can be.
    let large = vec![7_u8; 48 << 20];
    let tracked = conn.send_tracked(&large[..]).expect("open");
    (serving, client, conn, tracked)
}

#[track_caller]
fn assert_closed(tracked: Tracked, code: u16, why: &str) {
    let failed = tracked.wait(PATIENCE).expect("in time");
    match failed.expect_err("the peer does not read") {
        SendFailed::Closed { code: seen, reason } => {
            assert_eq!((seen.0, &*reason), (code, why));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_tracked_send_fails_with_the_reason_this_side_closed_for() {
    let (serving, client, conn, tracked) = under_way();
    conn.close(CloseCode(4001), "enough").expect("open");
    match conn.send_tracked("late") {
        Err(SendError::Closed(code)) => assert_eq!(code.0, 4001),
        Ok(late) => assert_closed(late, 4001, "enough"),
        Err(error) => panic!("{error}"),
    }
    client.reset();
    assert_closed(tracked, 4001, "enough");
    serving.stop();
}

#[test]
fn a_tracked_send_fails_with_the_reason_the_peer_closed_for() {
    let (serving, mut client, conn, tracked) = under_way();
    client.close(4000, "bye");
    assert_eq!(ended(&conn), SendError::Closed(CloseCode(4000)));
    client.reset();
    assert_closed(tracked, 4000, "bye");
    serving.stop();
}

#[test]
fn a_batch_reaches_every_connection_with_one_result_each() {
    let (serving, told) = told();
    let mut clients: Vec<_> = (0..8)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    let conns: Vec<_> = (0..8).map(|_| opened(&told)).collect();
    let gone = clients.pop().expect("eight");
    let gone_conn = conns[7].clone();
    gone.close_and_wait();
    ended(&gone_conn);
    let messages = conns.iter().map(|conn| (conn.clone(), "to all"));
    let results = serving.handle().send_many(messages);
    assert_eq!(results.len(), 8);
    assert_eq!(results[..7], [Ok(()); 7]);
    assert_eq!(results[7], Err(SendError::Closed(CloseCode::NORMAL)));
    for client in &mut clients {
        assert_eq!(client.expect_text(), "to all");
    }
    let messages = conns[..7].iter().map(|conn| (conn.clone(), "tracked"));
    for tracked in serving.handle().send_many_tracked(messages) {
        let outcome = tracked.expect("open").wait(PATIENCE);
        assert_eq!(outcome.expect("in time"), Ok(()));
    }
    for client in clients {
        client.close_and_wait();
    }
    serving.stop();
}

/// Counts what is posted to it.
#[derive(Default)]
struct Posted(Vec<u32>);

impl App for Posted {
    type State = ();

    fn message(&mut self, _: &mut Conn<'_>, (): &mut (), _: Message<'_>) {}
}

#[test]
fn posted_tasks_run_on_their_shard_in_order_and_misuse_is_an_error() {
    let serving = Serving::start(config(), |_| Posted::default());
    let handle = serving.handle();
    let (tell, told) = channel();
    for n in 0..1000 {
        let task = move |app: &mut Posted, turn: &mut Turn<'_, ()>| {
            assert_eq!(turn.shard(), 1);
            app.0.push(n);
        };
        while handle.post(1, task) == Err(PostError::Full) {
            std::thread::yield_now();
        }
    }
    let report = handle.reserve(1).expect("a place");
    report
        .post(move |app: &mut Posted, _: &mut Turn<'_, ()>| tell.send(app.0.len()).expect("heard"))
        .expect("it runs");
    assert!(told.recv_timeout(PATIENCE).expect("it ran") <= 1000);
    let nothing = |_: &mut Posted, _: &mut Turn<'_, ()>| {};
    assert_eq!(handle.post(2, nothing), Err(PostError::NoShard(2)));
    let wrong = |_: &mut hioload::Echo, _: &mut Turn<'_, ()>| {};
    assert_eq!(handle.post(0, wrong), Err(PostError::WrongApp));
    let kept = handle.reserve(0).expect("a place");
    serving.stop();
    assert_eq!(handle.post(0, nothing), Err(PostError::Stopped));
    assert_eq!(kept.post(nothing), Err(PostError::Stopped));
}

#[test]
fn what_waits_when_the_server_stops_is_resolved() {
    let (serving, told) = told();
    let _mute = Client::connect(serving.addr(), "/");
    let conn = opened(&told);
    serving.cut();
    match conn.send_tracked("too late") {
        Err(SendError::Closed(_) | SendError::Stopped) => {}
        Ok(tracked) => panic!("{:?}", tracked.wait(PATIENCE)),
        Err(error) => panic!("{error}"),
    }
}

/// Says what the callbacks of pings, pongs and pauses see.
#[derive(Default)]
struct Talkative;

impl App for Talkative {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        let peer = conn.peer_addr().map(|peer| peer.ip().to_string());
        let sent = conn.send_json(&serde_json::json!({ "peer": peer, "room": conn.param("room") }));
        sent.expect("it has a form");
        conn.send_fragmented(hioload::Kind::Text, ["one ", "two ", "three"]);
        conn.ping(b"are you there");
    }

    fn ping(&mut self, conn: &mut Conn<'_>, (): &mut (), payload: &[u8]) {
        conn.send(payload);
    }

    fn pong(&mut self, conn: &mut Conn<'_>, (): &mut (), payload: &[u8]) {
        conn.send(payload);
    }

    fn upgrade(&mut self, request: &hioload::Request<'_>, (): &mut ()) -> hioload::Upgrade {
        hioload::Upgrade::accept().param("room", request.path())
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        match message.as_text() {
            Some("pause") => {
                conn.pause();
                let conn = conn.reference();
                conn.send("paused").expect("open");
                let handle = RESUME.get().expect("set by the test").clone();
                let id = conn.id();
                let shard = conn.shard();
                std::thread::spawn(move || {
                    let resume = move |_: &mut Self, turn: &mut Turn<'_, ()>| {
                        if let Some((mut conn, ())) = turn.conn(id) {
                            conn.send("resumed");
                            conn.resume();
                        }
                    };
                    handle.post(shard, resume).expect("it runs");
                });
            }
            _ => drop(conn.send(message)),
        }
    }
}

static RESUME: std::sync::OnceLock<hioload::Handle> = std::sync::OnceLock::new();

#[test]
fn a_connection_sends_in_every_form_and_pauses_without_loss() {
    let serving = Serving::start(config(), |_| Talkative);
    assert!(RESUME.set(serving.handle()).is_ok());
    let mut client = Client::connect(serving.addr(), "/blue");
    assert_eq!(
        client.expect_text(),
        r#"{"peer":"127.0.0.1","room":"/blue"}"#
    );
    assert_eq!(client.expect_text(), "one two three");
    client.ping(b"hello");
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(client.next());
    }
    assert!(seen.contains(&Seen::Binary(b"hello".to_vec())), "{seen:?}");
    assert!(
        seen.contains(&Seen::Binary(b"are you there".to_vec())),
        "{seen:?}"
    );
    client.text("pause");
    client.text("first");
    client.text("second");
    assert_eq!(client.expect_text(), "paused");
    assert_eq!(client.expect_text(), "resumed");
    assert_eq!(client.expect_text(), "first");
    assert_eq!(client.expect_text(), "second");
    client.close_and_wait();
    serving.stop();
}
