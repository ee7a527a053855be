//! A successor takes the listening sockets over, or nothing has happened.
//!
//! Not tested: that another user's process is refused, which takes a second
//! user.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hioload::backend::Choice;
use hioload::{Config, Echo, Error, HandOverError, ListenerMode, Running, Server};
use hioload_platform::hand_over::{Predecessor, START, STEP};
use socket2::{Domain, SockAddr, Socket, Type};
use support::authority::Authority;
use support::client::{Client, Seen, dial};
use support::config;
use support::wait::until;

/// A directory for sockets, removed with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("hioload-{name}-{}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        std::fs::create_dir(&place.0).expect("a directory of this test");
        place
    }

    fn socket(&self) -> PathBuf {
        self.0.join("hand-over")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that failed tells more than this would.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn server(place: &Place, config: Config) -> Server {
    let path = place.socket();
    Server::bind("127.0.0.1:0")
        .config(config)
        .take_over_from(&path)
        .hand_over_at(path)
}

fn start(place: &Place, config: Config) -> Running {
    server(place, config)
        .start(|_| Echo)
        .expect("the server starts")
}

fn check_echoes(addr: SocketAddr, count: usize) {
    for n in 0..count {
        let mut client = Client::connect(addr, "/");
        client.check_echo(&n.to_string());
        client.close_and_wait();
    }
}

/// Speaks to the server that waits at `path` without the protocol.
fn stranger(path: &Path) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
    socket
        .connect(&SockAddr::unix(path).expect("a short path"))
        .expect("somebody waits");
    socket.set_read_timeout(Some(2 * STEP)).expect("a timeout");
    socket
}

fn expect_refused(mut stranger: Socket) {
    let mut answer = [0; 100];
    match stranger.read(&mut answer) {
        Ok(0) => {}
        // What it sent was not even read.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("{other:?} instead of the end"),
    }
}

#[test]
fn successors_may_differ_in_shards_backend_and_mode() {
    let place = Place::new("differ");
    let mut running = start(&place, config());
    let addr = running.addrs()[0];
    let mode = std::fs::metadata(place.socket())
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    for (shards, backend, listener) in [
        (4, Choice::Compio, ListenerMode::ReusePort),
        (1, Choice::Auto, ListenerMode::ReusePort),
        (1, Choice::Compio, ListenerMode::Distribute),
        (3, Choice::Auto, ListenerMode::Distribute),
        (2, Choice::Auto, ListenerMode::ReusePort),
    ] {
        let mut client = Client::connect(addr, "/");
        client.check_echo("before");
        let successor = start(
            &place,
            Config {
                shards,
                backend,
                listener,
                ..config()
            },
        );
        assert_eq!(successor.addrs(), [addr]);
        client.expect_end(1001);
        drop(client);
        let old = std::mem::replace(&mut running, successor);
        old.join().expect("no shard failed");
        // The kernel spreads by a hash: every socket has its turn.
        check_echoes(addr, 40);
    }
    assert!(place.socket().exists());
    running.stop().expect("no shard failed");
    assert!(!place.socket().exists());
    TcpListener::bind(addr).expect("nobody listens any more");
}

#[test]
fn more_shards_than_sockets_share_evenly() {
    let place = Place::new("evenly");
    let old = start(
        &place,
        Config {
            shards: 1,
            ..config()
        },
    );
    let addr = old.addrs()[0];
    let new = start(
        &place,
        Config {
            shards: 3,
            ..config()
        },
    );
    old.join().expect("no shard failed");
    let clients: Vec<_> = (0..30).map(|_| Client::connect(addr, "/")).collect();
    let spread = new.metrics().connections_per_shard();
    assert_eq!(spread, [10, 10, 10]);
    drop(clients);
    new.stop().expect("no shard failed");
}

#[test]
fn plain_and_tls_stay_what_they_are() {
    let place = Place::new("tls");
    let tls = Authority::new("hand-over").tls;
    let both = |place: &Place| server(place, config()).listen_tls("127.0.0.1:0", tls.clone());
    let old = both(&place).start(|_| Echo).expect("it starts");
    let (plain, secure) = (old.addrs()[0], old.addrs()[1]);
    // In another order.
    let new = Server::default()
        .config(config())
        .listen_tls("127.0.0.1:0", tls.clone())
        .listen(plain.to_string())
        .take_over_from(place.socket())
        .start(|_| Echo)
        .expect("it takes over");
    assert_eq!(new.addrs(), [secure, plain]);
    assert!(new.is_tls(secure) && !new.is_tls(plain));
    old.join().expect("no shard failed");
    check_echoes(plain, 1);
    assert!(!place.socket().exists(), "nobody waits there");
    new.stop().expect("no shard failed");
}

#[test]
fn a_successor_that_dies_before_it_accepts_changes_nothing() {
    let place = Place::new("dies");
    let running = start(&place, config());
    let addr = running.addrs()[0];
    let mut client = Client::connect(addr, "/");
    for _ in 0..3 {
        let asked = Predecessor::ask(&place.socket()).expect("it answers");
        let (predecessor, listeners) = asked.expect("it is there");
        assert_eq!(listeners.len(), 2, "one of each shard");
        for passed in &listeners {
            assert_eq!(passed.listener.local_addr().expect("bound"), addr);
            assert!(!passed.tls);
        }
        client.check_echo("still there");
        drop((predecessor, listeners));
    }
    client.check_echo("for good");
    check_echoes(addr, 10);
    let successor = start(&place, config());
    client.expect_end(1001);
    drop(client);
    running.join().expect("no shard failed");
    check_echoes(addr, 10);
    successor.stop().expect("no shard failed");
}

