//! All subscribers of an ordered topic see one order, without a gap, whatever
//! threads and shards publish to it at once, and whenever they subscribe.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::Write;
use std::thread::JoinHandle;
use std::time::Duration;

use hioload::hub::{Change, Delivery, History, Hub, HubId, Position};
use hioload::{App, Conn, Kind, Message, Server};
use support::client::Client;
use support::wait::until;
use support::{Serving, config, greeting};

/// Threads that publish beside the connections.
const THREADS: usize = 3;

/// What each thread and each publishing connection says.
const EACH: usize = 1500;

/// Who publishes.
const PUBLISHERS: usize = THREADS + 2;

struct Follow(HubId);

impl App for Follow {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.send(greeting(conn.shard()).as_str());
        let mut hub = conn.hub(self.0);
        hub.subscribe_from("topic", Position::Latest(100));
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.hub(self.0).publish_all("topic", message);
    }

    fn subscription(&mut self, conn: &mut Conn<'_>, (): &mut (), _: &Change<'_>) {
        conn.send("begun");
    }

    fn deliver(&mut self, conn: &mut Conn<'_>, (): &mut (), delivery: &Delivery<'_>) {
        let offset = delivery.place().expect("it is ordered").offset;
        let text = delivery.message().as_text().expect("it was text");
        conn.send(format!("{offset} {text}").as_str());
    }
}

#[test]
fn many_publish_at_once_and_everybody_sees_the_same() {
    let history = History::new(100, Duration::from_secs(600));
    let hub = Hub::new("ordered").through_app(true).history(history);
    let server = Server::bind("127.0.0.1:0").config(config()).hub(hub);
    let serving = Serving::start_as(server, |shard| {
        Follow(shard.handle().hub_id("ordered").expect("it is declared"))
    });
    let clients = serving.clients_on_each_shard("/", 2);
    let mut clients: Vec<_> = clients.into_iter().flatten().collect();
    for client in &mut clients {
        assert_eq!(client.expect_text(), "begun");
    }
    let mut threads: Vec<_> = (0..THREADS).map(|name| publish(&serving, name)).collect();
    // One connection of each shard publishes, too.
    for (name, client) in [(THREADS, 0), (THREADS + 1, 2)] {
        threads.push(say(&mut clients[client], name));
    }
    let mut late = Client::connect(serving.addr(), "/");
    late.expect_text();
    assert_eq!(late.expect_text(), "begun");
    clients.push(late);
    let readers = clients
        .into_iter()
        .map(|mut client| std::thread::spawn(move || follow(&mut client)));
    let readers: Vec<_> = readers.collect();
    for thread in threads {
        thread.join().expect("all was taken");
    }
    let seen = readers
        .into_iter()
        .map(|reader| reader.join().expect("complete"));
    let seen: Vec<_> = seen.collect();
    let all = &seen[0];
    assert_eq!(all.len(), PUBLISHERS * EACH);
    for name in 0..PUBLISHERS {
        let own = all.iter().filter(|(publisher, _)| *publisher == name);
        assert!(
            own.map(|(_, number)| *number).eq(0..EACH),
            "complete, in order"
        );
    }
    for other in &seen {
        assert!(all.ends_with(other), "one order for all");
    }
    assert!(seen[1..4].iter().all(|other| other.len() == all.len()));
    serving.cut();
}

fn text(name: usize, number: usize) -> String {
    format!("{name} {number} {}", "x".repeat(number % 300))
}

/// Publishes from a thread that is no shard.
fn publish(serving: &Serving, name: usize) -> JoinHandle<()> {
    let handle = serving.handle();
    let hub = handle.hub(handle.hub_id("ordered").expect("it is declared"));
    std::thread::spawn(move || {
        for number in 0..EACH {
            let text = text(name, number);
            until("room", || hub.publish("topic", text.as_str()));
        }
    })
}

/// Publishes over a client's connection, which somebody must read meanwhile.
fn say(client: &mut Client, name: usize) -> JoinHandle<()> {
    let mut bytes = Vec::new();
    for number in 0..EACH {
        let text = text(name, number);
        client.encode(Kind::Text, text.as_bytes(), &[], None, &mut bytes);
    }
    let mut writer = client.writer();
    std::thread::spawn(move || writer.write_all(&bytes).expect("the server reads"))
}

/// Publisher and number of each message, up to the last one, whose offset
/// tells that it is.
fn follow(client: &mut Client) -> Vec<(usize, usize)> {
    let mut seen = Vec::new();
    let mut last = None;
    loop {
        let text = client.expect_text();
        let mut words = text.split(' ').map(|word| word.parse().unwrap_or(0));
        let mut word = || words.next().expect("four words");
        let (offset, publisher, number) = (word(), word(), word());
        assert_eq!(
            offset,
            last.map_or(offset, |last: usize| last + 1),
            "no gap"
        );
        last = Some(offset);
        seen.push((publisher, number));
        if offset == PUBLISHERS * EACH {
            return seen;
        }
    }
}
