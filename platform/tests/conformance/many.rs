//! Ten thousand sockets.

use std::net::SocketAddr;
use std::time::Duration;

use hioload_platform::limits::raise_nofile;
use hioload_platform::{Connect, Driver, Event, Token};

use crate::rig::{Fixture, Rig, Sizes, heavy, queue_of};

/// Both ends are attached, so twice as many sockets.
const PAIRS: usize = 5000;

pub(crate) fn ten_thousand_sockets_open_talk_and_close<F: Fixture>() {
    let _alone = heavy();
    raise_nofile(2 * PAIRS as u64 + 500).expect("this test needs descriptors");
    let mut rig = Rig::<F>::open(Sizes::default());
    let (_, addr) = rig.listen();
    rig.pump(Duration::ZERO);
    let idle = rig.driver.stats();
    let tokens = open::<F>(&mut rig, addr);
    assert_eq!(
        rig.driver.stats().attached,
        idle.attached + 2 * PAIRS as u64
    );
    talk::<F>(&mut rig, &tokens);
    for &token in &tokens {
        rig.driver.close(token);
    }
    let mut closed = 0;
    rig.until("everyone closed", |rig| {
        let events = rig.log.drain(..);
        closed += events
            .filter(|event| matches!(event, Event::Closed { .. }))
            .count();
        closed == 2 * PAIRS
    });
    let stats = rig.driver.stats();
    assert_eq!(
        (stats.attached, stats.in_flight),
        (idle.attached, idle.in_flight),
        "{stats:?}"
    );
    assert_eq!((stats.stale, stats.leases_out), (0, 0), "{stats:?}");
    rig.never(
        "an event after the closes",
        Duration::from_millis(10),
        |_| true,
    );
}

/// Connects the driver to itself; both ends of every connection.
fn open<F: Fixture>(rig: &mut Rig<F>, addr: SocketAddr) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut asked, mut connected) = (0, 0);
    rig.until("everyone connected", |rig| {
        // Not more at once than the backlog holds.
        while asked < PAIRS && asked - connected < 1000 {
            let target = Connect {
                addr,
                source: None,
                timeout: 20_000_000_000,
            };
            tokens.push(rig.driver.connect(&target).expect("room for a socket"));
            asked += 1;
        }
        for event in rig.log.drain(..) {
            match event {
                Event::Connected { outcome, .. } => {
                    outcome.expect("the listener listens");
                    connected += 1;
                }
                Event::Accepted { socket, .. } => {
                    tokens.push(rig.driver.adopt(socket).expect("room for a socket"));
                }
                other => panic!("{other:?} before anybody spoke"),
            }
        }
        tokens.len() == 2 * PAIRS && connected == PAIRS
    });
    tokens
}

/// Everybody says something, everybody hears it.
fn talk<F: Fixture>(rig: &mut Rig<F>, tokens: &[Token]) {
    for &token in tokens {
        rig.driver.recv_start(token);
        rig.driver.send(token, &mut queue_of(&[b"hello"]));
    }
    let (mut sent, mut received) = (0, 0);
    rig.until("everyone heard", |rig| {
        for event in rig.log.drain(..) {
            match event {
                Event::Sent { outcome, .. } => sent += outcome.expect("the peer receives"),
                Event::Received { lease, .. } => received += lease.len(),
                other => panic!("{other:?} while everybody spoke"),
            }
        }
        (sent, received) == (10 * PAIRS, 10 * PAIRS)
    });
}
