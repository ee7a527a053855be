//! D3: receiving is a stream.

use std::io::{Read, Write};
use std::time::Duration;

use hioload_platform::{Driver, Event, RecvEnd, Socket};

use crate::net::{Net, Peer};
use crate::os::{Os, Owned};
use crate::rig::{EventOf, Fixture, Rig, Sizes, pattern};

const QUIET: Duration = Duration::from_millis(20);

pub(crate) fn nothing_is_received_before_it_is_asked_for<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, mut peer) = rig.pair();
    peer.write_all(b"early").expect("the socket buffers");
    rig.never("an event", QUIET, |_| true);
    rig.driver.recv_start(token);
    assert_eq!(rig.receive(token, 5), b"early");
}

pub(crate) fn a_long_stream_arrives_whole_and_in_order<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes {
        buffer_size: 1500,
        ..Sizes::default()
    });
    let (token, mut peer) = rig.pair();
    let bytes = pattern(8 << 20, 7);
    rig.driver.recv_start(token);
    let sender = std::thread::spawn({
        let bytes = bytes.clone();
        move || {
            for piece in bytes.chunks(9973) {
                peer.write_all(piece).expect("the driver receives");
            }
        }
    });
    let received = rig.receive(token, bytes.len());
    assert!(received == bytes, "the bytes are those that were sent");
    assert!(matches!(rig.end(token), RecvEnd::Eof));
    sender.join().expect("the sender ends");
    assert_eq!(rig.driver.stats().leases_out, 0);
}

pub(crate) fn many_small_messages_of_many_sockets_keep_their_order<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes {
        buffer_size: 256,
        ..Sizes::default()
    });
    let mut pairs: Vec<_> = (0..20).map(|_| rig.pair()).collect();
    for (token, _) in &pairs {
        rig.driver.recv_start(*token);
    }
    for round in 0..50u8 {
        for (index, (_, peer)) in (0u8..).zip(&mut pairs) {
            peer.write_all(&[index, round, 1, 2, 3])
                .expect("the driver receives");
        }
        for (index, (token, _)) in (0u8..).zip(&pairs) {
            assert_eq!(rig.receive(*token, 5), [index, round, 1, 2, 3]);
        }
    }
}

pub(crate) fn the_end_comes_after_the_bytes_and_sending_goes_on<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, mut peer) = rig.pair();
    rig.driver.recv_start(token);
    peer.write_all(b"last words").expect("the driver receives");
    peer.shutdown();
    assert_eq!(rig.receive(token, 10), b"last words");
    assert!(matches!(rig.end(token), RecvEnd::Eof));
    rig.driver.recv_start(token);
    rig.never("an event after the end", QUIET, |_| true);
    rig.send(token, b"answer");
    assert_eq!(rig.sent(token).expect("the other direction is open"), 6);
    rig.driver.shutdown(token);
    let mut back = Vec::new();
    peer.read_to_end(&mut back)
        .expect("the driver sends and ends");
    assert_eq!(back, b"answer");
    rig.close(token);
}

pub(crate) fn a_reset_is_a_failure<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, peer) = rig.pair();
    rig.driver.recv_start(token);
    rig.pump(Duration::ZERO);
    peer.reset();
    match rig.end(token) {
        RecvEnd::Failed(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        RecvEnd::Eof => panic!("a reset is not an orderly end"),
    }
    rig.close(token);
}

pub(crate) fn a_paused_stream_is_silent_and_loses_nothing<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, mut peer) = rig.pair();
    rig.driver.recv_start(token);
    peer.write_all(b"one").expect("the driver receives");
    assert_eq!(rig.receive(token, 3), b"one");
    rig.driver.recv_pause(token);
    rig.pump(Duration::from_millis(5));
    peer.write_all(b"two").expect("the socket buffers");
    rig.never("bytes while paused", QUIET, |_| true);
    rig.driver.recv_start(token);
    assert_eq!(rig.receive(token, 3), b"two");
    peer.write_all(b"three").expect("the driver receives");
    assert_eq!(rig.receive(token, 5), b"three");
}

