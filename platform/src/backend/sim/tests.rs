//! The simulation, seen from outside: whole runs of drivers and clients.

mod exchange;
mod kernel;

use exchange::{Outcome, exchange};

use super::{Fault, FaultCounts, Faults, SimConfig, SimDriver, SimNet, SimPeer};
use crate::driver::{Driver, Event, RecvEnd, Token};
use crate::socket::ListenOptions;

/// The harshest network on which connections still get somewhere.
const ALL: Faults = Faults::rough();

/// What slows and shuffles, but breaks no connection.
const GENTLE: Faults = Faults::rough()
    .with(Fault::Reset, 0.0)
    .with(Fault::HalfOpen, 0.0)
    .with(Fault::AcceptAborted, 0.0)
    .with(Fault::ConnectRefused, 0.0)
    .with(Fault::ConnectSilent, 0.0);

#[test]
fn a_seed_decides_everything_that_happens() {
    for seed in 0..20 {
        let (one, two) = (exchange(seed, ALL), exchange(seed, ALL));
        assert_eq!(one, two, "seed {seed}");
        assert_ne!(one.digest, exchange(seed + 1000, ALL).digest);
    }
}

#[test]
fn nothing_goes_wrong_without_faults() {
    let run = exchange(1, Faults::none());
    assert_eq!(run.faults, FaultCounts::default());
    assert_eq!(run.echoed, run.clients);
}

#[test]
fn every_fault_happens() {
    let mut seen: Vec<Fault> = Vec::new();
    for seed in 0..60 {
        let run = exchange(seed, ALL);
        let missing: Vec<_> = run.faults.missing().collect();
        seen.extend(Fault::ALL.iter().filter(|fault| !missing.contains(fault)));
    }
    for fault in Fault::ALL {
        assert!(seen.contains(&fault), "{fault:?} never happened");
    }
}

#[test]
fn each_fault_happens_alone_and_only_it() {
    for fault in Fault::ALL {
        let faults = Faults::none().with(fault, 0.3);
        let counts: Vec<_> = (0..10).map(|seed| exchange(seed, faults).faults).collect();
        let total: u64 = counts.iter().map(|counts| counts.of(fault)).sum();
        assert!(total > 0, "{fault:?} never happened");
        for other in Fault::ALL.into_iter().filter(|&other| other != fault) {
            // A send that a reset cuts short is short, too.
            if other != Fault::ShortSend {
                assert!(counts.iter().all(|counts| counts.of(other) == 0));
            }
        }
    }
}

#[test]
fn whatever_is_slow_or_out_of_order_every_byte_comes_back_in_order() {
    for seed in 0..100 {
        let Outcome {
            clients, echoed, ..
        } = exchange(seed, GENTLE);
        assert_eq!(clients, echoed, "seed {seed}");
    }
}

#[test]
fn connections_that_break_break_nothing_else() {
    for seed in 0..100 {
        let run = exchange(seed, ALL);
        let excused = [
            Fault::Reset,
            Fault::HalfOpen,
            Fault::AcceptAborted,
            Fault::ConnectRefused,
            Fault::ConnectSilent,
        ];
        let excused: u64 = excused.iter().map(|&fault| run.faults.of(fault)).sum();
        let lost = u64::try_from(run.clients - run.echoed).expect("at most all");
        assert!(
            lost <= excused,
            "seed {seed}: {lost} lost, {excused} excused"
        );
    }
}

fn driver(net: &SimNet) -> SimDriver {
    SimDriver::open(net, SimConfig::default()).expect("possible sizes")
}

fn events(driver: &mut SimDriver, until: u64) -> Vec<Event<super::SimSocket>> {
    let mut events = Vec::new();
    driver
        .wait(Some(until), &mut events)
        .expect("the driver goes on");
    events
}

fn adopted(driver: &mut SimDriver) -> (Token, SimPeer) {
    let (socket, peer) = driver.net().pair();
    let token = driver.adopt(socket).expect("room for a socket");
    (token, peer)
}

#[test]
fn a_stepped_wait_returns_at_once_and_leaves_the_clock_alone() {
    let net = SimNet::stepped(1, Faults::none());
    let mut driver = driver(&net);
    let (token, peer) = adopted(&mut driver);
    driver.recv_start(token);
    let start = net.now();
    let deadline = start + 1_000_000;
    assert!(driver.is_runnable(None), "there are requests");
    assert!(events(&mut driver, deadline).is_empty());
    assert_eq!(net.now(), start);
    assert_eq!(driver.next_time(Some(deadline)), Some(deadline));
    assert_eq!(driver.next_time(None), None);

    peer.try_write(b"hello").expect("an open window");
    assert!(!driver.is_runnable(Some(deadline)), "it is under way");
    let arrival = net.next_event_time().expect("it is under way");
    assert!(start < arrival && arrival < deadline);
    net.advance_to(arrival);
    assert!(driver.is_runnable(Some(deadline)));
    assert!(matches!(
        events(&mut driver, deadline)[..],
        [Event::Received { .. }]
    ));
    assert_eq!(net.now(), arrival);
}

#[test]
fn a_wait_moves_the_clock_to_what_happens_next_and_never_past_its_deadline() {
    let net = SimNet::new(1, Faults::none());
    let mut driver = driver(&net);
    let (token, peer) = adopted(&mut driver);
    driver.recv_start(token);
    let start = net.now();
    assert!(events(&mut driver, start + 5).is_empty());
    assert_eq!(net.now(), start + 5);
    peer.try_write(b"hello").expect("an open window");
    assert_eq!(events(&mut driver, start + 1_000_000_000).len(), 1);
    assert!(net.now() < start + 1_000_000);
}

