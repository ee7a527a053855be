//! Work that blocks runs beside the shards, and its result comes back to the
//! shard and connection that asked.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use hioload::offload::{Cancel, Job, OffloadError, Priority, Retry, RetryError};
use hioload::testing::{Seen, Simulation};
use hioload::{App, Config, Conn, Message, Turn};
use support::client::Client;
use support::wait::{until, until_equal};
use support::{Serving, config};

/// A client says what is to be done, and is told what came of it.
#[derive(Default)]
struct Clerk {
    shard: Option<ThreadId>,
}

impl Clerk {
    fn answer<T: ToString>(conn: &mut Conn<'_>, outcome: Result<T, OffloadError>) {
        let text = outcome.map_or_else(|error| error.to_string(), |value| value.to_string());
        conn.send_text(&text);
    }
}

impl App for Clerk {
    type State = ();

    fn started(&mut self, _turn: &mut Turn<'_, ()>) {
        self.shard = Some(std::thread::current().id());
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        let text = message.as_text().expect("text").to_owned();
        let shard = self.shard;
        // Not Send: it stays on the shard.
        let stays = Rc::new(text.clone());
        let offloaded = match text.as_str() {
            "panic" => conn.offload(|_| -> u8 { panic!("no luck") }, Self::answer),
            "block" => conn.offload_job(
                Job::new(|cancel: &Cancel| {
                    while !cancel.is_cancelled() {
                        std::thread::yield_now();
                    }
                })
                .timeout(Duration::from_millis(200)),
                |conn, outcome| Self::answer(conn, outcome.map(|()| "done")),
            ),
            "forever" => conn.offload(
                |cancel| {
                    while !cancel.is_cancelled() {
                        std::thread::yield_now();
                    }
                },
                |_, _| panic!("its connection has ended"),
            ),
            _ => conn.offload(
                move |_| (std::thread::current().id(), text.to_uppercase()),
                move |conn, outcome| {
                    let (thread, upper) = outcome.expect("it is quick");
                    assert_ne!(Some(thread), shard, "not on the shard");
                    assert_eq!(Some(std::thread::current().id()), shard, "back on it");
                    conn.send_text(&format!("{stays} {upper}"));
                },
            ),
        };
        if let Err(error) = offloaded {
            conn.send_text(&error.to_string());
        }
    }
}

fn serve(config: Config) -> Serving {
    Serving::start(config, |_| Clerk::default())
}

#[test]
fn results_come_back_to_the_connection_that_asked() {
    let serving = serve(config());
    let mut clients: Vec<_> = (0..8)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    for round in 0..20 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.text(&format!("a{n}b{round}"));
        }
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.expect_text(), format!("a{n}b{round} A{n}B{round}"));
        }
    }
    let stats = serving.handle().offload().stats();
    assert_eq!((stats.done, stats.queued, stats.running), (160, 0, 0));
    let text = serving.metrics().render();
    let line = "hioload_offload_total{outcome=\"done\"} 160\n";
    assert!(text.contains(line), "{text}");
    serving.cut();
}

#[test]
fn a_server_that_offloads_nothing_has_no_workers() {
    let serving = serve(config());
    let pool = serving.handle().offload();
    assert!(pool.is_healthy());
    assert_eq!(pool.stats().workers, 0);
    let mut client = Client::connect(serving.addr(), "/");
    client.text("x");
    assert_eq!(client.expect_text(), "x X");
    assert_eq!(pool.stats().workers, 1);
    serving.stop();
    assert_eq!(pool.stats().workers, 0, "they end with the server");
    assert!(!pool.is_healthy());
}

#[test]
fn panics_and_timeouts_are_told_and_the_shard_goes_on() {
    let serving = serve(config());
    let mut client = Client::connect(serving.addr(), "/");
    client.text("panic");
    let told = client.expect_text();
    assert!(told.contains("panicked: no luck"), "{told}");
    client.text("block");
    let told = client.expect_text();
    assert!(told.contains("not done in its time"), "{told}");
    client.text("x");
    assert_eq!(client.expect_text(), "x X");
    let pool = serving.handle().offload();
    until_equal("it heeds its token", &0, || pool.stats().running);
    let stats = pool.stats();
    assert_eq!((stats.panicked, stats.timed_out, stats.done), (1, 1, 1));
    serving.cut();
}

