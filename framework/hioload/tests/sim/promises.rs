//! What `hioload::testing` promises to whoever tests with it.

use std::time::Duration;

use hioload::testing::{End, Fault, Faults, Residue, Seen, Simulation, Stuck};
use hioload::{App, Config, Conn, Echo, Message, Nanos, Turn};

use crate::seeds;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_seed_is_a_run_down_to_its_last_byte() {
    let run = |seed| seeds::run(seed).unwrap_or_else(|failure| panic!("{}", failure.reason));
    for seed in 0..5 {
        let (one, two) = (run(seed), run(seed));
        assert_eq!(one, two, "seed {seed}");
        assert_ne!(one.digest, run(seed + 1000).digest);
    }
}

#[test]
fn everything_that_can_go_wrong_does() {
    let asked = seeds::Seeds { from: 0, count: 25 };
    let reports = asked
        .run()
        .unwrap_or_else(|failure| panic!("{}", failure.reason));
    for fault in Fault::ALL {
        // A server that only accepts makes no connection.
        let happened = reports.iter().any(|report| report.faults.of(fault) > 0);
        assert!(happened, "{fault:?} never happened");
    }
}

/// Sets a timer that is due at once, whenever one fires.
struct Restless;

impl App for Restless {
    type State = ();

    fn started(&mut self, turn: &mut Turn<'_, ()>) {
        turn.schedule(0, 0).expect("there is room");
    }

    fn timer(&mut self, turn: &mut Turn<'_, ()>, key: u64) {
        turn.schedule(0, key).expect("there is room");
    }

    fn message(&mut self, _conn: &mut Conn<'_>, (): &mut (), _message: Message<'_>) {}
}

#[test]
fn time_that_stands_still_is_an_error() {
    let mut server = Simulation::new(1).start(|_| Restless).expect("it starts");
    let before = server.now();
    let stuck = server.run_for(SECOND).expect_err("nobody ever waits");
    assert!(
        matches!(stuck, Stuck::Still { at, .. } if at == before),
        "{stuck}"
    );
}

#[test]
fn what_never_happens_is_an_error_in_good_time() {
    let mut server = Simulation::new(1).start(|_| Echo).expect("it starts");
    let before = server.now();
    let stuck = server.run_until(SECOND, |_| false);
    assert!(matches!(stuck, Err(Stuck::Unmet { .. })), "{stuck:?}");
    assert_eq!(server.now(), before + 1_000_000_000);
}

#[test]
fn an_hour_of_silence_is_over_at_once() {
    let mut server = Simulation::new(1).start(|_| Echo).expect("it starts");
    let client = server.connect("/");
    server
        .run_for(Duration::from_secs(3600))
        .expect("it goes on");
    let client = server.client(client);
    assert_eq!(client.next(), Some(Seen::Open));
    let pings = std::iter::from_fn(|| client.next()).filter(|seen| *seen == Seen::Ping(Vec::new()));
    // Every 25 seconds, counted from the pong before.
    assert_eq!(pings.count(), 143);
    assert!(client.is_open());
}

#[test]
fn one_that_is_silently_gone_is_found_in_time() {
    let mut server = Simulation::new(1).start(|_| Echo).expect("it starts");
    let client = server.connect("/");
    let open = |server: &mut hioload::testing::Simulated<Echo>| server.handle().metrics().sockets();
    server
        .run_until(SECOND, |server| server.client(client).is_open())
        .expect("it is granted");
    server.client(client).vanish();
    server.run_for(Duration::from_secs(30)).expect("it goes on");
    assert_eq!(open(&mut server), 1, "it may still answer");
    server
        .run_until(6 * SECOND, |server| open(server) == 0)
        .expect("it has not");
}

#[test]
fn a_stop_tells_everybody_and_leaves_nothing() {
    let mut server = Simulation::new(3)
        .shards(4)
        .start(|_| Echo)
        .expect("it starts");
    let clients: Vec<_> = (0..20).map(|_| server.connect("/")).collect();
    server.run_for(SECOND).expect("it goes on");
    let before = server.now();
    assert_eq!(server.stop().expect("it stops"), Residue::default());
    assert!(server.now() - before < 1_000_000, "nobody keeps it waiting");
    server.run_for(SECOND).expect("it goes on");
    for client in clients {
        let client = server.client(client);
        assert_eq!(client.next(), Some(Seen::Open));
        let farewell = Seen::Closed(1001, "the server is stopping".into());
        assert_eq!(client.next(), Some(farewell));
        assert_eq!(client.next(), Some(Seen::Ended(End::Eof)));
    }
}

#[test]
fn one_that_does_not_take_its_farewell_is_cut_at_the_deadline() {
    let drain: Nanos = 700_000_000;
    let config = Config {
        drain_timeout: Duration::from_nanos(drain),
        ..Config::default()
    };
    let mut server = Simulation::new(3)
        .config(config)
        .start(|_| Echo)
        .expect("it starts");
    let client = server.connect("/");
    server.run_for(SECOND).expect("it goes on");
    server.client(client).read_nothing();
    let before = server.now();
    assert!(server.stop().expect("it stops").is_nothing());
    let took = server.now() - before;
    assert!((drain..drain + 10_000_000).contains(&took), "{took} ns");
}

/// A slot is free as soon as its driver says so, before the shard has heard of
/// it: sockets accepted in that very turn must wait.
#[test]
fn whoever_comes_while_another_goes_takes_no_place_of_another() {
    for seed in 0..10 {
        let faults = Faults::none().with(Fault::Delay, 0.5);
        let mut server = Simulation::new(seed)
            .faults(faults)
            .stalls(0.3)
            .start(|_| Echo)
            .expect("it starts");
        for _ in 0..60 {
            let one = server.connect("/");
            let pause = Duration::from_micros(server.choose(3000) as u64);
            server.run_for(pause).expect("it goes on");
            server.client(one).leave();
        }
        server.run_for(20 * SECOND).expect("it goes on");
        assert_eq!(server.handle().metrics().sockets(), 0, "seed {seed}");
        assert!(server.stop().expect("it stops").is_nothing(), "seed {seed}");
    }
}
