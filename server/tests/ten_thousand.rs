//! Ten thousand connections at once, twice, ended in every way: afterwards the
//! server holds nothing that it did not hold before, as `/proc` tells.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::channel;
use std::time::Instant;

use hioload_platform::limits;
use support::Serving;
use support::client::{Client, Dial};
use support::wait::{PATIENCE, until_equal};

const CONNECTIONS: usize = 10_000;
const THREADS: usize = 5;
/// Descriptors beside the connections: the test's own, with room.
const SPARE: u64 = 200;

/// Opens a share of the connections from a source address of its own: ports
/// of closed connections are taken for a minute.
fn open(addr: SocketAddr, source: u8) -> Vec<Client> {
    let source = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, source)));
    let dial = Dial {
        source,
        ..Dial::default()
    };
    (0..CONNECTIONS / THREADS)
        .map(|_| Client::over(dial.tcp(addr).expect("the server accepts"), "/echo"))
        .collect()
}

/// A clean close, a FIN, a FIN after which it waits, a reset, by turns.
fn end(index: usize, client: Client) {
    match index % 4 {
        0 => client.close_and_wait(),
        1 => drop(client),
        2 => {
            client.finish();
            let mut client = client;
            client.next();
        }
        _ => client.reset(),
    }
}

/// One wave: open all, one echo each, end all.
fn wave(serving: &Serving, number: u8) {
    let started = Instant::now();
    let addr = serving.addr;
    let (opened, openings) = channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (go, wait) = channel();
            let opened = opened.clone();
            let source = 2 + number * 10 + u8::try_from(thread).expect("few threads");
            let run = move || {
                let mut clients = open(addr, source);
                opened.send(()).expect("the test listens");
                drop(opened);
                wait.recv_timeout(4 * PATIENCE).expect("all are open");
                for (index, client) in clients.iter_mut().enumerate() {
                    client.check_echo(&format!("{thread} {index}"));
                }
                clients
                    .into_iter()
                    .enumerate()
                    .for_each(|(index, client)| end(index, client));
            };
            (go, std::thread::spawn(run))
        })
        .collect();
    for _ in 0..THREADS {
        openings
            .recv_timeout(4 * PATIENCE)
            .expect("a thread has opened its connections");
    }
    assert_eq!(serving.metric("hioload_connections"), CONNECTIONS as u64);
    eprintln!(
        "{CONNECTIONS} open after {:?}, {} kB",
        started.elapsed(),
        resident(serving)
    );
    for (go, _) in &threads {
        go.send(()).expect("the thread waits");
    }
    for (_, thread) in threads {
        thread.join().expect("every echo is right");
    }
    eprintln!("echoed and ended after {:?}", started.elapsed());
}

fn descriptors(serving: &Serving) -> usize {
    let directory = format!("/proc/{}/fd", serving.process.id());
    std::fs::read_dir(directory)
        .expect("the server runs")
        .count()
}

/// Resident memory in kB.
fn resident(serving: &Serving) -> u64 {
    let path = format!("/proc/{}/status", serving.process.id());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.expect("VmRSS in kB")
}

/// Nothing is left but the connection that asks.
fn expect_nothing_left(serving: &Serving, descriptors_before: usize) {
    const GAUGES: [&str; 4] = [
        "hioload_sockets",
        "hioload_connections",
        "hioload_recv_leases",
        "hioload_send_bytes_pending",
    ];
    until_equal("sockets, connections, leases, bytes", &[1, 0, 0, 0], || {
        GAUGES.map(|gauge| serving.metric(gauge))
    });
    until_equal("descriptors", &descriptors_before, || descriptors(serving));
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    limits::raise_nofile(CONNECTIONS as u64 + SPARE).expect("room for the connections");
    // Nothing but the ends themselves may clean up.
    let serving = Serving::start(&["--idle-timeout", "0s", "--ping-interval", "0s"]);
    let descriptors_before = descriptors(&serving);
    wave(&serving, 0);
    expect_nothing_left(&serving, descriptors_before);
    let once = resident(&serving);
    wave(&serving, 1);
    expect_nothing_left(&serving, descriptors_before);
    let twice = resident(&serving);
    eprintln!("resident: {once} kB after the first wave, {twice} kB after the second");
    assert!(
        twice < once + once / 4,
        "it grows: {once} kB, then {twice} kB"
    );
    let messages = serving.metric("hioload_messages_received_total");
    assert_eq!(messages, 2 * CONNECTIONS as u64);
    serving.stop();
}
