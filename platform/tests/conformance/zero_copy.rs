//! Zero-copy sends: the memory stays until the kernel has let go of it.

use std::io::Read;
use std::time::Duration;

use hioload_platform::{ChunkPool, Driver, Frame, Segment};

use crate::rig::{Fixture, Rig, Sizes, pattern};

pub(crate) fn a_copied_zero_copy_send_is_the_last<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes {
        zero_copy: Some(1),
        ..Sizes::default()
    });
    let idle = rig.driver.stats().in_flight;
    let pool = ChunkPool::new();
    let (token, mut peer) = rig.pair();
    let mut expected = Vec::new();
    let bytes = pattern(60_000, 17);
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).map(|_| got)
    });
    for round in 0..6 {
        let mut chunk = pool.take(bytes.len());
        chunk.append(&bytes);
        expected.extend_from_slice(&bytes);
        let mut queue = [Segment::Chunk(chunk)].into();
        if round % 2 == 1 {
            std::collections::VecDeque::push_back(
                &mut queue,
                Segment::Frame(Frame::from(bytes.clone())),
            );
            expected.extend_from_slice(&bytes);
        }
        rig.driver.send(token, &mut queue);
        rig.sent(token).expect("the peer reads");
    }
    rig.until("all memory released", |rig| {
        rig.driver.stats().in_flight == idle && pool.out() == 0
    });
    let copied = rig.driver.stats().zc_copied;
    assert!(copied >= 1, "loopback copies");
    // Switched off: not one more report, however much is sent.
    for _ in 0..5 {
        expected.extend_from_slice(&bytes);
        rig.send(token, &bytes);
        rig.sent(token).expect("the peer reads");
    }
    assert_eq!(rig.driver.stats().zc_copied, copied);
    rig.close(token);
    assert!(
        reader
            .join()
            .expect("the reader ends")
            .expect("the driver sends")
            == expected
    );
}

pub(crate) fn a_close_does_not_wait_for_a_peer_to_acknowledge<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes {
        zero_copy: Some(1),
        ..Sizes::default()
    });
    let pool = ChunkPool::new();
    let (token, mut peer) = rig.pair();
    let mut chunk = pool.take(16 << 20);
    chunk.append(&vec![8; 16 << 20]);
    rig.driver.send(token, &mut [Segment::Chunk(chunk)].into());
    rig.pump(Duration::from_millis(5));
    assert_eq!(pool.out(), 1, "the kernel reads it");
    rig.driver.close(token);
    assert!(rig.sent(token).is_err(), "the send was cut short");
    rig.closed(token);
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        let _ = peer.read_to_end(&mut got);
        got
    });
    rig.until("the memory released", |_| pool.out() == 0);
    let got = reader.join().expect("the reader ends");
    assert!(
        got.iter().all(|&byte| byte == 8),
        "what arrived was not overwritten"
    );
}
