//! A sampled connection has a span around its callbacks, with events for what
//! happens to it; the others have none.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use hioload::{App, Config, Conn, Message, Server};
use support::client::Client;
use support::config;
use support::wait::until_equal;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Fields = BTreeMap<&'static str, String>;

/// What was traced, by span.
#[derive(Debug, Default)]
struct Traced {
    spans: Vec<Fields>,
    /// The span, and the fields of an event in it.
    events: Vec<(Option<u64>, Fields)>,
    entered: Vec<(std::thread::ThreadId, u64)>,
    closed: usize,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Traced>>);

struct Collect<'a>(&'a mut Fields);

impl Visit for Collect<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Collector {
    fn with<T>(&self, look: impl FnOnce(&mut Traced) -> T) -> T {
        look(&mut self.0.lock().expect("no panic"))
    }

    fn events_of(&self, span: usize) -> Vec<String> {
        self.with(|traced| {
            let id = Some(span as u64 + 1);
            let events = traced.events.iter().filter(|(of, _)| *of == id);
            events
                .map(|(_, fields)| fields["message"].clone())
                .collect()
        })
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "hioload::connection" || metadata.target() == "app"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.with(|traced| {
            let mut fields = Fields::new();
            attributes.record(&mut Collect(&mut fields));
            traced.spans.push(fields);
            Id::from_u64(traced.spans.len() as u64)
        })
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.with(|traced| {
            let index = usize::try_from(span.into_u64()).expect("small") - 1;
            values.record(&mut Collect(&mut traced.spans[index]));
        });
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Collect(&mut fields));
        let here = std::thread::current().id();
        self.with(|traced| {
            let entered = traced.entered.iter().rev();
            let span = entered.clone().find(|(thread, _)| *thread == here);
            let span = span.map(|(_, span)| *span);
            traced.events.push((span, fields));
        });
    }

    fn enter(&self, span: &Id) {
        let here = std::thread::current().id();
        self.with(|traced| traced.entered.push((here, span.into_u64())));
    }

    fn exit(&self, span: &Id) {
        let here = (std::thread::current().id(), span.into_u64());
        self.with(|traced| {
            let at = traced.entered.iter().rposition(|entered| *entered == here);
            traced.entered.remove(at.expect("it was entered"));
        });
    }

    fn clone_span(&self, id: &Id) -> Id {
        id.clone()
    }

    fn try_close(&self, _: Id) -> bool {
        self.with(|traced| traced.closed += 1);
        true
    }
}

/// Says what it is told in the log, and echoes.
struct Talkative;

impl App for Talkative {
    type State = ();

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        tracing::info!(target: "app", "a message");
        conn.send(message);
    }
}

/// One test, since the shards' threads have the one collector of the process.
#[test]
fn every_second_connection_is_traced_from_open_to_close() {
    let collector = Collector::default();
    tracing::subscriber::set_global_default(collector.clone()).expect("the first");
    let sampled = Config {
        shards: 1,
        trace_sample: 0.5,
        ..config()
    };
    let server = Server::bind("127.0.0.1:0").config(sampled.clone());
    let running = server.start(|_| Talkative).expect("it starts");
    let addr = running.addrs()[0];
    let mut clients: Vec<_> = (0..4)
        .map(|n| Client::connect(addr, &format!("/room/{n}?secret")))
        .collect();
    for client in &mut clients {
        client.check_echo("hello");
    }
    let spans = collector.with(|traced| traced.spans.clone());
    assert_eq!(spans.len(), 2, "{spans:?}");
    let peer = clients[1].stream().local_addr().expect("connected");
    assert_eq!(spans[0]["path"], "/room/1");
    assert_eq!(spans[0]["peer"], peer.to_string());
    assert_eq!(spans[1]["path"], "/room/3");
    assert_eq!(spans[1]["shard"], "0");
    let mut broken = clients.pop().expect("four");
    broken.raw(&[0xff, 0x80, 0, 0, 0, 0]);
    assert_eq!(broken.expect_close(), 1002);
    drop(broken);
    clients.into_iter().for_each(Client::close_and_wait);
    until_equal("all are gone", &0, || running.metrics().sockets());
    assert_eq!(collector.events_of(0), ["open", "a message", "close"]);
    let broken = ["open", "a message", "error", "close"];
    assert_eq!(collector.events_of(1), broken);
    let spans = collector.with(|traced| traced.spans.clone());
    assert_eq!(
        (&*spans[0]["close_code"], &*spans[1]["close_code"]),
        ("1000", "1002")
    );
    let outside = collector.with(|traced| {
        assert!(traced.entered.is_empty(), "{:?}", traced.entered);
        traced
            .events
            .iter()
            .filter(|(span, _)| span.is_none())
            .count()
    });
    assert_eq!(outside, 2, "the app's own, of those that are not sampled");

    let off = Config {
        trace_sample: 0.0,
        ..sampled
    };
    running
        .handle()
        .reload(off.clone())
        .expect("nobody refuses");
    Client::connect(addr, "/").check_echo("hello");
    assert_eq!(collector.with(|traced| traced.spans.len()), 2);
    for wrong in [-0.1, 1.1, f64::NAN] {
        let wrong = Config {
            trace_sample: wrong,
            ..off.clone()
        };
        let error = wrong.check().expect_err("no fraction").to_string();
        assert!(error.contains("trace_sample"), "{error}");
    }
    running.handle().stop_now();
    running.stop().expect("no shard failed");
}
