//! What a task costs beside its connection, to the byte: the same idle
//! connections, served by callbacks and by tasks.

#![forbid(unsafe_code)]

use std::time::Duration;

use hioload::task::{self, WebSocket};
use hioload::testing::Simulation;
use hioload::{App, Conn, Message};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// A power of two: what doubles is just full.
const CONNECTIONS: usize = 512;

/// The budget per idle task.
const MOST: usize = 600;

struct Callbacks;

impl App for Callbacks {
    type State = ();

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.send(message);
    }
}

async fn echo(mut ws: WebSocket) -> task::Result {
    while let Some(message) = ws.recv().await {
        ws.send(message).await?;
    }
    Ok(())
}

/// Bytes held while so many connections are idle that have said one thing.
fn held<A: App>(app: impl FnMut(&hioload::Shard) -> A) -> usize {
    let before = HEAP.current_usage();
    let mut server = Simulation::new(1)
        .shards(1)
        .start(app)
        .expect("a configuration");
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| server.connect("/")).collect();
    for &client in &clients {
        server.client(client).text("hello");
    }
    server.run_for(Duration::from_secs(5)).expect("it runs");
    for &client in &clients {
        assert!(server.client(client).is_open());
        while server.client(client).next().is_some() {}
    }
    let held = HEAP.current_usage() - before;
    server.stop().expect("it ends");
    held
}

#[test]
fn an_idle_task_stays_within_its_budget() {
    let callbacks = held(|_| Callbacks);
    let tasks = held(|_| task::service(echo));
    let each = (tasks - callbacks) / CONNECTIONS;
    println!("{each} bytes per idle task");
    assert!((100..=MOST).contains(&each), "{each} bytes per idle task");
}
