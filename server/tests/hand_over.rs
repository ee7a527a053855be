//! A server is replaced without a failed connect, whatever is under way.
//!
//! What a client may count on, and each of these does: a connection is
//! accepted; its upgrade is answered 101; a message is answered, or the
//! WebSocket is closed with 1001 before its answer, never reset or cut. Who is
//! closed connects again at once and is served by the successor.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use support::client::{Client, Dial, Seen};
use support::wait::{until, until_equal};
use support::{Process, Serving, server};

const RESTARTS: u64 = 20;
/// Threads that connect, ask once and close, one connection after the other.
const HURRIED: u8 = 4;
/// Connections that stay until they are closed.
const PATIENT: u64 = 8;
/// Answers of hurried clients between two restarts, at least.
const PER_RESTART: u64 = 300;
/// Connections from one source address: beyond 28,000 its ports are used up.
const PER_SOURCE: u64 = 1000;

/// A place for a test's socket, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let directory = format!("hioload-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        std::fs::create_dir(&directory).expect("a directory of this process");
        Self(directory)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("hand-over")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that failed tells more than this would.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn start(addr: &str, socket: &Path, more: &[&str]) -> Serving {
    let mut command = server(&["--listen", addr, "--hand-over"]);
    command.arg(socket).args(more);
    Serving::of(Process::spawn(command))
}

/// What the clients saw.
#[derive(Default)]
struct Seens {
    echoes: AtomicU64,
    /// Closed before the answer, and served at the next try.
    moved: AtomicU64,
    /// Patient clients that are connected.
    staying: AtomicU64,
    /// How often they were told to leave.
    leaves: AtomicU64,
    /// The longest time from a connect to its echo.
    slowest: AtomicU64,
}

impl Seens {
    /// Connects and asks until it is answered.
    fn ask(&self, addr: SocketAddr, source: IpAddr, question: &str) -> Client {
        let dial = Dial {
            source: Some(source),
            ..Dial::default()
        };
        loop {
            let before = Instant::now();
            let stream = dial.tcp(addr).expect("no connect fails");
            let mut client = Client::over(stream, "/echo");
            client.text(question);
            match client.message() {
                Seen::Text(answer) => {
                    assert_eq!(answer, question);
                    let took = u64::try_from(before.elapsed().as_millis()).expect("a short time");
                    self.slowest.fetch_max(took, Ordering::Relaxed);
                    return client;
                }
                Seen::Closed(1001, _) => self.moved.fetch_add(1, Ordering::Relaxed),
                seen => panic!("{seen:?} instead of an answer"),
            };
        }
    }

    fn hurry(&self, addr: SocketAddr, thread: u8, done: &AtomicBool) {
        let mut count = 0;
        while !done.load(Ordering::Relaxed) {
            let third = u8::try_from(count / PER_SOURCE % 250).expect("below 250");
            let source = Ipv4Addr::new(127, 10 + thread, third, 1);
            let mut client = self.ask(addr, source.into(), &format!("{thread} {count}"));
            self.echoes.fetch_add(1, Ordering::Relaxed);
            client.close(1000, "done");
            // Both may close at once.
            let code = client.expect_close();
            assert!(code == 1000 || code == 1001, "{code}");
            assert_eq!(client.message(), Seen::Eof);
            count += 1;
        }
    }

    fn stay(&self, addr: SocketAddr, done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) {
            let mut client = self.ask(addr, Ipv4Addr::LOCALHOST.into(), "still there?");
            self.staying.fetch_add(1, Ordering::SeqCst);
            client.expect_end(1001);
            self.staying.fetch_sub(1, Ordering::SeqCst);
            self.leaves.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Other numbers of shards than the one before, other backends, and one that
/// accepts for all.
const FLAGS: [&[&str]; 5] = [
    &["--shards", "2"],
    &["--shards", "3", "--backend", "compio"],
    &["--shards", "1"],
    &["--shards", "2", "--backend", "compio"],
    &["--shards", "3", "--listener", "distribute"],
];

#[test]
fn twenty_restarts_under_load_fail_no_connect() {
    let place = Place::new("restarts");
    let socket = place.socket();
    let mut serving = start("127.0.0.1:0", &socket, FLAGS[0]);
    let addr = serving.addr;
    let (done, gone) = (AtomicBool::new(false), AtomicBool::new(false));
    let seens = Seens::default();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let hurried: Vec<_> = (0..HURRIED)
            .map(|thread| {
                let (seens, done) = (&seens, &done);
                scope.spawn(move || seens.hurry(addr, thread, done))
            })
            .collect();
        for _ in 0..PATIENT {
            scope.spawn(|| seens.stay(addr, &gone));
        }
        // Whatever fails here ends the threads too.
        let restarts = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (_, flags) in (0..RESTARTS).zip(FLAGS.iter().cycle().skip(1)) {
                // The one before is gone: they are at this one.
                until_equal("patient clients", &PATIENT, || {
                    seens.staying.load(Ordering::SeqCst)
                });
                let enough = seens.echoes.load(Ordering::Relaxed) + PER_RESTART;
                until("load", || match seens.echoes.load(Ordering::Relaxed) {
                    echoes if echoes < enough => Err(echoes),
                    _ => Ok(()),
                });
                let successor = start(&addr.to_string(), &socket, flags);
                assert_eq!(successor.addr, addr);
                let mut old = std::mem::replace(&mut serving, successor);
                let ended = old.process.wait();
                assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
                let trouble = ["WARN", "ERROR"].map(|level| ended.stderr.contains(level));
                assert_eq!(trouble, [false, false], "{}", ended.stderr);
            }
            until_equal("patient clients", &PATIENT, || {
                seens.staying.load(Ordering::SeqCst)
            });
        }));
        done.store(true, Ordering::Relaxed);
        gone.store(true, Ordering::Relaxed);
        match restarts {
            // The hurried end by themselves, the patient are told to leave.
            Ok(()) => {
                for thread in hurried {
                    thread.join().expect("no connect failed");
                }
                serving.process.ask_to_stop();
            }
            Err(failure) => {
                drop(serving);
                std::panic::resume_unwind(failure);
            }
        }
        assert_eq!(serving.process.wait().status.code(), Some(0));
    });
    let count = |seen: &AtomicU64| seen.load(Ordering::SeqCst);
    // One that comes back may meet the old server once more.
    assert!(count(&seens.leaves) >= (RESTARTS + 1) * PATIENT);
    assert!(
        count(&seens.echoes) > 20 * RESTARTS,
        "{}",
        count(&seens.echoes)
    );
    assert!(!socket.exists(), "the last server takes its socket away");
    println!(
        "{} echoes, {} moved, the slowest {} ms, {RESTARTS} restarts in {:?}",
        count(&seens.echoes),
        count(&seens.moved),
        count(&seens.slowest),
        began.elapsed()
    );
}
