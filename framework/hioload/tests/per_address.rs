//! An address has no more connections than it may, on all shards together, and
//! as many again once they have ended.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use hioload::testing::{Seen, Simulation};
use hioload::{Config, Echo};
use hioload_protocol::proxy;

use support::client::{Dial, dial, reset};
use support::http::{Answer, upgrade};
use support::wait::{until, until_equal};
use support::{Serving, config};

const MOST: usize = 5;

fn limited() -> Config {
    Config {
        max_connections_per_address: MOST,
        ..config()
    }
}

fn from(source: &str, addr: SocketAddr) -> TcpStream {
    let dial = Dial {
        source: Some(source.parse().expect("an address")),
        ..Dial::default()
    };
    dial.tcp(addr).expect("the server accepts")
}

/// Upgrades; the status.
fn shake_hands(stream: &mut TcpStream) -> u16 {
    stream
        .write_all(upgrade("/").as_bytes())
        .expect("it is taken");
    Answer::read_head(stream).status
}

/// As many WebSockets as an address may have; one more is refused.
fn fill(connect: impl Fn() -> TcpStream) -> Vec<TcpStream> {
    let open = (0..MOST).map(|n| {
        let mut stream = connect();
        assert_eq!(shake_hands(&mut stream), 101, "connection {n}");
        stream
    });
    let open = open.collect();
    let mut stream = connect();
    let answer = Answer::read(&mut stream);
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("this address"), "{}", answer.text());
    open
}

/// Waits until an address may have all its connections at once.
fn wait_until_whole(connect: impl Fn() -> TcpStream) {
    until("the limit is whole", || {
        let mut open: Vec<_> = (0..MOST).map(|_| connect()).collect();
        let all: Vec<_> = open.iter_mut().map(shake_hands).collect();
        if all == [101; MOST] { Ok(()) } else { Err(all) }
    });
}

fn refusals(serving: &Serving) -> u64 {
    let refusals = serving.metrics().refusals();
    refusals
        .get("too_many_connections")
        .copied()
        .unwrap_or_default()
}

#[test]
fn each_address_has_so_many_on_all_shards_and_gets_them_back() {
    let serving = Serving::start(limited(), |_shard| Echo);
    let addr = serving.addr();
    for round in 1..=3 {
        let one = fill(|| from("127.0.0.1", addr));
        let other = fill(|| from("127.0.0.3", addr));
        assert_eq!(serving.metrics().connections(), 2 * MOST as u64);
        assert_eq!(refusals(&serving), 2 * round);
        // However they end.
        drop(one);
        other.into_iter().for_each(reset);
        serving.wait_until_idle();
    }
    serving.stop();
}

#[test]
fn the_limit_can_come_and_go_while_the_server_runs() {
    let serving = Serving::start(config(), |_shard| Echo);
    let addr = serving.addr();
    let uncounted: Vec<_> = (0..2 * MOST).map(|_| dial(addr)).collect();
    until_equal("sockets", &(2 * MOST as u64), || {
        serving.metrics().sockets()
    });
    serving.handle().reload(limited()).expect("it can change");
    // Each shard takes the rules over at its next turn.
    let mut counted = Vec::new();
    until("the limit", || {
        let mut stream = dial(addr);
        let status = shake_hands(&mut stream);
        counted.push(stream);
        if status == 503 { Ok(()) } else { Err(status) }
    });
    serving.handle().reload(config()).expect("it can change");
    until("no limit", || {
        let status = shake_hands(&mut dial(addr));
        if status == 101 { Ok(()) } else { Err(status) }
    });
    drop((uncounted, counted));
    serving.wait_until_idle();
    serving.handle().reload(limited()).expect("it can change");
    wait_until_whole(|| dial(addr));
    serving.cut();
}

#[test]
fn behind_a_proxy_the_clients_are_counted_and_not_the_proxy() {
    let serving = Serving::start(
        Config {
            trusted_proxies: "127.0.0.2".parse().expect("a range"),
            proxy_protocol: true,
            ..limited()
        },
        |_shard| Echo,
    );
    let addr = serving.addr();
    let client = |client: &str| {
        let client: SocketAddr = client.parse().expect("an address");
        let mut header = Vec::new();
        proxy::write(Some(client), client, &mut header);
        let mut stream = from("127.0.0.2", addr);
        stream.write_all(&header).expect("it is taken");
        stream
    };
    let open = [
        fill(|| client("192.0.2.7:1")),
        fill(|| client("192.0.2.8:1")),
        fill(|| client("[2001:db8::1]:1")),
    ];
    // Of one network of IPv6.
    let mut neighbour = client("[2001:db8::2]:1");
    assert_eq!(Answer::read(&mut neighbour).status, 503);
    let checks = (0..2 * MOST).map(|_| {
        let mut header = Vec::new();
        proxy::write(None, addr, &mut header);
        let mut stream = from("127.0.0.2", addr);
        stream.write_all(&header).expect("it is taken");
        (shake_hands(&mut stream), stream)
    });
    let checks: Vec<_> = checks.collect();
    assert!(checks.iter().all(|(status, _)| *status == 101));
    drop((open, neighbour, checks));
    serving.wait_until_idle();
    let again = fill(|| client("[2001:db8::2]:1"));
    assert_eq!(again.len(), MOST);
    serving.cut();
}

#[test]
fn many_that_come_and_go_at_once_leave_no_count() {
    let serving = Serving::start(limited(), |_shard| Echo);
    let addr = serving.addr();
    let barrier = Arc::new(std::sync::Barrier::new(4));
    let threads = (0..4).map(|thread| {
        let barrier = Arc::clone(&barrier);
        std::thread::spawn(move || {
            barrier.wait();
            for n in 0..200 {
                let mut stream = from("127.0.0.4", addr);
                match (thread + n) % 4 {
                    0 => reset(stream),
                    1 => drop(stream),
                    _ => {
                        // Refused ones may be gone before they have asked.
                        let _gone = stream.write_all(upgrade("/").as_bytes());
                    }
                }
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().expect("no client fails");
    }
    // Some may not be accepted yet.
    wait_until_whole(|| from("127.0.0.4", addr));
    serving.wait_until_idle();
    let open = fill(|| from("127.0.0.4", addr));
    assert_eq!(open.len(), MOST);
    serving.cut();
}

#[test]
fn nothing_is_left_of_simulated_ones() {
    for seed in 0..20 {
        let simulation = Simulation::new(seed).config(Config {
            shards: 3,
            ..limited()
        });
        let mut server = simulation.start(|_shard| Echo).expect("it starts");
        let mut clients: Vec<_> = (0..12).map(|_| server.connect("/")).collect();
        let run = Duration::from_millis(50);
        server.run_for(run).expect("it goes on");
        clients.retain(|&client| server.client(client).is_open());
        assert_eq!(clients.len(), MOST, "seed {seed}");
        let gone = clients.pop().expect("one of them");
        server.client(gone).reset();
        server.run_for(run).expect("it goes on");
        let next = server.connect("/");
        server.run_for(run).expect("it goes on");
        assert_eq!(server.client(next).next(), Some(Seen::Open), "seed {seed}");
        let residue = server.stop().expect("it stops");
        assert!(residue.is_nothing(), "seed {seed}: {residue:?}");
    }
}
