//! The app hears of each connection's begin and end exactly once, and of
//! nothing after the end.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hioload::{App, Close, CloseCode, Config, Conn, Message};
use support::client::{Client, Seen};
use support::http::upgrade;
use support::random::Random;
use support::wait::until_equal;
use support::{Serving, config};

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicUsize,
    closed: AtomicUsize,
    dropped: AtomicUsize,
    clean: AtomicUsize,
    /// Callbacks that came before `open` or after `close`.
    wrong: AtomicUsize,
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

fn get(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::SeqCst)
}

struct Watched(Arc<Counts>);

/// Where a connection is in its life.
#[derive(Default)]
struct Life {
    counts: Option<Arc<Counts>>,
    closed: bool,
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(counts) = &self.counts {
            count(&counts.dropped);
        }
    }
}

impl Life {
    fn is_open(&self) -> bool {
        self.counts.is_some() && !self.closed
    }
}

impl App for Watched {
    type State = Life;

    fn open(&mut self, conn: &mut Conn<'_>, life: &mut Life) {
        if life.counts.is_some() {
            count(&self.0.wrong);
        }
        life.counts = Some(Arc::clone(&self.0));
        count(&self.0.opened);
        conn.subscribe("all");
    }

    fn message(&mut self, conn: &mut Conn<'_>, life: &mut Life, message: Message<'_>) {
        if !life.is_open() {
            count(&self.0.wrong);
        }
        match message.as_text() {
            Some("close") => conn.close(CloseCode::NORMAL, "as asked"),
            Some("close twice") => {
                conn.close(CloseCode(4001), "first");
                conn.close(CloseCode(4002), "second");
                conn.send("after the close");
            }
            Some("bad code") => conn.close(CloseCode(1005), "must not be sent"),
            Some("terminate") => conn.terminate(),
            _ => {
                conn.send(message);
            }
        }
    }

    fn drain(&mut self, _conn: &mut Conn<'_>, life: &mut Life) {
        if !life.is_open() {
            count(&self.0.wrong);
        }
    }

    fn close(&mut self, conn: &mut Conn<'_>, life: &mut Life, close: &Close<'_>) {
        if !life.is_open() {
            count(&self.0.wrong);
        }
        life.closed = true;
        count(&self.0.closed);
        if close.clean {
            count(&self.0.clean);
        }
        // None of these may do anything any more.
        conn.send("too late");
        conn.subscribe("all");
        conn.close(CloseCode::NORMAL, "again");
        // Others would hear it: not on the topic of those who come next and
        // count what they get.
        conn.publish("gone", "gone");
    }
}

struct Test {
    serving: Serving,
    counts: Arc<Counts>,
}

fn start(config: Config) -> Test {
    let counts = Arc::new(Counts::default());
    let shared = Arc::clone(&counts);
    Test {
        serving: Serving::start(config, move |_| Watched(Arc::clone(&shared))),
        counts,
    }
}

impl Test {
    fn client(&self) -> Client {
        Client::connect(self.serving.addr(), "/")
    }

    /// Everyone is gone and was heard of exactly once.
    fn finish(self, opened: usize, clean: usize) {
        self.serving.wait_until_idle();
        let counts = &self.counts;
        assert_eq!(get(&counts.opened), opened);
        assert_eq!(get(&counts.closed), opened);
        assert_eq!(get(&counts.clean), clean);
        assert_eq!(get(&counts.wrong), 0);
        self.serving.stop();
        assert_eq!(get(&self.counts.dropped), opened, "every state is dropped");
        assert_eq!(get(&self.counts.closed), opened);
    }
}

