//! A peer that reads too slowly meets the policy of its connection; the
//! server's memory stays bounded and nobody else feels it.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hioload::{
    App, Backpressure, CloseCode, Config, Conn, Echo, Message, Metrics, Request, Response,
    SendOutcome,
};
use hioload_protocol::frame::OpCode;
use support::client::{Client, Seen, dial, frame};
use support::http::Answer;
use support::wait::{PATIENCE, until, until_equal};
use support::{Serving, config};

const LIMIT: usize = 256 << 10;
const MESSAGE: usize = 16 << 10;

/// Everyone hears what the others say.
struct Room;

impl App for Room {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.subscribe("room");
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.publish("room", message);
    }
}

fn numbered(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(MESSAGE / 8)
}

fn number(message: &[u8]) -> u64 {
    let number = u64::from_le_bytes(message[..8].try_into().expect("eight bytes"));
    assert_eq!(message, numbered(number), "the message is whole");
    number
}

fn room(policy: Backpressure, close_timeout: Duration) -> Serving {
    let config = Config {
        backpressure_limit: LIMIT,
        backpressure: policy,
        close_timeout,
        ..config()
    };
    Serving::start(config, |_| Room)
}

/// Messages published before the listeners are asked for them: far fewer bytes
/// than the limit, so that only who does not read at all meets it.
const BATCH: u64 = 4;

/// Publishes until `action` was counted `times` or more, and sees every message
/// reach every listener at once; returns how many were published.
fn flood(serving: &Serving, listeners: &mut [Client], action: &str, times: u64) -> u64 {
    let mut publisher = Client::connect(serving.addr(), "/");
    let deadline = Instant::now() + 2 * PATIENCE;
    let mut published = 0;
    while counted(serving, action) < times {
        assert!(Instant::now() < deadline, "{published} published in vain");
        let sent = Instant::now();
        let batch = published..published + BATCH;
        batch.clone().for_each(|n| publisher.binary(&numbered(n)));
        for listener in &mut *listeners {
            batch
                .clone()
                .for_each(|n| assert_eq!(number(&listener.expect_binary()), n));
        }
        assert!(
            sent.elapsed() < Duration::from_secs(5),
            "others feel it: {:?}",
            sent.elapsed()
        );
        published = batch.end;
    }
    publisher.close_and_wait();
    published
}

fn counted(serving: &Serving, action: &str) -> u64 {
    serving
        .metrics()
        .backpressure()
        .get(action)
        .copied()
        .unwrap_or(0)
}

/// What waits for the one that does not read, when the others have all theirs.
fn expect_bounded(serving: &Serving) {
    until("the limit holds", || {
        let pending = usize::try_from(serving.metrics().send_bytes_pending()).expect("bounded");
        if pending <= LIMIT + 2 * MESSAGE {
            Ok(())
        } else {
            Err(pending)
        }
    });
}

fn listeners(serving: &Serving) -> Vec<Client> {
    (0..4)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect()
}

#[test]
fn close_lets_a_slow_subscriber_have_what_was_queued_and_then_the_code() {
    let serving = room(Backpressure::Close(CloseCode::TRY_AGAIN), PATIENCE);
    let mut slow = Client::connect_narrow(serving.addr(), "/");
    let mut others = listeners(&serving);
    let published = flood(&serving, &mut others, "closed", 1);
    expect_bounded(&serving);
    let mut next = 0;
    let code = loop {
        match slow.message() {
            Seen::Binary(message) => assert_eq!(number(&message), next),
            Seen::Closed(code, _) => break code,
            seen => panic!("{seen:?}"),
        }
        next += 1;
    };
    assert_eq!(code, 1013);
    assert!(next < published, "the message that was too much is missing");
    assert_eq!(slow.message(), Seen::Eof);
    drop((slow, others));
    serving.wait_until_idle();
    assert_eq!(serving.metrics().closes().get("1013"), Some(&1));
    serving.stop();
}

#[test]
fn close_cuts_a_subscriber_that_never_reads_and_frees_what_waited() {
    let serving = room(
        Backpressure::Close(CloseCode::POLICY),
        Duration::from_millis(300),
    );
    let stuck = Client::connect_narrow(serving.addr(), "/");
    let mut others = listeners(&serving);
    flood(&serving, &mut others, "closed", 1);
    until_equal("only the others are left", &(others.len() as u64), || {
        serving.metrics().sockets()
    });
    until_equal("nothing waits", &0, || {
        serving.metrics().send_bytes_pending()
    });
    assert_eq!(serving.metrics().closes().get("1008"), Some(&1));
    drop((stuck, others));
    serving.wait_until_idle();
    serving.stop();
}

