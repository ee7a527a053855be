//! Jobs on the offload pool, the short ones first, and a report every second.
//! A client sends a number and gets how many primes are below it.
//!
//! ```sh
//! cargo run --release -p hioload --example jobs
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/ 20000 100
//! ```

use std::time::Duration;

use hioload::offload::Priority::{High, Low};
use hioload::offload::{Job, Pool};
use hioload::{App, Conn, Message, Server, Turn};

pub(crate) struct Jobs(pub(crate) Pool);

impl App for Jobs {
    type State = ();

    fn started(&mut self, turn: &mut Turn<'_, ()>) {
        let pool = self.0.clone();
        let report = move |turn: &mut Turn<'_, ()>| {
            let (waiting, done) = (pool.stats().queued, pool.stats().done);
            turn.publish("report", &format!("{waiting} wait, {done} done"));
        };
        // Of one shard, for all.
        if turn.shard() == 0 {
            turn.every(Duration::from_secs(1), report).expect("room");
        }
    }

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.subscribe("report");
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        let n: u16 = message
            .as_text()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let primes = move || (2..n).filter(|n| (2..*n).all(|d| n % d > 0)).count();
        let job = Job::new(move |_| primes()).priority(if n < 1000 { High } else { Low });
        let accepted = conn.offload_job(job, move |conn, done| {
            let count = done.map_or_else(|error| error.to_string(), |count| count.to_string());
            conn.send(&format!("below {n}: {count}"));
        });
        if let Err(refusal) = accepted {
            conn.send(&refusal.to_string());
        }
    }
}

fn main() -> hioload::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    Server::bind(addr).run_with(
        |shard| Jobs(shard.handle().offload()),
        |running| eprintln!("listening on {}", running.addrs()[0]),
    )
}
