//! What is published reaches every other subscriber on every shard, complete
//! and in the publisher's order, also when a shard cannot keep up.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::collections::HashMap;
use std::io::Write;
use std::net::Shutdown;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use hioload::{App, Backpressure, Config, Conn, Message, PublishOutcome, Request, Upgrade};
use hioload_protocol::frame::OpCode;
use support::client::{Client, Seen, dial, frame};
use support::random::Random;
use support::wait::{PATIENCE, until, until_equal};
use support::{Serving, config, greeting};

/// Rooms by path. Text messages are commands, binary ones are published.
struct Rooms {
    outcomes: Arc<Outcomes>,
    /// What "hold" waits for, and whom it tells.
    gate: Arc<Gate>,
}

/// What became of the publishes of all shards.
#[derive(Debug, Default)]
struct Outcomes {
    published: AtomicUsize,
    congested: AtomicUsize,
    full: AtomicUsize,
}

/// Lets a test stop a shard in the middle of a callback.
struct Gate {
    held: Mutex<Sender<()>>,
    release: Mutex<Receiver<()>>,
}

impl App for Rooms {
    type State = String;

    fn upgrade(&mut self, request: &Request<'_>, room: &mut String) -> Upgrade {
        *room = request.path().to_owned();
        Upgrade::accept()
    }

