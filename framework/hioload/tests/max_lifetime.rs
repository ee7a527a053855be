//! A connection that has lived as long as it may is closed with 1001, whatever
//! it does; those that came together leave spread over a tenth of that time.

#![forbid(unsafe_code)]

use std::time::Duration;

use hioload::testing::{End, Simulation};
use hioload::{Close, Config, Conn, Message, Nanos};

const SECOND: Nanos = 1_000_000_000;

/// Echoes, and notes when connections opened and closed.
#[derive(Default)]
struct Clock {
    lives: Vec<(Nanos, u16)>,
}

impl hioload::App for Clock {
    type State = Nanos;

    fn open(&mut self, conn: &mut Conn<'_>, opened: &mut Nanos) {
        *opened = conn.now();
    }

    fn message(&mut self, conn: &mut Conn<'_>, _opened: &mut Nanos, message: Message<'_>) {
        conn.send(message);
    }

    fn close(&mut self, conn: &mut Conn<'_>, opened: &mut Nanos, close: &Close<'_>) {
        self.lives.push((conn.now() - *opened, close.code.0));
    }
}

fn config(max_lifetime: Option<Duration>) -> Config {
    Config {
        shards: 1,
        max_lifetime,
        ..Config::default()
    }
}

#[test]
fn connections_end_when_their_time_is_over_and_not_together() {
    let lifetime = Duration::from_secs(100);
    let mut server = Simulation::new(4)
        .config(config(Some(lifetime)))
        .start(|_| Clock::default())
        .expect("it starts");
    let clients: Vec<_> = (0..50).map(|_| server.connect("/")).collect();
    for _ in 0..102 {
        for &client in &clients {
            if server.client(client).is_open() {
                server.client(client).text("busy");
            }
        }
        server.run_for(Duration::from_secs(1)).expect("it goes on");
    }
    let lives = server.app(0).expect("it runs").lives.clone();
    assert_eq!(lives.len(), 50);
    for &(life, code) in &lives {
        assert_eq!(code, 1001);
        let expected = 90 * SECOND..=100 * SECOND + SECOND / 2;
        assert!(expected.contains(&life), "{life}");
    }
    let (first, last) = (lives[0].0, lives[49].0);
    assert!(last - first > 5 * SECOND, "from {first} to {last}");
    for client in clients {
        assert_eq!(server.client(client).end(), Some(&End::Eof), "in order");
    }
    assert!(server.stop().expect("it stops").is_nothing());
}

#[test]
fn without_a_limit_a_connection_lives_on() {
    let mut server = Simulation::new(4)
        .config(config(None))
        .start(|_| Clock::default())
        .expect("it starts");
    let client = server.connect("/");
    server
        .run_for(Duration::from_secs(100_000))
        .expect("it goes on");
    assert!(server.client(client).is_open());
}
