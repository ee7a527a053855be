//! D5: closing is a protocol. D6: tokens carry a generation.

use std::io::{Read, Write};
use std::time::Duration;

use hioload_platform::{ChunkPool, Connect, Driver, Event, Segment};

use crate::guard;
use crate::net::Net;
use crate::rig::{Fixture, Rig, Sizes, about, queue_of};

/// What the driver itself keeps in flight.
fn settled<F: Fixture>(rig: &Rig<F>, idle: u64) {
    let stats = rig.driver.stats();
    assert_eq!((stats.attached, stats.in_flight), (0, idle), "{stats:?}");
}

pub(crate) fn a_close_awaits_a_receive_and_a_blocked_send<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let idle = rig.driver.stats().in_flight;
    let pool = ChunkPool::new();
    let (token, mut peer) = rig.pair();
    rig.driver.recv_start(token);
    let mut chunk = pool.take(16 << 20);
    chunk.append(&vec![3; 16 << 20]);
    rig.driver.send(token, &mut [Segment::Chunk(chunk)].into());
    rig.pump(Duration::from_millis(5));
    assert!(
        rig.driver.send_in_flight(token),
        "nobody reads: it can not be over"
    );
    assert_eq!(pool.out(), 1, "the kernel reads it");
    rig.driver.close(token);
    rig.driver.close(token);
    assert!(rig.sent(token).is_err(), "the send was cut short");
    rig.closed(token);
    assert_eq!(pool.out(), 0, "and its memory came back");
    settled::<F>(&rig, idle);
    guard::check();
    let mut rest = Vec::new();
    // The peer reads what was on its way, then an end or a reset.
    let _ = peer.read_to_end(&mut rest);
    assert!(rest.len() < 16 << 20);
    assert!(rest.iter().all(|&byte| byte == 3), "not memory used anew");
    rig.never(
        "an event after the close",
        Duration::from_millis(20),
        |_| true,
    );
    guard::check();
}

pub(crate) fn a_close_works_at_any_stage<F: Fixture>() {
    let sizes = Sizes {
        buffers: 1,
        buffer_size: 64,
        ..Sizes::default()
    };
    let mut rig = Rig::<F>::open(sizes);
    let idle = rig.driver.stats().in_flight;
    // Idle, and closed before the kernel heard of the receive.
    for _ in 0..2 {
        let (token, _peer) = rig.pair();
        rig.close(token);
        let (token, _peer) = rig.pair();
        rig.driver.recv_start(token);
        rig.close(token);
    }
    // Paused, with and without the cancel under way.
    for pump in [false, true] {
        let (token, _peer) = rig.pair();
        rig.driver.recv_start(token);
        rig.pump(Duration::ZERO);
        rig.driver.recv_pause(token);
        if pump {
            rig.pump(Duration::from_millis(1));
        }
        rig.close(token);
    }
    // Stalled by an empty pool.
    let (holder, mut peer) = rig.pair();
    rig.driver.recv_start(holder);
    peer.write_all(&[1; 200]).expect("the socket buffers");
    rig.until("an empty pool", |rig| rig.driver.stats().pool_exhausted > 0);
    let (stalled, _peer) = rig.pair();
    rig.driver.recv_start(stalled);
    rig.pump(Duration::from_millis(1));
    rig.close(stalled);
    rig.driver.close(holder);
    rig.log.clear();
    rig.closed(holder);
    settled::<F>(&rig, idle);
    drop(rig);
    guard::check();
}

pub(crate) fn a_connecting_socket_can_be_closed<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let idle = rig.driver.stats().in_flight;
    let (_full, addr) = rig.net.serve_nobody();
    for pump in [false, true] {
        let target = Connect {
            addr,
            source: None,
            timeout: 60_000_000_000,
        };
        let token = rig.driver.connect(&target).expect("room for a socket");
        if pump {
            rig.pump(Duration::from_millis(5));
        }
        rig.driver.close(token);
        assert!(rig.connected(token).is_err());
        rig.closed(token);
    }
    settled::<F>(&rig, idle);
}

