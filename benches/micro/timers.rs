//! Timers, with a million of them pending.
//!
//! Deadlines lie 30 to 60 seconds ahead, as idle timeouts do, and the timers
//! touched are chosen at random: most of the time is cache misses. Re-armed in
//! turn, they lie in the order of their memory. tungstenite has no timers; a
//! `BTreeMap` ordered by deadline stands beside the wheel, and so does the
//! scheduler of a shard, whose timers are closures: it stores one for each, and
//! drops it when the timer is cancelled.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use hioload::testing::Simulation;
use hioload::timer::{Timer, TimerId, Wheel};
use hioload::{App, Conn, Message, Turn};
use hioload_benches::Random;

const TIMERS: u32 = 1_000_000;

/// Timers added, removed or re-armed between two readings of the clock. Which
/// ones is settled before, so that only the timers are measured and not where
/// their ids come from.
const BATCH: u64 = 1000;

/// Timers that expire within 600 milliseconds, in which the wheel enters two
/// slots of 268 milliseconds and moves the 9,000 timers of each.
const EXPIRIES: u32 = 20_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("timers");
    bench(&mut group, "wheel", &mut Bench::new(Wheel::new(0)));
    bench(&mut group, "btreemap", &mut Bench::new(Ordered::default()));
    group.finish();
    // Timers of a shard are at hand in its callbacks only.
    let criterion = Rc::new(RefCell::new(criterion));
    let on_shard = Rc::clone(&criterion);
    let simulation = Simulation::new(1).shards(1);
    let shard = simulation.start(move |_| OnShard(Rc::clone(&on_shard)));
    drop(shard.expect("a shard starts"));
    criterion.borrow().final_summary();
}

/// Measures the scheduler when its shard starts.
struct OnShard(Rc<RefCell<Criterion>>);

impl App for OnShard {
    type State = ();

    fn started(&mut self, turn: &mut Turn<'_, ()>) {
        let mut criterion = self.0.borrow_mut();
        let mut group = criterion.benchmark_group("timers");
        let scheduler = Scheduled {
            turn,
            fired: Rc::default(),
        };
        bench_pending(&mut group, "scheduler", &mut Bench::new(scheduler));
        group.finish();
    }

    fn message(&mut self, _conn: &mut Conn<'_>, (): &mut (), _message: Message<'_>) {}
}

/// Timers that do not fire.
fn bench_pending(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    bench: &mut Bench<impl Timers>,
) {
    group.bench_function(format!("insert/{name}"), |bencher| {
        bencher.iter_custom(|iterations| bench.batches(iterations).0);
    });
    group.bench_function(format!("cancel/{name}"), |bencher| {
        bencher.iter_custom(|iterations| bench.batches(iterations).1);
    });
    group.bench_function(format!("rearm/{name}"), |bencher| {
        bencher.iter_custom(|iterations| bench.rearm(iterations));
    });
    let mut turn = 0;
    group.bench_function(format!("rearm-in-turn/{name}"), |bencher| {
        bencher.iter_custom(|iterations| bench.rearm_in_turn(iterations, &mut turn));
    });
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    bench: &mut Bench<impl Timers + Expire>,
) {
    bench_pending(group, name, bench);
    group.bench_function(format!("expire/{name}"), |bencher| {
        bencher.iter(|| bench.expire());
    });
    group.bench_function(format!("slowest-expire/{name}"), |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| bench.slowest()).sum());
    });
}

/// What is compared. Times are nanoseconds, values number the timers.
trait Timers {
    type Id: Copy;
    fn insert(&mut self, deadline: u64, value: u32) -> Self::Id;
    fn cancel(&mut self, id: Self::Id);
    fn rearm(&mut self, id: Self::Id, deadline: u64) -> Self::Id;
}

/// Those that can be waited for.
trait Expire {
    /// Waits for the earliest timer: its value and the time then.
    fn expire(&mut self) -> (u32, u64);
}

impl Timers for Wheel<u32> {
    type Id = TimerId;

    fn insert(&mut self, deadline: u64, value: u32) -> TimerId {
        Self::insert(self, deadline, value)
    }

    fn cancel(&mut self, id: TimerId) {
        Self::cancel(self, id).expect("a pending timer");
    }

    fn rearm(&mut self, id: TimerId, deadline: u64) -> TimerId {
        assert!(Self::rearm(self, id, deadline), "a pending timer");
        id
    }
}

impl Expire for Wheel<u32> {
    fn expire(&mut self) -> (u32, u64) {
        loop {
            let now = self.next_deadline().expect("a pending timer");
            if let Some((_, value)) = self.pop(now) {
                return (value, now);
            }
        }
    }
}

/// The timers of a shard. Each closure holds a number and a count it shares,
/// as one of an app might.
struct Scheduled<'t, 'a> {
    turn: &'t mut Turn<'a, ()>,
    fired: Rc<Cell<u64>>,
}

impl Timers for Scheduled<'_, '_> {
    type Id = Timer;

    fn insert(&mut self, deadline: u64, value: u32) -> Timer {
        let fired = Rc::clone(&self.fired);
        let task = move |_: &mut Turn<'_, ()>| fired.set(fired.get() + u64::from(value));
        let timer = self.turn.scheduler().schedule(deadline, task);
        timer.expect("there is room for four million")
    }

    fn cancel(&mut self, id: Timer) {
        assert!(self.turn.cancel(id), "a pending timer");
    }

    fn rearm(&mut self, id: Timer, deadline: u64) -> Timer {
        assert!(self.turn.scheduler().rearm(id, deadline), "a pending timer");
        id
    }
}