#[test]
fn a_full_descriptor_table_pauses_accepting_which_resumes() {
    let net = SimNet::new(1, Faults::none());
    let mut driver = driver(&net);
    let options = ListenOptions::new(([127, 0, 0, 1], 0).into());
    let listener = net.listen(&options).expect("a free port");
    let addr = listener.local_addr();
    let listener = driver.listen(listener).expect("room for a listener");
    net.limit_descriptors(net.descriptors() + 2);
    let peers: Vec<_> = (0..4)
        .map(|_| net.connect(None, addr).expect("loopback is ours"))
        .collect();
    let accept = |driver: &mut SimDriver, span: u64| {
        let until = driver.now() + span;
        let mut tokens = Vec::new();
        while driver.now() < until {
            for event in events(driver, until) {
                match event {
                    Event::Accepted { socket, .. } => {
                        tokens.push(driver.adopt(socket).expect("room for a socket"));
                    }
                    Event::Closed { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        tokens
    };
    let tokens = accept(&mut driver, 1_000_000_000);
    assert_eq!((tokens.len(), driver.stats().accept_paused), (2, 1));

    // One that this driver closes is used at once.
    driver.close(tokens[0]);
    assert_eq!(accept(&mut driver, 1_000_000).len(), 1);
    assert_eq!(driver.stats().accept_paused, 2);

    // Room made elsewhere is found after a while.
    net.limit_descriptors(100);
    assert_eq!(accept(&mut driver, 10_000_000).len(), 0);
    assert_eq!(accept(&mut driver, 200_000_000).len(), 1);
    driver.close(listener);
    assert!(accept(&mut driver, 1_000_000).is_empty());
    drop(peers);
}

#[test]
fn a_peer_that_is_silently_gone_is_given_up_after_a_long_time() {
    let net = SimNet::new(1, Faults::none());
    let mut driver = driver(&net);
    let (token, peer) = adopted(&mut driver);
    driver.recv_start(token);
    peer.vanish();
    let bytes = crate::buffer::Frame::from(vec![1; 100]);
    driver.send(token, &mut [crate::buffer::Segment::Frame(bytes)].into());
    let start = net.now();
    let sent = events(&mut driver, start + 1_000_000_000);
    assert!(matches!(
        sent[..],
        [Event::Sent {
            outcome: Ok(100),
            ..
        }]
    ));
    let minute = 60_000_000_000;
    while net.now() < start + 15 * minute {
        let until = net.now() + minute;
        assert!(events(&mut driver, until).is_empty());
    }
    let end = events(&mut driver, start + 16 * minute);
    let [
        Event::RecvEnded {
            end: RecvEnd::Failed(error),
            ..
        },
    ] = &end[..]
    else {
        panic!("{end:?}");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn a_window_bounds_what_a_slow_reader_is_sent() {
    let net = SimNet::new(1, Faults::none());
    let mut driver = driver(&net);
    let (token, peer) = adopted(&mut driver);
    peer.set_window(1000);
    let bytes = crate::buffer::Frame::from(vec![1; 10_000]);
    driver.send(token, &mut [crate::buffer::Segment::Frame(bytes)].into());
    let mut into = [0; 600];
    for _ in 0..15 {
        let until = net.now() + 1_000_000;
        assert!(events(&mut driver, until).is_empty());
        assert!(driver.send_in_flight(token));
        assert_eq!(peer.try_read(&mut into).expect("there are bytes"), 600);
    }
    let until = net.now() + 1_000_000;
    assert_eq!(
        events(&mut driver, until).len(),
        1,
        "the rest is in the window"
    );
    assert!(!driver.send_in_flight(token));
}

#[test]
fn nobody_answers_and_then_the_kernel_gives_up() {
    let net = SimNet::stepped(1, Faults::none().with(Fault::ConnectSilent, 1.0));
    let options = ListenOptions::new(([127, 0, 0, 1], 0).into());
    let listener = net.listen(&options).expect("a free port");
    let peer = net.connect(None, listener.local_addr()).expect("ours");
    let start = net.now();
    let outcome = loop {
        match peer.try_connected() {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let next = net.next_event_time().expect("the kernel tries again");
                net.advance_to(next);
            }
            outcome => break outcome,
        }
    };
    let error = outcome.expect_err("nobody answers");
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    let seconds = (net.now() - start) / 1_000_000_000;
    assert_eq!(seconds, 127, "net.ipv4.tcp_syn_retries");
}

#[test]
fn an_answer_that_comes_before_the_driver_waits_is_not_lost() {
    let net = SimNet::stepped(1, Faults::none());
    let mut driver = driver(&net);
    let options = ListenOptions::new(([127, 0, 0, 1], 0).into());
    let listener = net.listen(&options).expect("a free port");
    let connect = crate::driver::Connect {
        addr: listener.local_addr(),
        source: None,
        timeout: 1_000_000_000,
    };
    let token = driver.connect(&connect).expect("our address");
    net.advance_to(net.now() + 1_000_000);
    let connected = events(&mut driver, net.now());
    assert!(
        matches!(&connected[..], [Event::Connected { token: of, outcome: Ok(()) }] if *of == token),
        "{connected:?}"
    );
}
