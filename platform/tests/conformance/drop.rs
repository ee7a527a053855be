//! D1: dropping a driver cancels everything and frees nothing too early.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use hioload_platform::{ChunkPool, Connect, Driver, Segment};

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
    rig.driver.watch(source).expect("room for a source");
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
    assert_eq!(pool.stats().out, 0, "nothing had to be leaked");
    for mut peer in peers {
        let mut rest = Vec::new();
        // An end or a reset, but an end.
        let _ = peer.read_to_end(&mut rest);
        assert!(rest.len() < 8 << 20);
    }
    drop(far);
}

pub(crate) fn a_driver_can_be_dropped_at_once<F: Fixture>() {
    for _ in 0..20 {
        drop(Rig::<F>::open(Sizes::default()));
    }
}
