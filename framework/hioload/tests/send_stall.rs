//! A peer that takes nothing of what waits for it is ended in good time; one
//! that is behind and takes what it can is not.

#![forbid(unsafe_code)]

use std::time::Duration;

use hioload::testing::{End, Faults, Seen, SimConfig, Simulated, Simulation};
use hioload::{App, Backpressure, Config, Conn, Message, Upgrade};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Sends as many bytes as it is asked for.
#[derive(Default)]
struct Torrent {
    /// The close codes of its connections.
    ended: Vec<u16>,
}

impl App for Torrent {
    type State = ();

    fn upgrade(&mut self, _request: &hioload::Request<'_>, (): &mut ()) -> Upgrade {
        Upgrade::accept().backpressure(Backpressure::Drop)
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        let kib: usize = message
            .as_text()
            .and_then(|text| text.parse().ok())
            .expect("a number");
        for _ in 0..kib {
            conn.send(&[7; 1024][..]);
        }
    }

    fn close(&mut self, _conn: &mut Conn<'_>, (): &mut (), close: &hioload::Close<'_>) {
        self.ended.push(close.code.0);
    }
}

fn start(seed: u64, send_timeout: Option<Duration>) -> Simulated<Torrent> {
    let config = Config {
        shards: 1,
        idle_timeout: None,
        ping_interval: None,
        deflate: None,
        send_timeout,
        ..Config::default()
    };
    Simulation::new(seed)
        .config(config)
        .faults(Faults::none())
        .driver(SimConfig::default())
        .start(|_| Torrent::default())
        .expect("it starts")
}

fn ended(server: &Simulated<Torrent>) -> Vec<u16> {
    server.app(0).expect("it runs").ended.clone()
}

fn run(server: &mut Simulated<Torrent>, time: Duration) {
    server.run_for(time).expect("it goes on");
}

#[test]
fn who_takes_nothing_is_ended_after_one_to_two_timeouts() {
    for seed in 0..8 {
        let mut server = start(seed, Some(secs(10)));
        let client = server.connect("/");
        // The timer is set when the WebSocket opens, the stall begins at any time.
        run(&mut server, secs(1 + seed * 2));
        server.client(client).read_nothing();
        server.client(client).text("900");
        run(&mut server, Duration::from_millis(9900));
        assert_eq!(ended(&server), [0; 0], "seed {seed}: too early");
        run(&mut server, Duration::from_millis(10_200));
        assert_eq!(ended(&server), [1006], "seed {seed}");
        let metrics = server.handle().metrics();
        assert_eq!(
            (metrics.send_stalls(), metrics.send_bytes_pending()),
            (1, 0)
        );
        assert!(server.stop().expect("it stops").is_nothing());
    }
}

#[test]
fn who_is_behind_and_takes_what_it_can_stays() {
    let mut server = start(1, Some(secs(20)));
    let client = server.connect("/");
    run(&mut server, secs(1));
    server
        .client(client)
        .read_slowly(4096, Duration::from_millis(60));
    server.client(client).text("900");
    let mut behind = 0;
    for _ in 0..20 {
        run(&mut server, secs(5));
        assert_eq!(ended(&server), [0; 0]);
        behind += u32::from(server.handle().metrics().send_bytes_pending() > 0);
        server.client(client).text("900");
    }
    assert!(behind > 12, "{behind} of 20 times");
    server.client(client).read_freely();
    run(&mut server, secs(5));
    let seen = std::iter::from_fn(|| server.client(client).next());
    let messages = seen.filter(|seen| matches!(seen, Seen::Binary(_)));
    assert!(messages.count() > 5000);
    run(&mut server, secs(100));
    assert_eq!(ended(&server), [0; 0], "nothing waits for it any more");
    assert!(server.stop().expect("it stops").is_nothing());
}

#[test]
fn without_a_timeout_a_stalled_peer_stays() {
    let mut server = start(2, None);
    let client = server.connect("/");
    run(&mut server, secs(1));
    server.client(client).read_nothing();
    server.client(client).text("900");
    run(&mut server, secs(3600));
    assert_eq!(ended(&server), [0; 0]);
    assert_eq!(server.client(client).end(), None::<&End>);
}
