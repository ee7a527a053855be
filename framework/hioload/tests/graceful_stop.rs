//! A stop closes with the app's code, lets what is queued leave, refuses new
//! connections and ends in time, whatever the clients do.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hioload::{
    App, Backpressure, CloseCode, Config, Conn, Echo, Message, Running, SendFailed, Tracked,
};
use support::client::{Client, Seen, dial};
use support::http::{Answer, expect_eof};
use support::wait::{PATIENCE, until, until_equal};
use support::{Serving, config, greeting};

fn stop_in_background(running: Running) -> JoinHandle<hioload::Result<()>> {
    std::thread::spawn(move || running.stop())
}

fn open(addr: SocketAddr, count: usize) -> Vec<Client> {
    (0..count).map(|_| Client::connect(addr, "/")).collect()
}

#[test]
fn open_connections_are_closed_with_1001_on_all_shards() {
    let serving = Serving::start(config(), |_| Echo);
    let mut clients = open(serving.addr(), 20);
    clients[0].check_echo("before the stop");
    assert!(
        serving
            .metrics()
            .connections_per_shard()
            .iter()
            .all(|&n| n > 0)
    );
    let metrics = serving.metrics();
    let stopping = stop_in_background(serving.into_running());
    for client in &mut clients {
        assert_eq!(
            client.message(),
            Seen::Closed(1001, "the server is stopping".into())
        );
        assert_eq!(client.message(), Seen::Eof);
    }
    drop(clients);
    stopping.join().expect("no panic").expect("no shard failed");
    assert_eq!(metrics.closes().get("1001"), Some(&20));
    assert_eq!((metrics.sockets(), metrics.connections()), (0, 0));
}

/// Counts the instances that are alive; says something else to clients that have
/// sent something.
struct Maintenance(Arc<AtomicUsize>);

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl App for Maintenance {
    type State = bool;

    fn message(&mut self, conn: &mut Conn<'_>, spoke: &mut bool, message: Message<'_>) {
        *spoke = true;
        conn.send(message);
    }

    fn stopping(&mut self, spoke: &mut bool) -> (CloseCode, &'static str) {
        if *spoke {
            (CloseCode(4001), "come again")
        } else {
            (CloseCode(4000), "maintenance")
        }
    }
}

#[test]
fn the_app_chooses_the_code_of_each_connection_and_is_dropped_at_the_end() {
    let alive = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&alive);
    let serving = Serving::start(config(), move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Maintenance(Arc::clone(&count))
    });
    assert_eq!(alive.load(Ordering::SeqCst), 2, "one app per shard");
    let url = format!("ws://{}/", serving.addr());
    let (mut socket, _) = tungstenite::client(url, dial(serving.addr())).expect("a handshake");
    let mut talkative = Client::connect(serving.addr(), "/");
    talkative.check_echo("hello");
    let stopping = stop_in_background(serving.into_running());
    assert_eq!(talkative.message(), Seen::Closed(4001, "come again".into()));
    drop(talkative);
    let tungstenite::Message::Close(Some(close)) = socket.read().expect("a close") else {
        panic!("no Close frame with a code");
    };
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (4000, "maintenance")
    );
    let end = socket.read().expect_err("the end");
    assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    drop(socket);
    stopping.join().expect("no panic").expect("no shard failed");
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn what_is_queued_leaves_before_the_close() {
    const MESSAGES: usize = 200;
    let config = Config {
        backpressure_limit: 256 << 20,
        backpressure: Backpressure::Drop,
        drain_timeout: Duration::from_secs(30),
        close_timeout: Duration::from_secs(30),
        ..config()
    };
    let serving = Serving::start(config, |_| Burst);
    let mut client = Client::connect_narrow(serving.addr(), "/");
    client.text(&MESSAGES.to_string());
    // More than the answer to the handshake: the messages are queued.
    until("bytes that wait for the client", || {
        match serving.metrics().send_bytes_pending() {
            bytes if bytes > 1 << 20 => Ok(()),
            bytes => Err(bytes),
        }
    });
    let metrics = serving.metrics();
    let stopping = stop_in_background(serving.into_running());
    for n in 0..MESSAGES {
        let message = client.expect_binary();
        assert!(message.len() == Burst::SIZE && message.iter().all(|&b| usize::from(b) == n % 256));
    }
    client.expect_end(1001);
    drop(client);
    stopping.join().expect("no panic").expect("no shard failed");
    assert_eq!(metrics.send_bytes_pending(), 0);
}

