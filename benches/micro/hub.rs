//! Publishing to many subscribers, and subscribing among many, on one shard
//! without a network: what is left is the framework's own work.

#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use hioload::hub::{History, Hub, HubId};
use hioload::testing::Crowd;
use hioload::{App, Config, Conn, ConnId, Message};

const CROWD: usize = 100_000;

/// What a chat or a price takes.
const PAYLOAD: &[u8] = &[b'x'; 100];

/// Reacts to nothing.
struct Idle;

impl App for Idle {
    type State = ();

    fn message(&mut self, _: &mut Conn<'_>, (): &mut (), _: Message<'_>) {}
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    fan_out(&mut criterion);
    subscribe(&mut criterion);
    filters(&mut criterion);
    criterion.final_summary();
}

/// A shard with open connections, and with a hub of ordered topics.
fn crowd(connections: usize) -> (Crowd<Idle>, Vec<ConnId>) {
    let second = std::time::Duration::from_secs(1);
    let ordered = Hub::new("ordered").history(History::new(100, 60 * second));
    let config = Config {
        max_subscriptions: 4096,
        ..Config::default()
    };
    let mut crowd = Crowd::new(&config, &[ordered], Idle).expect("it can work");
    let conns = (0..connections).map(|_| crowd.connect("/")).collect();
    (crowd, conns)
}

fn with<R>(crowd: &mut Crowd<Idle>, id: ConnId, act: impl FnOnce(&mut Conn<'_>) -> R) -> R {
    crowd.run(|_, turn| act(&mut turn.conn(id).expect("it is open").0))
}

fn publish(crowd: &mut Crowd<Idle>, hub: HubId, topic: &str) -> usize {
    crowd.run(|_, turn| turn.hub(hub).publish(topic, PAYLOAD));
    crowd.turn()
}

/// One publication, to all its subscribers and into the kernel's hands.
fn fan_out(criterion: &mut Criterion) {
    let (mut crowd, conns) = crowd(CROWD);
    let ordered = crowd.handle().hub_id("ordered").expect("it is declared");
    let mut group = criterion.benchmark_group("fan_out");
    for (name, hub) in [("default", HubId::DEFAULT), ("ordered", ordered)] {
        for subscribers in [1, 100, 10_000, CROWD] {
            let topic = subscribers.to_string();
            for &id in &conns[..subscribers] {
                with(&mut crowd, id, |conn| conn.hub(hub).subscribe(&topic));
            }
            crowd.turn();
            let bytes = publish(&mut crowd, hub, &topic);
            assert_eq!(bytes, subscribers * (PAYLOAD.len() + 2));
            group.throughput(Throughput::Elements(subscribers as u64));
            group.bench_function(BenchmarkId::new(name, subscribers), |bencher| {
                bencher.iter(|| black_box(publish(&mut crowd, hub, &topic)));
            });
        }
    }
    group.finish();
}

/// One more subscriber of a topic that has many comes and goes; one that has
/// many subscriptions ends them all.
fn subscribe(criterion: &mut Criterion) {
    let (mut crowd, conns) = crowd(CROWD);
    for &id in &conns[1..] {
        with(&mut crowd, id, |conn| conn.subscribe("room"));
    }
    let mut group = criterion.benchmark_group("subscribe");
    group.bench_function("and_unsubscribe_among_100000", |bencher| {
        bencher.iter(|| {
            with(&mut crowd, conns[0], |conn| {
                conn.subscribe("room");
                conn.unsubscribe("room")
            })
        });
    });
    group.bench_function("and_unsubscribe_as_the_only_one", |bencher| {
        bencher.iter(|| {
            with(&mut crowd, conns[0], |conn| {
                conn.subscribe("alone");
                conn.unsubscribe("alone")
            })
        });
    });
    // One that ends leaves each of its topics in the same way.
    let topics: Vec<_> = (0..100).map(|n| format!("room {n}")).collect();
    for &id in &conns[1..1001] {
        with(&mut crowd, id, |conn| {
            for topic in &topics {
                conn.subscribe(topic);
            }
        });
    }
    group.throughput(Throughput::Elements(topics.len() as u64));
    group.bench_function("to_100_topics_of_1000_and_end", |bencher| {
        bencher.iter(|| {
            let id = crowd.connect("/");
            with(&mut crowd, id, |conn| {
                for topic in &topics {
                    conn.subscribe(topic);
                }
                conn.terminate();
            });
            crowd.turn()
        });
    });
    group.finish();
}

/// One publication that none or one of many filters matches.
fn filters(criterion: &mut Criterion) {
    let (mut crowd, conns) = crowd(1001);
    let mut group = criterion.benchmark_group("filters");
    for (index, &id) in conns[..1000].iter().enumerate() {
        with(&mut crowd, id, |conn| {
            for n in 0..10 {
                conn.subscribe_filter(&format!("site {index}/+/temp {n}/#"));
            }
        });
    }
    for (name, topic, bytes) in [
        ("none_of_10000", "site 1/door/wet/1", 0),
        ("one_of_10000", "site 1/door/temp 3/1", PAYLOAD.len() + 2),
    ] {
        assert_eq!(publish(&mut crowd, HubId::DEFAULT, topic), bytes);
        group.bench_function(name, |bencher| {
            bencher.iter(|| publish(&mut crowd, HubId::DEFAULT, topic));
        });
    }
    group.finish();
}
