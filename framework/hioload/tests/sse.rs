//! Event streams are given what the topics of hubs are given: in order, in the
//! form of `text/event-stream`, again from where a client was cut off, and only
//! as long as they are read.

#![forbid(unsafe_code)]

#[expect(dead_code, reason = "the tests start it in their own way")]
#[path = "../examples/sse.rs"]
mod example;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use hioload::hub::{History, Hub, HubId, Position, Slow};
use hioload::{App, Backpressure, CloseCode, Config, Conn, Handle, Message, Request, Response};
use hioload::{Server, Shard};

use rustls::StreamOwned;
use support::authority::Authority;
use support::client::{Client, Dial, dial};
use support::http::Answer;
use support::wait::{until, until_equal};
use support::{Serving, config};

/// TCP, or TLS over it.
trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// A stream as its client sees it.
struct Events {
    reader: BufReader<Box<dyn Wire>>,
    /// The id of the last event.
    id: String,
}

/// An event: its name and its data.
type Event = (String, String);

impl Events {
    fn open(addr: SocketAddr, path: &str, last_id: &str) -> Self {
        Self::over(dial(addr), path, last_id)
    }

    fn over(mut stream: impl Wire + 'static, path: &str, last_id: &str) -> Self {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {last_id}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is taken");
        let answer = Answer::read_head(&mut stream);
        assert_eq!(answer.status, 200, "{}", answer.head);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.header("content-length"), None);
        let reader = BufReader::new(Box::new(stream) as Box<dyn Wire>);
        let id = String::new();
        Self { reader, id }
    }

    /// A line without its end; `None` at the end of the stream.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end_matches('\n').to_owned()),
            Err(error) => panic!("{error} after {line:?}"),
        }
    }

    /// The next event; `None` at the end of the stream.
    fn next(&mut self) -> Option<Event> {
        let (mut name, mut data) = (String::new(), None::<String>);
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                _ if line.is_empty() => match data.take() {
                    Some(data) => return Some((name, data)),
                    None => name.clear(),
                },
                Some(("data", value)) => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                },
                Some(("event", value)) => value.clone_into(&mut name),
                Some(("id", value)) => value.clone_into(&mut self.id),
                _ => {}
            }
        }
    }

    fn expect(&mut self, data: &str) {
        let event = self.next().expect("the stream goes on");
        assert_eq!(event.1, data);
    }
}

/// `GET /TOPIC` is its stream; a message to `/TOPIC` is published to it.
struct Service(Handle);

const KEPT: &str = "kept";

impl Service {
    fn serve(config: Config) -> Serving {
        Serving::start(config, |shard: &Shard| Self(shard.handle()))
    }

    fn kept(&self) -> HubId {
        self.0.hub_id(KEPT).expect("a declared hub")
    }
}

impl App for Service {
    type State = String;

    fn upgrade(&mut self, request: &Request<'_>, topic: &mut String) -> hioload::Upgrade {
        request.path()[1..].clone_into(topic);
        hioload::Upgrade::accept()
    }