pub(crate) fn a_stream_resumed_while_its_pause_is_under_way_runs<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, mut peer) = rig.pair();
    let bytes = pattern(300 * 64, 3);
    let mut received = Vec::new();
    for (round, piece) in bytes.chunks(64).enumerate() {
        rig.driver.recv_start(token);
        peer.write_all(piece).expect("the driver receives");
        match round % 3 {
            0 => rig.driver.recv_pause(token),
            1 => {
                rig.pump(Duration::ZERO);
                rig.driver.recv_pause(token);
            }
            _ => {
                rig.driver.recv_pause(token);
                rig.pump(Duration::ZERO);
            }
        }
        rig.driver.recv_start(token);
        rig.pump(Duration::ZERO);
    }
    received.extend(rig.receive(token, bytes.len()));
    assert!(received == bytes, "the bytes are those that were sent");
}

pub(crate) fn a_non_blocking_socket_is_served<F: Fixture<Net = Os>>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (socket, mut peer) = rig.net.pair();
    let stream = std::net::TcpStream::from(Owned::from(socket));
    stream
        .set_nonblocking(true)
        .expect("a socket may be non-blocking");
    let token = rig
        .driver
        .adopt(Socket::from(stream))
        .expect("room for a socket");
    rig.driver.recv_start(token);
    rig.pump(Duration::from_millis(5));
    peer.write_all(b"later").expect("the driver receives");
    assert_eq!(rig.receive(token, 5), b"later");
    let before = rig.driver.stats().enters;
    rig.pump(QUIET);
    assert!(
        rig.driver.stats().enters - before < 5,
        "it does not spin: {:?}",
        rig.driver.stats()
    );
    // More than the socket takes at once.
    let bytes = pattern(4 << 20, 5);
    rig.send(token, &bytes);
    let reader = std::thread::spawn(move || {
        let mut back = vec![0; 4 << 20];
        peer.read_exact(&mut back).map(|()| back)
    });
    assert_eq!(rig.sent(token).expect("the peer reads"), bytes.len());
    assert!(
        reader
            .join()
            .expect("the reader ends")
            .expect("the driver sends")
            == bytes
    );
}

pub(crate) fn received_bytes_may_be_changed_in_place<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes {
        buffers: 2,
        buffer_size: 64,
        ..Sizes::default()
    });
    let (token, mut peer) = rig.pair();
    rig.driver.recv_start(token);
    for round in 0..100u8 {
        let sent = [0u8, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|index| round.wrapping_mul(31) ^ index);
        peer.write_all(&sent).expect("the driver receives");
        let mut got = Vec::new();
        while got.len() < sent.len() {
            let received = |event: &EventOf<F>| matches!(event, Event::Received { .. });
            let Event::Received { mut lease, .. } = rig.expect("bytes", received) else {
                continue;
            };
            for byte in lease.iter_mut() {
                *byte ^= 0xff;
            }
            got.extend(lease.iter().map(|byte| byte ^ 0xff));
        }
        assert_eq!(got, sent);
    }
}

pub(crate) fn a_reset_behind_unread_bytes_is_noticed<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (before, mut peer) = rig.pair();
    peer.write_all(b"bytes").expect("the socket buffers");
    peer.reset();
    rig.driver.recv_start(before);
    assert_eq!(rig.receive(before, 5), b"bytes");
    assert!(matches!(rig.end(before), RecvEnd::Failed(_)));
    // Armed already, and both arrive before the receive has run.
    let (armed, mut peer) = rig.pair();
    rig.driver.recv_start(armed);
    rig.never("an event", QUIET, |_| true);
    peer.write_all(b"bytes").expect("the driver receives");
    peer.reset();
    assert_eq!(rig.receive(armed, 5), b"bytes");
    assert!(matches!(rig.end(armed), RecvEnd::Failed(_)));
}
