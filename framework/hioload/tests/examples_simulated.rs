//! Examples tested as their authors could: on simulated shards, with scripted
//! clients, in virtual time.

#![forbid(unsafe_code)]

#[expect(dead_code, reason = "its main is not run")]
#[path = "../examples/async_offload.rs"]
mod async_offload;
#[expect(dead_code, reason = "its main is not run")]
#[path = "../examples/chat.rs"]
mod chat;
#[expect(dead_code, reason = "its main is not run")]
#[path = "../examples/jobs.rs"]
mod jobs;
#[expect(dead_code, reason = "its main is not run")]
#[path = "../examples/log_batcher.rs"]
mod log_batcher;
#[expect(dead_code, reason = "its main is not run")]
#[path = "../examples/ticker.rs"]
mod ticker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hioload::hub::Hub;
use hioload::testing::{ClientId, Seen, Simulated, Simulation};
use hioload::{App, Config, task};

const SECOND: Duration = Duration::from_secs(1);

/// What a client has read and nobody looked at yet.
fn read<A: App>(server: &mut Simulated<A>, client: ClientId) -> Vec<String> {
    let client = server.client(client);
    let seen = std::iter::from_fn(|| client.next());
    let texts = seen.filter_map(|seen| match seen {
        Seen::Open => None,
        Seen::Text(text) => Some(text),
        other => panic!("{other:?}"),
    });
    texts.collect()
}

fn stop<A: App>(mut server: Simulated<A>) {
    let left = server.stop().expect("it ends");
    assert!(left.is_nothing(), "{left:?}");
}

#[test]
fn everybody_in_a_chat_room_reads_the_same_whatever_the_shards() {
    for seed in 0..20 {
        let simulation = Simulation::new(seed).shards(4);
        let mut server = simulation.start(|_| chat::routes()).expect("routes");
        let guests: Vec<ClientId> = (0..8)
            .map(|n| server.connect(&format!("/rooms/tea/guest{n}")))
            .collect();
        server.run_for(SECOND).expect("no hang");
        for &guest in &guests {
            read(&mut server, guest);
        }
        server.client(guests[0]).text("one");
        server.client(guests[0]).text("two");
        server.client(guests[7]).leave();
        server.run_for(SECOND).expect("no hang");
        for &guest in &guests[1..7] {
            let mut lines = read(&mut server, guest);
            lines.retain(|line| line != "* guest7 has left");
            assert_eq!(lines, ["guest0: one", "guest0: two"], "seed {seed}");
        }
        assert_eq!(read(&mut server, guests[0]), ["* guest7 has left"]);
        stop(server);
    }
}

#[test]
fn the_ticker_keeps_its_rate_and_newcomers_get_the_last_price_at_once() {
    let simulation = Simulation::new(3).hub(Hub::new("prices").retain_last(true));
    let mut server = simulation.start(ticker::Ticker::new).expect("a hub");
    let early = server.connect("/");
    server.client(early).text("ACME");
    // Between two ticks, so that what is on the way arrives.
    server.run_for(ticker::PERIOD / 2).expect("no hang");
    server.run_for(40 * ticker::PERIOD).expect("no hang");
    let prices = read(&mut server, early);
    assert_eq!(prices.len(), 40);
    assert!(
        prices.iter().all(|price| price.starts_with("ACME ")),
        "{prices:?}"
    );

    let late = server.connect("/");
    server.client(late).text("ACME");
    server.run_for(ticker::PERIOD / 4).expect("no hang");
    assert_eq!(read(&mut server, late), prices[39..]);
    stop(server);
}

#[test]
fn short_jobs_overtake_long_ones_and_a_report_comes_each_second() {
    let config = Config {
        offload_workers: 1,
        ..Config::default()
    };
    let simulation = Simulation::new(5).config(config).shards(1);
    let app = |shard: &hioload::Shard| jobs::Jobs(shard.handle().offload());
    let mut server = simulation.start(app).expect("a configuration");
    let client = server.connect("/");
    for n in ["3000", "4000", "5000", "10", "100"] {
        server.client(client).text(n);
    }
    server.run_for(SECOND / 2).expect("no hang");
    let mut answers = read(&mut server, client);
    let first = answers.remove(0);
    // Had it begun before the short ones came, it went on.
    if first.starts_with("below 3000") {
        answers.push(first);
    } else {
        answers.insert(0, first);
    }
    let order: Vec<&str> = answers
        .iter()
        .filter_map(|line| line.split(": ").next())
        .collect();
    assert_eq!(order[..2], ["below 10", "below 100"], "{answers:?}");
    assert_eq!(answers[..2], ["below 10: 4", "below 100: 25"]);

    server.run_for(3 * SECOND).expect("no hang");
    assert_eq!(read(&mut server, client), ["0 wait, 5 done"; 3]);
    stop(server);
}

#[test]
fn an_async_handler_answers_in_order_however_long_the_work_takes() {
    let simulation = Simulation::new(9).offload_time(SECOND);
    let app = |_: &hioload::Shard| task::service(async_offload::serve);
    let mut server = simulation.start(app).expect("a configuration");
    let (one, other) = (server.connect("/"), server.connect("/"));
    for n in 90..100 {
        server.client(one).text(&n.to_string());
    }
    server.client(other).text("12");
    server.run_for(20 * SECOND).expect("no hang");
    let answers = read(&mut server, one);
    assert_eq!(answers.len(), 10);
    assert_eq!(
        (&*answers[0], &*answers[9]),
        ("90 = 2 * 3 * 3 * 5", "99 = 3 * 3 * 11")
    );
    assert_eq!(read(&mut server, other), ["12 = 2 * 2 * 3"]);
    stop(server);
}

#[test]
fn a_log_is_written_when_a_batch_is_full_or_old() {
    let name = format!("hioload-batches-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let file = std::fs::File::create(&path).expect("a file of this test");
    let written = || std::fs::metadata(&path).expect("the file").len();
    let lines = Arc::new((Mutex::default(), Mutex::new(file)));
    let simulation = Simulation::new(2).offload_time(Duration::from_millis(1));
    let app = move |_: &_| log_batcher::Log(Arc::clone(&lines), None);
    let mut server = simulation.start(app).expect("a configuration");
    let client = server.connect("/");
    let (early, late) = (Duration::from_millis(50), Duration::from_millis(110));

    server.client(client).text("a short line");
    server.run_for(early).expect("no hang");
    assert_eq!(written(), 0, "a batch may still grow");
    server.run_for(late).expect("no hang");
    assert_eq!(written(), 13, "it is old enough");

    let long = "x".repeat(64 << 10);
    server.client(client).text(&long);
    server.run_for(Duration::from_millis(20)).expect("no hang");
    assert_eq!(written(), 13 + (64 << 10) + 1, "it is full");
    stop(server);
    std::fs::remove_file(&path).expect("it was this test's");
}