#[test]
fn drop_leaves_messages_out_and_the_connection_lives() {
    let serving = room(Backpressure::Drop, PATIENCE);
    let mut slow = Client::connect_narrow(serving.addr(), "/");
    let mut others = listeners(&serving);
    let published = flood(&serving, &mut others, "dropped", 20);
    expect_bounded(&serving);
    let mut received = Vec::new();
    while let Some(seen) = slow.poll(Duration::from_millis(500)) {
        match seen {
            Seen::Binary(message) => received.push(number(&message)),
            seen => panic!("{seen:?}"),
        }
    }
    assert!(
        received.is_sorted_by(|a, b| a < b),
        "in order: {received:?}"
    );
    assert_eq!(
        received.len() as u64,
        published - counted(&serving, "dropped"),
        "what was not dropped arrives"
    );
    others[0].binary(&numbered(1_000_000));
    assert_eq!(
        number(&slow.expect_binary()),
        1_000_000,
        "it takes part again"
    );
    drop((slow, others));
    serving.wait_until_idle();
    assert_eq!(serving.metrics().closes().get("1013"), None);
    serving.stop();
}

/// Watches how much waits to be sent, until told to stop.
struct Gauge {
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Gauge {
    fn watch(metrics: Metrics) -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (peak, stopped) = (Arc::clone(&most), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                peak.fetch_max(metrics.send_bytes_pending(), Ordering::SeqCst);
                std::thread::park_timeout(Duration::from_micros(200));
            }
        });
        Self { most, stop, thread }
    }

    /// The most that was seen.
    fn peak(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the gauge only reads");
        usize::try_from(self.most.load(Ordering::SeqCst)).expect("bounded")
    }
}

/// Writes all of `wire` from another thread.
fn write_behind(mut stream: TcpStream, wire: Vec<u8>) -> JoinHandle<std::io::Result<()>> {
    std::thread::spawn(move || stream.write_all(&wire))
}

#[test]
fn pause_reading_bounds_an_echo_that_is_not_read_and_loses_nothing() {
    const MESSAGES: u64 = 1200;
    let config = Config {
        backpressure_limit: LIMIT,
        ..config()
    };
    let serving = Serving::start(config, |_| Echo);
    let mut client = Client::connect_narrow(serving.addr(), "/");
    let mut other = Client::connect(serving.addr(), "/");
    let gauge = Gauge::watch(serving.metrics());
    let messages = (0..MESSAGES).flat_map(|n| frame(true, OpCode::Binary, &numbered(n)));
    let writer = write_behind(client.writer(), messages.collect());
    serving.wait_for_backpressure("paused", 1);
    for n in 0..20 {
        other.check_echo(&n.to_string());
    }
    for expected in 0..MESSAGES {
        assert_eq!(number(&client.expect_binary()), expected);
    }
    writer
        .join()
        .expect("no panic")
        .expect("all is taken in the end");
    let peak = gauge.peak();
    assert!(
        (1..=LIMIT / 2 + 2 * MESSAGE).contains(&peak),
        "{peak} bytes waited"
    );
    client.close_and_wait();
    drop(other);
    serving.wait_until_idle();
    assert_eq!(serving.metrics().backpressure().get("closed"), None);
    serving.stop();
}

/// What others publish cannot be paused, so it ends a connection that is only
/// paused.
#[test]
fn pause_reading_closes_a_subscriber_above_the_limit() {
    let serving = room(Backpressure::PauseReading, PATIENCE);
    let mut slow = Client::connect_narrow(serving.addr(), "/");
    let mut others = listeners(&serving);
    flood(&serving, &mut others, "closed", 1);
    assert_eq!(slow.expect_close(), 1013);
    drop((slow, others));
    serving.wait_until_idle();
    serving.stop();
}

/// Floods with pings and reads nothing, until nothing more is taken for a
/// second or the connection is gone. Returns the server, another client of it,
/// the flooding one, and the most bytes that waited.
fn flood_pings(policy: Backpressure) -> (Serving, Client, Client, usize) {
    let close_timeout = Duration::from_millis(500);
    let config = Config {
        backpressure_limit: LIMIT,
        backpressure: policy,
        close_timeout,
        ..config()
    };
    let serving = Serving::start(config, |_| Room);
    let mut other = Client::connect(serving.addr(), "/");
    let client = Client::connect_narrow(serving.addr(), "/");
    let gauge = Gauge::watch(serving.metrics());
    let pings: Vec<u8> = frame(true, OpCode::Ping, &[b'p'; 125]).repeat(1000);
    let mut writer = client.writer();
    writer
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    let deadline = Instant::now() + PATIENCE;
    while writer.write_all(&pings).is_ok() {
        assert!(Instant::now() < deadline, "pings are taken without end");
    }
    other.ping(b"alive");
    assert_eq!(
        other.next(),
        Seen::Pong(b"alive".to_vec()),
        "others do not feel it"
    );
    (serving, other, client, gauge.peak())
}

