//! How late timers of a shard fire: a real server without connections, on the
//! backend it chooses, with timers spread over a few seconds so that each turn
//! waits for its own. Prints the percentiles; means something on an idle machine
//! only.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the numbers are what it is for")]

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use hioload::{App, Config, Conn, Message, Nanos, Server, Turn};
use hioload_benches::Random;

const TIMERS: u32 = 5000;

/// All fire within this time, one per millisecond on average.
const SPREAD: u32 = 5_000_000;

/// Sets all timers when it starts; each says how late it was.
struct Late(SyncSender<Nanos>);

impl App for Late {
    type State = ();

    fn started(&mut self, turn: &mut Turn<'_, ()>) {
        let mut random = Random::new();
        for _ in 0..TIMERS {
            // Not all of them in the time the first callbacks of a start take.
            let delay = 100_000_000 + u64::from(random.below(SPREAD)) * 1000;
            let due = turn.now() + delay;
            let late = self.0.clone();
            let task = move |turn: &mut Turn<'_, ()>| {
                // Nobody waits any more when the server was stopped.
                let _gone = late.send(turn.now() - due);
            };
            turn.scheduler()
                .schedule(delay, task)
                .expect("there is room");
        }
    }

    fn message(&mut self, _conn: &mut Conn<'_>, (): &mut (), _message: Message<'_>) {}
}

fn main() {
    let (late, lateness) = sync_channel(TIMERS as usize);
    let config = Config {
        shards: 1,
        ..Config::default()
    };
    let server = Server::bind("127.0.0.1:0").config(config);
    let running = server
        .start(move |_| Late(late.clone()))
        .expect("it starts");
    let patience = Duration::from_secs(60);
    let mut late: Vec<Nanos> = (0..TIMERS)
        .map(|_| lateness.recv_timeout(patience).expect("it fires"))
        .collect();
    running.stop().expect("it stops");
    late.sort_unstable();
    let at = |permille: usize| late[(late.len() - 1) * permille / 1000] as f64 / 1000.0;
    println!(
        "timer error, {TIMERS} timers: p50 {:.1} us, p90 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.1} us",
        at(500),
        at(900),
        at(990),
        at(999),
        at(1000)
    );
}
