//! Timers fire when they are due, once or with a steady beat, until they are
//! cancelled or their connection ends.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hioload::testing::{ClientId, Seen, Simulated, Simulation};
use hioload::timer::Timer;
use hioload::{App, Close, CloseCode, Config, Conn, Message, Nanos, Turn};

const MS: Nanos = 1_000_000;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// How late a timer may be here: a tick, and what the simulated driver adds.
const LATE: Nanos = 2 * MS;

type Log = Rc<RefCell<Vec<(String, Nanos)>>>;

/// Does what the test says when it starts; its connections set timers by their
/// messages.
struct Service {
    script: fn(&mut Turn<'_, u32>, &Log),
    log: Log,
}

impl App for Service {
    /// Timers of this connection that were refused.
    type State = u32;

    fn started(&mut self, turn: &mut Turn<'_, u32>) {
        (self.script)(turn, &self.log);
    }

    fn timer(&mut self, turn: &mut Turn<'_, u32>, key: u64) {
        note(&self.log, &format!("key {key}"), turn.now());
    }

    fn message(&mut self, conn: &mut Conn<'_>, refused: &mut u32, message: Message<'_>) {
        let delay = message.as_text().and_then(|text| text.parse().ok());
        let delay: u64 = delay.expect("milliseconds");
        let log = Rc::clone(&self.log);
        let set = conn.after(ms(delay), move |conn| {
            note(&log, &format!("conn {delay}"), conn.now());
            conn.send_text(&delay.to_string());
        });
        *refused += u32::from(set.is_err());
        if *refused > 0 {
            conn.send_text(&format!("refused {refused}"));
        }
    }