/// Answers a number with as many large messages, and tells what becomes of each.
struct Told(Sender<Tracked>);

impl App for Told {
    type State = ();

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        let count = message.as_text().and_then(|text| text.parse().ok());
        for _ in 0..count.unwrap_or(0) {
            let tracked = conn.send_tracked(&[7; Burst::SIZE][..]);
            self.0.send(tracked).expect("the test listens");
        }
    }
}

/// As many messages as the kernel does not take all of, for two clients: one
/// that reads and one that does not.
#[test]
fn tracked_sends_are_waited_for_until_the_deadline() {
    const MESSAGES: usize = 200;
    let config = Config {
        backpressure_limit: 256 << 20,
        drain_timeout: Duration::from_secs(60),
        close_timeout: Duration::from_secs(60),
        ..config()
    };
    let (tell, told) = channel();
    let serving = Serving::start(config, move |_| Told(tell.clone()));
    let ask = || {
        let mut client = Client::connect_narrow(serving.addr(), "/");
        client.text(&MESSAGES.to_string());
        let told: Vec<_> = (0..MESSAGES).map(|_| told.recv_timeout(PATIENCE)).collect();
        let told: Result<Vec<_>, _> = told.into_iter().collect();
        (client, told.expect("every message was queued"))
    };
    let (mut reader, taken) = ask();
    let (silent, lost) = ask();
    let running = serving.into_running();
    let handle = running.handle();
    let stopping = stop_in_background(running);
    for _ in 0..MESSAGES {
        assert_eq!(reader.expect_binary().len(), Burst::SIZE);
    }
    reader.expect_end(1001);
    for tracked in taken {
        assert_eq!(tracked.wait(PATIENCE).expect("in time"), Ok(()));
    }
    // The kernel took a few of them, and the rest is not known yet.
    let waiting = lost.iter().filter(|tracked| tracked.outcome().is_none());
    assert!(waiting.count() > MESSAGES / 2);
    // Asked again, the deadline is an earlier one.
    handle.stop_within(Duration::from_millis(200));
    stopping.join().expect("no panic").expect("no shard failed");
    let last = lost.into_iter().last().expect("there are some").outcome();
    assert!(
        matches!(&last, Some(Err(SendFailed::Closed { code, .. })) if code.0 == 1001),
        "{last:?}"
    );
    drop(silent);
}

/// Answers a number with as many large messages.
struct Burst;

impl Burst {
    const SIZE: usize = 100_000;
}

impl App for Burst {
    type State = ();

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        let count = message
            .as_text()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0_usize);
        for n in 0..count {
            let fill = u8::try_from(n % 256).expect("below 256");
            conn.send(&[fill; Self::SIZE][..]);
        }
    }
}

#[test]
fn a_stopping_server_refuses_new_connections() {
    let config = Config {
        close_timeout: Duration::from_secs(20),
        ..config()
    };
    let serving = Serving::start(config, |_| Echo);
    let addr = serving.addr();
    let mut client = Client::connect(addr, "/");
    client.mute();
    let stopping = stop_in_background(serving.into_running());
    assert_eq!(client.expect_close(), 1001);
    until("refused", || match TcpStream::connect(addr) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => Err(other),
    });
    assert!(!stopping.is_finished(), "the open connection is waited for");
    client.raw(&support::client::frame(
        true,
        hioload_protocol::frame::OpCode::Close,
        &1001_u16.to_be_bytes(),
    ));
    assert_eq!(client.message(), Seen::Eof);
    drop(client);
    stopping.join().expect("no panic").expect("no shard failed");
    TcpListener::bind(addr).expect("the port is free again");
}

