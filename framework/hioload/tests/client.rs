//! The client role: shards that dial, against real servers.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hioload::client::{Accepted, Client, ClientTls, Dial, DialError};
use hioload::tls::TlsConfig;
use hioload::{
    App, Close, CloseCode, Config, Conn, Kind, Message, Refusal, Request, Running, Server, Turn,
    Upgrade,
};
use support::wait::PATIENCE;
use support::{Serving, config};

/// Answers what the client needs to see: echoes, and says on `/who` what the
/// request was; closes when told; refuses `/private`.
struct Site;

impl App for Site {
    type State = Option<String>;

    fn upgrade(&mut self, request: &Request<'_>, greeting: &mut Option<String>) -> Upgrade {
        match request.path() {
            "/private" => Upgrade::refuse(Refusal::Forbidden),
            "/who" => {
                let said = |name| request.header(name).unwrap_or("-").to_owned();
                *greeting = Some(format!(
                    "{} {} {} {}",
                    said("host"),
                    said("origin"),
                    said("x-token"),
                    request.query().unwrap_or("-")
                ));
                match request.protocols().last() {
                    Some(last) => Upgrade::accept().protocol(last),
                    None => Upgrade::accept(),
                }
            }
            _ => Upgrade::accept(),
        }
    }

    fn open(&mut self, conn: &mut Conn<'_>, greeting: &mut Option<String>) {
        if let Some(greeting) = greeting.take() {
            conn.send(greeting.as_str());
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, _: &mut Option<String>, message: Message<'_>) {
        match message.payload() {
            b"close" => conn.close(CloseCode(4000), "as asked"),
            b"cut" => conn.terminate(),
            _ => drop(conn.send(message)),
        }
    }
}

/// What the client's app saw.
#[derive(Debug, PartialEq, Eq)]
enum Saw {
    Connected(u64, Option<String>, bool),
    Open(usize),
    Message(Kind, Vec<u8>),
    Closed(u16, String, bool),
    Failed(u64, String),
    Timer(u64),
}

/// Tells everything it sees, and says what it was given once open.
struct Told {
    tell: Sender<Saw>,
    say: Vec<Vec<u8>>,
}

impl App for Told {
    type State = ();

    fn connected(&mut self, accepted: &Accepted<'_>, (): &mut ()) {
        let protocol = accepted.protocol().map(str::to_owned);
        self.tell(Saw::Connected(
            accepted.key(),
            protocol,
            accepted.is_deflate(),
        ));
    }

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.tell(Saw::Open(conn.shard()));
        for said in &self.say {
            conn.send(&said[..]);
        }
    }

    fn message(&mut self, _conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        self.tell(Saw::Message(message.kind(), message.payload().to_vec()));
    }

    fn close(&mut self, _conn: &mut Conn<'_>, (): &mut (), close: &Close<'_>) {
        self.tell(Saw::Closed(
            close.code.0,
            close.reason.to_owned(),
            close.clean,
        ));
    }

    fn dial_failed(&mut self, turn: &mut Turn<'_, ()>, key: u64, error: &DialError) {
        self.tell(Saw::Failed(key, error.to_string()));
        turn.schedule(1_000_000, key + 1000).expect("there is room");
    }

    fn timer(&mut self, _turn: &mut Turn<'_, ()>, key: u64) {
        self.tell(Saw::Timer(key));
    }
}

impl Told {
    fn tell(&self, saw: Saw) {
        // The test has seen enough when nobody listens.
        let _enough = self.tell.send(saw);
    }
}

/// Running clients; cut off when their test ends.
struct Dialler {
    running: Option<Running>,
    seen: Receiver<Saw>,
}

impl Dialler {
    fn new(config: Config, say: &[&[u8]]) -> Self {
        let (tell, seen) = channel();
        let tell = Mutex::new(tell);
        let say: Vec<Vec<u8>> = say.iter().map(|said| said.to_vec()).collect();
        let running = Client::new()
            .config(config)
            .start(move |_shard| Told {
                tell: tell.lock().expect("no panic").clone(),
                say: say.clone(),
            })
            .expect("clients start");
        Self {
            running: Some(running),
            seen,
        }
    }

    fn dial(&self, dial: Dial, key: u64) {
        let handle = self.running.as_ref().expect("running").handle();
        handle
            .connect(0, &Arc::new(dial), key)
            .expect("the inbox has room");
    }

    fn next(&self) -> Saw {
        self.seen
            .recv_timeout(PATIENCE)
            .expect("the client sees something")
    }

    /// The next thing seen is a failure of this dial, which the text explains,
    /// and then its timer.
    fn fails(&self, key: u64, text: &str) {
        match self.next() {
            Saw::Failed(failed, error) => {
                assert_eq!(failed, key);
                assert!(error.contains(text), "{error}");
            }
            other => panic!("{other:?} is no failure"),
        }
        assert_eq!(self.next(), Saw::Timer(key + 1000));
    }

