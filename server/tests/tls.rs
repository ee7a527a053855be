//! The real binary with TLS: flags, files, reloading.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hioload_platform::signals::{ask_to_reload, ask_to_stop};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::Message;

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with certificates, gone with the test.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hioload-server-tls-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn certify(&self, stem: &str, name: &str) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(self.path(stem, "pem"), made.cert.pem()).unwrap();
        std::fs::write(self.path(stem, "key"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    fn path(&self, stem: &str, end: &str) -> PathBuf {
        self.0.join(format!("{stem}.{end}"))
    }

    fn text(&self, stem: &str, end: &str) -> String {
        self.path(stem, end).to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hioload-server"));
    command.args(args).stdin(Stdio::null());
    command
}

/// A running server; killed when dropped.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Running {
    fn start(files: &Files, args: &[&str]) -> Self {
        let log = files.0.join("log");
        let mut child = command(args)
            .args(["--shards", "2"])
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, log }
    }

    /// The next `listening on`: its scheme and address.
    fn listening(&mut self) -> (String, SocketAddr) {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ");
        let url = url.unwrap_or_else(|| panic!("{line:?} {}", self.logged()));
        let (scheme, addr) = url.split_once("://").unwrap();
        (scheme.to_owned(), addr.parse().unwrap())
    }

    /// As SIGHUP does.
    fn reload(&self) {
        ask_to_reload(self.child.id()).unwrap();
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn wait_for_log(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.logged().contains(what) {
            assert!(
                Instant::now() < deadline,
                "{what:?} not in {}",
                self.logged()
            );
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn stop(mut self) {
        ask_to_stop(self.child.id()).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status} {}", self.logged());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already when the test went well.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn dial(
    addr: SocketAddr,
    trusted: &CertificateDer<'static>,
    name: &str,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = TcpStream::connect(addr)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(tls, tcp))
}

fn get(mut stream: impl Read + Write, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn refused(args: &[&str]) -> String {
    let Output { status, stderr, .. } = command(args).output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{text}");
    text
}

#[test]
fn the_listen_address_speaks_tls_once_there_is_a_certificate() {
    let files = Files::new();
    let trusted = files.certify("a", "localhost");
    let (cert, key) = (files.text("a", "pem"), files.text("a", "key"));
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ];
    let mut server = Running::start(&files, &args);
    let (scheme, addr) = server.listening();
    assert_eq!(scheme, "https");
    let page = get(dial(addr, &trusted, "localhost").unwrap(), "/");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("</html>\n"));
    let stream = dial(addr, &trusted, "localhost").unwrap();
    let (mut socket, _) = tungstenite::client("wss://localhost/echo", stream).unwrap();
    for size in [0, 20, 100_000] {
        socket.send(Message::binary(vec![7; size])).unwrap();
        assert_eq!(socket.read().unwrap().into_data(), vec![7; size]);
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    let plain = get(TcpStream::connect(addr).unwrap(), "/");
    assert!(plain.starts_with("HTTP/1.1 400 "), "{plain}");
    let metrics = get(dial(addr, &trusted, "localhost").unwrap(), "/metrics");
    assert!(metrics.contains("hioload_tls_handshakes_total"));
    assert!(metrics.contains("hioload_tls_failures_total{shard=\"0\",reason=\"plain_http\"}"));
    server.stop();
}

#[test]
fn the_file_names_certificates_by_host_and_addresses_of_their_own() {
    let files = Files::new();
    let (one, two) = (
        files.certify("one", "one.example"),
        files.certify("two", "two.example"),
    );
    let config = files.0.join("server.toml");
    let quoted = |stem: &str, end: &str| format!("{:?}", files.text(stem, end));
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\n[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificates = [\n\
         {{ cert = {}, key = {} }},\n{{ cert = {}, key = {} }},\n]\n",
        quoted("one", "pem"),
        quoted("one", "key"),
        quoted("two", "pem"),
        quoted("two", "key"),
    );
    std::fs::write(&config, text).unwrap();
    let mut server = Running::start(&files, &["--config", config.to_str().unwrap()]);
    let (plain, tls) = (server.listening(), server.listening());
    assert_eq!((plain.0.as_str(), tls.0.as_str()), ("http", "https"));
    let health = |stream| get(stream, "/health");
    assert!(health(TcpStream::connect(plain.1).unwrap()).starts_with("HTTP/1.1 200 "));
    for (name, trusted) in [("one.example", &one), ("two.example", &two)] {
        let answer = get(dial(tls.1, trusted, name).unwrap(), "/health");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert!(dial(tls.1, &one, "two.example").is_err());
    server.stop();
}

#[test]
fn a_reload_reads_the_certificates_again_and_keeps_the_old_when_one_is_bad() {
    let files = Files::new();
    let old = files.certify("a", "localhost");
    let (cert, key) = (files.text("a", "pem"), files.text("a", "key"));
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ];
    let mut server = Running::start(&files, &args);
    let (_, addr) = server.listening();
    let stream = dial(addr, &old, "localhost").unwrap();
    let (mut open, _) = tungstenite::client("wss://localhost/echo", stream).unwrap();

    let new = files.certify("a", "localhost");
    server.reload();
    server.wait_for_log("the certificates are loaded anew");
    assert!(dial(addr, &old, "localhost").is_err());
    drop(dial(addr, &new, "localhost").unwrap());

    std::fs::write(Path::new(&key), "nothing").unwrap();
    server.reload();
    server.wait_for_log("the old certificates stay in use");
    assert!(server.logged().contains(&key), "{}", server.logged());
    drop(dial(addr, &new, "localhost").unwrap());

    open.send(Message::text("still open")).unwrap();
    assert_eq!(open.read().unwrap().into_text().unwrap(), "still open");
    drop(open);
    server.stop();
}

#[test]
fn a_start_without_usable_certificates_says_what_is_wrong() {
    let files = Files::new();
    files.certify("a", "localhost");
    files.certify("b", "localhost");
    let (cert, other) = (files.text("a", "pem"), files.text("b", "key"));
    let missing = files.text("missing", "pem");
    let listen = ["--listen", "127.0.0.1:0"];
    let with = |rest: &[&str]| refused(&[&listen[..], rest].concat());
    assert!(with(&["--tls-cert", &cert]).contains("--tls-key"));
    assert!(with(&["--tls-listen", "127.0.0.1:0"]).contains("no certificate"));
    let mismatch = with(&["--tls-cert", &cert, "--tls-key", &other]);
    assert!(mismatch.contains("does not belong"), "{mismatch}");
    let unread = with(&["--tls-cert", &missing, "--tls-key", &other]);
    assert!(
        unread.contains("cannot read") && unread.contains(&missing),
        "{unread}"
    );
}
