//! D3: an empty pool is backpressure, and nobody takes all of it.

use std::io::Write;
use std::time::{Duration, Instant};

use hioload_platform::{Driver, Event, Lease, Nanos, Token};

use crate::net::Peer;
use crate::rig::{Fixture, Rig, Sizes, pattern};

/// Moves what was received to `held`; `bytes` collects it per socket.
fn hold<F: Fixture>(rig: &mut Rig<F>, held: &mut Vec<Lease>, mut take: impl FnMut(Token, &[u8])) {
    for event in rig.log.drain(..) {
        match event {
            Event::Received { token, lease } => {
                take(token, &lease);
                held.push(lease);
            }
            other => panic!("an empty pool is no event for a socket: {other:?}"),
        }
    }
}

pub(crate) fn an_empty_pool_stalls_and_returned_leases_resume<F: Fixture>() {
    let sizes = Sizes {
        buffers: 4,
        buffer_size: 1024,
        leases_per_socket: 4,
        ..Sizes::default()
    };
    let mut rig = Rig::<F>::open(sizes);
    let mut pairs: Vec<_> = (0..16).map(|_| rig.pair()).collect();
    let mut received = vec![Vec::new(); pairs.len()];
    let sent: Vec<_> = (0..16).map(|seed| pattern(20_000, 2 * seed + 1)).collect();
    for ((token, peer), bytes) in pairs.iter_mut().zip(&sent) {
        peer.write_all(bytes).expect("the socket buffers");
        rig.driver.recv_start(*token);
    }
    let slots: Vec<_> = pairs.iter().map(|(token, _)| *token).collect();
    let start = Instant::now();
    let mut held = Vec::new();
    while received.iter().map(Vec::len).sum::<usize>() < 16 * 20_000 {
        assert!(
            start.elapsed() < crate::rig::PATIENCE,
            "{:?}",
            rig.driver.stats()
        );
        // Leases are held until nothing comes any more: the pool is empty.
        loop {
            rig.pump(Duration::from_millis(2));
            if rig.log.is_empty() {
                break;
            }
            hold(&mut rig, &mut held, |token, bytes| {
                let index = slots
                    .iter()
                    .position(|&slot| slot == token)
                    .expect("one of ours");
                received[index].extend_from_slice(bytes);
            });
        }
        held.clear();
    }
    assert!(received == sent, "every socket got its bytes in order");
    let stats = rig.driver.stats();
    assert!(stats.pool_exhausted > 0, "{stats:?}");
    assert_eq!(stats.leases_out, 0);
}

pub(crate) fn a_returned_lease_resumes_at_once<F: Fixture>() {
    let sizes = Sizes {
        buffers: 1,
        buffer_size: 512,
        ..Sizes::default()
    };
    let mut rig = Rig::<F>::open(sizes);
    let (token, mut peer) = rig.pair();
    peer.write_all(&[1; 1024]).expect("the socket buffers");
    rig.driver.recv_start(token);
    let mut held = Vec::new();
    rig.until("an empty pool", |rig| {
        hold(rig, &mut held, |_, _| ());
        rig.driver.stats().pool_exhausted > 0
    });
    rig.pump(Duration::from_millis(5));
    hold(&mut rig, &mut held, |_, _| ());
    let enters = rig.driver.stats().enters;
    rig.never(
        "bytes from an empty pool",
        Duration::from_millis(30),
        |_| true,
    );
    assert!(
        rig.driver.stats().enters - enters < 5,
        "a stalled stream is not polled"
    );
    held.clear();
    let mut events = Vec::new();
    // No deadline: nothing but the returned lease can end this wait.
    rig.driver
        .wait(None, &mut events)
        .expect("the driver goes on");
    assert!(
        matches!(events[..], [Event::Received { .. }, ..]),
        "{events:?}"
    );
}

pub(crate) fn one_greedy_socket_is_capped<F: Fixture>() {
    const CAP: u32 = 8;
    // What a receive may deliver before the driver sees that it is too much.
    const BURST: usize = 64;
    let sizes = Sizes {
        buffers: 256,
        buffer_size: 512,
        leases_per_socket: CAP,
        ..Sizes::default()
    };
    let mut rig = Rig::<F>::open(sizes);
    let (greedy, mut flood) = rig.pair();
    let (modest, mut trickle) = rig.pair();
    flood.never_block();
    rig.driver.recv_start(greedy);
    rig.driver.recv_start(modest);
    let (mut greedy_bytes, mut modest_bytes) = (0, 0);
    let mut held = Vec::new();
    for round in 0..40 {
        // As much as the socket takes; the rest would block.
        while flood.write(&[7; 4096]).is_ok() {}
        if round % 2 == 1 {
            trickle.write_all(b"hi").expect("the socket buffers");
        }
        rig.pump(Duration::from_millis(2));
        hold(&mut rig, &mut held, |token, bytes| {
            *(if token == greedy {
                &mut greedy_bytes
            } else {
                &mut modest_bytes
            }) += bytes.len();
        });
    }
    assert!(
        greedy_bytes <= (CAP as usize + BURST) * 512,
        "greedy got {greedy_bytes} bytes"
    );
    let stats = rig.driver.stats();
    assert!(stats.lease_capped >= 1, "{stats:?}");
    // The modest one holds leases too, and at most its share.
    assert!(
        modest_bytes >= 2 * CAP as usize,
        "modest got {modest_bytes} bytes; {stats:?}"
    );
    held.clear();
    let before = greedy_bytes;
    rig.until("the greedy one resumed", |rig| {
        hold(rig, &mut held, |token, bytes| {
            *(if token == greedy {
                &mut greedy_bytes
            } else {
                &mut modest_bytes
            }) += bytes.len();
        });
        held.clear();
        greedy_bytes > before + 128 * 512 && modest_bytes == 40
    });
}