pub(crate) fn a_stale_token_does_nothing_to_the_next_socket<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (old, _peer) = rig.pair();
    rig.close(old);
    rig.pump(Duration::ZERO);
    let (new, mut peer) = rig.pair();
    assert_eq!(
        new.slot(),
        old.slot(),
        "slots are reused, the last freed first"
    );
    assert_ne!(new.generation(), old.generation());
    rig.driver.recv_start(old);
    let mut queue = queue_of(&[b"for someone else"]);
    rig.driver.send(old, &mut queue);
    assert_eq!(queue.len(), 1);
    rig.driver.recv_pause(old);
    rig.driver.shutdown(old);
    rig.driver.close(old);
    assert_eq!(rig.driver.peer_addr(old), None);
    assert!(!rig.driver.send_in_flight(old));
    rig.never(
        "an event from a stale request",
        Duration::from_millis(20),
        |_| true,
    );
    rig.driver.recv_start(new);
    peer.write_all(b"mine").expect("the driver receives");
    assert_eq!(rig.receive(new, 4), b"mine");
}

pub(crate) fn slots_stay_dense_and_events_find_their_socket<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    for round in 0..200u32 {
        let mut pairs: Vec<_> = (0..5).map(|_| rig.pair()).collect();
        for (index, (token, peer)) in (0u32..).zip(&mut pairs) {
            assert!(token.slot() < 8, "slots stay dense");
            rig.driver.recv_start(*token);
            peer.write_all(&(round * 5 + index).to_le_bytes())
                .expect("the driver receives");
        }
        // Every other socket is closed with its bytes still on their way.
        for (index, (token, _)) in (0u32..).zip(&pairs) {
            if index % 2 == 0 {
                let bytes = rig.receive(*token, 4);
                assert_eq!(bytes, (round * 5 + index).to_le_bytes());
            }
        }
        for (token, _) in &pairs {
            rig.driver.close(*token);
        }
        for (token, _) in &pairs {
            let wanted =
                |event: &Event<_>| matches!(event, Event::Closed { token: t } if t == token);
            rig.expect("close", wanted);
        }
        let late = rig
            .log
            .drain(..)
            .filter(|event| !matches!(event, Event::Received { .. }));
        assert_eq!(late.filter_map(|event| about(&event)).count(), 0);
        // From this wait on the slots can be given out again.
        rig.pump(Duration::ZERO);
    }
    assert_eq!(rig.driver.stats().leases_out, 0);
    drop(rig);
    guard::check();
}

pub(crate) fn a_full_table_refuses<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes {
        sockets: 2,
        ..Sizes::default()
    });
    let (first, _one) = rig.pair();
    let (_second, _two) = rig.pair();
    let (socket, mut peer) = rig.net.pair();
    let refused = rig.driver.adopt(socket);
    assert!(
        matches!(
            refused,
            Err(hioload_platform::DriverError::TableFull { limit: 2 })
        ),
        "{refused:?}"
    );
    assert_eq!(
        peer.read(&mut [0; 1]).expect("an orderly end"),
        0,
        "the socket is closed"
    );
    rig.close(first);
    rig.pump(Duration::ZERO);
    rig.pair();
}

pub(crate) fn a_slot_is_not_reused_before_its_close_was_told<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (listener, addr) = rig.listen();
    for _ in 0..20 {
        let (old, _peer) = rig.pair();
        let _client = rig.net.connect(addr).expect("the backlog has room");
        rig.driver.close(old);
        let (mut accepted, mut closed) = (0, 0);
        while accepted + closed < 2 {
            let deadline = rig.driver.now() + 1_000_000_000;
            let mut events = Vec::new();
            rig.driver
                .wait(Some(deadline), &mut events)
                .expect("the driver goes on");
            for event in events {
                match event {
                    Event::Accepted {
                        listener: l,
                        socket,
                    } if l == listener => {
                        // Whatever the order of these two: the close of one wait
                        // frees no slot for another event of that wait.
                        let token = rig.driver.adopt(socket).expect("room");
                        assert!(closed > 0 || token.slot() != old.slot());
                        rig.driver.close(token);
                        accepted += 1;
                    }
                    Event::Closed { token } if token == old => closed += 1,
                    Event::Closed { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    rig.close(listener);
}
