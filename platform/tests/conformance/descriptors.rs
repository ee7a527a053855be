//! D2: a full descriptor table pauses accepting, which resumes by itself.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use hioload_platform::{Driver, Event};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::net::Net;
use crate::os::Os;
use crate::rig::{Fixture, Rig, Sizes};

/// Runs in a process of its own: it takes all descriptors.
pub(crate) fn a_full_descriptor_table_pauses_accepting<F: Fixture<Net = Os>>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let (listener, addr) = rig.net.bind();
    let peers: Vec<_> = (0..12)
        .map(|_| TcpStream::connect(addr).expect("the backlog has room"))
        .collect();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("Linux has this limit");
    let next = std::fs::File::open("/dev/null")
        .expect("/dev/null opens")
        .as_raw_fd();
    let next = u64::try_from(next).expect("a descriptor is not negative");
    // The kernel gives out the lowest free numbers, below the limit: four more.
    setrlimit(Resource::RLIMIT_NOFILE, next + 4, hard).expect("a limit may be lowered");

    let listener = rig.driver.listen(listener).expect("room for a listener");
    let mut tokens: Vec<_> = (0..4)
        .map(|_| {
            let socket = rig.accepted(listener);
            rig.driver.adopt(socket).expect("room for a socket")
        })
        .collect();
    rig.until("a pause", |rig| rig.driver.stats().accept_paused == 1);
    rig.never("a fifth socket", Duration::from_millis(250), |_| true);
    assert_eq!(
        rig.driver.stats().accept_paused,
        1,
        "trying again is still the same pause"
    );

    // A descriptor this driver closes is used at once, not after the retry.
    rig.close(tokens.pop().expect("four were accepted"));
    let start = std::time::Instant::now();
    let fifth = rig.accepted(listener);
    assert!(
        start.elapsed() < Duration::from_millis(90),
        "{:?}",
        start.elapsed()
    );
    rig.until("another pause", |rig| rig.driver.stats().accept_paused == 2);

    // One that is closed elsewhere is noticed a little later.
    drop(fifth);
    let sixth = rig.accepted(listener);

    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a limit may be raised again");
    let mut accepted = vec![sixth];
    rig.until("everyone accepted", |rig| {
        for event in rig.log.drain(..) {
            if let Event::Accepted { socket, .. } = event {
                accepted.push(socket);
            }
        }
        accepted.len() + 4 + 1 == peers.len()
    });
    rig.close(listener);
}