    fn http(&mut self, request: &Request<'_>) -> Response {
        let topic = &request.path()[1..];
        match topic {
            "kept" => Response::sse().topic_in(self.kept(), topic).into(),
            "latest" => Response::sse()
                .topic_from(self.kept(), "kept", Position::Latest(2))
                .topic("news")
                .into(),
            "named" => Response::sse().topic("news").event("headline").into(),
            "many" => (0..17)
                .fold(Response::sse(), |stream, n| stream.topic(&n.to_string()))
                .into(),
            topic => Response::sse()
                .topic(topic)
                .retry(Duration::from_millis(1500))
                .into(),
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, topic: &mut String, message: Message<'_>) {
        let hub = if topic == "kept" {
            self.kept()
        } else {
            HubId::DEFAULT
        };
        conn.hub(hub).publish(topic, message);
    }
}

fn with_history(hub: Hub) -> Serving {
    let hub = hub.history(History::new(100, Duration::from_secs(600)));
    let started = Server::bind("127.0.0.1:0")
        .config(config())
        .hub(hub)
        .start(|shard: &Shard| Service(shard.handle()));
    Serving::of(started.expect("the server starts"))
}

/// Waits until streams are subscribed to a topic.
fn subscribed(serving: &Serving, topic: &str, count: usize) {
    let hub = serving.handle().hub(HubId::DEFAULT);
    until_equal("subscribers", &count, || hub.subscribers(topic));
}

/// The only stream, which does not read, and who published `text` to it until
/// something was dropped.
fn fall_behind(serving: &Serving, text: &str) -> (Events, Client) {
    let narrow = Dial {
        receive_buffer: Some(4096),
        ..Dial::default()
    };
    let slow = narrow.tcp(serving.addr()).expect("accepted");
    let slow = Events::over(slow, "/news", "");
    subscribed(serving, "news", 1);
    let mut publisher = Client::connect(serving.addr(), "/news");
    until("something is dropped", || {
        publisher.text(text);
        match serving.metrics().backpressure().get("dropped") {
            Some(0) | None => Err("nothing"),
            Some(_) => Ok(()),
        }
    });
    (slow, publisher)
}

#[test]
fn streams_on_all_shards_get_every_message_in_order() {
    let serving = Service::serve(config());
    let mut streams: Vec<_> = (0..12)
        .map(|_| Events::open(serving.addr(), "/news", ""))
        .collect();
    let mut named = Events::open(serving.addr(), "/named", "");
    subscribed(&serving, "news", 13);
    assert_eq!(serving.metrics().event_streams(), 13);
    let mut publisher = Client::connect(serving.addr(), "/news");
    for n in 0..200 {
        publisher.text(&format!("message {n}"));
    }
    publisher.text("two\r\nlines\n");
    publisher.text("");
    publisher.binary(&[0xff; 3]);
    // Longer than what is copied into each connection's chunk.
    let long = "long ".repeat(5000);
    publisher.text(&long);
    for stream in &mut streams {
        assert_eq!(stream.line().as_deref(), Some("retry: 1500"));
        for n in 0..200 {
            stream.expect(&format!("message {n}"));
        }
        for expected in ["two\nlines\n", "", "////", &long] {
            stream.expect(expected);
        }
    }
    let first = named.next().expect("an event");
    assert_eq!(first, ("headline".to_owned(), "message 0".to_owned()));
    drop((streams, named));
    publisher.close_and_wait();
    serving.wait_until_idle();
    assert_eq!(serving.metrics().event_streams(), 0);
    assert_eq!(serving.handle().hub(HubId::DEFAULT).topics(), 0);
    serving.stop();
}

#[test]
fn a_client_that_comes_again_is_given_what_it_missed() {
    let serving = with_history(Hub::new(KEPT));
    let addr = serving.addr();
    let mut publisher = Client::connect(addr, "/kept");
    // The id that a stream begins with is enough.
    let mut stream = Events::open(addr, "/kept", "");
    while stream.id.is_empty() {
        let line = stream.line().expect("an id");
        line.trim_start_matches("id: ").clone_into(&mut stream.id);
    }
    let before = std::mem::take(&mut stream.id);
    publisher.text("one");
    stream.expect("one");
    let after_one = stream.id.clone();
    drop(stream);
    publisher.text("two");
    publisher.text("three");
    let mut again = Events::open(addr, "/kept", &after_one);
    again.expect("two");
    again.expect("three");
    assert_ne!(again.id, after_one);
    publisher.text("four");
    again.expect("four");
    let mut all = Events::open(addr, "/kept", &before);
    for expected in ["one", "two", "three", "four"] {
        all.expect(expected);
    }
    // What is no id of ours begins with what is published now.
    let mut strange = Events::open(addr, "/kept", "17");
    until("a beginning", || match strange.line() {
        Some(line) if line.starts_with("id: ") => Ok(()),
        line => Err(line),
    });
    publisher.text("five");
    strange.expect("five");
    let mut latest = Events::open(addr, "/latest", "");
    latest.expect("four");
    latest.expect("five");
    // Its id has a place for each topic, and none for the one without order.
    assert!(latest.id.ends_with(','), "{}", latest.id);
    let again = latest.id.clone();
    publisher.text("six");
    Events::open(addr, "/latest", &again).expect("six");
    serving.cut();
}

#[test]
fn a_stream_that_is_not_read_ends_and_the_others_go_on() {
    let serving = Service::serve(Config {
        backpressure_limit: 64 << 10,
        backpressure: Backpressure::Close(CloseCode::POLICY),
        close_timeout: Duration::from_millis(100),
        ..config()
    });
    let narrow = Dial {
        receive_buffer: Some(4096),
        ..Dial::default()
    };
    let slow = narrow.tcp(serving.addr()).expect("accepted");
    let slow = Events::over(slow, "/news", "");
    let mut quick = Events::open(serving.addr(), "/news", "");
    subscribed(&serving, "news", 2);
    let mut publisher = Client::connect(serving.addr(), "/news");
    let text = "x".repeat(16 << 10);
    until("the slow one is closed", || {
        publisher.text(&text);
        quick.expect(&text);
        match serving.metrics().event_streams() {
            1 => Ok(()),
            streams => Err(streams),
        }
    });
    serving.wait_for_backpressure("closed", 1);
    publisher.text("on");
    quick.expect("on");
    subscribed(&serving, "news", 1);
    let mut rest = Vec::new();
    let end = slow.reader.into_inner().read_to_end(&mut rest);
    assert!(
        end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
        "it ended"
    );
    serving.cut();
}

#[test]
fn a_stream_that_drops_lives_on() {
    let serving = Service::serve(Config {
        backpressure_limit: 64 << 10,
        backpressure: Backpressure::Drop,
        ..config()
    });
    let text = "x".repeat(16 << 10);
    let (mut slow, mut publisher) = fall_behind(&serving, &text);
    slow.expect(&text);
    publisher.text("end");
    assert_eq!(serving.metrics().event_streams(), 1);
    serving.cut();
}

#[test]
fn a_silent_stream_gets_comments_and_a_stop_ends_it() {
    let serving = Service::serve(Config {
        ping_interval: Some(Duration::from_millis(20)),
        close_timeout: Duration::from_millis(100),
        ..config()
    });
    let mut stream = Events::open(serving.addr(), "/news", "");
    for expected in ["retry: 1500", "", ":", "", ":", ""] {
        assert_eq!(stream.line().as_deref(), Some(expected));
    }
    serving.stop();
    until("the end", || match stream.line() {
        None => Ok(()),
        line => Err(line),
    });
}

#[test]
fn what_a_client_sends_after_its_request_is_nothing_and_its_end_is_the_end() {
    let serving = Service::serve(config());
    let wire = dial(serving.addr());
    let other_half = wire.try_clone().expect("a second handle");
    let mut stream = Events::over(wire, "/news", "");
    subscribed(&serving, "news", 1);
    let socket = stream.reader.get_mut();
    let noise = b"GET /other HTTP/1.1\r\n\r\n".repeat(1000);
    socket.write_all(&noise).expect("it is taken");
    let mut publisher = Client::connect(serving.addr(), "/news");
    publisher.text("news");
    stream.expect("news");
    other_half.shutdown(Shutdown::Write).expect("open");
    assert_eq!(stream.next(), None);
    subscribed(&serving, "news", 0);
    serving.cut();
}

#[test]
fn a_head_has_no_stream_and_too_many_topics_none_at_all() {
    let serving = Service::serve(config());
    let mut stream = dial(serving.addr());
    for _ in 0..2 {
        stream
            .write_all(b"HEAD /news HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("it is taken");
        let answer = Answer::read_head(&mut stream);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    }
    assert_eq!(serving.metrics().event_streams(), 0);
    let answer = support::http::get(serving.addr(), "/many");
    assert_eq!(answer.status, 500);
    assert_eq!(serving.handle().hub(HubId::DEFAULT).topics(), 0);
    drop(stream);
    serving.wait_until_idle();
    serving.stop();
}

#[test]
fn a_hub_that_keeps_the_latest_keeps_it_for_streams() {
    let hub = Hub::new("").slow(Slow::Latest);
    let started = Server::bind("127.0.0.1:0")
        .config(Config {
            backpressure_limit: 64 << 10,
            ..config()
        })
        .hub(hub)
        .start(|shard: &Shard| Service(shard.handle()));
    let serving = Serving::of(started.expect("the server starts"));
    let (mut slow, mut publisher) = fall_behind(&serving, &"x".repeat(16 << 10));
    publisher.text("the last");
    while slow.next().expect("it goes on").1 != "the last" {}
    assert_eq!(serving.metrics().event_streams(), 1);
    serving.cut();
}

#[test]
fn a_stream_over_tls_is_the_same_and_ends_in_order() {
    let authority = Authority::new("sse");
    let config = Config {
        close_timeout: Duration::from_millis(100),
        ..config()
    };
    let serving = Serving::start_tls(config, &authority.tls, |shard: &Shard| {
        Service(shard.handle())
    });
    let wire = StreamOwned::new(authority.session(), dial(serving.addr()));
    let mut stream = Events::over(wire, "/news", "");
    subscribed(&serving, "news", 1);
    let mut publisher = Client::connect(serving.addrs()[1], "/news");
    let long = "long ".repeat(50_000);
    for text in ["short", &long, "end"] {
        publisher.text(text);
    }
    for expected in ["short", &long, "end"] {
        stream.expect(expected);
    }
    publisher.close_and_wait();
    serving.stop();
    // A cut instead of an alert would be an error.
    assert_eq!(stream.next(), None);
}

#[test]
fn the_example_talks_between_a_page_and_its_stream() {
    let started = Server::bind("127.0.0.1:0")
        .config(config())
        .hub(example::hub())
        .start(|_shard| example::Talk);
    let serving = Serving::of(started.expect("the server starts"));
    let page = support::http::get(serving.addr(), "/");
    assert!(page.text().contains("EventSource(\"/events\")"));
    let mut stream = Events::open(serving.addr(), "/events", "");
    let mut page = Client::connect(serving.addr(), "/");
    page.text("hello");
    stream.expect("hello");
    drop(stream.reader);
    page.text("are you there?");
    let mut again = Events::open(serving.addr(), "/events", &stream.id);
    again.expect("are you there?");
    serving.cut();
}