#[test]
fn a_ping_flood_without_reading_is_closed() {
    for policy in [
        Backpressure::Drop,
        Backpressure::Close(CloseCode::TRY_AGAIN),
    ] {
        let (serving, other, client, peak) = flood_pings(policy);
        assert!(
            (LIMIT..=2 * LIMIT + 1024).contains(&peak),
            "{peak} bytes waited"
        );
        until_equal("one is left", &1, || serving.metrics().sockets());
        assert_eq!(serving.metrics().closes().get("1008"), Some(&1));
        drop((client, other));
        serving.wait_until_idle();
        serving.stop();
    }
}

#[test]
fn a_ping_flood_without_reading_is_not_read_from() {
    let (serving, other, client, peak) = flood_pings(Backpressure::PauseReading);
    assert!(
        (LIMIT / 2..=LIMIT / 2 + 1024).contains(&peak),
        "{peak} bytes waited"
    );
    assert_eq!(serving.metrics().sockets(), 2, "it is alive, if not well");
    drop((client, other));
    serving.wait_until_idle();
    serving.stop();
}

/// Answers a number with as many messages, no faster than they are taken.
struct Paced;

#[derive(Default)]
struct Progress {
    next: u64,
    total: u64,
}

impl Paced {
    fn push(conn: &mut Conn<'_>, progress: &mut Progress) {
        while progress.next < progress.total {
            let outcome = conn.send(&numbered(progress.next)[..]);
            assert_ne!(outcome, SendOutcome::Dropped, "it stopped at the high mark");
            progress.next += 1;
            if outcome == SendOutcome::AboveHighMark {
                break;
            }
        }
    }
}

impl App for Paced {
    type State = Progress;

    fn message(&mut self, conn: &mut Conn<'_>, progress: &mut Progress, message: Message<'_>) {
        progress.total = message
            .as_text()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        Self::push(conn, progress);
    }

    fn drain(&mut self, conn: &mut Conn<'_>, progress: &mut Progress) {
        Self::push(conn, progress);
    }

    fn http(&mut self, _request: &Request<'_>) -> Response {
        Response::ok("application/octet-stream", vec![7; MESSAGE])
    }
}

#[test]
fn a_sender_that_heeds_the_high_mark_drops_nothing() {
    const MESSAGES: u64 = 1500;
    let config = Config {
        backpressure_limit: LIMIT,
        ..config()
    };
    let serving = Serving::start(config, |_| Paced);
    let mut client = Client::connect_narrow(serving.addr(), "/");
    let gauge = Gauge::watch(serving.metrics());
    client.text(&MESSAGES.to_string());
    for expected in 0..MESSAGES {
        assert_eq!(number(&client.expect_binary()), expected);
    }
    let peak = gauge.peak();
    assert!(
        (1..=LIMIT / 2 + 2 * MESSAGE).contains(&peak),
        "{peak} bytes waited"
    );
    client.close_and_wait();
    serving.wait_until_idle();
    assert!(serving.metrics().backpressure().is_empty());
    serving.stop();
}

#[test]
fn http_answers_that_are_not_read_stop_the_reading() {
    const REQUESTS: usize = 3000;
    let config = Config {
        backpressure_limit: LIMIT,
        handshake_timeout: PATIENCE,
        ..config()
    };
    let serving = Serving::start(config, |_| Paced);
    let mut stream = dial(serving.addr());
    let gauge = Gauge::watch(serving.metrics());
    let requests = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(REQUESTS);
    let writer = write_behind(stream.try_clone().expect("a descriptor"), requests);
    serving.wait_for_backpressure("paused", 1);
    for _ in 0..REQUESTS {
        let answer = Answer::read(&mut stream);
        assert_eq!((answer.status, answer.body.len()), (200, MESSAGE));
    }
    writer
        .join()
        .expect("no panic")
        .expect("all is taken in the end");
    let peak = gauge.peak();
    assert!((1..=LIMIT).contains(&peak), "{peak} bytes waited");
    drop(stream);
    serving.wait_until_idle();
    serving.stop();
}
