//! A whole shard without its driver.

use hioload::App;
use hioload::task::{self, WebSocket};
use hioload::testing::Crowd;
use hioload::{Config, ConnId};
use hioload_benches::echo::{Arrival, Echo};

/// Nanoseconds from one turn to the next.
const TURN: u64 = 10_000;

/// The echo of the framework: what a shard does between what the driver brings
/// and what the driver is given, timers and counters included.
pub(crate) struct Shard<A: App> {
    wire: Vec<u8>,
    input: Vec<u8>,
    crowd: Crowd<A>,
    conn: ConnId,
    answered: usize,
}

impl<A: App> Shard<A> {
    pub(crate) fn new(arrival: &Arrival, app: A) -> Self {
        let config = Config::default();
        let mut crowd = Crowd::new(&config, &[], app).expect("a configuration");
        let conn = crowd.connect("/");
        Self {
            wire: arrival.wire().to_vec(),
            input: arrival.wire().to_vec(),
            crowd,
            conn,
            answered: 0,
        }
    }
}

/// The same by an asynchronous handler.
pub(crate) fn task() -> impl App {
    async fn echo(mut ws: WebSocket) -> task::Result {
        while let Some(message) = ws.recv().await {
            ws.send(message).await?;
        }
        Ok(())
    }
    task::service(echo)
}

impl<A: App> Echo for Shard<A> {
    fn echo(&mut self) {
        self.input.copy_from_slice(&self.wire);
        self.crowd.pass(TURN);
        self.crowd.arrive(self.conn, &mut self.input);
        self.answered = self.crowd.turn();
    }

    fn answered(&self) -> usize {
        self.answered
    }
}