#[test]
fn the_drain_deadline_cuts_who_never_answers() {
    let drain = Duration::from_millis(500);
    let close_timeout = Duration::from_secs(60);
    let config = Config {
        drain_timeout: drain,
        close_timeout,
        ..config()
    };
    let serving = Serving::start(config, |_| Echo);
    let mut clients = open(serving.addr(), 4);
    clients.iter_mut().for_each(Client::mute);
    // One that does not even finish its handshake.
    let mut half = dial(serving.addr());
    half.write_all(b"GET / HTTP/1.1\r\nHost:").expect("sent");
    until_equal("accepted", &5, || serving.metrics().sockets());
    let metrics = serving.metrics();
    let before = Instant::now();
    serving.stop();
    let took = before.elapsed();
    assert!(took >= drain && took < drain * 8, "{took:?}");
    for client in &mut clients {
        assert_eq!(client.expect_close(), 1001);
        let end = client.next();
        assert!(matches!(end, Seen::Eof | Seen::Reset), "{end:?}");
    }
    assert_eq!(metrics.sockets(), 0);
}

#[test]
fn a_forced_stop_waits_for_nobody() {
    let timeout = Duration::from_secs(60);
    let config = Config {
        drain_timeout: timeout,
        close_timeout: timeout,
        ..config()
    };
    let serving = Serving::start(config, |_| Echo);
    let mut clients = open(serving.addr(), 4);
    clients.iter_mut().for_each(Client::mute);
    let handle = serving.handle();
    let metrics = serving.metrics();
    // First in peace, then by force.
    handle.stop();
    for client in &mut clients {
        assert_eq!(client.expect_close(), 1001);
    }
    let running = serving.into_running();
    let before = Instant::now();
    handle.stop_now();
    running.join().expect("no shard failed");
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "{:?}",
        before.elapsed()
    );
    assert_eq!((metrics.sockets(), metrics.connections()), (0, 0));
    for client in &mut clients {
        let end = client.next();
        assert!(matches!(end, Seen::Eof | Seen::Reset), "{end:?}");
    }
}

#[test]
fn idle_http_connections_are_ended() {
    let serving = Serving::start(config(), |_| Echo);
    let mut stream = dial(serving.addr());
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("sent");
    assert_eq!(Answer::read(&mut stream).status, 404);
    let mut unused = dial(serving.addr());
    until_equal("accepted", &2, || serving.metrics().sockets());
    let before = Instant::now();
    let stopping = stop_in_background(serving.into_running());
    expect_eof(&mut stream);
    expect_eof(&mut unused);
    drop((stream, unused));
    stopping.join().expect("no panic").expect("no shard failed");
    assert!(
        before.elapsed() < Config::default().close_timeout,
        "{:?}",
        before.elapsed()
    );
}

#[test]
fn a_server_without_connections_stops_at_once() {
    let serving = Serving::start(config(), |_| Echo);
    let addr = serving.addr();
    let before = Instant::now();
    serving.stop();
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
    TcpListener::bind(addr).expect("the port is free again");
}

/// Before any shard could be woken.
#[test]
fn a_stop_that_comes_during_the_start_is_heeded() {
    let serving = Serving::start(config(), |shard| {
        shard.handle().stop();
        Echo
    });
    let running = serving.into_running();
    let joined = std::thread::spawn(move || running.join());
    until("stopped", || {
        if joined.is_finished() {
            Ok(())
        } else {
            Err(())
        }
    });
    joined.join().expect("no panic").expect("no shard failed");
}

/// Panics on request.
struct Fragile;

impl App for Fragile {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.send(greeting(conn.shard()).as_str());
    }

    fn message(&mut self, _conn: &mut Conn<'_>, (): &mut (), _message: Message<'_>) {
        panic!("asked to panic");
    }
}

/// Half a server would serve half of its connections: the rest is drained.
#[test]
fn a_panic_in_one_shard_stops_all_and_is_reported() {
    let serving = Serving::start(config(), |_| Fragile);
    let [mut first, mut second] = serving.clients_on_each_shard("/", 2);
    let running = serving.into_running();
    let joined = std::thread::spawn(move || running.join());
    second[0].text("panic");
    for client in &mut first {
        client.expect_end(1001);
    }
    for client in &mut second {
        let end = client.next();
        assert!(matches!(end, Seen::Eof | Seen::Reset), "{end:?}");
    }
    drop((first, second));
    let error = joined
        .join()
        .expect("no panic here")
        .expect_err("a shard has failed");
    assert!(
        matches!(error, hioload::Error::ShardPanicked { shard: 1 }),
        "{error}"
    );
}