/// What needs something that the predecessor has to let go.
#[test]
fn a_dismissed_predecessor_ends_while_connections_wait() {
    let place = Place::new("dismissed");
    let within = Duration::from_secs(1);
    let running = server(&place, config())
        .hand_over_within(within)
        .start(|_| Echo)
        .expect("the server starts");
    let addr = running.addrs()[0];
    let given_up = server(&place, config()).open().expect("it opens");
    assert!(given_up.has_predecessor());
    drop(given_up);
    let mut client = Client::connect(addr, "/");
    client.check_echo("nothing has happened");

    let mut opened = server(&place, config()).open().expect("it opens");
    client.check_echo("nothing has happened yet");
    let before = Instant::now();
    opened.dismiss_predecessor();
    assert!(!opened.has_predecessor());
    assert_eq!(client.expect_close(), 1001);
    // It does not end its side, and is cut.
    running.join().expect("no shard failed");
    assert!(before.elapsed() >= within, "{:?}", before.elapsed());
    assert!(before.elapsed() < 5 * within, "{:?}", before.elapsed());
    let waiting: Vec<_> = (0..20).map(|_| dial(addr)).collect();
    let successor = opened.start(|_| Echo).expect("it starts");
    assert_eq!(successor.addrs(), [addr]);
    for stream in waiting {
        let mut client = Client::over(stream, "/");
        client.check_echo("served");
        client.close_and_wait();
    }
    assert!(place.socket().exists());
    successor.stop().expect("no shard failed");
}

/// A server whose apps or shards cannot be made is a successor that dies.
#[test]
fn a_successor_that_cannot_start_changes_nothing() {
    let place = Place::new("cannot");
    let running = start(&place, config());
    let addr = running.addrs()[0];
    let failed = server(&place, config()).start(|_| -> Echo { panic!("no app") });
    assert!(
        matches!(failed, Err(Error::ShardPanicked { .. })),
        "{failed:?}"
    );
    check_echoes(addr, 10);
    running.stop().expect("no shard failed");
}

#[test]
fn strangers_are_refused_and_a_successor_comes_all_the_same() {
    let place = Place::new("strangers");
    let running = start(&place, config());
    let addr = running.addrs()[0];
    for words in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 300],
        &[b'a'; 60_000],
        b"hioload-hand-over 2 take\n",
        b"hioload-hand-over 1 accepting\n",
        b"hioload-hand-over 1 listeners 1000\nplain\n",
    ] {
        let stranger = stranger(&place.socket());
        stranger.send(words).expect("there is room");
        expect_refused(stranger);
    }
    drop(stranger(&place.socket()));
    // One that says nothing holds the others up for a while.
    let silent = stranger(&place.socket());
    let before = Instant::now();
    let successor = start(&place, config());
    assert!(before.elapsed() >= STEP / 2, "{:?}", before.elapsed());
    expect_refused(silent);
    running.join().expect("no shard failed");
    check_echoes(addr, 5);
    successor.stop().expect("no shard failed");
}

#[test]
fn a_stop_ends_a_hand_over_that_is_under_way() {
    let place = Place::new("stop");
    let running = start(&place, config());
    let asked = Predecessor::ask(&place.socket()).expect("it answers");
    let (predecessor, listeners) = asked.expect("it is there");
    let before = Instant::now();
    running.stop().expect("no shard failed");
    assert!(before.elapsed() < START / 4, "{:?}", before.elapsed());
    assert!(!place.socket().exists());
    let told = predecessor.accepting();
    assert!(matches!(told, Err(HandOverError::Ended)), "{told:?}");
    // What was handed out is its new owner's.
    let addr = listeners[0].listener.local_addr().expect("bound");
    drop(dial(addr));
}

/// The descriptors that are kept for a successor do not keep the port.
#[test]
fn a_stop_refuses_connections_while_it_drains() {
    let place = Place::new("refuses");
    let running = start(&place, config());
    let addr = running.addrs()[0];
    let mut client = Client::connect(addr, "/");
    client.mute();
    let stopping = std::thread::spawn(move || running.stop_within(Duration::from_secs(2)));
    assert_eq!(client.expect_close(), 1001);
    until("refused", || match std::net::TcpStream::connect(addr) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(other),
    });
    let end = client.next();
    assert!(matches!(end, Seen::Eof | Seen::Reset), "{end:?}");
    stopping.join().expect("no panic").expect("no shard failed");
}

#[test]
fn a_path_has_one_server_and_what_a_killed_one_left_is_replaced() {
    let place = Place::new("path");
    let left = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
    left.bind(&SockAddr::unix(place.socket()).expect("a short path"))
        .expect("a file");
    drop(left);
    let running = start(&place, config());
    let second = Server::bind("127.0.0.1:0")
        .config(config())
        .hand_over_at(place.socket())
        .start(|_| Echo);
    match second {
        Err(Error::HandOver(HandOverError::Taken { path })) => assert_eq!(path, place.socket()),
        other => panic!("{other:?}"),
    }
    check_echoes(running.addrs()[0], 1);
    running.stop().expect("no shard failed");
    let nowhere = place.0.join("no/such/directory");
    let refused = Server::bind("127.0.0.1:0")
        .hand_over_at(nowhere)
        .start(|_| Echo);
    assert!(matches!(refused, Err(Error::HandOver(_))), "{refused:?}");
}
