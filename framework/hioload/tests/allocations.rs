//! No message allocates on io_uring, and on the fallback only the wait for the
//! next ones does: what the shard's thread asks of the heap while it
//! serves thousands of messages that each lie within one receive buffer.
//!
//! Counted on the shard's thread alone, from inside of its callbacks; clients
//! live on other threads.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use alloc_tracker::{Allocator, Operation, Session, ThreadSpan};
use hioload::backend::{Backend, Choice};
use hioload::{App, Config, Conn, Echo, Kind, Message};

use support::Serving;
use support::client::Client;

#[global_allocator]
static HEAP: Allocator<System> = Allocator::system();

/// Messages of one client that are counted.
const ECHOES: usize = 10_000;

/// Publications that are counted.
const BROADCASTS: usize = 2_000;

/// Those who hear each broadcast.
const SUBSCRIBERS: usize = 50;

/// Where the kernel splits and joins what it delivers, a turn may be the first
/// in which so much is under way at once. That happens a few times for each
/// connection, however many messages there are.
const FIRST_TIMES: usize = 8;

/// Longer than a test: timers are armed, and do not fire among the messages.
const LONG: Duration = Duration::from_secs(3600);

/// Says to a shard: count from the next message on.
const BEGIN: &str = "begin";

/// Asks a shard how many allocations it has made since.
const END: &str = "end";

/// Echoes binary messages as [`Echo`] does, or publishes them to all that are
/// on its path; counts when text messages tell it to.
struct Counting {
    echo: Echo,
    broadcasts: bool,
    session: Session,
    operation: Operation,
    span: Option<ThreadSpan>,
}

impl Counting {
    fn new(broadcasts: bool) -> Self {
        let session = Session::new().no_stdout().no_file();
        Self {
            echo: Echo,
            broadcasts,
            operation: session.operation("messages"),
            session,
            span: None,
        }
    }

    /// What was counted by the span that ends here.
    fn end(&mut self) -> u64 {
        let span = self.span.take().expect("it began");
        drop(span.iterations(1));
        let report = self.session.to_report();
        let counts = report
            .operations()
            .map(|(_, it)| it.total_allocations_count());
        counts.sum()
    }
}

impl App for Counting {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        if self.broadcasts {
            conn.subscribe("all");
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        match message.as_text() {
            Some(BEGIN) => {
                conn.send(Message::text(BEGIN));
                self.span = Some(self.operation.measure_thread());
            }
            Some(END) => {
                let count = self.end();
                conn.send(&count.to_string());
            }
            _ if self.broadcasts => {
                conn.publish_all("all", message);
            }
            _ => self.echo.message(conn, &mut (), message),
        }
    }
}

fn serve(backend: Choice, broadcasts: bool) -> Serving {
    let config = Config {
        shards: 1,
        backend,
        idle_timeout: Some(LONG),
        ping_interval: Some(LONG / 2),
        ..Config::default()
    };
    Serving::start(config, move |_| Counting::new(broadcasts))
}

/// How many allocations the shard made while `round` ran so often; before, it
/// ran until pools, queues and tables had the sizes that they keep.
fn count(conductor: &mut Client, rounds: usize, mut round: impl FnMut()) -> Counted {
    (0..rounds / 10).for_each(|_| round());
    conductor.check_echo(BEGIN);
    (0..rounds).for_each(|_| round());
    conductor.text(END);
    Counted {
        rounds,
        allocations: conductor.expect_text().parse().expect("a number"),
    }
}

/// `messages` of `size` bytes as a client sends them, in one piece, and the
/// length of what comes back for them.
fn burst(client: &mut Client, size: usize, messages: usize) -> (Vec<u8>, usize) {
    let payload = vec![7; size];
    let mut bytes = Vec::new();
    for _ in 0..messages {
        client.encode(Kind::Binary, &payload, &[], None, &mut bytes);
    }
    // Answers are not masked.
    let answers = bytes.len() - 4 * messages;
    (bytes, answers)
}

