//! D10: connecting, with a source address and a timeout.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use hioload_platform::{Connect, Driver};

use crate::rig::{Fixture, RigOf, Sizes, full_listener, loopback};

const SECOND: u64 = 1_000_000_000;

pub(crate) fn a_connection_is_made_and_used<F: Fixture>() {
    let mut rig = RigOf::<F>::open::<F>(Sizes::default());
    let listener = TcpListener::bind(loopback(0)).expect("loopback can be bound");
    let addr = listener
        .local_addr()
        .expect("a bound listener has an address");
    let target = Connect {
        addr,
        source: None,
        timeout: 10 * SECOND,
    };
    let token = rig.driver.connect(&target).expect("room for a socket");
    // Asked for before there is a connection.
    rig.driver.recv_start(token);
    rig.connected(token).expect("the listener listens");
    assert_eq!(rig.driver.peer_addr(token), Some(addr));
    let (mut peer, _) = listener.accept().expect("a connection waits");
    peer.write_all(b"welcome").expect("the driver receives");
    assert_eq!(rig.receive(token, 7), b"welcome");
    rig.send(token, b"thanks");
    rig.sent(token).expect("the peer receives");
    let mut got = [0; 6];
    peer.read_exact(&mut got).expect("the driver sends");
    assert_eq!(&got, b"thanks");
    rig.close(token);
}

pub(crate) fn a_refused_connection_says_so<F: Fixture>() {
    let mut rig = RigOf::<F>::open::<F>(Sizes::default());
    let gone = TcpListener::bind(loopback(0)).expect("loopback can be bound");
    let addr = gone.local_addr().expect("a bound listener has an address");
    drop(gone);
    let target = Connect {
        addr,
        source: None,
        timeout: 10 * SECOND,
    };
    let token = rig.driver.connect(&target).expect("room for a socket");
    let error = rig.connected(token).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    rig.close(token);
}

pub(crate) fn a_silent_target_times_out<F: Fixture>() {
    let mut rig = RigOf::<F>::open::<F>(Sizes::default());
    let full = full_listener();
    let start = Instant::now();
    let target = Connect {
        addr: full.addr,
        source: None,
        timeout: SECOND / 20,
    };
    let token = rig.driver.connect(&target).expect("room for a socket");
    let error = rig.connected(token).expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        start.elapsed() >= Duration::from_millis(50),
        "not before its time"
    );
    rig.close(token);
}

pub(crate) fn a_connection_comes_from_its_source_address<F: Fixture>() {
    let mut rig = RigOf::<F>::open::<F>(Sizes::default());
    let source = Ipv4Addr::new(127, 0, 0, 2);
    let listener = TcpListener::bind(loopback(0)).expect("loopback can be bound");
    let addr = listener
        .local_addr()
        .expect("a bound listener has an address");
    let target = Connect {
        addr,
        source: Some((source, 0).into()),
        timeout: 10 * SECOND,
    };
    let token = rig
        .driver
        .connect(&target)
        .expect("127.0.0.2 is loopback too");
    rig.connected(token).expect("the listener listens");
    let (_, from) = listener.accept().expect("a connection waits");
    assert_eq!(from.ip(), source);
    rig.close(token);
    // A port of one's own choice.
    let free = TcpListener::bind((source, 0)).expect("127.0.0.2 can be bound");
    let own = free.local_addr().expect("a bound listener has an address");
    drop(free);
    let target = Connect {
        source: Some(own),
        ..target
    };
    let token = rig.driver.connect(&target).expect("the port is free");
    rig.connected(token).expect("the listener listens");
    let (_, from) = listener.accept().expect("a connection waits");
    assert_eq!(from, own);
    rig.close(token);
}

pub(crate) fn a_source_that_is_not_ours_is_refused<F: Fixture>() {
    let mut rig = RigOf::<F>::open::<F>(Sizes::default());
    // TEST-NET-3 (RFC 5737): no interface has it.
    let source = Some((Ipv4Addr::new(203, 0, 113, 1), 0).into());
    let target = Connect {
        addr: loopback(9),
        source,
        timeout: SECOND,
    };
    let error = rig
        .driver
        .connect(&target)
        .expect_err("not an address of this machine");
    assert!(error.to_string().contains("bind"), "{error}");
    assert_eq!(rig.driver.stats().attached, 0);
}