    fn close(&mut self, conn: &mut Conn<'_>, _refused: &mut u32, _close: &Close<'_>) {
        let late = conn.after(ms(1), |_| panic!("the connection has ended"));
        assert!(late.is_err());
    }
}

fn note(log: &Log, what: &str, now: Nanos) {
    log.borrow_mut().push((what.to_owned(), now));
}

fn start(script: fn(&mut Turn<'_, u32>, &Log)) -> (Simulated<Service>, Log) {
    let log = Log::default();
    let kept = Rc::clone(&log);
    let config = Config {
        shards: 1,
        idle_timeout: None,
        ping_interval: None,
        ..Config::default()
    };
    let server = Simulation::new(3).config(config).start(move |_| Service {
        script,
        log: Rc::clone(&log),
    });
    (server.expect("it starts"), kept)
}

fn run(server: &mut Simulated<Service>, time: Duration) {
    server.run_for(time).expect("it goes on");
}

/// What fired, and that each was at most [`LATE`] after `begun` and its number
/// of milliseconds.
#[track_caller]
fn assert_fired(log: &Log, begun: Nanos, expected: &[(&str, u64)]) {
    let fired = log.take();
    let names: Vec<_> = fired.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(names, expected.iter().map(|one| one.0).collect::<Vec<_>>());
    for ((what, at), (_, due)) in fired.iter().zip(expected) {
        let due = begun + due * MS;
        assert!((due..due + LATE).contains(at), "{what} at {at}, not {due}");
    }
}

#[test]
fn timers_of_all_kinds_fire_in_the_order_of_their_times() {
    let (mut server, log) = start(|turn, log| {
        let mut after = |n| {
            let log = Rc::clone(log);
            turn.after(ms(n), move |turn| note(&log, &n.to_string(), turn.now()))
                .expect("room")
        };
        after(30);
        after(10);
        let moved = after(5);
        let cancelled = after(15);
        let earlier = after(5000);
        turn.schedule(20 * MS, 7).expect("room");
        assert!(turn.cancel(cancelled) && !turn.cancel(cancelled));
        assert!(turn.rearm(moved, ms(25)) && turn.rearm(earlier, ms(1)));
        assert_eq!(turn.scheduler().pending(), 5);
    });
    let begun = server.now();
    run(&mut server, ms(100));
    let expected = [
        ("5000", 1),
        ("10", 10),
        ("key 7", 20),
        ("5", 25),
        ("30", 30),
    ];
    assert_fired(&log, begun, &expected);
}

#[test]
fn a_beat_is_steady_and_ends_when_it_cancels_itself() {
    let (mut server, log) = start(|turn, log| {
        let log = Rc::clone(log);
        let me: Rc<Cell<Option<Timer>>> = Rc::default();
        let (known, mut beats) = (Rc::clone(&me), 0);
        let every = turn.every(ms(10), move |turn| {
            beats += 1;
            note(&log, &beats.to_string(), turn.now());
            if beats == 4 {
                let timer = known.get().expect("it was set");
                assert!(turn.cancel(timer));
            }
        });
        me.set(Some(every.expect("room")));
    });
    let begun = server.now();
    run(&mut server, ms(500));
    assert_fired(&log, begun, &[("1", 10), ("2", 20), ("3", 30), ("4", 40)]);
}

/// A turn cannot be made to take long in a simulation, but a beat can be faster
/// than the shard takes turns: at most one call per turn, none is made up for.
#[test]
fn beats_that_are_missed_come_once() {
    let (mut server, log) = start(|turn, log| {
        let log = Rc::clone(log);
        let beat = move |turn: &mut Turn<'_, u32>| note(&log, "beat", turn.now());
        turn.scheduler().every(1, beat).expect("room");
    });
    run(&mut server, ms(1));
    let beats = log.take();
    assert!(beats.len() > 10);
    // A tick is 1024 of its periods.
    let apart = beats.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 1024);
    assert!(apart, "{beats:?}");
}

fn open(server: &mut Simulated<Service>) -> ClientId {
    let client = server.connect("/");
    server
        .run_until(ms(1000), |server| {
            server.client(client).next() == Some(Seen::Open)
        })
        .expect("it opens");
    client
}

#[test]
fn timers_of_a_connection_end_with_it() {
    let (mut server, log) = start(|_, _| {});
    let (stays, leaves) = (open(&mut server), open(&mut server));
    for client in [stays, leaves] {
        server.client(client).text("100");
        server.client(client).text("300");
    }
    run(&mut server, ms(150));
    assert_eq!(log.take().len(), 2);
    server.client(leaves).close(CloseCode::NORMAL, "");
    run(&mut server, ms(400));
    let fired = log.take();
    assert_eq!(fired.len(), 1, "{fired:?}");
    let heard: Vec<_> = std::iter::from_fn(|| server.client(stays).next()).collect();
    assert_eq!(heard, [Seen::Text("100".into()), Seen::Text("300".into())]);
    assert!(server.stop().expect("it stops").is_nothing());
}

#[test]
fn a_connection_has_sixteen_timers_and_gets_them_back() {
    let (mut server, log) = start(|_, _| {});
    let client = open(&mut server);
    for _ in 0..18 {
        server.client(client).text("50");
    }
    run(&mut server, ms(40));
    let heard: Vec<_> = std::iter::from_fn(|| server.client(client).next()).collect();
    let refused = |n: u32| Seen::Text(format!("refused {n}"));
    assert_eq!(heard, [refused(1), refused(2)]);
    run(&mut server, ms(100));
    assert_eq!(log.take().len(), 16);
    server.client(client).text("5");
    run(&mut server, ms(40));
    assert_eq!(log.take().len(), 1, "those that have fired made room");
}

/// More timers than a turn fires, and connections in between.
#[test]
fn a_crowd_of_timers_does_not_starve_connections() {
    let (mut server, log) = start(|turn, log| {
        for _ in 0..20_000 {
            let log = Rc::clone(log);
            turn.after(ms(50), move |turn| note(&log, "crowd", turn.now()))
                .expect("room");
        }
    });
    let client = open(&mut server);
    run(&mut server, ms(45));
    server.client(client).text("0");
    run(&mut server, ms(200));
    let fired = log.take();
    assert_eq!(fired.len(), 20_001);
    assert!(fired.iter().any(|(what, _)| what == "conn 0"));
}
