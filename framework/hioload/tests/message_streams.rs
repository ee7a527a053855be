//! Requests that become connections of the app: on all shards, over TLS, in
//! each framing, until they go, read too slowly, or the server stops.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hioload::http::{Framing, Upload};
use hioload::{
    App, Backpressure, Close, CloseCode, Config, Conn, ConnRef, Message, Prepared, Request,
    Response, Router, Server, Shard,
};
use rustls::StreamOwned;
use support::authority::Authority;
use support::client::{Client, Dial, dial};
use support::http::{Answer, exchange, get};
use support::wait::{PATIENCE, until_equal};
use support::{Serving, config};

/// TCP, or TLS over it.
trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// `POST /FRAMING` hears what is said on `/`, after what its body says.
struct Service {
    opened: Sender<ConnRef>,
    closed: Sender<u16>,
}

impl App for Service {
    type State = String;

    fn answer(&mut self, request: &Request<'_>, state: &mut String) -> Response {
        let framing = match request.path() {
            "/lines" => Framing::Lines,
            "/bare" => Framing::Bare,
            "/events" => Framing::Events,
            _ => return Response::not_found(),
        };
        *state = String::from_utf8_lossy(request.body()).into_owned();
        Response::messages(framing)
            .farewell(|code, reason| format!("end: {} {reason}", code.0).into_bytes())
            .into()
    }

    fn upload(&mut self, _: &Request<'_>, state: &mut String) -> Upload {
        // Of another callback: it is not what the stream begins with.
        "from the upload".clone_into(state);
        Upload::collect()
    }

    fn open(&mut self, conn: &mut Conn<'_>, state: &mut String) {
        if !state.is_empty() {
            conn.send(&*state);
        }
        conn.subscribe("talk");
        let _over = self.opened.send(conn.reference());
    }

    fn message(&mut self, conn: &mut Conn<'_>, _: &mut String, message: Message<'_>) {
        conn.publish("talk", message);
    }

    fn close(&mut self, _: &mut Conn<'_>, _: &mut String, close: &Close<'_>) {
        let _over = self.closed.send(close.code.0);
    }

    fn stopping(&mut self, _: &mut String) -> (CloseCode, &'static str) {
        (CloseCode(4001), "come again")
    }
}

/// A server with the connections that have opened, and the codes of those that
/// have ended.
struct Site {
    serving: Serving,
    opened: Receiver<ConnRef>,
    closed: Receiver<u16>,
}

impl Site {
    fn start(config: Config) -> Self {
        Self::of(Server::bind("127.0.0.1:0").config(config))
    }

    fn of(server: Server) -> Self {
        let (opened, all_opened) = channel();
        let (closed, all_closed) = channel();
        let ends = Arc::new(Mutex::new((opened, closed)));
        let serving = server.start(move |_: &Shard| {
            let ends = ends.lock().expect("nobody panics with it");
            let (opened, closed) = ends.clone();
            Service { opened, closed }
        });
        Self {
            serving: Serving::of(serving.expect("the server starts")),
            opened: all_opened,
            closed: all_closed,
        }
    }

    fn addr(&self) -> SocketAddr {
        self.serving.addr()
    }

    fn hear(&self, path: &str, first: &str) -> Stream {
        Stream::over(dial(self.addr()), path, first)
    }

    fn opened(&self) -> ConnRef {
        self.opened.recv_timeout(PATIENCE).expect("it opens")
    }

    fn closed(&self) -> u16 {
        self.closed.recv_timeout(PATIENCE).expect("it ends")
    }

    fn over(self) {
        self.serving.wait_until_idle();
        assert_eq!(self.serving.metrics().connections(), 0);
        self.serving.stop();
    }
}

/// A stream as its client sees it.
struct Stream {
    body: BufReader<Box<dyn Wire>>,
    ended: bool,
}

