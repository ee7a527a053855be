//! D4: one send in flight, of a list, continued until all is taken.

use std::collections::VecDeque;
use std::io::Read;
use std::time::Duration;

use hioload_platform::{ChunkPool, Driver, Frame, Segment};

use crate::net::{Net, Peer};
use crate::rig::{Fixture, Rig, Sizes, pattern, queue_of};

pub(crate) fn a_second_send_waits_for_the_first<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, mut peer) = rig.pair();
    let mut first = queue_of(&[b"first "]);
    rig.driver.send(token, &mut VecDeque::new());
    assert!(
        !rig.driver.send_in_flight(token),
        "an empty queue is no send"
    );
    rig.driver.send(token, &mut first);
    assert!(rig.driver.send_in_flight(token));
    let mut second = queue_of(&[b"second"]);
    rig.driver.send(token, &mut second);
    assert_eq!(second.len(), 1, "left alone");
    assert_eq!(rig.sent(token).expect("the peer receives"), 6);
    assert!(!rig.driver.send_in_flight(token));
    rig.driver.send(token, &mut second);
    assert_eq!(rig.sent(token).expect("the peer receives"), 6);
    let mut got = [0; 12];
    peer.read_exact(&mut got).expect("the driver sends");
    assert_eq!(&got, b"first second");
}

pub(crate) fn a_slow_reader_gets_every_byte_of_a_large_send<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (socket, mut peer) = rig.net.pair();
    F::Net::narrow(&socket, &peer);
    let token = rig.driver.adopt(socket).expect("room for a socket");
    let bytes = pattern(6 << 20, 11);
    let mut queue: VecDeque<_> = bytes
        .chunks(100_003)
        .map(|part| Segment::Frame(Frame::from(part.to_vec())))
        .collect();
    let reader = std::thread::spawn(move || {
        let (mut all, mut part) = (Vec::new(), vec![0; 7000]);
        loop {
            match peer.read(&mut part).expect("the driver sends") {
                0 => return all,
                len => all.extend_from_slice(&part[..len]),
            }
            std::thread::yield_now();
        }
    });
    let mut total = 0;
    while !queue.is_empty() {
        let before = queue.len();
        rig.driver.send(token, &mut queue);
        assert!(
            queue.len() < before,
            "an operation takes at least one segment"
        );
        total += rig.sent(token).expect("the reader reads");
        assert!(rig.log.is_empty(), "one event per send: {:?}", rig.log);
    }
    assert_eq!(total, bytes.len());
    rig.driver.shutdown(token);
    // The simulation's time passes only here, and the end comes behind all bytes.
    while !reader.is_finished() {
        rig.pump(Duration::from_millis(1));
    }
    assert!(
        reader.join().expect("the reader ends") == bytes,
        "byte for byte"
    );
    rig.close(token);
}

pub(crate) fn many_segments_arrive_in_order<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, mut peer) = rig.pair();
    let pool = ChunkPool::new();
    let mut expected = Vec::new();
    let mut queue = VecDeque::new();
    for index in 0..300u32 {
        let bytes = pattern((index as usize * 37) % 900, index + 1);
        if index % 5 == 0 {
            let skipped = bytes.len() / 2;
            expected.extend_from_slice(&bytes[skipped..]);
            queue.push_back(Segment::Frame(Frame::from(bytes).tail(skipped)));
            continue;
        }
        expected.extend_from_slice(&bytes);
        if index % 3 == 0 {
            queue.push_back(Segment::Frame(Frame::from(bytes)));
        } else {
            let mut chunk = pool.take(900);
            assert_eq!(chunk.append(&bytes), bytes.len());
            queue.push_back(Segment::Chunk(chunk));
        }
    }
    let len = expected.len();
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; len];
        peer.read_exact(&mut got).map(|()| got)
    });
    while !queue.is_empty() {
        rig.driver.send(token, &mut queue);
        rig.sent(token).expect("the peer receives");
    }
    assert!(
        reader
            .join()
            .expect("the reader ends")
            .expect("the driver sends")
            == expected
    );
    assert_eq!(pool.out(), 0, "every chunk came back");
}

pub(crate) fn a_send_to_a_gone_peer_fails<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, peer) = rig.pair();
    peer.reset();
    let start = std::time::Instant::now();
    loop {
        assert!(
            start.elapsed() < crate::rig::PATIENCE,
            "a reset peer takes everything"
        );
        rig.driver.send(token, &mut queue_of(&[b"anyone?"]));
        if rig.sent(token).is_err() {
            break;
        }
    }
    rig.close(token);
}

pub(crate) fn the_end_follows_the_last_byte<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, mut peer) = rig.pair();
    let bytes = pattern(3 << 20, 13);
    rig.send(token, &bytes);
    rig.driver.shutdown(token);
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).map(|_| got)
    });
    assert_eq!(rig.sent(token).expect("the peer reads"), bytes.len());
    assert!(
        reader
            .join()
            .expect("the reader ends")
            .expect("an orderly end")
            == bytes
    );
    rig.close(token);
}

pub(crate) fn empty_segments_do_no_harm<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, mut peer) = rig.pair();
    rig.send(token, b"");
    assert_eq!(rig.sent(token).expect("nothing to send"), 0);
    let mut queue = queue_of(&[b"", b"a", b"", b"", b"b", b""]);
    rig.driver.send(token, &mut queue);
    assert_eq!(rig.sent(token).expect("the peer receives"), 2);
    let mut got = [0; 2];
    peer.read_exact(&mut got).expect("the driver sends");
    assert_eq!(&got, b"ab");
}
