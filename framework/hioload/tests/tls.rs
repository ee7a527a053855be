//! TLS over real sockets: the server that a browser would meet.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hioload::tls::{TlsConfig, TlsError};
use hioload::{
    App, Backpressure, CloseCode, Config, Conn, Echo, ListenerMode, Message, Running, Server,
    Upgrade,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message as Wire, WebSocket};

const PATIENCE: Duration = Duration::from_secs(20);
const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Certificate files in a directory of their own.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hioload-tls-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a fresh self-signed certificate for `names` as `stem`.
    fn certify(&self, stem: &str, names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (cert, key) = self.pair(stem);
        std::fs::write(cert, made.cert.pem()).unwrap();
        std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    fn pair(&self, stem: &str) -> (PathBuf, PathBuf) {
        let end = |end: &str| self.0.join(format!("{stem}.{end}"));
        (end("pem"), end("key"))
    }

    fn config(&self, stems: &[&str]) -> Result<TlsConfig, TlsError> {
        let pairs: Vec<_> = stems.iter().map(|stem| self.pair(stem)).collect();
        TlsConfig::from_pem_files(&pairs)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// Echoes on `/echo`; publishes to the path everywhere else.
#[derive(Default)]
struct Probe;

impl App for Probe {
    type State = String;

    fn upgrade(&mut self, request: &hioload::Request<'_>, path: &mut String) -> Upgrade {
        *path = request.path().to_owned();
        let accept = Upgrade::accept();
        if path == "/echo" {
            return accept.backpressure(Backpressure::PauseReading);
        }
        accept
    }

    fn open(&mut self, conn: &mut Conn<'_>, path: &mut String) {
        conn.subscribe(path);
    }

    fn message(&mut self, conn: &mut Conn<'_>, path: &mut String, message: Message<'_>) {
        match (path.as_str(), message.payload()) {
            ("/echo", b"close 4321") => conn.close(CloseCode(4321), "as asked"),
            ("/echo", _) => drop(conn.send(message)),
            (topic, _) => drop(conn.publish(topic, message)),
        }
    }
}

/// A server with a TLS address and a plain one.
struct Served {
    running: Running,
    files: Files,
    tls: TlsConfig,
    roots: RootCertStore,
}

impl Served {
    fn new(config: &Config) -> Self {
        let files = Files::new();
        let mut roots = RootCertStore::empty();
        roots.add(files.certify("server", &["localhost"])).unwrap();
        let tls = files.config(&["server"]).unwrap();
        let running = Server::default()
            .config(Config {
                pin: false,
                max_connections: 200,
                ..config.clone()
            })
            .shards(2)
            .listen_tls("127.0.0.1:0", tls.clone())
            .listen("127.0.0.1:0")
            .start(|_| Probe)
            .unwrap();
        Self {
            running,
            files,
            tls,
            roots,
        }
    }

    fn addr(&self) -> SocketAddr {
        self.running.addrs()[0]
    }

    fn dial(&self) -> Stream {
        handshake(self.addr(), &client(&self.roots, BOTH, &[]), "localhost").unwrap()
    }

    fn open(&self, path: &str) -> WebSocket<Stream> {
        upgrade(self.dial(), path)
    }

    /// Stops, and checks that nothing is left.
    fn end(self) {
        let metrics = self.running.metrics();
        until("all sockets are closed", || metrics.sockets() == 0);
        until("nothing waits", || metrics.send_bytes_pending() == 0);
        assert_eq!(metrics.connections(), 0);
        self.running.stop().unwrap();
    }
}

fn client(
    roots: &RootCertStore,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn tcp(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn handshake(addr: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Stream> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = tcp(addr);
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}

fn upgrade<S: Read + Write + std::fmt::Debug>(stream: S, path: &str) -> WebSocket<S> {
    let url = format!("wss://localhost{path}");
    let (socket, _) = tungstenite::client(url, stream).expect("the upgrade is accepted");
    socket
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A small generator (xorshift), seeded per test.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 1).unwrap() % bound
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }
}

/// Passes writes on in pieces of random size.
#[derive(Debug)]
struct Splitting(Stream, u64);

impl Read for Splitting {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Splitting {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let mut random = Random(self.1);
        let most = [10, 300, 2000, 20_000, 60_000][random.below(5)];
        let len = buf.len().min(1 + random.below(most));
        self.1 = random.0;
        // Its own record.
        let written = self.0.write(&buf[..len])?;
        self.0.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn echo(socket: &mut WebSocket<impl Read + Write>, payload: &[u8]) {
    socket.send(Wire::binary(payload.to_vec())).unwrap();
    let echoed = data(socket);
    assert!(echoed == payload, "{} bytes differ", payload.len());
}

/// The next message; a slow machine may be pinged before it.
fn data(socket: &mut WebSocket<impl Read + Write>) -> Vec<u8> {
    loop {
        let message = socket.read().unwrap();
        if !message.is_ping() {
            return message.into_data().to_vec();
        }
    }
}

#[test]
fn echoes_of_every_size_in_random_records_come_back() {
    let served = Served::new(&Config {
        max_message: 2 << 20,
        ..Config::default()
    });
    for seed in 1..=3 {
        let mut random = Random(seed);
        let mut socket = upgrade(Splitting(served.dial(), seed), "/echo");
        for size in [0, 1, 125, 126, 16_383, 16_384, 65_535, 65_536, 1 << 20] {
            echo(&mut socket, &random.bytes(size));
        }
        for _ in 0..60 {
            let most = 1 << random.below(18);
            let size = random.below(most + 1);
            echo(&mut socket, &random.bytes(size));
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
    }
    served.end();
}

/// Reads messages and compares them as a set: two publishers interleave.
fn hears<S: Read + Write>(socket: &mut WebSocket<S>, payloads: &[Vec<u8>], copies: usize) {
    let total = payloads.len() * copies;
    let mut got: Vec<Vec<u8>> = (0..total)
        .map(|_| socket.read().unwrap().into_data().to_vec())
        .collect();
    let mut expected = vec![payloads; copies].concat();
    got.sort();
    expected.sort();
    assert!(got == expected, "{} messages", got.len());
}

#[test]
fn broadcasts_reach_tls_and_plain_subscribers_alike() {
    let served = Served::new(&Config::default());
    let plain = || upgrade(tcp(served.running.addrs()[1]), "/room");
    let mut sealed: Vec<_> = (0..4).map(|_| served.open("/room")).collect();
    let mut open: Vec<_> = (0..4).map(|_| plain()).collect();
    until("all are subscribed", || {
        served.running.metrics().connections() == 8
    });
    let mut random = Random(9);
    let payloads: Vec<_> = [10, 2000, 100_000, 0, 30]
        .map(|size| random.bytes(size))
        .into();
    for payload in &payloads {
        sealed[0].send(Wire::binary(payload.clone())).unwrap();
        open[0].send(Wire::binary(payload.clone())).unwrap();
    }
    // A publisher does not hear itself.
    for (n, socket) in sealed.iter_mut().enumerate() {
        hears(socket, &payloads, if n == 0 { 1 } else { 2 });
    }
    for (n, socket) in open.iter_mut().enumerate() {
        hears(socket, &payloads, if n == 0 { 1 } else { 2 });
    }
    drop((sealed, open));
    served.end();
}

#[test]
fn sni_chooses_the_certificate_and_the_first_serves_the_rest() {
    let files = Files::new();
    let first = files.certify("first", &["first.example"]);
    let wild = files.certify("wild", &["*.wild.example"]);
    let exact = files.certify("exact", &["exact.wild.example", "second.example"]);
    let tls = files.config(&["first", "wild", "exact"]).unwrap();
    let running = Server::default()
        .config(Config {
            max_connections: 50,
            pin: false,
            ..Config::default()
        })
        .shards(1)
        .listen_tls("127.0.0.1:0", tls)
        .start(|_| Echo)
        .unwrap();
    let presented = |name: &str, expected: &CertificateDer<'static>| {
        let mut roots = RootCertStore::empty();
        roots.add(expected.clone()).unwrap();
        let config = client(&roots, BOTH, &[]);
        handshake(running.addrs()[0], &config, name)
            .map(|stream| stream.conn.peer_certificates().unwrap()[0] == *expected)
    };
    assert!(presented("first.example", &first).unwrap());
    assert!(presented("FIRST.example", &first).unwrap());
    assert!(presented("any.wild.example", &wild).unwrap());
    assert!(presented("exact.wild.example", &exact).unwrap());
    assert!(presented("second.example", &exact).unwrap());
    for name in ["deep.any.wild.example", "other.example"] {
        // The first certificate, which is not for them.
        let error = presented(name, &first).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
    until("the clients' alerts are counted", || {
        running.metrics().tls_failures().get("alert") == Some(&2)
    });
    running.stop().unwrap();
}

#[test]
fn either_version_alone_is_enough_and_alpn_is_http_1_1() {
    let served = Served::new(&Config::default());
    for (version, expected) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let config = client(&served.roots, &[version], &["h2", "http/1.1"]);
        let stream = handshake(served.addr(), &config, "localhost").unwrap();
        assert_eq!(stream.conn.protocol_version(), Some(expected));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut socket = upgrade(stream, "/echo");
        for size in [0, 20, 100_000] {
            echo(&mut socket, &vec![7; size]);
        }
    }
    let only_h2 = client(&served.roots, BOTH, &["h2"]);
    let error = handshake(served.addr(), &only_h2, "localhost").unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
    assert_eq!(served.running.metrics().tls_failures()["alpn"], 1);
    served.end();
}

#[test]
fn a_second_connection_resumes_the_session_on_any_shard() {
    let served = Served::new(&Config::default());
    for version in BOTH {
        let config = client(&served.roots, &[version], &[]);
        let mut resumed = 0;
        for _ in 0..8 {
            let stream = handshake(served.addr(), &config, "localhost").unwrap();
            let mut socket = upgrade(stream, "/echo");
            echo(&mut socket, &[1; 10]);
            let kind = socket.get_ref().conn.handshake_kind();
            resumed += usize::from(kind == Some(rustls::HandshakeKind::Resumed));
        }
        assert_eq!(resumed, 7, "{version:?}");
    }
    served.end();
}

#[test]
fn a_connection_given_to_another_shard_speaks_tls() {
    let served = Served::new(&Config {
        listener: ListenerMode::Distribute,
        ..Config::default()
    });
    let mut sockets: Vec<_> = (0..4).map(|_| served.open("/echo")).collect();
    for socket in &mut sockets {
        echo(socket, &[5; 3000]);
    }
    let spread = served.running.metrics().connections_per_shard();
    assert_eq!(spread, [2, 2]);
    drop(sockets);
    served.end();
}

#[test]
fn a_reload_changes_new_connections_and_keeps_open_ones() {
    let served = Served::new(&Config::default());
    let mut before = served.open("/echo");
    let mut fresh = RootCertStore::empty();
    fresh
        .add(served.files.certify("server", &["localhost"]))
        .unwrap();
    served.tls.reload().unwrap();
    echo(&mut before, &vec![1; 1000]);
    let old = client(&served.roots, BOTH, &[]);
    assert!(handshake(served.addr(), &old, "localhost").is_err());
    let new = client(&fresh, BOTH, &[]);
    let mut after = upgrade(
        handshake(served.addr(), &new, "localhost").unwrap(),
        "/echo",
    );
    echo(&mut after, &vec![2; 1000]);

    let (cert, _) = served.files.pair("server");
    std::fs::write(&cert, "no certificate").unwrap();
    let error = served.tls.reload().unwrap_err();
    assert!(
        error.to_string().contains(cert.to_str().unwrap()),
        "{error}"
    );
    drop(handshake(served.addr(), &new, "localhost").unwrap());
    echo(&mut before, &vec![3; 1000]);
    drop((before, after));
    served.end();
}

#[test]
fn a_wrong_file_is_named_with_what_to_do() {
    let files = Files::new();
    files.certify("one", &["localhost"]);
    files.certify("two", &["localhost"]);
    let (cert, key) = files.pair("one");
    let (_, other) = files.pair("two");
    let write = |name: &str, text: &str| {
        let path = files.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let says = |cert: &Path, key: &Path, parts: &[&str]| {
        let error = TlsConfig::from_pem_files(&[(cert, key)]).unwrap_err();
        for part in parts {
            assert!(error.to_string().contains(part), "{error} lacks {part:?}");
        }
    };
    let missing = files.0.join("missing.pem");
    says(&missing, &key, &["cannot read", "missing.pem"]);
    says(
        &key,
        &key,
        &["no certificate in", "one.key", "BEGIN CERTIFICATE"],
    );
    says(
        &cert,
        &cert,
        &["no private key in", "one.pem", "BEGIN PRIVATE KEY"],
    );
    says(&cert, &other, &["two.key", "does not belong", "one.pem"]);
    let sealed = write(
        "sealed.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    says(&cert, &sealed, &["sealed.key", "encrypted", "openssl pkey"]);
    let torn = write("torn.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    says(&torn, &key, &["torn.pem", "PEM"]);
    let empty = write(
        "empty.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    says(&empty, &key, &["empty.pem", "cannot be used"]);
    let odd = write(
        "odd.key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    says(&cert, &odd, &["odd.key", "cannot be used"]);
    let none: [(&Path, &Path); 0] = [];
    let error = TlsConfig::from_pem_files(&none).unwrap_err();
    assert!(matches!(error, TlsError::NothingGiven));
}

#[test]
fn the_handshake_deadline_cuts_whoever_dawdles() {
    let served = Served::new(&Config {
        handshake_timeout: Duration::from_millis(300),
        ..Config::default()
    });
    let mut silent = tcp(served.addr());
    let mut slow = tcp(served.addr());
    slow.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    let mut idle = served.dial();
    assert_eq!(silent.read(&mut [0; 10]).unwrap_or(0), 0);
    assert_eq!(slow.read(&mut [0; 10]).unwrap_or(0), 0);
    assert_eq!(idle.read(&mut [0; 10]).unwrap_or(0), 0);
    until("both are counted", || {
        served.running.metrics().tls_failures().get("timeout") == Some(&2)
    });
    drop((silent, slow, idle));
    served.end();
}

#[test]
fn plain_http_garbage_and_abrupt_ends_hurt_nobody_else() {
    let served = Served::new(&Config::default());
    let mut bystander = served.open("/echo");
    let mut http = tcp(served.addr());
    http.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("TLS"), "{answer}");
    drop(http);

    let mut random = Random(77);
    for round in 0..60 {
        let mut stream = tcp(served.addr());
        let len = random.below(3000);
        let mut garbage = random.bytes(len);
        if round % 2 == 0 {
            garbage.splice(0..0, [0x16, 3, 1]);
        }
        // The server may have ended already.
        let _refused = stream.write_all(&garbage);
        if round % 3 == 0 {
            let _gone = stream.shutdown(Shutdown::Write);
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest);
            assert!(!matches!(ended, Err(error) if error.kind() == ErrorKind::WouldBlock));
        }
    }
    for _ in 0..10 {
        let socket = served.open("/echo");
        drop(socket.get_ref().sock.shutdown(Shutdown::Both));
    }
    echo(&mut bystander, &vec![5; 70_000]);
    drop(bystander);
    served.end();
}

#[test]
fn damage_on_the_way_ends_the_connection_with_an_alert() {
    let served = Served::new(&Config::default());
    let mut socket = served.open("/echo");
    echo(&mut socket, &[1; 10]);
    let stream = socket.get_mut();
    stream.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
    stream.sock.write_all(&[9; 40]).unwrap();
    let error = socket.read().unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    drop(socket);
    let metrics = served.running.metrics();
    until("it is counted", || {
        metrics.tls_failures().get("decrypt") == Some(&1)
    });
    assert_eq!(metrics.closes()["1006"], 1);
    served.end();
}

#[test]
fn a_slow_reader_is_not_read_from_and_gets_everything() {
    const SIZE: usize = 100_000;
    // More than the kernel holds in both directions.
    const COUNT: u8 = 250;
    let served = Served::new(&Config {
        backpressure_limit: 64 << 10,
        ..Config::default()
    });
    let mut socket = served.open("/echo");
    let metrics = served.running.metrics();
    let paused = || metrics.backpressure().get("paused").copied() >= Some(1);
    let mut sent = 0;
    while !paused() {
        assert!(sent < COUNT, "nothing holds the sender back");
        socket.send(Wire::binary(vec![sent; SIZE])).unwrap();
        sent += 1;
    }
    let pending = metrics.send_bytes_pending();
    assert!(pending < 1 << 20, "{pending} bytes wait for one reader");
    for n in 0..sent {
        let echoed = data(&mut socket);
        assert!(echoed.len() == SIZE && echoed.iter().all(|&byte| byte == n));
    }
    echo(&mut socket, &vec![9; SIZE]);
    drop(socket);
    served.end();
}

#[test]
fn a_slow_subscriber_is_closed_with_the_policys_code() {
    let served = Served::new(&Config {
        backpressure_limit: 100_000,
        backpressure: Backpressure::Close(CloseCode::TRY_AGAIN),
        close_timeout: Duration::from_secs(20),
        ..Config::default()
    });
    let mut slow = served.open("/room");
    let mut publisher = served.open("/room");
    until("both are subscribed", || {
        served.running.metrics().connections() == 2
    });
    let closed = || served.running.metrics().backpressure().get("closed") == Some(&1);
    let deadline = Instant::now() + PATIENCE;
    while !closed() {
        assert!(Instant::now() < deadline, "it is never closed");
        publisher.send(Wire::binary(vec![1; 50_000])).unwrap();
    }
    let close = loop {
        match slow.read().unwrap() {
            Wire::Binary(payload) => assert_eq!(payload.len(), 50_000),
            Wire::Close(frame) => break frame.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 1013);
    drop((slow, publisher));
    served.end();
}

#[test]
fn close_codes_pass_both_ways_and_close_notify_ends_the_stream() {
    let served = Served::new(&Config::default());
    let mut asked = served.open("/echo");
    asked.send(Wire::text("close 4321")).unwrap();
    let Wire::Close(Some(CloseFrame { code, reason })) = asked.read().unwrap() else {
        panic!("no Close frame");
    };
    assert_eq!((u16::from(code), reason.as_str()), (4321, "as asked"));
    while asked.read().is_ok() {}
    // Without close_notify rustls reports UnexpectedEof here.
    assert_eq!(asked.get_mut().read(&mut [0; 10]).unwrap(), 0);

    let mut own = served.open("/echo");
    own.close(Some(CloseFrame {
        code: 3007.into(),
        reason: "mine".into(),
    }))
    .unwrap();
    while own.read().is_ok() {}
    assert_eq!(own.get_mut().read(&mut [0; 10]).unwrap(), 0);
    drop((asked, own));
    let closes = served.running.metrics().closes();
    assert_eq!((closes["4xxx"], closes["3xxx"]), (1, 1));
    served.end();
}

#[test]
fn a_graceful_stop_closes_tls_connections_with_1001() {
    let served = Served::new(&Config::default());
    let mut sockets: Vec<_> = (0..10).map(|_| served.open("/echo")).collect();
    let handshaking = tcp(served.addr());
    let metrics = served.running.metrics();
    until("all are accepted", || metrics.sockets() == 11);
    served.running.handle().stop();
    for socket in &mut sockets {
        let Wire::Close(Some(frame)) = socket.read().unwrap() else {
            panic!("no Close frame");
        };
        assert_eq!(u16::from(frame.code), 1001);
        while socket.read().is_ok() {}
        assert_eq!(socket.get_mut().read(&mut [0; 10]).unwrap(), 0);
    }
    drop((sockets, handshaking));
    served.running.stop().unwrap();
    assert_eq!((metrics.sockets(), metrics.send_bytes_pending()), (0, 0));
}