impl Stream {
    fn over(wire: impl Wire + 'static, path: &str, first: &str) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            first.len()
        );
        Self::asked_for(wire, &format!("{head}{first}"))
    }

    fn asked_for(mut wire: impl Wire + 'static, request: &str) -> Self {
        wire.write_all(request.as_bytes()).expect("it is taken");
        let answer = Answer::read_head(&mut wire);
        assert_eq!(answer.status, 200, "{}", answer.head);
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        let body = BufReader::new(Box::new(wire) as Box<dyn Wire>);
        Self { body, ended: false }
    }

    /// The content of the next chunk, which is one message; empty at the end.
    fn next(&mut self) -> Vec<u8> {
        let mut length = Vec::new();
        while !length.ends_with(b"\r\n") {
            let mut byte = [0];
            self.body.read_exact(&mut byte).expect("a chunk");
            length.push(byte[0]);
        }
        let length = std::str::from_utf8(&length).expect("text").trim_end();
        let length = usize::from_str_radix(length, 16).expect("a length");
        let mut chunk = vec![0; length + 2];
        self.body.read_exact(&mut chunk).expect("all of it");
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(length);
        self.ended |= length == 0;
        chunk
    }

    fn expect(&mut self, message: &str) {
        let next = String::from_utf8(self.next()).expect("text");
        assert!(next == message, "{} bytes: {:.80}", next.len(), next);
    }

    fn expect_end(mut self, farewell: &str) {
        self.expect(farewell);
        assert_eq!(self.next(), b"");
        let mut rest = Vec::new();
        self.body.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(rest, b"");
    }
}

/// What a framing makes of a text without line breaks.
fn framed(path: &str, text: &str) -> String {
    match path {
        "/lines" => format!("{text}\n"),
        "/events" => format!("data: {text}\n\n"),
        _ => text.to_owned(),
    }
}

const PATHS: [&str; 3] = ["/lines", "/bare", "/events"];

#[test]
fn streams_on_all_shards_get_every_message_in_order() {
    let site = Site::start(config());
    let mut streams: Vec<_> = PATHS
        .iter()
        .cycle()
        .take(12)
        .map(|path| (*path, site.hear(path, "first")))
        .collect();
    let references: Vec<_> = streams.iter().map(|_| site.opened()).collect();
    let mut publisher = Client::connect(site.addr(), "/");
    let _publisher = site.opened();
    // Copied into a connection's own chunk, and longer than that.
    let (short, long) = ("short ".repeat(10), "long ".repeat(5000));
    for n in 0..100 {
        publisher.text(&format!("{n}"));
    }
    publisher.text(&long);
    publisher.text(&short);
    for (path, stream) in &mut streams {
        stream.expect(&framed(path, "first"));
        for n in 0..100 {
            stream.expect(&framed(path, &n.to_string()));
        }
        stream.expect(&framed(path, &long));
        stream.expect(&framed(path, &short));
    }
    let prepared = Prepared::new(&long);
    for reference in &references {
        reference.send_prepared(&prepared).expect("it is there");
        reference.send("by name").expect("it is there");
    }
    for (path, stream) in &mut streams {
        stream.expect(&framed(path, &long));
        stream.expect(&framed(path, "by name"));
    }
    for reference in &references {
        reference
            .close(CloseCode(4002), "enough")
            .expect("it is there");
    }
    for (path, stream) in streams {
        stream.expect_end(&framed(path, "end: 4002 enough"));
        assert_eq!(site.closed(), 4002);
    }
    publisher.close_and_wait();
    site.over();
}

#[test]
fn over_tls_they_are_the_same() {
    let authority = Authority::new("messages");
    let site = Site::of(
        Server::default()
            .listen_tls("127.0.0.1:0", authority.tls.clone())
            .config(config()),
    );
    let long = "long ".repeat(50_000);
    for path in PATHS {
        let session = authority.session();
        let mut stream = Stream::over(StreamOwned::new(session, dial(site.addr())), path, "first");
        let reference = site.opened();
        let prepared = Prepared::new(&long);
        for _ in 0..3 {
            reference.send_prepared(&prepared).expect("it is there");
        }
        reference.send(&*long).expect("it is there");
        reference
            .close(CloseCode(4002), "enough")
            .expect("it is there");
        stream.expect(&framed(path, "first"));
        for _ in 0..4 {
            stream.expect(&framed(path, &long));
        }
        stream.expect_end(&framed(path, "end: 4002 enough"));
        assert_eq!(site.closed(), 4002);
    }
    site.over();
}

#[test]
fn one_that_goes_in_the_middle_leaves_nothing() {
    let site = Site::start(config());
    let mut publisher = Client::connect(site.addr(), "/");
    let _publisher = site.opened();
    for n in 0..30 {
        let stream = dial(site.addr());
        let own = stream.try_clone().expect("a handle");
        let mut heard = Stream::over(stream, "/lines", "first");
        let reference = site.opened();
        publisher.text(&"x".repeat(1000 * n));
        heard.expect("first\n");
        match n % 3 {
            // Bytes are unread: a reset.
            0 => drop((own, heard)),
            1 => own.shutdown(Shutdown::Write).expect("it is open"),
            _ => own.shutdown(Shutdown::Both).expect("it is open"),
        }
        assert_eq!(site.closed(), 1006);
        assert!(reference.send("too late").is_err());
    }
    publisher.close_and_wait();
    site.over();
}

