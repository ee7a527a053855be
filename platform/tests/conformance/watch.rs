//! D10: foreign event sources.

use std::time::Duration;

use hioload_platform::{Driver, Event, Token};

use crate::net::{Net, Signal};
use crate::rig::{Fixture, Rig, Sizes};

fn ready<S>(event: &Event<S>, source: Token) -> bool {
    matches!(event, Event::Ready { token } if *token == source)
}

pub(crate) fn a_readable_source_is_ready_every_time<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (source, mut far) = rig.net.source();
    let token = rig.driver.watch(source.into()).expect("room for a source");
    rig.never(
        "an event of a silent source",
        Duration::from_millis(10),
        |_| true,
    );
    for _ in 0..20 {
        far.signal();
        rig.expect("readiness", |event| ready(event, token));
        far.take();
    }
    rig.close(token);
    far.signal();
    rig.never(
        "an event after the close",
        Duration::from_millis(10),
        |_| true,
    );
}

pub(crate) fn a_source_readable_before_it_is_watched_is_ready<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (source, mut far) = rig.net.source();
    far.signal();
    let token = rig.driver.watch(source.into()).expect("room for a source");
    rig.expect("readiness", |event| ready(event, token));
    rig.close(token);
}

pub(crate) fn a_source_whose_other_end_is_gone_is_ready_and_does_not_spin<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (source, far) = rig.net.source();
    let token = rig.driver.watch(source.into()).expect("room for a source");
    rig.pump(Duration::ZERO);
    drop(far);
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
