//! The pool with threads, without a server around it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use super::pool::Submission;
use super::state::Reason;
use super::*;
use crate::control::{Control, Terms};
use crate::hub::HashSeed;
use crate::server::Handle;
use crate::shard::{Inbox, InboxEntry};

const PATIENCE: Duration = Duration::from_secs(30);

/// A pool and the shard it works for.
struct Rig {
    pool: Pool,
    handle: Handle,
}

impl Rig {
    fn new(workers: usize, capacity: usize) -> Self {
        let control = Control::new(&crate::Config::default(), 1, Terms::default());
        Self {
            pool: Pool::new(workers, capacity, Seats::anywhere(1)),
            handle: Handle::new(1, &[], &HashSeed::Given(1), Inbox::ROOM, control),
        }
    }

    fn submit<T: Send + 'static>(&self, job: Job<T>) -> Result<u64, OffloadError> {
        let priority = job.priority;
        self.pool.submit(Submission {
            work: job.erase(),
            priority,
            shard: 0,
            outstanding: 0,
            back: self.handle.reserve(0).expect("few are on the way"),
        })
    }

    /// The completions that have come back.
    fn completions(&self) -> Vec<Completion> {
        let inboxes = self.handle.inboxes();
        let entries = std::iter::from_fn(|| inboxes[0].pop());
        let completion = |entry| match entry {
            InboxEntry::Worked(completion) => completion,
            other => panic!("{other:?} is no completion"),
        };
        entries.map(completion).collect()
    }

    /// Occupies a worker until the sender is dropped or used.
    fn occupy(&self) -> (u64, SyncSender<()>) {
        let (begun, has_begun) = sync_channel(1);
        let (release, released): (_, Receiver<()>) = sync_channel(1);
        let job = Job::new(move |_| {
            begun.send(()).expect("somebody waits");
            let _either = released.recv();
        });
        let id = self.submit(job).expect("there is room");
        has_begun.recv_timeout(PATIENCE).expect("a worker begins");
        (id, release)
    }

    fn until(&self, what: &str, holds: impl Fn(&Stats) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.pool.stats()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.pool);
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.pool.close();
    }
}

#[test]
fn no_wake_is_lost_among_many_submitters_and_resizes() {
    const SUBMITTERS: usize = 6;
    const EACH: usize = 1500;
    let rig = Rig::new(3, 64);
    let ran = Arc::new(AtomicUsize::new(0));
    let start = Barrier::new(SUBMITTERS);
    std::thread::scope(|scope| {
        for _ in 0..SUBMITTERS {
            scope.spawn(|| {
                start.wait();
                for n in 0..EACH {
                    let job = || {
                        let ran = Arc::clone(&ran);
                        Job::new(move |_| ran.fetch_add(1, Ordering::Relaxed))
                            .priority(Priority::ALL[n % 3])
                    };
                    while rig.submit(job()) == Err(OffloadError::Full) {
                        std::thread::yield_now();
                    }
                    if n % 50 == 0 {
                        rig.pool.resize(1 + n / 50 % 5).expect("a few");
                    }
                }
            });
        }
    });
    rig.until("all is done", |stats| {
        stats.done == (SUBMITTERS * EACH) as u64
    });
    assert_eq!(ran.load(Ordering::Relaxed), SUBMITTERS * EACH);
    let mut ids: Vec<_> = rig.completions().iter().map(|one| one.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), SUBMITTERS * EACH, "each came back once");
    let stats = rig.pool.stats();
    assert_eq!((stats.queued, stats.running), (0, 0));
    let stopped = rig.pool.stop(PATIENCE, Queued::Drop);
    assert_eq!(stopped, Stopped::default());
    assert_eq!(rig.pool.stats().workers, 0);
}

#[test]
fn no_thread_is_there_before_there_is_work() {
    let rig = Rig::new(4, 8);
    assert!(rig.pool.is_healthy());
    assert_eq!(rig.pool.stats().workers, 0);
    let (_, first) = rig.occupy();
    assert_eq!(rig.pool.stats().workers, 1);
    drop(first);
    rig.until("it is done", |stats| stats.running == 0);
    rig.submit(Job::new(|_| ())).expect("there is room");
    rig.until("the idle one did it", |stats| stats.done == 2);
    assert!(rig.pool.stats().workers <= 2);
}

#[test]
fn a_full_queue_refuses_and_is_unhealthy_before() {
    let rig = Rig::new(1, 10);
    let (_, release) = rig.occupy();
    for n in 0..10 {
        assert_eq!(rig.pool.is_healthy(), n < 9, "{n} of 10 wait");
        rig.submit(Job::new(|_| ())).expect("there is room");
    }
    assert_eq!(rig.submit(Job::new(|_| ())), Err(OffloadError::Full));
    drop(release);
    rig.until("all is done", |stats| stats.done == 11);
    let stats = rig.pool.stats();
    assert_eq!((stats.refused, stats.failed), (1, 0));
    assert!(rig.pool.is_healthy());
}

