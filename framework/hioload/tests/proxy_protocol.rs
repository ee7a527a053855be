//! What trusted proxies say of a client is believed, in the PROXY header and in
//! X-Forwarded-For, and from nobody else.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hioload::{App, Config, Conn, Message, Request, Response, Server};
use hioload_protocol::proxy;
use rustls::StreamOwned;
use support::authority::Authority;
use support::client::{Client, Dial};
use support::http::Answer;
use support::wait::until_equal;
use support::{Serving, config};

/// Says whom it takes a client for.
struct Who;

impl App for Who {
    type State = ();

    fn http(&mut self, request: &Request<'_>) -> Response {
        let ip = |addr: Option<SocketAddr>| addr.expect("known").ip();
        let (peer, direct) = (request.peer(), request.direct_peer());
        let text = format!("{} {}", peer.expect("known"), ip(direct));
        Response::ok("text/plain", text.into_bytes())
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), _message: Message<'_>) {
        let peer = conn.peer_addr().expect("known");
        conn.send(peer.to_string().as_str());
    }
}

const PROXY: &str = "127.0.0.2";
const STRANGER: &str = "127.0.0.1";

fn trusting(proxy_protocol: bool) -> Config {
    Config {
        trusted_proxies: "127.0.0.2, 10.0.0.0/8".parse().expect("ranges"),
        proxy_protocol,
        ..config()
    }
}

fn serve(config: Config) -> Serving {
    Serving::start(config, |_shard| Who)
}

fn from(source: &str, addr: SocketAddr) -> TcpStream {
    let dial = Dial {
        source: Some(source.parse().expect("an address")),
        ..Dial::default()
    };
    dial.tcp(addr).expect("the server accepts")
}

/// A header that names a client; `None`: the proxy itself.
fn header(client: Option<&str>) -> Vec<u8> {
    let client: Option<SocketAddr> = client.map(|client| client.parse().expect("an address"));
    let mut out = Vec::new();
    proxy::write(client, client.unwrap_or(([0; 4], 0).into()), &mut out);
    out
}

fn request(forwarded: &[&str]) -> Vec<u8> {
    let fields = forwarded
        .iter()
        .map(|value| format!("X-Forwarded-For: {value}\r\n"));
    let fields: String = fields.collect();
    format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

fn ask(stream: &mut TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).expect("it is taken");
    let answer = Answer::read(stream);
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer.text().to_owned()
}

/// Nothing comes but the end, orderly or not.
fn expect_cut(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
}

fn failures(serving: &Serving, reason: &str) -> u64 {
    let failures = serving.metrics().proxy_failures();
    failures.get(reason).copied().unwrap_or_default()
}

#[test]
fn the_client_in_the_header_is_the_peer() {
    let serving = serve(trusting(true));
    for client in ["192.0.2.7:40000", "[2001:db8::7]:40000"] {
        let expected = format!("{client} {PROXY}");
        let mut bytes = header(Some(client));
        bytes.extend(request(&[]));
        let mut stream = from(PROXY, serving.addr());
        assert_eq!(ask(&mut stream, &bytes), expected);
        // It holds for the whole connection.
        assert_eq!(ask(&mut stream, &request(&[])), expected);
        // Byte by byte it is the same.
        let mut stream = from(PROXY, serving.addr());
        for byte in &bytes[..bytes.len() - 1] {
            stream.write_all(&[*byte]).expect("it is taken");
        }
        assert_eq!(ask(&mut stream, &bytes[bytes.len() - 1..]), expected);
        let mut stream = from(PROXY, serving.addr());
        stream
            .write_all(&header(Some(client)))
            .expect("it is taken");
        let mut websocket = Client::over(stream, "/");
        websocket.text("who am I?");
        assert_eq!(websocket.expect_text(), client);
    }
    // The proxy for itself: a health check.
    let mut stream = from(PROXY, serving.addr());
    let mut bytes = header(None);
    bytes.extend(request(&[]));
    let local = stream.local_addr().expect("bound");
    assert_eq!(ask(&mut stream, &bytes), format!("{local} {PROXY}"));
    assert_eq!(serving.metrics().proxy_failures().values().sum::<u64>(), 0);
    serving.cut();
}

