//! An app's own event sources wake its shard, come in batches, and leave
//! nothing behind.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use hioload::source::{Queue, RegisterError, SourceEvent, SourceId, queue};
use hioload::testing::Simulation;
use hioload::{App, Conn, Message, Turn};
use support::wait::PATIENCE;
use support::{Serving, config};

/// Reads what its sources have, and tells the test.
struct Reader {
    tell: Sender<Said>,
    streams: Vec<(SourceId, TcpStream)>,
    queue: Option<Queue<u64>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Bytes(SourceId, Vec<u8>),
    Items(Vec<u64>),
    Registered(SourceId),
    Unregistered(bool),
}

impl Reader {
    fn new(tell: Sender<Said>) -> Self {
        Self {
            tell,
            streams: Vec::new(),
            queue: None,
        }
    }
}

impl App for Reader {
    type State = ();

    fn message(&mut self, _: &mut Conn<'_>, (): &mut (), _: Message<'_>) {}

    fn events(&mut self, _: &mut Turn<'_, ()>, events: &[SourceEvent]) {
        for event in events {
            let SourceEvent::Ready(id) = event else {
                panic!("{event:?}");
            };
            let stream = self.streams.iter_mut().find(|(known, _)| known == id);
            if let Some((id, stream)) = stream {
                let bytes = read_all(stream);
                self.tell.send(Said::Bytes(*id, bytes)).expect("heard");
            } else if let Some(queue) = &mut self.queue {
                // Fewer than may be there: the rest is told of again.
                let items = std::iter::from_fn(|| queue.pop()).take(100).collect();
                self.tell.send(Said::Items(items)).expect("heard");
            }
        }
    }
}

fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
    bytes
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let far = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (near, _) = listener.accept().expect("accepts");
    near.set_nonblocking(true).expect("a socket");
    (near, far)
}

fn hear(told: &Receiver<Said>) -> Said {
    told.recv_timeout(PATIENCE).expect("the app says something")
}

#[test]
fn a_descriptor_is_read_whenever_something_comes() {
    let (tell, told) = channel();
    let serving = Serving::start(config(), move |_| Reader::new(tell.clone()));
    let (near, mut far) = pair();
    let register = move |app: &mut Reader, turn: &mut Turn<'_, ()>| {
        let watched = near.try_clone().expect("a descriptor");
        let id = turn.register(watched).expect("room");
        app.streams.push((id, near));
        app.tell.send(Said::Registered(id)).expect("heard");
    };
    serving.handle().post(1, register).expect("it runs");
    let Said::Registered(id) = hear(&told) else {
        panic!("registered first");
    };
    for n in 0..20_u8 {
        far.write_all(&[n; 100]).expect("taken");
        let mut bytes = Vec::new();
        while bytes.len() < 100 {
            match hear(&told) {
                Said::Bytes(from, more) if from == id => bytes.extend(more),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bytes, [n; 100]);
    }
    let unregister = move |app: &mut Reader, turn: &mut Turn<'_, ()>| {
        let first = turn.unregister(id);
        assert!(!turn.unregister(id), "it is gone");
        app.streams.clear();
        app.tell.send(Said::Unregistered(first)).expect("heard");
    };
    serving.handle().post(1, unregister).expect("it runs");
    while hear(&told) != Said::Unregistered(true) {}
    // Both descriptors of the near side are closed: the far side sees the end.
    far.set_read_timeout(Some(PATIENCE)).expect("a socket");
    match far.read(&mut [0; 1]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
    serving.stop();
}

#[test]
fn a_queue_takes_from_many_threads_in_order_and_loses_nothing() {
    const EACH: u64 = 5000;
    let (tell, told) = channel();
    let serving = Serving::start(config(), move |_| Reader::new(tell.clone()));
    let (sender, items) = queue(256);
    sender.push(u64::MAX).expect("room");
    let register = move |app: &mut Reader, turn: &mut Turn<'_, ()>| {
        turn.register(&items).expect("room");
        assert_eq!(turn.register(&items), Err(RegisterError::Registered));
        app.queue = Some(items);
    };
    serving.handle().post(0, register).expect("it runs");
    let push = |thread: u64| {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for n in 0..EACH {
                while sender.push(thread << 32 | n).is_err() {
                    std::thread::yield_now();
                }
            }
        })
    };
    let threads: Vec<_> = (0..3).map(push).collect();
    let mut next = [0; 3];
    let mut first = true;
    while next != [EACH; 3] {
        let Said::Items(items) = hear(&told) else {
            panic!("only the queue is registered");
        };
        for item in items {
            if std::mem::take(&mut first) {
                assert_eq!(item, u64::MAX, "pushed before it was registered");
                continue;
            }
            let thread = usize::try_from(item >> 32).expect("three threads");
            assert_eq!(item & u64::from(u32::MAX), next[thread]);
            next[thread] += 1;
        }
    }
    threads
        .into_iter()
        .for_each(|t| t.join().expect("it pushed"));
    // Still registered: the stop does not wait for it.
    serving.stop();
}

#[test]
fn sources_are_simulated_and_a_shard_has_room_for_so_many() {
    /// Counts the events of each turn.
    #[derive(Default)]
    struct Counter(Vec<usize>);
    impl App for Counter {
        type State = ();
        fn message(&mut self, _: &mut Conn<'_>, (): &mut (), _: Message<'_>) {}
        fn events(&mut self, _: &mut Turn<'_, ()>, events: &[SourceEvent]) {
            self.0.push(events.len());
        }
    }
    let mut server = Simulation::new(3)
        .start(|_| Counter::default())
        .expect("a configuration");
    let sources: Vec<_> = (0..8).map(|_| server.source()).collect();
    let (sources, signals): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
    let register = move |_: &mut Counter, turn: &mut Turn<'_, ()>| {
        for source in sources {
            turn.register(source).expect("room");
        }
        let mut queues = Vec::new();
        let refused = loop {
            let (_, items) = queue::<()>(1);
            match turn.register(&items) {
                Ok(id) => queues.push(id),
                Err(error) => break error,
            }
        };
        assert_eq!(refused, RegisterError::TooMany);
        assert_eq!(queues.len(), 4096 - 8);
        queues
            .into_iter()
            .for_each(|id| assert!(turn.unregister(id)));
    };
    server.handle().post(1, register).expect("it runs");
    server.run_for(Duration::from_millis(1)).expect("it runs");
    signals.iter().for_each(|signal| signal.signal());
    server
        .run_until(Duration::from_secs(1), |server| {
            let seen = server.app(1).map_or(0, |app| app.0.iter().sum());
            seen == 8
        })
        .expect("all are told of");
    let turns = server.app(1).expect("it runs").0.len();
    assert!(turns < 8, "several come in one turn: {turns} turns");
    let left = server.stop().expect("it ends");
    assert!(left.is_nothing(), "{left:?}");
}
