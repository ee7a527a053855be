//! D1: dropping a driver cancels everything and frees nothing too early.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use hioload_platform::{ChunkPool, Connect, Driver, Segment};

use crate::guard;
use crate::net::Net;
use crate::rig::{Fixture, Rig, Sizes};

pub(crate) fn a_driver_can_be_dropped_with_everything_in_flight<F: Fixture>() {
    for pump in [false, true] {
        for zero_copy in [None, Some(1)] {
            drop_one::<F>(pump, zero_copy);
        }
    }
}

fn drop_one<F: Fixture>(pump: bool, zero_copy: Option<usize>) {
    let pool = ChunkPool::new();
    let sizes = Sizes {
        buffers: 2,
        buffer_size: 128,
        zero_copy,
        ..Sizes::default()
    };
    let mut rig = Rig::<F>::open(sizes);
    rig.listen();
    let (source, far) = rig.net.source();
    rig.driver.watch(source.into()).expect("room for a source");
    let (_full, addr) = rig.net.serve_nobody();
    let target = Connect {
        addr,
        source: None,
        timeout: 60_000_000_000,
    };
    rig.driver.connect(&target).expect("room for a socket");
    let mut peers = Vec::new();
    for index in 0..20 {
        let (token, mut peer) = rig.pair();
        rig.driver.recv_start(token);
        if index % 2 == 0 {
            peer.write_all(&[1; 1000]).expect("the socket buffers");
        }
        let mut chunk = pool.take(8 << 20);
        chunk.append(&vec![2; 8 << 20]);
        rig.driver.send(token, &mut [Segment::Chunk(chunk)].into());
        peers.push(peer);
    }
    if pump {
        rig.pump(Duration::from_millis(5));
        rig.pump(Duration::from_millis(5));
    }
    let start = Instant::now();
    drop(rig);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "took {:?}",
        start.elapsed()
    );
    assert_eq!(pool.out(), 0, "nothing had to be leaked");
    for mut peer in peers {
        // A receive left behind would take this.
        let _ = peer.write_all(&[4; 500]);
        let mut rest = Vec::new();
        // An end or a reset, but an end.
        let _ = peer.read_to_end(&mut rest);
        assert!(rest.len() < 8 << 20);
        assert!(rest.iter().all(|&byte| byte == 2), "not memory used anew");
    }
    drop(far);
    guard::check();
}

pub(crate) fn bytes_that_arrive_as_a_driver_is_dropped_touch_nothing_freed<F: Fixture>() {
    for _ in 0..10 {
        let sizes = Sizes {
            buffers: 128,
            ..Sizes::default()
        };
        let mut rig = Rig::<F>::open(sizes);
        let mut pairs: Vec<_> = (0..20).map(|_| rig.pair()).collect();
        for (token, _) in &pairs {
            rig.driver.recv_start(*token);
        }
        rig.pump(Duration::from_millis(1));
        // Armed, with buffers to fill: the kernel has begun before it is told
        // to stop.
        for (_, peer) in &mut pairs {
            peer.write_all(&[4; 500]).expect("the driver receives");
        }
        drop(rig);
        guard::check();
    }
}

pub(crate) fn a_driver_can_be_dropped_at_once<F: Fixture>() {
    for _ in 0..20 {
        drop(Rig::<F>::open(Sizes::default()));
    }
    guard::check();
}