    fn opens(&self, key: u64, protocol: Option<&str>, deflate: bool) {
        let protocol = protocol.map(str::to_owned);
        assert_eq!(self.next(), Saw::Connected(key, protocol, deflate));
        assert_eq!(self.next(), Saw::Open(0));
    }
}

impl Drop for Dialler {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.handle().stop_now();
            let stopped = running.join();
            if !std::thread::panicking() {
                stopped.expect("no shard failed");
            }
        }
    }
}

fn quiet() -> Config {
    Config {
        shards: 1,
        ..config()
    }
}

fn dial(server: &Serving, scheme: &str, path: &str) -> Dial {
    let port = server.addr().port();
    Dial::new(&format!("{scheme}://localhost:{port}{path}"))
        .unwrap_or_else(|_| panic!("localhost resolves"))
}

#[test]
fn a_dialled_connection_exchanges_messages_and_closes_cleanly() {
    let server = Serving::start(config(), |_| Site);
    let large = vec![b'x'; 300_000];
    let client = Dialler::new(quiet(), &[b"small", &large, b"close"]);
    client.dial(dial(&server, "ws", "/echo").deflate(false), 7);
    client.opens(7, None, false);
    assert_eq!(client.next(), Saw::Message(Kind::Binary, b"small".to_vec()));
    assert_eq!(client.next(), Saw::Message(Kind::Binary, large));
    assert_eq!(client.next(), Saw::Closed(4000, "as asked".into(), true));
    server.wait_until_idle();
    server.stop();
}

#[test]
fn the_request_says_what_it_was_told_to() {
    let server = Serving::start(config(), |_| Site);
    let client = Dialler::new(quiet(), &[]);
    let asked = dial(&server, "ws", "/who?room=1")
        .protocol("chat.v2")
        .protocol("chat.v1")
        .header("X-Token", "t 1")
        .origin("https://example.com")
        .source(IpAddr::V4(Ipv4Addr::LOCALHOST));
    client.dial(asked, 1);
    client.opens(1, Some("chat.v1"), true);
    let said = format!(
        "localhost:{} https://example.com t 1 room=1",
        server.addr().port()
    );
    assert_eq!(client.next(), Saw::Message(Kind::Text, said.into_bytes()));
    server.cut();
}

#[test]
fn compressed_messages_pass_both_ways() {
    let server = Serving::start(config(), |_| Site);
    let text = "the same words again and again. "
        .repeat(2_000)
        .into_bytes();
    let client = Dialler::new(quiet(), &[&text, &text, b"x"]);
    client.dial(dial(&server, "ws", "/echo"), 1);
    client.opens(1, None, true);
    assert_eq!(client.next(), Saw::Message(Kind::Binary, text.clone()));
    assert_eq!(client.next(), Saw::Message(Kind::Binary, text));
    assert_eq!(client.next(), Saw::Message(Kind::Binary, b"x".to_vec()));
    server.cut();
}