pub(crate) fn buffers_of_closed_sockets_come_back<F: Fixture>() {
    let sizes = Sizes {
        buffers: 4,
        buffer_size: 512,
        ..Sizes::default()
    };
    let mut rig = Rig::<F>::open(sizes);
    for round in 0..100 {
        let (token, mut peer) = rig.pair();
        rig.driver.recv_start(token);
        peer.write_all(&[9; 700]).expect("the socket buffers");
        if round % 2 == 0 {
            rig.pump(Duration::ZERO);
        }
        rig.driver.close(token);
        rig.until("closed", |rig| {
            let closed = rig
                .log
                .iter()
                .any(|event| matches!(event, Event::Closed { .. }));
            rig.log.clear();
            closed
        });
    }
    let (token, mut peer) = rig.pair();
    rig.driver.recv_start(token);
    peer.write_all(&[5; 4096]).expect("the socket buffers");
    assert_eq!(rig.receive(token, 4096), [5; 4096]);
    let stats = rig.driver.stats();
    assert_eq!((stats.leases_out, stats.recv_buffers), (0, 4), "{stats:?}");
}

pub(crate) fn a_lease_outlives_its_socket_and_its_driver<F: Fixture>() {
    let sizes = Sizes {
        buffers: 2,
        buffer_size: 512,
        leases_per_socket: 1,
        ..Sizes::default()
    };
    let mut rig = Rig::<F>::open(sizes);
    let (token, mut peer) = rig.pair();
    rig.driver.recv_start(token);
    peer.write_all(b"kept").expect("the driver receives");
    let received = |event: &Event<_>| matches!(event, Event::Received { .. });
    let Event::Received { lease, .. } = rig.expect("bytes", received) else {
        panic!("these are bytes")
    };
    rig.close(token);
    // The slot's next occupant is not charged for ever.
    rig.pump(Duration::ZERO);
    let (next, mut peer) = rig.pair();
    assert_eq!(next.slot(), token.slot());
    rig.driver.recv_start(next);
    peer.write_all(b"next").expect("the driver receives");
    let second = rig.expect("bytes", received);
    assert_eq!(&lease[..], b"kept");
    drop(second);
    drop(rig);
    assert_eq!(&lease[..], b"kept");
}

const GROWING: Sizes = Sizes {
    buffers: 2,
    buffers_max: 16,
    shrink_after: 20_000_000,
    buffer_size: 512,
    leases_per_socket: 4,
    sockets: 1 << 16,
    requests: 256,
    completions: 2048,
    zero_copy: None,
};

pub(crate) fn a_pool_that_runs_dry_grows_to_its_bound_and_stalls_only_then<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes {
        // It does not shrink while this looks.
        shrink_after: Nanos::MAX,
        ..GROWING
    });
    assert_eq!(rig.driver.stats().recv_buffers, 2);
    let mut pairs: Vec<_> = (0..24).map(|_| rig.pair()).collect();
    let mut received = 0;
    let mut held = Vec::new();
    for (token, peer) in &mut pairs {
        rig.driver.recv_start(*token);
        peer.write_all(&[3; 512]).expect("the socket buffers");
    }
    rig.until("a full-grown pool", |rig| {
        hold(rig, &mut held, |_, bytes| received += bytes.len());
        rig.driver.stats().recv_buffers == 16 && held.len() >= 16
    });
    rig.never("bytes beyond the bound", Duration::from_millis(20), |_| {
        true
    });
    let stats = rig.driver.stats();
    assert_eq!(stats.recv_buffer_bytes, 16 * 512, "{stats:?}");
    assert_eq!((stats.recv_peak, stats.recv_grown), (16, 3), "{stats:?}");
    assert!(stats.pool_exhausted > 0, "{stats:?}");
    held.clear();
    rig.until("everything arrived", |rig| {
        hold(rig, &mut held, |_, bytes| received += bytes.len());
        held.clear();
        received == 24 * 512
    });
}

pub(crate) fn a_quiet_pool_shrinks_and_armed_receives_go_on<F: Fixture>() {
    let mut rig = Rig::<F>::open(GROWING);
    let mut pairs: Vec<_> = (0..12).map(|_| rig.pair()).collect();
    for round in 0..3_u8 {
        let mut held = Vec::new();
        for (token, peer) in &mut pairs {
            rig.driver.recv_start(*token);
            peer.write_all(&[round; 512]).expect("the socket buffers");
        }
        let mut received = 0;
        rig.until("a grown pool", |rig| {
            hold(rig, &mut held, |_, bytes| {
                assert!(bytes.iter().all(|&byte| byte == round));
                received += bytes.len();
            });
            received == 12 * 512
        });
        let stats = rig.driver.stats();
        assert!(stats.recv_buffers > 8, "{stats:?}");
        rig.never(
            "a smaller pool while it is used",
            Duration::from_millis(60),
            |_| true,
        );
        assert!(rig.driver.stats().recv_buffers > 8);
        held.clear();
        // It needs nobody to ask: no bytes, no requests.
        rig.until("a pool as small as it was", |rig| {
            rig.driver.stats().recv_buffers == 2
        });
        assert!(rig.driver.stats().recv_shrunk >= 2 * (u64::from(round) + 1));
    }
    // They were armed before the buffers were replaced.
    for (token, peer) in &mut pairs {
        peer.write_all(b"still there").expect("the driver receives");
        assert_eq!(rig.receive(*token, 11), b"still there");
    }
}
