//! D2: accepting is a stream. D10: what it yields may be adopted anywhere.

use std::io::{Read, Write};
use std::time::Duration;

use hioload_platform::{Driver, Event, Listener};

use crate::net::{Net, Peer};
use crate::os::{Os, is_inherited, loopback};
use crate::rig::{Fixture, Rig, Sizes};

pub(crate) fn an_accepted_socket_echoes<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (listener, addr) = rig.listen();
    let mut peer = rig.net.connect(addr).expect("the listener listens");
    let socket = rig.accepted(listener);
    let token = rig.driver.adopt(socket).expect("room for a socket");
    assert_eq!(rig.driver.peer_addr(token), Some(peer.local_addr()));
    rig.driver.recv_start(token);
    peer.write_all(b"hello").expect("the driver receives");
    let bytes = rig.receive(token, 5);
    rig.send(token, &bytes);
    assert_eq!(rig.sent(token).expect("the peer receives"), 5);
    let mut back = [0; 5];
    peer.read_exact(&mut back).expect("the driver sends");
    assert_eq!(&back, b"hello");
    rig.close(token);
    rig.close(listener);
    assert_eq!(rig.driver.stats().attached, 0);
}

pub(crate) fn one_listener_yields_many_sockets<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (listener, addr) = rig.listen();
    for round in 0..3 {
        let peers: Vec<_> = (0..100)
            .map(|_| rig.net.connect(addr).expect("the backlog has room"))
            .collect();
        for _ in &peers {
            drop(rig.accepted(listener));
        }
        assert!(rig.log.is_empty(), "round {round}: {:?}", rig.log);
    }
}

pub(crate) fn an_accepted_socket_keeps_nodelay_and_closes_on_exec<F: Fixture<Net = Os>>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (listener, addr) = rig.listen();
    let _peer = rig.net.connect(addr).expect("the listener listens");
    let socket = rig.accepted(listener);
    let stream = socket2::SockRef::from(&socket);
    assert!(
        stream.tcp_nodelay().expect("a TCP option"),
        "inherited from the listener"
    );
    assert!(!is_inherited(&socket), "closed on exec");
}

pub(crate) fn an_accepted_socket_is_adopted_by_another_thread<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (listener, addr) = rig.listen();
    let mut peer = rig.net.connect(addr).expect("the listener listens");
    let socket = rig.accepted(listener);
    let net = rig.net.clone();
    let other = std::thread::spawn(move || {
        let mut rig = Rig::<F>::join(&net, Sizes::default());
        let token = rig.driver.adopt(socket).expect("room for a socket");
        rig.driver.recv_start(token);
        let bytes = rig.receive(token, 4);
        rig.send(token, &bytes);
        rig.sent(token).expect("the peer receives");
        rig.close(token);
    });
    peer.write_all(b"over").expect("the other driver receives");
    let mut back = Vec::new();
    peer.read_to_end(&mut back)
        .expect("the other driver sends and closes");
    assert_eq!(back, b"over");
    other.join().expect("the other thread is content");
}

pub(crate) fn a_socket_reset_before_it_was_accepted_does_not_stop_the_listener<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (listener, addr) = rig.net.bind();
    for _ in 0..8 {
        let peer = rig.net.connect(addr).expect("the backlog has room");
        peer.reset();
    }
    let listener = rig.driver.listen(listener).expect("room for a listener");
    let good = rig.net.connect(addr).expect("the backlog has room");
    let wanted = Some(good.local_addr());
    rig.until("the good socket", |rig| {
        rig.log.drain(..).any(|event| match event {
            Event::Accepted { socket, .. } => F::Net::remote_addr(&socket) == wanted,
            _ => false,
        })
    });
    rig.close(listener);
}

pub(crate) fn a_closed_listener_accepts_nothing<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (listener, addr) = rig.listen();
    rig.pump(Duration::ZERO);
    rig.close(listener);
    assert!(
        rig.net.connect(addr).is_err(),
        "nothing listens there any more"
    );
    rig.never(
        "an event of a closed listener",
        Duration::from_millis(20),
        |_| true,
    );
}

/// The kernel would reset them. Windows does, see `compio/system/windows.rs`.
#[cfg(unix)]
pub(crate) fn what_waits_at_a_listener_that_closes_is_accepted<F: Fixture>() {
    const COUNT: usize = 100;
    let mut rig = Rig::<F>::open(Sizes::default());
    let (listener, addr) = rig.listen();
    // It accepts, but is not asked for what it has accepted.
    rig.pump(Duration::ZERO);
    let mut peers: Vec<_> = (0..COUNT)
        .map(|_| rig.net.connect(addr).expect("the backlog has room"))
        .collect();
    rig.driver.close(listener);
    let mut sockets = Vec::new();
    for _ in 0..COUNT {
        sockets.push(rig.accepted(listener));
    }
    rig.until("the end of the listener", |rig| {
        rig.log
            .drain(..)
            .any(|event| matches!(event, Event::Closed { token } if token == listener))
    });
    for socket in sockets {
        let token = rig.driver.adopt(socket).expect("room for a socket");
        rig.send(token, b"late");
        assert_eq!(rig.sent(token).expect("the peer receives"), 4);
        rig.close(token);
    }
    for peer in &mut peers {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).expect("it was not reset");
        assert_eq!(bytes, b"late");
    }
}

pub(crate) fn a_non_blocking_listener_is_served<F: Fixture<Net = Os>>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let listener = std::net::TcpListener::bind(loopback(0)).expect("loopback can be bound");
    listener
        .set_nonblocking(true)
        .expect("a listener may be non-blocking");
    let addr = listener
        .local_addr()
        .expect("a bound listener has an address");
    let listener = rig
        .driver
        .listen(Listener::from(listener))
        .expect("room for a listener");
    rig.pump(Duration::from_millis(5));
    let _peer = rig.net.connect(addr).expect("the listener listens");
    drop(rig.accepted(listener));
    // It waits in the kernel, it does not spin.
    let before = rig.driver.stats().enters;
    rig.pump(Duration::from_millis(20));
    assert!(
        rig.driver.stats().enters - before < 5,
        "{:?}",
        rig.driver.stats()
    );
    rig.close(listener);
}
