//! Stock prices at a fixed rate: one shard draws them, subscribers on all
//! shards get them, and who comes later gets the last one at once.
//!
//! ```sh
//! cargo run --release -p hioload --example ticker
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/ ACME ACME
//! ```

use std::time::Duration;

use hioload::hub::{Hub, HubId};
use hioload::{App, Conn, Message, Server, Shard, Turn};

pub(crate) const PERIOD: Duration = Duration::from_millis(250);

pub(crate) struct Ticker {
    hub: HubId,
}

impl Ticker {
    pub(crate) fn new(shard: &Shard) -> Self {
        let hub = shard.handle().hub_id("prices").expect("declared in main");
        Self { hub }
    }
}

impl App for Ticker {
    type State = ();

    fn started(&mut self, turn: &mut Turn<'_, ()>) {
        if turn.shard() > 0 {
            return;
        }
        let hub = self.hub;
        let (mut stocks, mut dice) = ([("ACME", 12_000), ("INITECH", 4_200)], 7_u64);
        let tick = move |turn: &mut Turn<'_, ()>| {
            for (stock, cents) in &mut stocks {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *cents = (*cents + (dice >> 60)).saturating_sub(7);
                let price = format!("{stock} {}.{:02}", *cents / 100, *cents % 100);
                turn.hub(hub).publish(stock, &price);
            }
        };
        turn.every(PERIOD, tick).expect("room for a timer");
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        let stock = message.as_text().unwrap_or_default();
        conn.hub(self.hub).subscribe(stock);
    }
}

fn main() -> hioload::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let server = Server::bind(addr).hub(Hub::new("prices").retain_last(true));
    server.run_with(Ticker::new, |running| {
        eprintln!("listening on {}", running.addrs()[0]);
    })
}