#[test]
fn without_a_good_header_a_proxys_connection_is_closed_and_counted() {
    let serving = serve(Config {
        handshake_timeout: Duration::from_millis(300),
        ..trusting(true)
    });
    let good = header(Some("192.0.2.7:40000"));
    let mut long = good.clone();
    long[14..16].fill(0xff);
    let mut strange = good.clone();
    strange[12] = 0x31;
    for (reason, bytes) in [
        ("missing", &request(&[])[..]),
        ("version_1", b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 80\r\n"),
        ("malformed", &strange),
        ("too_long", &long),
        ("timeout", &good[..20]),
        ("timeout", b""),
    ] {
        let before = failures(&serving, reason);
        let mut stream = from(PROXY, serving.addr());
        stream.write_all(bytes).expect("it is taken");
        expect_cut(stream);
        assert_eq!(failures(&serving, reason), before + 1, "{reason}");
    }
    // One that goes again is no failure.
    drop(from(PROXY, serving.addr()));
    serving.wait_until_idle();
    assert_eq!(serving.metrics().proxy_failures().values().sum::<u64>(), 6);
    serving.stop();
}

#[test]
fn from_others_a_header_is_neither_expected_nor_believed() {
    let serving = serve(trusting(true));
    let mut stream = from(STRANGER, serving.addr());
    let itself = stream.local_addr().expect("bound");
    let answer = ask(&mut stream, &request(&["192.0.2.7"]));
    assert_eq!(answer, format!("{itself} {STRANGER}"));
    let mut stream = from(STRANGER, serving.addr());
    let mut bytes = header(Some("192.0.2.7:40000"));
    bytes.extend(request(&[]));
    stream.write_all(&bytes).expect("it is taken");
    assert_eq!(Answer::read(&mut stream).status, 400);
    let off = serve(trusting(false));
    let mut stream = from(PROXY, off.addr());
    stream.write_all(&bytes).expect("it is taken");
    assert_eq!(Answer::read(&mut stream).status, 400, "it is off");
    serving.cut();
    off.cut();
}

#[test]
fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    let serving = serve(trusting(false));
    let mut stream = from(PROXY, serving.addr());
    let itself = stream.local_addr().expect("bound").to_string();
    // Each request of one connection may be another client's.
    for (forwarded, peer) in [
        (&["192.0.2.7"][..], "192.0.2.7:0"),
        (&["127.0.0.1, 192.0.2.8, 10.1.1.1"], "192.0.2.8:0"),
        (&["192.0.2.8", "2001:db8::9"], "[2001:db8::9]:0"),
        (&[], &itself),
    ] {
        let answer = ask(&mut stream, &request(forwarded));
        assert_eq!(answer, format!("{peer} {PROXY}"));
    }
    let upgrade = support::http::upgrade("/").replace(
        "Host: localhost\r\n",
        "Host: localhost\r\nX-Forwarded-For: 192.0.2.7\r\n",
    );
    let mut stream = from(PROXY, serving.addr());
    stream.write_all(upgrade.as_bytes()).expect("it is taken");
    assert_eq!(Answer::read_head(&mut stream).status, 101);
    // A masked "?", with a key of zeros.
    stream.write_all(b"\x81\x81\0\0\0\0?").expect("it is taken");
    let mut frame = [0; 13];
    stream.read_exact(&mut frame).expect("an answer");
    assert_eq!(&frame, b"\x81\x0b192.0.2.7:0");
    let mut stream = from(STRANGER, serving.addr());
    let itself = stream.local_addr().expect("bound");
    let answer = ask(&mut stream, &request(&["192.0.2.7"]));
    assert_eq!(answer, format!("{itself} {STRANGER}"));
    serving.cut();
}

#[test]
fn what_a_client_behind_the_header_forwards_is_not_believed() {
    let serving = serve(trusting(true));
    let mut bytes = header(Some("192.0.2.7:40000"));
    bytes.extend(request(&["127.0.0.1"]));
    let answer = ask(&mut from(PROXY, serving.addr()), &bytes);
    assert_eq!(answer, format!("192.0.2.7:40000 {PROXY}"));
    // A proxy of ours behind another one is.
    let mut bytes = header(Some("10.0.0.9:40000"));
    bytes.extend(request(&["192.0.2.8"]));
    let answer = ask(&mut from(PROXY, serving.addr()), &bytes);
    assert_eq!(answer, format!("192.0.2.8:0 {PROXY}"));
    serving.cut();
}

#[test]
fn the_header_comes_before_tls() {
    let authority = Authority::new("proxy");
    let serving = Serving::start_tls(trusting(true), &authority.tls, |_shard| Who);
    for (source, named, expected) in [
        (PROXY, Some("192.0.2.7:40000"), "192.0.2.7:40000 127.0.0.2"),
        (STRANGER, None, "127.0.0.1"),
    ] {
        let mut stream = from(source, serving.addr());
        if named.is_some() {
            stream.write_all(&header(named)).expect("it is taken");
        }
        let mut stream = StreamOwned::new(authority.session(), stream);
        stream.write_all(&request(&[])).expect("it is taken");
        let answer = Answer::read_head(&mut stream);
        let length = answer.header("content-length").expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        stream.read_exact(&mut body).expect("a body");
        let body = String::from_utf8(body).expect("text");
        assert!(body.ends_with(expected), "{body}");
    }
    // A TLS hello is no header.
    let mut stream = StreamOwned::new(authority.session(), from(PROXY, serving.addr()));
    assert!(stream.write_all(b"x").is_err(), "no handshake");
    until_equal("missing headers", &1, || failures(&serving, "missing"));
    serving.cut();
}

#[test]
fn a_configuration_that_believes_nobody_is_refused() {
    let refused = Server::bind("127.0.0.1:0")
        .config(Config {
            proxy_protocol: true,
            ..config()
        })
        .start(|_shard| Who);
    let fault = refused.expect_err("no proxy is trusted").to_string();
    assert!(fault.contains("proxy_protocol"), "{fault}");
    assert!(fault.contains("trusted_proxies"), "{fault}");
}
