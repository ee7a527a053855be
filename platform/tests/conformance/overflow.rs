//! More completions than the completion queue holds, more requests than the
//! submission queue holds: nothing is lost.

use std::io::{Read, Write};
use std::time::Duration;

use hioload_platform::{Driver, Event};

use crate::net::Net;
use crate::rig::{Fixture, Rig, Sizes};

const TINY: Sizes = Sizes {
    buffers: 512,
    buffers_max: 0,
    shrink_after: 0,
    buffer_size: 64,
    leases_per_socket: 64,
    sockets: 1024,
    requests: 4,
    completions: 8,
    zero_copy: None,
};

pub(crate) fn completions_beyond_the_queue_arrive<F: Fixture>() {
    let mut rig = Rig::<F>::open(TINY);
    let mut pairs: Vec<_> = (0..100).map(|_| rig.pair()).collect();
    for (token, _) in &pairs {
        rig.driver.recv_start(*token);
    }
    rig.pump(Duration::ZERO);
    for round in 0..10u8 {
        // All of it completes at once, in one entry into the kernel.
        for (index, (_, peer)) in (0u8..).zip(&mut pairs) {
            peer.write_all(&[round, index])
                .expect("the driver receives");
        }
        for (index, (token, _)) in (0u8..).zip(&pairs) {
            assert_eq!(rig.receive(*token, 2), [round, index]);
        }
    }
    let stats = rig.driver.stats();
    assert_eq!(stats.cq_overflows > 0, F::COMPLETION_QUEUE, "{stats:?}");
    for (token, _) in &pairs {
        rig.driver.close(*token);
    }
    for (token, _) in &pairs {
        rig.closed(*token);
    }
}

pub(crate) fn requests_beyond_the_queue_are_kept<F: Fixture>() {
    let mut rig = Rig::<F>::open(TINY);
    let mut pairs: Vec<_> = (0..100).map(|_| rig.pair()).collect();
    for (token, _) in &pairs {
        rig.driver.recv_start(*token);
        rig.send(*token, b"request");
    }
    for (token, peer) in &mut pairs {
        assert_eq!(rig.sent(*token).expect("the peer receives"), 7);
        let mut got = [0; 7];
        peer.read_exact(&mut got).expect("the driver sends");
        assert_eq!(&got, b"request");
    }
    for (token, _) in &pairs {
        rig.driver.close(*token);
    }
    let mut left = pairs.len();
    rig.until("all closed", |rig| {
        left -= rig
            .log
            .drain(..)
            .filter(|event| matches!(event, Event::Closed { .. }))
            .count();
        left == 0
    });
}

pub(crate) fn a_wait_is_bounded_and_a_backlog_does_not_block<F: Fixture>() {
    const SOCKETS: usize = 1500;
    let _alone = crate::rig::heavy();
    let mut rig = Rig::<F>::open(Sizes {
        completions: 4096,
        ..Sizes::default()
    });
    let (listener, addr) = rig.listen();
    let peers: Vec<_> = (0..SOCKETS)
        .map(|_| rig.net.connect(addr).expect("the backlog has room"))
        .collect();
    let mut accepted = 0;
    let mut events = Vec::new();
    while accepted < SOCKETS {
        events.clear();
        // No deadline: it returns because there is something.
        rig.driver
            .wait(None, &mut events)
            .expect("the driver goes on");
        assert!(
            events.len() <= <F::Driver as Driver>::BATCH,
            "{} events",
            events.len()
        );
        accepted += events.len();
    }
    assert_eq!(accepted, peers.len());
    drop(events);
    rig.close(listener);
}