#[test]
fn every_way_to_end_is_one_close() {
    let test = start(Config {
        close_timeout: Duration::from_millis(300),
        ..config()
    });

    test.client().close_and_wait();
    let mut client = test.client();
    client.text("close");
    client.expect_end(1000);
    drop(client);
    let mut client = test.client();
    client.text("close twice");
    assert_eq!(client.message(), Seen::Closed(4001, "first".into()));
    drop(client);
    let mut client = test.client();
    client.text("bad code");
    client.expect_end(1011);
    drop(client);
    let clean = 4;

    let mut client = test.client();
    client.text("terminate");
    let end = client.message();
    assert!(matches!(end, Seen::Eof | Seen::Reset), "{end:?}");
    drop(client);
    let mut client = test.client();
    client.mute();
    client.text("close");
    assert_eq!(client.expect_close(), 1000);
    until_equal("cut without an answer", &0, || {
        test.serving.metrics().sockets()
    });
    drop(client);
    let mut client = test.client();
    client.raw(&[0xFF, 0xFF]);
    client.expect_end(1002);
    drop(client);
    drop(test.client());
    test.client().reset();
    let client = test.client();
    client.finish();
    drop(client);
    test.finish(clean + 6, clean);
}

/// Messages that arrive together with the end, in the same segment and after
/// it, are not handed to the app.
#[test]
fn nothing_comes_after_the_end() {
    let test = start(config());
    let mut client = test.client();
    let mut wire = Vec::new();
    client.encode(hioload::Kind::Text, b"close", &[], None, &mut wire);
    client.encode(hioload::Kind::Text, b"not seen", &[], None, &mut wire);
    client.raw(&wire);
    client.expect_end(1000);
    drop(client);

    let mut client = test.client();
    let mut wire = vec![0x88, 0x82, 0, 0, 0, 0, 3, 232];
    client.encode(hioload::Kind::Text, b"not seen", &[], None, &mut wire);
    client.raw(&wire);
    client.expect_end(1000);
    drop(client);

    let mut client = test.client();
    let mut wire = Vec::new();
    client.encode(hioload::Kind::Text, b"terminate", &[], None, &mut wire);
    client.encode(hioload::Kind::Text, b"not seen", &[], None, &mut wire);
    client.raw(&wire);
    let end = client.message();
    assert!(matches!(end, Seen::Eof | Seen::Reset), "{end:?}");
    drop(client);
    test.finish(3, 2);
}

/// A slot that is used again does not inherit what its last connection was
/// subscribed to, even if that subscribed in its last moment.
#[test]
fn a_new_connection_inherits_nothing() {
    let test = start(Config {
        shards: 1,
        ..config()
    });
    for round in 0..20 {
        let leaving = test.client();
        drop(leaving);
        until_equal("closed", &0, || test.serving.metrics().sockets());
        let mut fresh = test.client();
        fresh.check_echo("ready");
        test.serving
            .handle()
            .publish("all", format!("round {round}").as_str())
            .expect("room");
        assert_eq!(fresh.expect_text(), format!("round {round}"));
        fresh.close_and_wait();
        until_equal("closed", &0, || test.serving.metrics().sockets());
    }
    test.finish(40, 20);
}

/// Requests that never become a WebSocket are none of the app's connections.
#[test]
fn refused_handshakes_open_nothing() {
    let test = start(config());
    let request = upgrade("/").replace("Version: 13", "Version: 7");
    for _ in 0..10 {
        assert_eq!(
            support::http::exchange(test.serving.addr(), request.as_bytes()).status,
            426
        );
    }
    test.finish(0, 0);
}

#[test]
fn a_crowd_that_ends_in_all_ways_is_counted_exactly() {
    const CLIENTS: usize = 400;
    let test = start(Config {
        close_timeout: Duration::from_millis(500),
        ..config()
    });
    let mut random = Random::from_environment();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| test.client()).collect();
    let mut stays = Vec::new();
    while !clients.is_empty() {
        let mut client = clients.swap_remove(random.below(clients.len()));
        if random.one_in(2) {
            client.text("some message");
        }
        match random.below(7) {
            0 => client.close(1000, ""),
            1 => client.text("close"),
            2 => client.text("terminate"),
            3 => client.raw(&[0x80, 0x80]),
            4 => client.finish(),
            5 => {
                client.reset();
                continue;
            }
            _ => {}
        }
        if random.one_in(2) {
            stays.push(client);
        }
    }
    drop(stays);
    test.serving.wait_until_idle();
    let clean = get(&test.counts.clean);
    assert!(clean <= CLIENTS);
    test.finish(CLIENTS, clean);
}
