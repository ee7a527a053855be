//! `wss://`, compression and what else a handshake may ask for, against the
//! framework's own server.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use hioload::tls::TlsConfig;
use hioload::{App, Config, Conn, Message, Running, Server, Shard, Upgrade};

use crate::server::run;

/// Echoes, and tells of each handshake.
struct Told(std::sync::mpsc::Sender<String>);

impl App for Told {
    type State = ();

    fn upgrade(&mut self, request: &hioload::Request<'_>, (): &mut ()) -> Upgrade {
        let protocols: Vec<&str> = request.protocols().collect();
        let token = request.header("x-token").unwrap_or("none");
        // The test has seen enough when nobody listens.
        let _enough = self.0.send(format!("{} {token}", protocols.join("+")));
        match protocols.first() {
            Some(first) => Upgrade::accept().protocol(first),
            None => Upgrade::accept(),
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.send(message);
    }
}

/// Passes every message on to the other connections.
struct Fan;

impl App for Fan {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.subscribe("all");
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.publish("all", message);
    }
}

/// A server with TLS, in a folder with its certificate.
struct Secure {
    running: Option<Running>,
    folder: PathBuf,
    told: Receiver<String>,
}

impl Secure {
    fn start(name: &str) -> Self {
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        Self::with(name, told, move |_| {
            Told(tell.lock().expect("no panic").clone())
        })
    }

    fn with<A: App>(
        name: &str,
        told: Receiver<String>,
        app: impl Fn(&Shard) -> A + Send + Sync + 'static,
    ) -> Self {
        let folder = std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(&cert, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let tls = TlsConfig::from_pem_files(&[(&cert, &key)]).expect("a pair");
        let config = Config {
            shards: 1,
            ..Config::default()
        };
        let running = Server::default()
            .config(config)
            .listen_tls("127.0.0.1:0", tls)
            .start(app)
            .expect("the server starts");
        Self {
            running: Some(running),
            folder,
            told,
        }
    }

    fn url(&self) -> String {
        let running = self.running.as_ref().expect("running");
        format!("wss://localhost:{}/echo", running.addrs()[0].port())
    }

    fn certificate(&self) -> String {
        Path::new(&self.folder)
            .join("cert.pem")
            .display()
            .to_string()
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.handle().stop_now();
            let stopped = running.join();
            // What is left in the temporary directory harms nobody.
            let _left = std::fs::remove_dir_all(&self.folder);
            if !std::thread::panicking() {
                stopped.expect("no shard failed");
            }
        }
    }
}

#[test]
fn a_secure_server_passes_at_every_size() {
    let server = Secure::start("sizes");
    for (size, rate) in [("20", 100), ("0..70k", 50), ("300000", 20)] {
        let ca = server.certificate();
        run(&format!(
            "echo --url {} --ca {ca} --connections 4 --rate {rate} --size {size}",
            server.url()
        ))
        .assert_clean();
    }
    run(&format!(
        "echo --url {} --insecure --connections 4 --depth 16 --threads 2",
        server.url()
    ))
    .assert_clean();
}

#[test]
fn believing_anyone_is_said_in_one_line_even_when_quiet() {
    let server = Secure::start("warned");
    let rest = "--connections 1 --rate 50";
    let warnings = |trust: &str| {
        let ran = run(&format!("echo --url {} {trust} {rest}", server.url()));
        ran.assert_clean();
        let lines = ran.stderr.lines();
        lines.filter(|line| line.starts_with("warning:")).count()
    };
    assert_eq!(warnings("--insecure"), 1);
    assert_eq!(warnings(&format!("--ca {}", server.certificate())), 0);
}

#[test]
fn a_server_without_tls_is_told_apart_from_a_certificate() {
    let plain = crate::server::Server::start(crate::server::Fault::None);
    let url = plain.echo_url().replace("ws://", "wss://");
    let ran = run(&format!("echo --url {url} --insecure --connections 1"));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(!ran.stderr.contains("--ca"), "{}", ran.stderr);
}

#[test]
fn compressed_connections_are_counted_and_pass() {
    let server = Secure::start("deflate");
    let ran = run(&format!(
        "echo --url {} --insecure --deflate --connections 5 --rate 200 --size 0..5000 --text",
        server.url()
    ));
    ran.assert_clean();
    assert_eq!(ran.json["deflated_connections"], 5);
    let plain = run(&format!(
        "echo --url {} --insecure --connections 2 --rate 50",
        server.url()
    ));
    plain.assert_clean();
    assert_eq!(plain.json["deflated_connections"], 0);
}

#[test]
fn a_broadcast_over_tls_reaches_everyone_compressed_or_not() {
    let server = Secure::with("broadcast", channel().1, |_| Fan);
    let url = server.url();
    let ca = server.certificate();
    for (offer, used) in [("", 0), ("--deflate", 6)] {
        let ran = run(&format!(
            "broadcast --url {url} --ca {ca} --publishers 2 --subscribers 4 --rate 50 \
             --size 64..4000 --threads 2 {offer}"
        ));
        ran.assert_clean();
        assert_eq!(ran.json["deflated_connections"], used);
    }
}

#[test]
fn subprotocols_and_headers_reach_the_server() {
    let server = Secure::start("headers");
    let mut command = format!(
        "echo --url {} --insecure --connections 1 --rate 50",
        server.url()
    );
    command.push_str(" --subprotocol v2 --subprotocol v1 --header X-Token:secret");
    run(&command).assert_clean();
    assert_eq!(server.told.recv().as_deref(), Ok("v2+v1 secret"));
}

#[test]
fn a_subprotocol_that_is_none_is_refused_before_the_run() {
    let ran = run("echo --subprotocol a,b");
    assert_eq!(ran.code, 64, "{ran:?}");
    assert!(ran.stderr.contains("Sec-WebSocket-Protocol"), "{ran:?}");
}

#[test]
fn an_unknown_certificate_is_refused_with_what_to_do() {
    let server = Secure::start("unknown");
    let stranger = Secure::start("stranger");
    let url = server.url();
    for trust in ["", &format!("--ca {}", stranger.certificate())] {
        let ran = run(&format!("echo --url {url} --connections 2 {trust}"));
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stderr.contains("--insecure"), "{}", ran.stderr);
        assert!(ran.stderr.contains("certificate"), "{}", ran.stderr);
    }
    let plain = run(&format!(
        "echo --url {} --connections 2",
        url.replace("wss://", "ws://")
    ));
    assert_eq!(plain.code, 3, "{plain:?}");
    assert!(plain.stderr.contains("400"), "{}", plain.stderr);
}
