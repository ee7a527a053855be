//! D10: connecting, with a source address and a timeout.

use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;

use hioload_platform::{Connect, Driver};

use crate::net::Net;
use crate::os::loopback;
use crate::rig::{Fixture, Rig, Sizes};

const SECOND: u64 = 1_000_000_000;

pub(crate) fn a_connection_is_made_and_used<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (server, addr) = rig.net.serve(None);
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
    let (mut peer, _) = rig.net.accept(&server);
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
    let mut rig = Rig::<F>::open(Sizes::default());
    let (gone, addr) = rig.net.serve(None);
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
    let mut rig = Rig::<F>::open(Sizes::default());
    let (_full, addr) = rig.net.serve_nobody();
    let due = rig.driver.now() + SECOND / 20;
    let target = Connect {
        addr,
        source: None,
        timeout: SECOND / 20,
    };
    let token = rig.driver.connect(&target).expect("room for a socket");
    let error = rig.connected(token).expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let late = rig.driver.now().checked_sub(due);
    assert!(late.expect("not before its time") <= F::LATENESS);
    rig.close(token);
}

pub(crate) fn a_connection_comes_from_its_source_address<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let source = Ipv4Addr::new(127, 0, 0, 2);
    let (server, addr) = rig.net.serve(None);
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
    let (_peer, from) = rig.net.accept(&server);
    assert_eq!(from.ip(), source);
    rig.close(token);
    // A port of one's own choice.
    let (free, own) = rig.net.serve(Some((source, 0).into()));
    drop(free);
    let target = Connect {
        source: Some(own),
        ..target
    };
    let token = rig.driver.connect(&target).expect("the port is free");
    rig.connected(token).expect("the listener listens");
    let (_peer, from) = rig.net.accept(&server);
    assert_eq!(from, own);
    rig.close(token);
}

pub(crate) fn a_source_that_is_not_ours_is_refused<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
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