/// Sends `bytes` and waits for so many.
fn exchange(stream: &mut TcpStream, bytes: &[u8], answers: &mut [u8]) {
    stream.write_all(bytes).expect("the server takes it");
    stream.read_exact(answers).expect("the server answers");
}

fn echo(backend: Choice, size: usize, messages: usize) -> Counted {
    let serving = serve(backend, false);
    let mut conductor = Client::connect(serving.addr(), "/");
    let mut client = Client::connect(serving.addr(), "/");
    let (bytes, answers) = burst(&mut client, size, messages);
    let mut answers = vec![0; answers];
    let mut stream = client.writer();
    let counted = count(&mut conductor, ECHOES, || {
        exchange(&mut stream, &bytes, &mut answers);
    });
    drop((conductor, client, stream));
    serving.stop();
    counted
}

fn broadcast(backend: Choice, size: usize) -> Counted {
    let serving = serve(backend, true);
    let mut conductor = Client::connect(serving.addr(), "/");
    let mut clients: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    let (bytes, answer) = burst(&mut clients[0], size, 1);
    let mut answer = vec![0; answer];
    let mut streams: Vec<_> = clients.iter().map(Client::writer).collect();
    let mut listener = conductor.writer();
    let counted = count(&mut conductor, BROADCASTS, || {
        streams[0].write_all(&bytes).expect("the server takes it");
        for stream in streams.iter_mut().chain([&mut listener]) {
            stream.read_exact(&mut answer).expect("it is published");
        }
    });
    drop((conductor, clients, streams, listener));
    serving.stop();
    counted
}

struct Counted {
    rounds: usize,
    allocations: usize,
}

/// What an arrival, however many messages are in it, may allocate.
#[derive(Clone, Copy)]
struct Budget(usize);

/// io_uring: one receive is armed for good.
const NONE: Budget = Budget(0);

/// `compio-driver` makes an operation anew each time that a socket is waited
/// for: the operation, its waker, and two entries in what polls.
const ONE_WAIT: Budget = Budget(4);

#[track_caller]
fn expect(counted: &Counted, budget: Budget, connections: usize) {
    let Counted {
        rounds,
        allocations,
    } = counted;
    eprintln!("{allocations} allocations in {rounds} rounds");
    let most = budget.0 * rounds + FIRST_TIMES * connections;
    assert!(
        *allocations <= most,
        "{allocations} allocations in {rounds} rounds, {most} at most"
    );
}

/// The backend that is chosen first: io_uring, unless this process may not use
/// it.
fn first_choice() -> (Choice, Budget) {
    let serving = serve(Choice::Auto, false);
    let backend = serving.backend();
    serving.stop();
    match backend {
        Backend::Uring => (Choice::Uring, NONE),
        Backend::Compio => (Choice::Compio, ONE_WAIT),
    }
}

macro_rules! on_both_backends {
    ($($name:ident: $connections:expr, $count:expr;)*) => {
        mod on_the_first_choice {
            $(#[test] fn $name() {
                let (backend, budget) = super::first_choice();
                super::expect(&$count(backend), budget, $connections);
            })*
        }
        mod on_the_fallback {
            $(#[test] fn $name() {
                let counted = $count(super::Choice::Compio);
                super::expect(&counted, super::ONE_WAIT, $connections);
            })*
        }
    };
}

on_both_backends! {
    an_echo_of_20_bytes_does_not_allocate: 2, |backend| super::echo(backend, 20, 1);
    an_echo_of_1_kibibyte_does_not_allocate: 2, |backend| super::echo(backend, 1 << 10, 1);
    pipelined_echoes_do_not_allocate: 2, |backend| super::echo(backend, 20, 16);
    a_small_broadcast_does_not_allocate: super::SUBSCRIBERS + 1, |backend| super::broadcast(backend, 100);
    a_broadcast_by_reference_does_not_allocate: super::SUBSCRIBERS + 1, |backend| super::broadcast(backend, 2 << 10);
}