/// Timers by deadline, and by a number where deadlines are equal.
#[derive(Default)]
struct Ordered {
    timers: BTreeMap<(u64, u64), u32>,
    inserted: u64,
}

impl Timers for Ordered {
    type Id = (u64, u64);

    fn insert(&mut self, deadline: u64, value: u32) -> (u64, u64) {
        self.inserted += 1;
        self.timers.insert((deadline, self.inserted), value);
        (deadline, self.inserted)
    }

    fn cancel(&mut self, id: (u64, u64)) {
        self.timers.remove(&id).expect("a pending timer");
    }

    fn rearm(&mut self, id: (u64, u64), deadline: u64) -> (u64, u64) {
        let value = self.timers.remove(&id).expect("a pending timer");
        self.insert(deadline, value)
    }
}

impl Expire for Ordered {
    fn expire(&mut self) -> (u32, u64) {
        let ((deadline, _), value) = self.timers.pop_first().expect("a pending timer");
        (value, deadline)
    }
}

/// A million timers, each named by its index in `ids`.
struct Bench<T: Timers> {
    timers: T,
    ids: Vec<T::Id>,
    now: u64,
    random: Random,
}

impl<T: Timers> Bench<T> {
    fn new(mut timers: T) -> Self {
        let mut random = Random::new();
        let mut ids = Vec::new();
        for value in 0..TIMERS {
            ids.push(timers.insert(deadline(0, &mut random), value));
        }
        Self {
            timers,
            ids,
            now: 0,
            random,
        }
    }

    /// Adds and removes so many timers above the million: the time that adding
    /// took and the time that removing took. Those removed are chosen at random
    /// among all, and those added take their places.
    fn batches(&mut self, iterations: u64) -> (Duration, Duration) {
        let (mut inserting, mut cancelling) = (Duration::ZERO, Duration::ZERO);
        for batch in batches(iterations) {
            let places = self.places(batch);
            let deadlines = self.deadlines(batch);
            let mut added = Vec::with_capacity(batch);
            let start = Instant::now();
            for (&place, deadline) in places.iter().zip(deadlines) {
                added.push(self.timers.insert(deadline, place));
            }
            inserting += start.elapsed();
            for (place, added) in places.iter().zip(&mut added) {
                std::mem::swap(&mut self.ids[*place as usize], added);
            }
            let start = Instant::now();
            for removed in added {
                self.timers.cancel(removed);
            }
            cancelling += start.elapsed();
        }
        (inserting, cancelling)
    }

    /// One after the other, as they were made, each later than the one before:
    /// as when all connections are heard from in turn.
    fn rearm_in_turn(&mut self, iterations: u64, turn: &mut u64) -> Duration {
        let mut took = Duration::ZERO;
        for batch in batches(iterations) {
            let turns = *turn..*turn + u64::try_from(batch).expect("a thousand");
            let places = turns.clone().map(|turn| turn % u64::from(TIMERS));
            let places: Vec<u32> = places
                .map(|place| u32::try_from(place).expect("a million"))
                .collect();
            let first = self.now + 60_000_000_000;
            *turn = turns.end;
            let deadlines = turns.map(|turn| first + turn * 30_000).collect();
            took += self.rearm_all(&places, deadlines);
        }
        took
    }

    /// Timers chosen at random.
    fn rearm(&mut self, iterations: u64) -> Duration {
        let mut took = Duration::ZERO;
        for batch in batches(iterations) {
            let (places, deadlines) = (self.places(batch), self.deadlines(batch));
            took += self.rearm_all(&places, deadlines);
        }
        took
    }

    fn rearm_all(&mut self, places: &[u32], deadlines: Vec<u64>) -> Duration {
        let ids = places.iter().map(|&place| self.ids[place as usize]);
        let mut ids: Vec<T::Id> = ids.collect();
        let start = Instant::now();
        for (id, deadline) in ids.iter_mut().zip(deadlines) {
            *id = self.timers.rearm(*id, deadline);
        }
        let took = start.elapsed();
        for (&place, id) in places.iter().zip(ids) {
            self.ids[place as usize] = id;
        }
        took
    }

    /// Different ones: a timer is named once.
    fn places(&mut self, batch: usize) -> Vec<u32> {
        let mut chosen = HashSet::with_capacity(batch);
        while chosen.len() < batch {
            chosen.insert(self.random.below(TIMERS));
        }
        chosen.into_iter().collect()
    }

    fn deadlines(&mut self, batch: usize) -> Vec<u64> {
        let random = &mut self.random;
        (0..batch).map(|_| deadline(self.now, random)).collect()
    }
}

impl<T: Timers + Expire> Bench<T> {
    /// Fires the earliest timer and adds it again.
    fn expire(&mut self) {
        let (value, now) = self.timers.expire();
        self.now = now;
        self.ids[value as usize] = self.timers.insert(deadline(now, &mut self.random), value);
    }

    /// What the slowest of many expiries took.
    fn slowest(&mut self) -> Duration {
        let mut slowest = Duration::ZERO;
        for _ in 0..EXPIRIES {
            let start = Instant::now();
            self.expire();
            slowest = slowest.max(start.elapsed());
        }
        slowest
    }
}

/// Sizes that are so much together.
fn batches(iterations: u64) -> impl Iterator<Item = usize> {
    let whole = iterations / BATCH;
    let sizes = (0..whole).map(|_| BATCH).chain(Some(iterations % BATCH));
    sizes.map(|size| usize::try_from(size).expect("a thousand at most"))
}

fn deadline(now: u64, random: &mut Random) -> u64 {
    now + 30_000_000_000 + u64::from(random.below(30_000_000)) * 1000
}
