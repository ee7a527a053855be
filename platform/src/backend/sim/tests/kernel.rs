//! The simulated kernel notices what would corrupt memory under a real one.

use super::super::op::{Descriptor, Kind, Request, Tag};
use super::super::world::{DriverId, EndId};
use super::super::{Fault, Faults, SimDriver, SimNet, SimPeer};
use super::{adopted, driver, events};
use crate::driver::{Driver, Event, Token};

struct Bench {
    net: SimNet,
    driver: SimDriver,
    token: Token,
    end: EndId,
    _peer: SimPeer,
}

impl Bench {
    fn new() -> Self {
        let net = SimNet::stepped(1, Faults::none());
        let mut driver = driver(&net);
        let (token, peer) = adopted(&mut driver);
        let end = driver.table.get(token).and_then(|entry| entry.end());
        Self {
            end: end.expect("a connection"),
            net,
            driver,
            token,
            _peer: peer,
        }
    }

    fn submit(&self, request: Request) {
        let driver: DriverId = self.driver.id;
        self.net.with(|world| world.submit(driver, request));
    }

    fn tag(&self, kind: Kind) -> Tag {
        Tag::new(kind, self.token)
    }
}

#[test]
#[should_panic(expected = "lent twice")]
fn a_buffer_lent_twice() {
    let bench = Bench::new();
    bench.submit(Request::Post(3));
    bench.submit(Request::Post(3));
}

#[test]
#[should_panic(expected = "in flight already")]
fn a_second_receive_of_one_socket() {
    let bench = Bench::new();
    let (end, tag) = (bench.end, bench.tag(Kind::Recv));
    bench.submit(Request::Recv { end, tag });
    bench.submit(Request::Recv { end, tag });
}

#[test]
#[should_panic(expected = "comes before a terminal completion")]
fn a_descriptor_closed_under_a_receive() {
    let bench = Bench::new();
    let (end, tag) = (bench.end, bench.tag(Kind::Recv));
    bench.submit(Request::Recv { end, tag });
    let (descriptor, tag) = (Descriptor::End(end), bench.tag(Kind::Close));
    bench.submit(Request::Close { descriptor, tag });
}

#[test]
#[should_panic(expected = "comes before a terminal completion")]
fn a_descriptor_closed_before_a_cancelled_receive_was_heard_of() {
    let bench = Bench::new();
    let (end, target) = (bench.end, bench.tag(Kind::Recv));
    bench.submit(Request::Recv { end, tag: target });
    let tag = bench.tag(Kind::Cancel);
    bench.submit(Request::Cancel { target, tag });
    let (descriptor, tag) = (Descriptor::End(end), bench.tag(Kind::Close));
    bench.submit(Request::Close { descriptor, tag });
}

#[test]
fn a_late_completion_is_dropped_counted_and_its_buffer_comes_back() {
    let net = SimNet::new(1, Faults::none().with(Fault::Stale, 1.0));
    let mut driver = driver(&net);
    for round in 1..=100 {
        let (old, old_peer) = adopted(&mut driver);
        driver.close(old);
        let until = net.now();
        assert!(matches!(
            events(&mut driver, until)[..],
            [Event::Closed { .. }]
        ));
        drop(old_peer);
        assert!(events(&mut driver, until).is_empty());
        let (new, peer) = adopted(&mut driver);
        assert_eq!(new.slot(), old.slot());
        driver.recv_start(new);
        let until = net.now() + 10_000_000;
        assert!(events(&mut driver, until).is_empty(), "round {round}");
        assert_eq!(driver.stats().stale, round);
        peer.try_write(b"mine").expect("an open window");
        let until = net.now() + 10_000_000;
        let got = events(&mut driver, until);
        let [Event::Received { lease, .. }] = &got[..] else {
            panic!("{got:?}");
        };
        assert_eq!(&lease[..], b"mine");
        drop(got);
        net.set_faults(Faults::none());
        driver.close(new);
        let until = net.now() + 10_000_000;
        assert_eq!(events(&mut driver, until).len(), 1);
        net.set_faults(Faults::none().with(Fault::Stale, 1.0));
    }
    assert_eq!(driver.stats().leases_out, 0);
}