    fn open(&mut self, conn: &mut Conn<'_>, room: &mut String) {
        conn.send(greeting(conn.shard()).as_str());
        // A publisher of a room that does not want to hear of it.
        if !room.ends_with("/silent") {
            conn.subscribe(room);
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, room: &mut String, message: Message<'_>) {
        match message.as_text() {
            Some("unsubscribe") => {
                assert!(conn.unsubscribe(room));
                conn.send("unsubscribed");
            }
            Some("hold") => {
                self.gate
                    .held
                    .lock()
                    .expect("one holder")
                    .send(())
                    .expect("the test listens");
                let release = self.gate.release.lock().expect("one holder");
                release
                    .recv_timeout(PATIENCE)
                    .expect("the test releases the shard");
            }
            Some(text) => {
                conn.send(text);
            }
            None => {
                let room = room.trim_end_matches("/silent");
                let counter = match conn.publish(room, message) {
                    PublishOutcome::Published => &self.outcomes.published,
                    PublishOutcome::Congested => &self.outcomes.congested,
                    PublishOutcome::Full => &self.outcomes.full,
                };
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

struct Test {
    serving: Serving,
    outcomes: Arc<Outcomes>,
    held: Receiver<()>,
    release: Sender<()>,
}

fn start() -> Test {
    let outcomes = Arc::new(Outcomes::default());
    let (told, held) = channel();
    let (release, wait) = channel();
    let gate = Arc::new(Gate {
        held: Mutex::new(told),
        release: Mutex::new(wait),
    });
    // Clients of a busy test machine are slow; what a slow one gets is another
    // test's promise.
    let backpressure_limit = 256 << 20;
    let config = Config {
        backpressure_limit,
        backpressure: Backpressure::Drop,
        ..config()
    };
    let shared = Arc::clone(&outcomes);
    let app = move |_: &_| Rooms {
        outcomes: Arc::clone(&shared),
        gate: Arc::clone(&gate),
    };
    Test {
        serving: Serving::start(config, app),
        outcomes,
        held,
        release,
    }
}

impl Test {
    /// Makes the shard of these clients stand still until `release`.
    fn hold(&self, of_the_shard: Vec<Client>) {
        let mut holder = of_the_shard
            .into_iter()
            .next()
            .expect("a client of the shard");
        holder.text("hold");
        self.held
            .recv_timeout(PATIENCE)
            .expect("the shard stands still");
    }
}

/// Publishes without reading; it fits the kernel's buffers.
fn publish_all(client: &Client, publisher: usize, numbers: Range<usize>) {
    let messages: Vec<u8> = numbers
        .flat_map(|number| frame(true, OpCode::Binary, &payload(publisher, number, 4)))
        .collect();
    client
        .writer()
        .write_all(&messages)
        .expect("the kernel takes it");
}

/// A message that says who sent it as which: two numbers, then filler that
/// follows from them.
fn payload(publisher: usize, number: usize, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + len);
    bytes.extend_from_slice(&(publisher as u64).to_le_bytes());
    bytes.extend_from_slice(&(number as u64).to_le_bytes());
    let filler = Random::from_seed((publisher * 1_000_003 + number) as u64)
        .next()
        .to_le_bytes();
    bytes.extend(filler.iter().cycle().take(len));
    bytes
}

fn parse(bytes: &[u8]) -> (usize, usize) {
    let number = |at: usize| {
        let word = bytes[at..at + 8].try_into().expect("eight bytes");
        usize::try_from(u64::from_le_bytes(word)).expect("small")
    };
    let (publisher, sequence) = (number(0), number(8));
    assert_eq!(
        bytes,
        payload(publisher, sequence, bytes.len() - 16),
        "the message is whole"
    );
    (publisher, sequence)
}

/// Reads until every publisher's `per_publisher` messages are there, each
/// publisher's in order.
fn collect(client: &mut Client, publishers: &[usize], per_publisher: usize) {
    let mut next: HashMap<usize, usize> = publishers.iter().map(|&p| (p, 0)).collect();
    for _ in 0..publishers.len() * per_publisher {
        let (publisher, number) = parse(&client.expect_binary());
        let expected = next
            .get_mut(&publisher)
            .expect("a publisher that is not this client");
        assert_eq!(number, *expected, "of publisher {publisher}");
        *expected += 1;
    }
    assert!(
        next.values().all(|&count| count == per_publisher),
        "{next:?}"
    );
    // Nothing beyond: what came before the answer would be seen before it.
    client.check_echo("nothing more");
}

#[test]
fn each_subscriber_gets_every_message_in_the_publishers_order() {
    const MESSAGES: usize = 1000;
    let test = start();
    let [first, second] = test.serving.clients_on_each_shard("/room", 6);
    let [mut strangers, _] = test.serving.clients_on_each_shard("/other", 1);
    let mut members: Vec<Client> = first.into_iter().chain(second).collect();
    // Two publishers of each shard, who hear each other.
    let publishers = [0, 1, 6, 7];
    let mut threads = Vec::new();
    for &publisher in &publishers {
        let mut writer = members[publisher].writer();
        threads.push(std::thread::spawn(move || {
            let mut random = Random::from_seed(publisher as u64);
            for number in 0..MESSAGES {
                // On both sides of the size up to which frames are copied.
                let len = random.magnitude(12);
                let message = frame(true, OpCode::Binary, &payload(publisher, number, len));
                writer.write_all(&message).expect("the server reads");
            }
        }));
    }
    for (index, mut member) in members.drain(..).enumerate() {
        let others: Vec<_> = publishers.into_iter().filter(|&p| p != index).collect();
        threads.push(std::thread::spawn(move || {
            collect(&mut member, &others, MESSAGES);
        }));
    }
    for thread in threads {
        thread.join().expect("complete and in order");
    }
    strangers[0].check_echo("a stranger heard nothing");
    assert_eq!(test.outcomes.full.load(Ordering::SeqCst), 0);
    drop(strangers);
    test.serving.wait_until_idle();
    test.serving.stop();
}

#[test]
fn other_threads_publish_to_all_shards() {
    let test = start();
    let clients = test.serving.clients_on_each_shard("/room", 2);
    let handle = test.serving.handle();
    let publisher = std::thread::spawn(move || {
        for number in 0..3000 {
            let bytes = payload(99, number, 20);
            // The other threads' inbox entries are bounded too.
            until("room in an inbox", || handle.publish("/room", &bytes[..]));
        }
    });
    for mut client in clients.into_iter().flatten() {
        // A full inbox of one shard may have let the message into another's
        // before; each sees a message again then, never out of order.
        let mut next = 0;
        while next < 3000 {
            let (_, number) = parse(&client.expect_binary());
            assert!(number <= next, "{number} after {next}");
            next = next.max(number + 1);
        }
    }
    publisher.join().expect("published");
    let nobody = test.serving.handle().publish("/nobody", "is there");
    assert_eq!(nobody, Ok(()));
    test.serving.cut();
}

#[test]
fn who_unsubscribes_or_leaves_gets_nothing_more() {
    let test = start();
    let mut shards = test.serving.clients_on_each_shard("/room", 3);
    for shard in &mut shards {
        shard[0].text("unsubscribe");
        assert_eq!(shard[0].expect_text(), "unsubscribed");
        shard.remove(1).close_and_wait();
    }
    let [mut here, mut there] = shards;
    here[1].binary(&payload(1, 0, 2000));
    // The witness of each shard has it: that shard is done with the message.
    assert_eq!(parse(&there[1].expect_binary()), (1, 0));
    here[1].check_echo("the sender itself is excluded");
    for left in [&mut here[0], &mut there[0]] {
        left.check_echo("nothing came before this");
    }
    // Who is not subscribed may publish all the same.
    here[0].binary(&payload(2, 0, 10));
    assert_eq!(parse(&here[1].expect_binary()), (2, 0));
    assert_eq!(parse(&there[1].expect_binary()), (2, 0));
    test.serving.cut();
}

#[test]
fn an_independent_client_takes_part() {
    let test = start();
    let [mut here, mut there] = test.serving.clients_on_each_shard("/room", 1);
    let url = format!("ws://{}/room", test.serving.addr());
    let (mut socket, _) = tungstenite::client(url, dial(test.serving.addr())).expect("a handshake");
    assert!(socket.read().expect("a greeting").is_text());
    socket
        .send(tungstenite::Message::binary(payload(5, 0, 70_000)))
        .expect("sent");
    for client in [&mut here[0], &mut there[0]] {
        assert_eq!(parse(&client.expect_binary()), (5, 0));
    }
    here[0].binary(&payload(6, 0, 70_000));
    assert_eq!(parse(&there[0].expect_binary()), (6, 0));
    assert_eq!(
        parse(&socket.read().expect("a message").into_data()),
        (6, 0)
    );
    test.serving.cut();
}

/// Entries an inbox holds.
const INBOX: usize = 4096;

/// More than an inbox holds, several times over, while the receiving
/// shard stands still: its publishers are paused and all of it arrives.
#[test]
fn a_shard_that_stands_still_pauses_its_publishers_and_loses_nothing() {
    const MESSAGES: usize = 6000;
    const PUBLISHERS: usize = 3;
    let test = start();
    let [publishers, holder] = test
        .serving
        .clients_on_each_shard("/room/silent", PUBLISHERS);
    let [_, mut subscribers] = test.serving.clients_on_each_shard("/room", 2);
    let [mut bystander, _] = test.serving.clients_on_each_shard("/elsewhere", 1);
    test.serving
        .handle()
        .publish("/room", &payload(0, 0, 0)[..])
        .expect("room");
    for subscriber in &mut subscribers {
        assert_eq!(parse(&subscriber.expect_binary()), (0, 0));
    }

    test.hold(holder);
    for (index, publisher) in publishers.iter().enumerate() {
        publish_all(publisher, index + 1, 0..MESSAGES);
    }
    // Who has sent all ends; what it sent still counts.
    publishers[0]
        .writer()
        .shutdown(Shutdown::Write)
        .expect("a FIN");
    let congested = || test.outcomes.congested.load(Ordering::SeqCst);
    until_equal("publishers paused", &PUBLISHERS, congested);
    bystander[0].check_echo("the other shard goes on");
    // Each was paused by its first publish that found no room.
    assert_eq!(test.outcomes.published.load(Ordering::SeqCst), INBOX);

    test.release.send(()).expect("the shard waits");
    let threads: Vec<_> = subscribers
        .into_iter()
        .map(|mut subscriber| {
            let all: Vec<_> = (1..=PUBLISHERS).collect();
            std::thread::spawn(move || collect(&mut subscriber, &all, MESSAGES))
        })
        .collect();
    for thread in threads {
        thread.join().expect("complete and in order");
    }
    let mut publishers = publishers.into_iter();
    let mut ended = publishers.next().expect("the one that sent a FIN");
    assert_eq!(ended.message(), Seen::Eof);
    for mut publisher in publishers {
        publisher.check_echo("reading was resumed");
    }
    assert_eq!(test.outcomes.full.load(Ordering::SeqCst), 0);
    test.serving.cut();
}

/// A publisher that is not read from, and gone when it is read from again.
#[test]
fn a_paused_publisher_that_is_gone_is_noticed() {
    let test = start();
    let [publishers, holder] = test.serving.clients_on_each_shard("/room/silent", 1);
    let [_, subscribers] = test.serving.clients_on_each_shard("/room", 1);
    let metrics = test.serving.metrics();
    until_equal("nobody else", &3, || metrics.sockets());
    test.hold(holder);
    for publisher in publishers {
        publish_all(&publisher, 1, 0..INBOX + 1);
        let congested = || test.outcomes.congested.load(Ordering::SeqCst);
        until_equal("publishers paused", &1, congested);
        // These stay in the kernel, and then comes the reset.
        publish_all(&publisher, 1, INBOX + 1..INBOX + 100);
        publisher.reset();
    }
    test.release.send(()).expect("the shard waits");
    until_equal("the holder and the publisher are gone", &1, || {
        metrics.sockets()
    });
    drop(subscribers);
    test.serving.wait_until_idle();
    test.serving.stop();
}