#[test]
fn work_of_a_connection_that_ends_is_given_up() {
    let serving = serve(config());
    let pool = serving.handle().offload();
    let mut client = Client::connect(serving.addr(), "/");
    client.text("forever");
    until_equal("it runs", &1, || pool.stats().running);
    drop(client);
    until_equal("it was told", &0, || pool.stats().running);
    assert_eq!(pool.stats().failed, 1);
    serving.stop();
}

#[test]
fn a_connection_may_have_sixteen_on_the_way() {
    let serving = serve(Config {
        offload_workers: 1,
        ..config()
    });
    let pool = serving.handle().offload();
    let mut client = Client::connect(serving.addr(), "/");
    for _ in 0..17 {
        client.text("forever");
    }
    assert!(client.expect_text().contains("full"));
    until_equal("one runs, the others wait", &(1, 15), || {
        let stats = pool.stats();
        (stats.running, stats.queued)
    });
    drop(client);
    until("nothing is left", || match pool.stats() {
        stats if stats.running + stats.queued == 0 => Ok(()),
        stats => Err(stats),
    });
    assert_eq!(pool.stats().failed, 16);
    serving.stop();
}

#[test]
fn a_stop_does_not_wait_for_work_that_heeds_its_token() {
    let serving = serve(config());
    let pool = serving.handle().offload();
    let mut client = Client::connect(serving.addr(), "/");
    client.text("forever");
    until_equal("it runs", &1, || pool.stats().running);
    let before = std::time::Instant::now();
    serving.cut();
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(pool.stats().workers, 0);
}

/// Offloads by the script, on one shard.
struct Scripted {
    script: fn(&mut Turn<'_, ()>, &Log),
    log: Log,
}

type Log = Rc<RefCell<Vec<String>>>;

impl App for Scripted {
    type State = ();

    fn started(&mut self, turn: &mut Turn<'_, ()>) {
        (self.script)(turn, &self.log);
    }

    fn message(&mut self, _conn: &mut Conn<'_>, (): &mut (), _message: Message<'_>) {}
}

/// The log of a script after `time`, and the digest of the run.
fn simulate(
    seed: u64,
    config: Config,
    time: Duration,
    script: fn(&mut Turn<'_, ()>, &Log),
) -> (Vec<String>, u64) {
    let log = Log::default();
    let kept = Rc::clone(&log);
    let mut server = Simulation::new(seed)
        .config(Config {
            shards: 1,
            ..config
        })
        .start(move |_| Scripted {
            script,
            log: Rc::clone(&log),
        })
        .expect("it starts");
    server.run_for(time).expect("it goes on");
    let digest = server.digest();
    assert!(server.stop().expect("it stops").is_nothing());
    (kept.take(), digest)
}

#[test]
fn a_simulation_decides_who_is_done_first() {
    let script = |turn: &mut Turn<'_, ()>, log: &Log| {
        for n in 0..6 {
            let log = Rc::clone(log);
            turn.offload(
                move |_| n * n,
                move |turn, outcome| {
                    assert!(turn.now() > 0);
                    log.borrow_mut().push(outcome.expect("in time").to_string());
                },
            )
            .expect("there is room");
        }
    };
    let second = Duration::from_secs(1);
    let run = |seed| simulate(seed, Config::default(), second, script);
    assert_eq!(run(3), run(3), "the same seed is the same run");
    let orders: std::collections::HashSet<_> = (0..20).map(|seed| run(seed).0).collect();
    assert!(orders.len() > 3, "{orders:?}");
    for mut order in orders {
        order.sort();
        assert_eq!(order, ["0", "1", "16", "25", "4", "9"]);
    }
}

#[test]
fn priorities_and_refusals_and_giving_up() {
    let script = |turn: &mut Turn<'_, ()>, log: &Log| {
        let mut submit = |name: &'static str, priority| {
            let log = Rc::clone(log);
            turn.offload_job(
                Job::new(move |_| name).priority(priority),
                move |_, done| {
                    log.borrow_mut().push(done.expect("in time").to_owned());
                },
            )
        };
        submit("low", Priority::Low).expect("room");
        let unwanted = submit("unwanted", Priority::High).expect("room");
        submit("normal", Priority::Normal).expect("room");
        submit("high", Priority::High).expect("room");
        assert_eq!(submit("too many", Priority::High), Err(OffloadError::Full));
        assert!(turn.give_up(unwanted) && !turn.give_up(unwanted));
    };
    let config = Config {
        offload_workers: 1,
        offload_queue: 4,
        ..Config::default()
    };
    let (log, _) = simulate(5, config, Duration::from_secs(1), script);
    assert_eq!(log, ["high", "normal", "low"]);
}

