//! D8: time comes from the driver, and a deadline is never early.

use std::io::Write;
use std::time::{Duration, Instant};

use hioload_platform::Driver;

use crate::rig::{Fixture, Rig, Sizes};

pub(crate) fn a_deadline_is_never_early<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let mut events = Vec::new();
    for micros in [0, 1, 3, 10, 55, 100, 333, 1000, 1999, 10_000, 30_000] {
        for _ in 0..5 {
            let start = Instant::now();
            let deadline = rig.driver.now() + micros * 1000;
            rig.driver
                .wait(Some(deadline), &mut events)
                .expect("the driver goes on");
            let late = rig.driver.now().checked_sub(deadline);
            let late = late.unwrap_or_else(|| panic!("early, for {micros} microseconds"));
            assert!(late <= F::LATENESS, "{late} ns late");
            if F::REAL_TIME {
                assert!(start.elapsed() >= Duration::from_micros(micros));
            }
            assert!(events.is_empty(), "{events:?}");
        }
    }
}

pub(crate) fn a_completion_without_an_event_does_not_end_a_wait<F: Fixture>() {
    let sizes = Sizes {
        buffers: 1,
        buffer_size: 64,
        ..Sizes::default()
    };
    let mut rig = Rig::<F>::open(sizes);
    let (token, mut peer) = rig.pair();
    rig.driver.recv_start(token);
    rig.pump(Duration::ZERO);
    // A cancel and its target complete, neither is an event.
    rig.driver.recv_pause(token);
    let deadline = rig.driver.now() + 20_000_000;
    let mut events = Vec::new();
    rig.driver
        .wait(Some(deadline), &mut events)
        .expect("the driver goes on");
    assert!(rig.driver.now() >= deadline);
    assert!(events.is_empty(), "{events:?}");
    peer.write_all(b"x").expect("the socket buffers");
}

pub(crate) fn a_deadline_that_passed_still_serves_what_is_due<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (token, mut peer) = rig.pair();
    rig.driver.recv_start(token);
    rig.pump(Duration::ZERO);
    peer.write_all(b"due").expect("the driver receives");
    let mut got = 0;
    let start = Instant::now();
    while got == 0 {
        assert!(start.elapsed() < crate::rig::PATIENCE);
        let mut events = Vec::new();
        rig.driver
            .wait(Some(0), &mut events)
            .expect("the driver goes on");
        got = events.len();
    }
}