#[test]
fn a_dial_that_comes_to_nothing_says_why_once() {
    let server = Serving::start(config(), |_| Site);
    let client = Dialler::new(quiet(), &[]);

    client.dial(dial(&server, "ws", "/private"), 1);
    client.fails(1, "403");

    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = nobody.local_addr().expect("bound");
    drop(nobody);
    client.dial(Dial::new(&format!("ws://{addr}/")).expect("a URL"), 2);
    client.fails(2, "cannot connect");

    client.dial(dial(&server, "ws", "/echo").header("X", "a\r\nb"), 3);
    client.fails(3, "X");

    client.dial(dial(&server, "wss", "/echo"), 4);
    client.fails(4, "plain HTTP");

    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = silent.local_addr().expect("bound");
    let short = Dial::new(&format!("ws://{addr}/")).expect("a URL");
    client.dial(short.clone().timeout(Duration::from_millis(50)), 5);
    client.fails(5, "in time");

    client.dial(short, 6);
    // The one that timed out came first.
    drop(silent.accept().expect("the fifth"));
    let (mut rude, _) = silent.accept().expect("the sixth");
    let mut head = [0; 16];
    rude.read_exact(&mut head).expect("the request");
    drop(rude);
    match client.next() {
        Saw::Failed(6, error) => {
            assert!(error.contains("ended"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    server.cut();
}

#[test]
fn a_response_head_without_end_is_cut_at_its_limit() {
    let client = Dialler::new(quiet(), &[]);
    let endless = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = endless.local_addr().expect("bound");
    client.dial(Dial::new(&format!("ws://{addr}/")).expect("a URL"), 1);
    let (mut stream, _) = endless.accept().expect("the client");
    stream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
        .expect("written");
    let flood = vec![b'x'; 1 << 16];
    // Ends when the client is gone.
    while stream.write_all(&flood).is_ok() {}
    client.fails(1, "too large");
}

#[test]
fn a_server_that_vanishes_closes_with_1006() {
    let server = Serving::start(config(), |_| Site);
    let client = Dialler::new(quiet(), &[b"cut"]);
    client.dial(dial(&server, "ws", "/echo"), 1);
    client.opens(1, None, true);
    assert_eq!(client.next(), Saw::Closed(1006, String::new(), false));
    server.stop();
}

#[test]
fn a_thousand_connections_share_one_dial() {
    let server = Serving::start(config(), |_| Site);
    let client = Dialler::new(quiet(), &[b"hello", b"close"]);
    let shared = Arc::new(dial(&server, "ws", "/echo"));
    let handle = client.running.as_ref().expect("running").handle();
    for key in 0..1000 {
        handle.connect(0, &shared, key).expect("room for a dial");
    }
    let (mut echoes, mut closes) = (0, 0);
    while closes < 1000 {
        match client.next() {
            Saw::Message(_, payload) => {
                assert_eq!(payload, b"hello");
                echoes += 1;
            }
            Saw::Closed(code, _, clean) => {
                assert_eq!((code, clean), (4000, true));
                closes += 1;
            }
            Saw::Failed(key, error) => panic!("{key}: {error}"),
            _ => {}
        }
    }
    assert_eq!(echoes, 1000);
    server.wait_until_idle();
    server.stop();
}

#[test]
fn stopping_fails_dials_under_way_and_closes_the_rest() {
    let server = Serving::start(config(), |_| Site);
    let mut client = Dialler::new(quiet(), &[]);
    client.dial(dial(&server, "ws", "/echo"), 1);
    client.opens(1, None, true);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = silent.local_addr().expect("bound");
    client.dial(Dial::new(&format!("ws://{addr}/")).expect("a URL"), 2);
    let (mut stream, _) = silent.accept().expect("the client");
    let mut head = [0; 4];
    stream
        .read_exact(&mut head)
        .expect("the request is on its way");
    let running = client.running.take().expect("running");
    running.stop().expect("a graceful stop");
    let seen: Vec<Saw> = client.seen.iter().collect();
    assert!(
        seen.iter()
            .any(|saw| matches!(saw, Saw::Failed(2, error) if error.contains("stopping"))),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .any(|saw| matches!(saw, Saw::Closed(1001, _, true))),
        "{seen:?}"
    );
    server.stop();
}

/// A server with a certificate for `localhost`, and the file to trust.
fn secure_server() -> (Running, PathBuf) {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("hioload-client-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let tls = TlsConfig::from_pem_files(&[(&cert, &key)]).expect("a pair");
    let running = Server::default()
        .config(config())
        .listen_tls("127.0.0.1:0", tls)
        .start(|_| Site)
        .expect("the server starts");
    (running, folder)
}

#[test]
fn wss_trusts_whom_it_is_told_to_and_nobody_else() {
    let (server, folder) = secure_server();
    let port = server.addrs()[0].port();
    let to = |host: &str| Dial::new(&format!("wss://{host}:{port}/echo")).expect("a URL");
    let ca = ClientTls::with_ca(folder.join("cert.pem")).expect("a CA file");
    let text = "words over TLS. ".repeat(10_000).into_bytes();
    let client = Dialler::new(quiet(), &[&text, b"close"]);
    let echoes = |key, dial: Dial| {
        client.dial(dial, key);
        client.opens(key, None, true);
        assert_eq!(client.next(), Saw::Message(Kind::Binary, text.clone()));
        assert_eq!(client.next(), Saw::Closed(4000, "as asked".into(), true));
    };
    echoes(1, to("localhost").tls(ca.clone()));
    // A resumed session.
    echoes(2, to("localhost").tls(ca.clone()));
    echoes(
        3,
        to("127.0.0.1").tls(ClientTls::insecure().expect("TLS starts")),
    );

    client.dial(to("127.0.0.1").tls(ca), 4);
    client.fails(4, "certificate not valid for name");
    let (_, other) = {
        let (stranger, folder) = secure_server();
        stranger.handle().stop_now();
        (stranger.join(), folder)
    };
    let wrong = ClientTls::with_ca(other.join("cert.pem")).expect("a CA file");
    client.dial(to("localhost").tls(wrong), 5);
    client.fails(5, "certificate");

    client.dial(
        Dial::new(&format!("ws://localhost:{port}/")).expect("a URL"),
        6,
    );
    client.fails(6, "400");
    server.handle().stop_now();
    server.join().expect("no shard failed");
    for folder in [folder, other] {
        std::fs::remove_dir_all(folder).expect("ours");
    }
}
