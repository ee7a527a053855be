//! D10: foreign event sources.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use hioload_platform::{Driver, Event, Token};

use crate::rig::{Fixture, RigOf, Sizes};

fn ready<S>(event: &Event<S>, source: Token) -> bool {
    matches!(event, Event::Ready { token } if *token == source)
}

pub(crate) fn a_readable_source_is_ready_every_time<F: Fixture>() {
    let mut rig = RigOf::<F>::open::<F>(Sizes::default());
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    let watched = OwnedFd::from(reader.try_clone().expect("a duplicate"));
    let token = rig.driver.watch(watched).expect("room for a source");
    rig.never(
        "an event of a silent source",
        Duration::from_millis(10),
        |_| true,
    );
    for _ in 0..20 {
        writer.write_all(b"!").expect("the pipe has room");
        rig.expect("readiness", |event| ready(event, token));
        reader.read_exact(&mut [0; 1]).expect("a byte is there");
    }
    rig.close(token);
    writer.write_all(b"!").expect("the pipe has room");
    rig.never(
        "an event after the close",
        Duration::from_millis(10),
        |_| true,
    );
}

pub(crate) fn a_source_readable_before_it_is_watched_is_ready<F: Fixture>() {
    let mut rig = RigOf::<F>::open::<F>(Sizes::default());
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(b"!").expect("the pipe has room");
    let token = rig
        .driver
        .watch(OwnedFd::from(reader))
        .expect("room for a source");
    rig.expect("readiness", |event| ready(event, token));
    rig.close(token);
}

pub(crate) fn a_source_whose_other_end_is_gone_is_ready_and_does_not_spin<F: Fixture>() {
    let mut rig = RigOf::<F>::open::<F>(Sizes::default());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let token = rig
        .driver
        .watch(OwnedFd::from(reader))
        .expect("room for a source");
    rig.pump(Duration::ZERO);
    drop(writer);
    rig.expect("readiness", |event| ready(event, token));
    let before = rig.driver.stats().completions;
    rig.pump(Duration::from_millis(20));
    assert!(
        rig.driver.stats().completions - before < 5,
        "{:?}",
        rig.driver.stats()
    );
    rig.close(token);
}
