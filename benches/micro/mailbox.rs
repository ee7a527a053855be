//! What it costs to reach a shard from another thread: a hop through its inbox
//! and back, posted tasks in a row, tracked sends to a real connection one by
//! one and in batches.
//!
//! Hops and single sends are round trips between two threads, so they measure
//! the wake-up and the system's scheduler too; the rows of many show what is
//! left of that when one wake serves all.

#![forbid(unsafe_code)]

use std::net::TcpStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use criterion::{Criterion, Throughput};
use hioload::{App, Conn, ConnRef, Handle, Message, PostError, Running, Server, Turn};

/// Tasks or messages in a row: far below what an inbox holds.
const ROW: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells of its connections and counts what is posted.
struct Counting {
    opened: SyncSender<ConnRef>,
    posted: u64,
}

impl App for Counting {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.opened
            .send(conn.reference())
            .expect("the bench listens");
    }

    fn message(&mut self, _: &mut Conn<'_>, (): &mut (), _: Message<'_>) {}
}

fn main() {
    let (opened, conns) = sync_channel(1);
    let server = Server::bind("127.0.0.1:0")
        .shards(1)
        .start(move |_| Counting {
            opened: opened.clone(),
            posted: 0,
        });
    let running = server.expect("the server starts");
    let mut criterion = Criterion::default().configure_from_args();
    bench_posts(&mut criterion, &running.handle());
    bench_sends(&mut criterion, &running, &conns);
    criterion.final_summary();
    running.handle().stop_now();
    running.stop().expect("no shard failed");
}

fn bench_posts(criterion: &mut Criterion, handle: &Handle) {
    let mut group = criterion.benchmark_group("inbox");
    let (tell, told) = sync_channel(1);
    group.bench_function("hop_and_back", |bencher| {
        bencher.iter(|| {
            let tell = tell.clone();
            let answer = move |app: &mut Counting, _: &mut Turn<'_, ()>| {
                tell.send(app.posted).expect("the bench listens");
            };
            handle.post(0, answer).expect("room");
            told.recv_timeout(PATIENCE).expect("an answer")
        });
    });
    group.throughput(Throughput::Elements(ROW));
    group.bench_function("post_1000", |bencher| {
        bencher.iter(|| post_row(handle, &tell, &told));
    });
    group.finish();
}

/// Posts a row and waits until the last has run.
fn post_row(handle: &Handle, tell: &SyncSender<u64>, told: &Receiver<u64>) -> u64 {
    for n in 1..=ROW {
        let tell = (n == ROW).then(|| tell.clone());
        let count = move |app: &mut Counting, _: &mut Turn<'_, ()>| {
            app.posted += 1;
            if let Some(tell) = tell {
                tell.send(app.posted).expect("the bench listens");
            }
        };
        assert_ne!(
            handle.post(0, count),
            Err(PostError::Full),
            "fewer than it holds"
        );
    }
    told.recv_timeout(PATIENCE).expect("an answer")
}

fn bench_sends(criterion: &mut Criterion, running: &Running, conns: &Receiver<ConnRef>) {
    let addr = running.addrs()[0];
    let stream = TcpStream::connect(addr).expect("connects");
    let drained = stream.try_clone().expect("a descriptor");
    let (_client, _) = tungstenite::client(format!("ws://{addr}/"), stream).expect("a handshake");
    let reader = std::thread::spawn(move || {
        // Bytes are thrown away: what they say is tested elsewhere.
        std::io::copy(&mut &drained, &mut std::io::sink()).ok();
    });
    let conn = conns.recv_timeout(PATIENCE).expect("it opens");
    let handle = running.handle();
    let mut group = criterion.benchmark_group("send");
    group.bench_function("tracked_and_waited_for", |bencher| {
        bencher.iter(|| {
            let tracked = conn.send_tracked("twenty bytes of text").expect("open");
            tracked.wait(PATIENCE).expect("in time").expect("sent");
        });
    });
    group.throughput(Throughput::Elements(ROW));
    group.bench_function("many_tracked_1000", |bencher| {
        bencher.iter(|| {
            let messages = (0..ROW).map(|_| (conn.clone(), "twenty bytes of text"));
            for tracked in handle.send_many_tracked(messages) {
                let outcome = tracked.expect("open").wait(PATIENCE);
                outcome.expect("in time").expect("sent");
            }
        });
    });
    group.bench_function("many_untracked_1000_and_one_tracked", |bencher| {
        bencher.iter(|| {
            let messages = (1..ROW).map(|_| (conn.clone(), "twenty bytes of text"));
            assert!(handle.send_many(messages).iter().all(Result::is_ok));
            let tracked = conn.send_tracked("twenty bytes of text").expect("open");
            tracked.wait(PATIENCE).expect("in time").expect("sent");
        });
    });
    group.finish();
    conn.terminate().expect("open");
    reader.join().expect("it read to the end");
}
