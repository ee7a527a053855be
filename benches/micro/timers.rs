//! Timers, with a million of them pending.
//!
//! Deadlines lie 30 to 60 seconds ahead, as idle timeouts do, and the timers
//! touched are chosen at random: most of the time is cache misses. tungstenite
//! has no timers; a `BTreeMap` ordered by deadline stands beside the wheel.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use hioload::timer::{TimerId, Wheel};
use hioload_benches::Random;

const TIMERS: u32 = 1_000_000;

/// Timers added or removed between two readings of the clock.
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
    criterion.final_summary();
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, bench: &mut Bench<impl Timers>) {
    group.bench_function(format!("insert/{name}"), |bencher| {
        bencher.iter_custom(|iterations| bench.batches(iterations).0);
    });
    group.bench_function(format!("cancel/{name}"), |bencher| {
        bencher.iter_custom(|iterations| bench.batches(iterations).1);
    });
    group.bench_function(format!("rearm/{name}"), |bencher| {
        bencher.iter(|| bench.rearm());
    });
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

    fn expire(&mut self) -> (u32, u64) {
        loop {
            let now = self.next_deadline().expect("a pending timer");
            if let Some((_, value)) = self.pop(now) {
                return (value, now);
            }
        }
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
        let mut left = iterations;
        while left > 0 {
            let batch = left.min(BATCH);
            let places: Vec<u32> = (0..batch).map(|_| self.random.below(TIMERS)).collect();
            let removed: Vec<T::Id> = self.add(&places, &mut inserting);
            let start = Instant::now();
            for id in removed {
                self.timers.cancel(id);
            }
            cancelling += start.elapsed();
            left -= batch;
        }
        (inserting, cancelling)
    }

    /// Adds a timer for each place and returns those that were there before.
    fn add(&mut self, places: &[u32], took: &mut Duration) -> Vec<T::Id> {
        let mut replaced = Vec::with_capacity(places.len());
        let start = Instant::now();
        for &place in places {
            let id = self
                .timers
                .insert(deadline(self.now, &mut self.random), place);
            replaced.push(std::mem::replace(&mut self.ids[place as usize], id));
        }
        *took += start.elapsed();
        replaced
    }

    fn rearm(&mut self) {
        let place = self.random.below(TIMERS) as usize;
        let deadline = deadline(self.now, &mut self.random);
        self.ids[place] = self.timers.rearm(self.ids[place], deadline);
    }

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

fn deadline(now: u64, random: &mut Random) -> u64 {
    now + 30_000_000_000 + u64::from(random.below(30_000_000)) * 1000
}
