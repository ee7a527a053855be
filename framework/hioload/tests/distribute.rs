//! `ListenerMode::Distribute`: one shard accepts, and each connection goes to
//! the shard with the fewest. On every backend of the system.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use hioload::backend::Choice;
use hioload::{Config, ListenerMode, Running, Server};

use support::client::Client;
use support::wait::until;

const SHARDS: usize = 3;

fn serve(backend: Choice) -> Running {
    let config = Config {
        shards: SHARDS,
        pin: false,
        backend,
        listener: ListenerMode::Distribute,
        ..Config::default()
    };
    let server = Server::bind("127.0.0.1:0").config(config);
    server.start(|_| hioload::Echo).expect("the server starts")
}

fn open(running: &Running, count: usize) -> Vec<Client> {
    let addr = running.addrs()[0];
    (0..count).map(|_| Client::connect(addr, "/")).collect()
}

fn expect_spread(running: &Running, wanted: &[u64]) {
    until("connections are spread", || {
        let mut spread = running.metrics().connections_per_shard();
        spread.sort_unstable();
        if spread == wanted {
            Ok(())
        } else {
            Err(format!("{spread:?}, not {wanted:?}"))
        }
    });
}

fn connections_go_to_whoever_has_the_fewest(backend: Choice) {
    let running = serve(backend);
    let mut clients = open(&running, 30);
    expect_spread(&running, &[10, 10, 10]);
    for (index, client) in clients.iter_mut().enumerate() {
        client.check_echo(&format!("hello {index}"));
    }
    // Every third was given to the same shard, since one after the other came.
    let mut index = 0;
    clients.retain(|_| {
        index += 1;
        index % 3 != 1
    });
    expect_spread(&running, &[0, 10, 10]);
    let mut more = open(&running, 10);
    expect_spread(&running, &[10, 10, 10]);
    for client in clients.iter_mut().chain(&mut more) {
        client.check_echo("still there");
    }
    drop((clients, more));
    expect_spread(&running, &[0, 0, 0]);
    running.stop().expect("a graceful stop");
}

#[test]
fn connections_go_to_whoever_has_the_fewest_on_the_first_choice() {
    connections_go_to_whoever_has_the_fewest(Choice::Auto);
}

#[test]
fn connections_go_to_whoever_has_the_fewest_on_the_fallback() {
    connections_go_to_whoever_has_the_fewest(Choice::Compio);
}

#[test]
fn a_burst_is_served_whole() {
    for backend in [Choice::Auto, Choice::Compio] {
        let running = serve(backend);
        let addr = running.addrs()[0];
        let burst = |_| {
            std::thread::spawn(move || {
                for round in 0..50 {
                    let mut client = Client::connect(addr, "/");
                    client.check_echo(&format!("round {round}"));
                    client.close_and_wait();
                }
            })
        };
        let threads: Vec<_> = (0..8).map(burst).collect();
        for thread in threads {
            thread.join().expect("every connection was served");
        }
        expect_spread(&running, &[0, 0, 0]);
        running.stop().expect("a graceful stop");
    }
}