#[test]
fn one_that_is_not_read_ends_and_the_others_go_on() {
    let site = Site::start(Config {
        backpressure_limit: 64 << 10,
        backpressure: Backpressure::Close(CloseCode(4008)),
        close_timeout: Duration::from_secs(20),
        ..config()
    });
    let narrow = Dial {
        receive_buffer: Some(4096),
        ..Dial::default()
    };
    let wire: TcpStream = narrow.tcp(site.addr()).expect("accepted");
    let mut slow = Stream::over(wire, "/lines", "first");
    let mut quick = site.hear("/bare", "first");
    for _both in 0..2 {
        site.opened();
    }
    quick.expect("first");
    let mut publisher = Client::connect(site.addr(), "/");
    let text = "x".repeat(16 << 10);
    let mut said = 0;
    while site.serving.metrics().backpressure().get("closed") != Some(&1) {
        publisher.text(&text);
        quick.expect(&text);
        said += 1;
        assert!(said < 10_000, "it is not behind after {said}");
    }
    publisher.text("after it");
    quick.expect("after it");
    // It reads after all: what was queued, and why that was all.
    slow.expect("first\n");
    let mut heard = 0;
    let last = loop {
        let next = slow.next();
        if next.len() < text.len() {
            break next;
        }
        heard += 1;
    };
    assert_eq!(last, b"end: 4008 reads too slowly\n");
    assert!(heard < said, "{heard} of {said}");
    assert_eq!(slow.next(), b"");
    drop(slow);
    assert_eq!(site.closed(), 4008);
    drop(quick);
    publisher.close_and_wait();
    site.over();
}

#[test]
fn a_stop_tells_them_what_the_app_says() {
    let site = Site::start(config());
    let streams = PATHS.map(|path| (path, site.hear(path, "")));
    until_equal("all are open", &3, || site.serving.metrics().connections());
    site.serving.handle().stop();
    for (path, stream) in streams {
        stream.expect_end(&framed(path, "end: 4001 come again"));
        assert_eq!(site.closed(), 4001);
    }
    site.serving.stop();
}

#[test]
fn any_other_answer_is_one_and_drops_the_state() {
    let site = Site::start(config());
    let request = |method: &str, path: &str| {
        let lines = "Host: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
        exchange(
            site.addr(),
            format!("{method} {path} HTTP/1.1\r\n{lines}").as_bytes(),
        )
    };
    assert_eq!(request("POST", "/nowhere").status, 404);
    assert!(site.opened.try_recv().is_err());
    site.over();
}

#[test]
fn behind_a_router_an_app_has_what_no_handler_takes() {
    let (opened, all_opened) = channel();
    let (closed, all_closed) = channel();
    let ends = Arc::new(Mutex::new((opened, closed)));
    let server = Server::bind("127.0.0.1:0").config(config());
    let server = server.start(move |_: &Shard| {
        let service = || {
            let ends = ends.lock().expect("nobody panics with it");
            let (opened, closed) = ends.clone();
            Service { opened, closed }
        };
        Router::new()
            .get("/bare", |_| Response::text(200, "a handler\n"))
            .ws("/bare", service())
            .ws("/events", service())
            .ws("/lines", service())
            .ws("/silent", service())
    });
    let serving = Serving::of(server.expect("the server starts"));
    let addr = serving.addr();
    let request = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let streams = [("GET", "/events"), ("GET", "/lines"), ("DELETE", "/bare")];
    let mut streams = streams.map(|(method, path)| {
        let stream = Stream::asked_for(dial(addr), &request(method, path));
        let opened: Result<ConnRef, _> = all_opened.recv_timeout(PATIENCE);
        opened.expect("it opens");
        (path, stream)
    });
    let mut speaker = Client::connect(addr, "/silent");
    speaker.text("hello");
    for (path, stream) in &mut streams {
        stream.expect(&framed(path, "hello"));
    }
    // A handler is asked before the app, and the router where that has nothing.
    assert_eq!(get(addr, "/bare").text(), "a handler\n");
    assert_eq!(get(addr, "/silent").status, 426);
    let put = "PUT /bare HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let put = exchange(addr, put.as_bytes());
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, HEAD")));
    speaker.close_and_wait();
    assert_eq!(all_closed.recv_timeout(PATIENCE), Ok(1000));
    serving.handle().stop();
    for (path, stream) in streams {
        stream.expect_end(&framed(path, "end: 4001 come again"));
        assert_eq!(all_closed.recv_timeout(PATIENCE), Ok(4001));
    }
    serving.stop();
}