#[test]
fn work_that_waits_too_long_never_runs_and_work_that_runs_is_told() {
    let rig = Rig::new(1, 8);
    let (told, was_told) = sync_channel(1);
    let (begun, has_begun) = sync_channel(1);
    let running = rig.submit(Job::new(move |cancel: &Cancel| {
        begun.send(()).expect("somebody waits");
        while !cancel.is_cancelled() {
            std::thread::yield_now();
        }
        told.send(()).expect("somebody waits");
    }));
    has_begun.recv_timeout(PATIENCE).expect("it begins");
    let waiting = rig.submit(Job::new(|_| panic!("it was given up before")));
    assert!(rig.pool.abandon(waiting.expect("room"), Reason::TimedOut));
    let (stats, running) = (rig.pool.stats(), running.expect("room"));
    assert_eq!((stats.queued, stats.running, stats.timed_out), (0, 1, 1));
    assert!(rig.pool.abandon(running, Reason::TimedOut));
    was_told.recv_timeout(PATIENCE).expect("it is told");
    rig.until("its worker is free", |stats| stats.running == 0);
    assert!(!rig.pool.abandon(running, Reason::TimedOut), "it has ended");
    let stats = rig.pool.stats();
    assert_eq!((stats.timed_out, stats.done, stats.panicked), (2, 0, 0));
    assert!(rig.completions().is_empty(), "nobody waits for either");
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn a_panic_ends_the_work_and_not_the_worker() {
    let rig = Rig::new(1, 8);
    rig.submit(Job::new(|_| -> () { panic!("no luck") }))
        .expect("room");
    rig.submit(Job::new(|_| -> () { std::panic::panic_any(Bomb) }))
        .expect("room");
    rig.submit(Job::fallible(|_| Err::<(), _>(7)))
        .expect("room");
    let (begun, release) = rig.occupy();
    drop(release);
    rig.until("the last is done", |stats| stats.done == 1);
    let outcomes: Vec<_> = rig
        .completions()
        .into_iter()
        .map(|one| one.outcome.err())
        .collect();
    let panicked = |message: &str| {
        let message = message.to_owned();
        Some(OffloadError::Panicked { message })
    };
    assert_eq!(
        outcomes,
        [panicked("no luck"), panicked("no message"), None, None]
    );
    let (id, release) = {
        let (begun, has_begun) = sync_channel(1);
        let (release, released): (_, Receiver<()>) = sync_channel(1);
        let id = rig.submit(Job::new(move |_| {
            begun.send(()).expect("somebody waits");
            let _either = released.recv();
            Bomb
        }));
        has_begun.recv_timeout(PATIENCE).expect("it begins");
        (id.expect("room"), release)
    };
    assert!(rig.pool.abandon(id, Reason::Unwanted) && id > begun);
    drop(release);
    rig.until("an unwanted result may panic too", |stats| {
        stats.running == 0
    });
    let stats = rig.pool.stats();
    assert_eq!((stats.workers, stats.panicked, stats.failed), (1, 2, 2));
}

#[test]
fn a_pool_grows_and_shrinks_while_it_works() {
    let rig = Rig::new(1, 8);
    let mut held = vec![rig.occupy().1];
    for _ in 0..2 {
        rig.submit(Job::new(|_| ())).expect("room");
    }
    assert_eq!(rig.pool.stats().queued, 2);
    rig.pool.resize(3).expect("not too many");
    rig.until("new workers do what waited", |stats| stats.done == 2);
    held.push(rig.occupy().1);
    held.push(rig.occupy().1);
    assert_eq!(rig.pool.stats().workers, 3);
    rig.pool.resize(1).expect("not too many");
    assert_eq!(rig.pool.stats().workers, 3, "they end after what they do");
    drop(held);
    rig.until("two have ended", |stats| stats.workers == 1);
    rig.pool.resize(0).expect("none is a number");
    rig.until("the idle one ends", |stats| stats.workers == 0);
    assert!(!rig.pool.is_healthy());
    assert_eq!(rig.submit(Job::new(|_| ())), Err(OffloadError::NoWorkers));
    assert!(rig.pool.resize(1025).is_err());
    rig.pool.resize(2).expect("not too many");
    rig.submit(Job::new(|_| ())).expect("room");
    rig.until("it goes on", |stats| stats.done == 6);
}

#[test]
fn a_stop_drops_what_waits_or_does_it_first() {
    for queued in [Queued::Drop, Queued::Finish] {
        let rig = Rig::new(1, 8);
        let (_, release) = rig.occupy();
        for _ in 0..3 {
            rig.submit(Job::new(|_| ())).expect("room");
        }
        let stopped = std::thread::scope(|scope| {
            let stop = scope.spawn(|| rig.pool.stop(PATIENCE, queued));
            while rig.submit(Job::new(|_| ())) != Err(OffloadError::Stopped) {
                std::thread::yield_now();
            }
            drop(release);
            stop.join().expect("no panic")
        });
        let stats = rig.pool.stats();
        assert_eq!((stats.workers, stats.running, stats.queued), (0, 0, 0));
        assert_eq!(stopped.abandoned, 0);
        let told = rig
            .completions()
            .into_iter()
            .filter_map(|one| one.outcome.err());
        let told: Vec<_> = told.collect();
        match queued {
            Queued::Drop => {
                assert!(stopped.dropped >= 3);
                assert_eq!(told, vec![OffloadError::Stopped; stopped.dropped]);
                assert_eq!(stats.done, 1);
            }
            Queued::Finish => {
                assert_eq!((stopped.dropped, told.len()), (0, 0));
                assert!(stats.done >= 4);
            }
        }
    }
}

#[test]
fn a_stop_leaves_behind_what_does_not_end() {
    let rig = Rig::new(2, 8);
    let (_, release) = rig.occupy();
    rig.occupy().1.send(()).expect("it waits");
    rig.until("one is done", |stats| stats.done == 1);
    let before = Instant::now();
    let within = Duration::from_millis(100);
    let stopped = rig.pool.stop(within, Queued::Drop);
    assert!(before.elapsed() >= within);
    assert_eq!((stopped.abandoned, stopped.dropped), (1, 0));
    drop(release);
    assert_eq!(rig.pool.stop(PATIENCE, Queued::Drop), Stopped::default());
    assert_eq!(rig.pool.stats().workers, 0);
}