#[test]
fn work_that_fails_is_tried_again_after_a_while() {
    static TRIES: AtomicUsize = AtomicUsize::new(0);
    let script = |turn: &mut Turn<'_, ()>, log: &Log| {
        let retry = Retry {
            attempts: 4,
            base: Duration::from_secs(10),
            ..Retry::default()
        };
        let kept = Rc::clone(log);
        let flaky = |_: &Cancel| match TRIES.fetch_add(1, Ordering::Relaxed) {
            0 => Err("first"),
            1 => panic!("second"),
            _ => Ok("third"),
        };
        turn.offload_retrying(retry, flaky, move |turn, outcome| {
            let seconds = turn.now() / 1_000_000_000;
            kept.borrow_mut().push(format!("{outcome:?}"));
            // 10 s and 20 s, each less by up to a half.
            assert!((15..=31).contains(&seconds), "{seconds} s");
        });
        let kept = Rc::clone(log);
        let hopeless = |_: &Cancel| Err::<(), _>("never");
        turn.offload_retrying(retry, hopeless, move |_, outcome| {
            assert_eq!(outcome, Err(RetryError::Failed("never")));
            kept.borrow_mut().push("given up".into());
        });
    };
    let (log, _) = simulate(9, Config::default(), Duration::from_secs(100), script);
    assert_eq!(log, ["Ok(\"third\")", "given up"]);
}

#[test]
fn a_timeout_is_exact_whatever_the_work_does() {
    let script = |turn: &mut Turn<'_, ()>, log: &Log| {
        for n in 0..3 {
            let log = Rc::clone(log);
            let begun = turn.now();
            let done = move |turn: &mut Turn<'_, ()>, outcome: Result<(), OffloadError>| {
                assert_eq!(outcome, Err(OffloadError::TimedOut));
                let late = turn.now() - begun - 2_000_000_000;
                assert!(late < 2_000_000, "{late} ns late");
                log.borrow_mut().push(n.to_string());
            };
            turn.offload(|_| (), done).expect("room");
        }
    };
    let log = Log::default();
    let kept = Rc::clone(&log);
    let config = Config {
        shards: 1,
        offload_workers: 1,
        offload_timeout: Duration::from_secs(2),
        ..Config::default()
    };
    // A seed whose work takes longer than its time.
    let mut server = (0..)
        .find_map(|seed| {
            log.borrow_mut().clear();
            let log = Rc::clone(&log);
            let mut server = Simulation::new(seed)
                .config(config.clone())
                .offload_time(Duration::from_secs(100))
                .start(move |_| Scripted {
                    script,
                    log: Rc::clone(&log),
                })
                .expect("it starts");
            let first_is_slow = server.run_for(Duration::from_millis(2100)).is_ok()
                && server.handle().offload().stats().running == 1;
            first_is_slow.then_some(server)
        })
        .expect("most seeds do");
    assert_eq!(kept.borrow().len(), 3);
    let stats = server.handle().offload().stats();
    assert_eq!((stats.timed_out, stats.queued, stats.running), (3, 0, 1));
    server
        .run_for(Duration::from_secs(100))
        .expect("it goes on");
    let stats = server.handle().offload().stats();
    assert_eq!((stats.running, stats.done), (0, 0), "dropped in silence");
}

/// The result is for a client that is not simulated work's own business.
#[test]
fn a_simulated_client_gets_the_answer() {
    let mut server = Simulation::new(11)
        .start(|_| Clerk::default())
        .expect("it starts");
    let client = server.connect("/");
    server.client(client).text("panic");
    let within = Duration::from_secs(1);
    let told = Arc::new(AtomicUsize::new(0));
    server
        .run_until(within, |server| {
            while let Some(seen) = server.client(client).next() {
                if let Seen::Text(text) = seen {
                    assert!(text.contains("no luck"), "{text}");
                    told.fetch_add(1, Ordering::Relaxed);
                }
            }
            told.load(Ordering::Relaxed) == 1
        })
        .expect("an answer");
    assert!(server.stop().expect("it stops").is_nothing());
}
