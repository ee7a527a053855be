//! What the store promises, on a disk that fails and loses power.

#![forbid(unsafe_code)]

#[path = "support/platter.rs"]
mod platter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hioload_store::{Kept, OpenError, Options, Refused, Store, Stored, Sync};
use platter::{Platter, Random};

const PATIENCE: Duration = Duration::from_secs(30);
const NAMES: [&str; 3] = ["a", "b", "c"];

fn options(sync: Sync) -> Options {
    Options {
        path: "in memory".into(),
        sync,
        queue: 1024,
        queue_bytes: 1 << 20,
        max_size: 1 << 30,
        position_ttl: Duration::from_secs(3600),
        namespaces: vec![Kept {
            name: "n".into(),
            size: 10_000,
            ttl: Duration::from_secs(3600),
        }],
    }
}

/// A store and up to which number it is safe.
struct Opened {
    store: Store,
    safe: Arc<AtomicU64>,
}

impl Opened {
    fn on(platter: &Platter, options: Options) -> Self {
        let platter = platter.clone();
        let store = Store::open_on(move || Ok(platter.clone()), options).expect("a store");
        Self::of(store)
    }

    fn of(store: Store) -> Self {
        let safe = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&safe);
        store.listen(move |_lane, seq| {
            told.fetch_max(seq, Ordering::SeqCst);
        });
        store.start().expect("a thread");
        Self { store, safe }
    }

    fn safe(&self) -> u64 {
        self.safe.load(Ordering::SeqCst)
    }

    fn append(&self, channel: &str, epoch: u64, offset: u64) -> Result<u64, Refused> {
        let body = format!("{channel} {offset}");
        let at = (epoch, offset);
        self.store.append(0, 0, &channel.into(), at, &body.into())
    }

    fn wait_for(&self, seq: u64) {
        until(|| self.safe() >= seq);
    }

    fn read(&self) -> BTreeMap<String, Stored> {
        let mut all = BTreeMap::new();
        let mut found = |stored: Stored| {
            all.insert(stored.channel.clone(), stored);
        };
        self.store.read(0, &|_| true, &mut found).expect("readable");
        all
    }

    fn metric(&self, name: &str) -> u64 {
        let metrics = self.store.metrics();
        let start = format!("hioload_store_{name} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
        line.expect("a metric").parse().expect("a number")
    }
}

fn until(holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "it never came to be");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// The publications are those that were appended, without a gap, up to the
/// last.
fn check(stored: &Stored) {
    let first = stored.offset + 1 - stored.publications.len() as u64;
    for (offset, (left, body)) in (first..).zip(&stored.publications) {
        assert_eq!(*body, format!("{} {offset}", stored.channel));
        assert!(!left.is_zero());
    }
}

/// Publishes to a disk whose power goes at a random moment, three times in a
/// row; returns how many publications were safe in the end, and how many of
/// those were lost.
fn lives(seed: u64, sync: Sync) -> (u64, u64) {
    let mut random = Random(seed);
    let mut platter = Platter::default();
    let mut safe: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut lost, mut sum) = (0, 0);
    for _ in 0..4 {
        let opened = Opened::on(&platter, options(sync));
        let found = opened.read();
        let mut next: BTreeMap<&str, u64> = BTreeMap::new();
        let mut epochs: BTreeMap<&str, u64> = BTreeMap::new();
        for name in NAMES {
            let known = safe.get(name).copied().unwrap_or(0);
            let there = found.get(name).map_or(0, |stored| {
                assert_eq!(stored.publications.len() as u64, stored.offset);
                check(stored);
                stored.offset
            });
            lost += known.saturating_sub(there);
            // What was not told to be safe and is there all the same has been
            // given its number, too.
            next.insert(name, there);
            epochs.insert(name, found.get(name).map_or(7, |stored| stored.epoch));
            safe.insert(name, there);
        }
        platter.cut_after(random.below(60));
        let mut taken = Vec::new();
        for _ in 0..200 {
            let name = NAMES[usize::try_from(random.below(3)).expect("small")];
            let offset = next[name] + 1;
            let Ok(seq) = opened.append(name, epochs[name], offset) else {
                break;
            };
            next.insert(name, offset);
            taken.push((seq, name, offset));
            if random.below(4) == 0 && !platter.is_dead() {
                until(|| opened.safe() >= seq || platter.is_dead());
            }
            if platter.is_dead() {
                break;
            }
        }
        platter.cut_now();
        let _lost = opened.store.close(Duration::ZERO);
        for (seq, name, offset) in taken {
            if seq <= opened.safe() {
                safe.insert(name, offset);
                sum += 1;
            }
        }
        platter = platter.after_power_loss(&mut random);
    }
    (sum, lost)
}

#[test]
fn what_was_safe_survives_every_loss_of_power() {
    let (mut safe, mut lost) = (0, 0);
    for seed in 0..60 {
        let (kept, gone) = lives(seed, Sync::Always);
        assert_eq!(gone, 0, "of {kept}, with the seed {seed}");
        safe += kept;
        lost += gone;
    }
    assert!(safe > 1000 && lost == 0, "too early to say: {safe}");
}

#[test]
fn a_loss_of_power_takes_what_the_disk_was_not_asked_to_keep() {
    let never = Sync::Interval(Duration::from_secs(3600));
    let lost: u64 = (0..8).map(|seed| lives(seed, never).1).sum();
    assert!(lost > 50, "the disk of these tests loses only {lost}");
}

#[test]
fn a_failed_sync_is_made_good() {
    for seed in 0..20 {
        let platter = Platter::default();
        let opened = Opened::on(&platter, options(Sync::Always));
        opened.wait_for(opened.append("a", 7, 1).expect("room"));
        platter.fail_syncs(1 + seed % 3);
        let mut last = 0;
        for offset in 2..40 {
            last = opened.append("a", 7, offset).expect("room");
        }
        opened.wait_for(last);
        assert!(opened.metric("failures_total") >= 1);
        assert_eq!(
            opened.metric("failures_total"),
            opened.metric("retries_total")
        );
        assert_eq!(opened.metric("written_total"), 39);
        assert_eq!(opened.metric("queued"), 0);
        platter.cut_now();
        let _dead = opened.store.close(Duration::ZERO);
        let found = platter.after_power_loss(&mut Random(seed));
        let opened = Opened::on(&found, options(Sync::Always));
        let stored = &opened.read()["a"];
        assert_eq!((stored.offset, stored.publications.len()), (39, 39));
        check(stored);
    }
}

#[test]
fn a_full_queue_refuses_and_what_was_taken_is_written() {
    let platter = Platter::default();
    let few = Options {
        queue: 4,
        ..options(Sync::Always)
    };
    let opened = Opened::on(&platter, few);
    platter.fail_syncs(u64::MAX);
    let taken: Vec<u64> = (1..=4)
        .map(|offset| opened.append("a", 7, offset).expect("room"))
        .collect();
    assert_eq!(opened.append("a", 7, 5), Err(Refused::Full));
    until(|| opened.metric("failures_total") >= 2);
    assert_eq!(opened.append("a", 7, 5), Err(Refused::Full));
    assert_eq!((opened.safe(), opened.metric("queued")), (0, 4));
    assert_eq!(opened.metric("refused_total"), 2);
    platter.fail_syncs(0);
    opened.wait_for(taken[3]);
    until(|| opened.append("a", 7, 5).is_ok());
    opened.store.close(PATIENCE).expect("all is written");
    assert_eq!(opened.append("a", 7, 6), Err(Refused::Closed));
    let opened = Opened::on(&platter, options(Sync::Always));
    assert_eq!(opened.read()["a"].publications.len(), 5);

    let narrow = Options {
        queue_bytes: 1000,
        ..options(Sync::Always)
    };
    let platter = Platter::default();
    let opened = Opened::on(&platter, narrow);
    platter.fail_syncs(u64::MAX);
    let long: Arc<str> = "x".repeat(600).into();
    let append = |offset| opened.store.append(0, 0, &"a".into(), (7, offset), &long);
    append(1).expect("room");
    assert_eq!(append(2), Err(Refused::Full));
}

#[test]
fn a_disk_that_stays_broken_is_reported_at_the_end() {
    let platter = Platter::default();
    let opened = Opened::on(&platter, options(Sync::Always));
    platter.fail_syncs(u64::MAX);
    opened.append("a", 7, 1).expect("room");
    let lost = opened.store.close(Duration::from_millis(100));
    let lost = lost.expect_err("it can not be written");
    assert_eq!((lost.count, opened.safe()), (1, 0));
    assert!(lost.to_string().contains("bad day"), "{lost}");
}

#[test]
fn a_lost_interval_gives_channels_new_epochs_and_a_stop_does_not() {
    let loose = Sync::Interval(Duration::from_secs(3600));
    let platter = Platter::default();
    let opened = Opened::on(&platter, options(loose));
    opened.wait_for(opened.append("a", 7, 1).expect("room"));
    opened.store.close(PATIENCE).expect("all is written");

    let opened = Opened::on(&platter, options(loose));
    let stored = opened.read()["a"].clone();
    assert_eq!((stored.epoch, stored.offset), (7, 1));
    let syncs = platter.syncs();
    for offset in 2..10 {
        opened.wait_for(opened.append("a", 7, offset).expect("room"));
    }
    // One may be for the file's growth.
    let more = platter.syncs() - syncs;
    assert!(more <= 2, "the disk was asked {more} times for 8 batches");
    platter.cut_now();
    let _lost = opened.store.close(Duration::ZERO);

    let found = platter.after_power_loss(&mut Random(1));
    let opened = Opened::on(&found, options(loose));
    let stored = opened.read()["a"].clone();
    assert_ne!(stored.epoch, 7, "offsets may be given a second time");
    assert_eq!((stored.offset, stored.publications.len()), (1, 1));
    check(&stored);

    let often = Sync::Interval(Duration::from_millis(1));
    let platter = Platter::default();
    let opened = Opened::on(&platter, options(often));
    let syncs = platter.syncs();
    opened.wait_for(opened.append("a", 7, 1).expect("room"));
    until(|| platter.syncs() > syncs);
}

#[test]
fn what_is_too_old_or_too_much_goes_and_offsets_go_on() {
    let platter = Platter::default();
    let mut short = options(Sync::Always);
    short.namespaces[0].size = 3;
    let opened = Opened::on(&platter, short.clone());
    for offset in 1..=10 {
        opened.append("a", 7, offset).expect("room");
    }
    opened.wait_for(opened.append("b", 8, 1).expect("room"));
    let stored = opened.read()["a"].clone();
    assert_eq!((stored.offset, stored.publications.len()), (10, 3));
    check(&stored);
    let forgotten = opened.store.forget(0, 0, &"a".into());
    opened.wait_for(forgotten.expect("room"));
    let stored = opened.read()["a"].clone();
    assert_eq!((stored.offset, stored.publications.len()), (10, 0));
    // Another epoch begins anew.
    opened.wait_for(opened.append("a", 9, 1).expect("room"));
    let stored = opened.read()["a"].clone();
    let shown = (stored.epoch, stored.offset, stored.publications.len());
    assert_eq!(shown, (9, 1, 1));
    opened.store.close(PATIENCE).expect("all is written");

    short.namespaces[0].ttl = Duration::from_millis(1);
    short.position_ttl = Duration::from_millis(1);
    let opened = Opened::on(&platter, short.clone());
    for offset in 1..5 {
        opened.wait_for(opened.append("c", 7, offset).expect("room"));
    }
    until(|| {
        // Each batch gives up what is due.
        let seq = opened.append("c", 7, 5).expect("room");
        opened.wait_for(seq);
        opened
            .read()
            .get("c")
            .is_none_or(|c| c.publications.is_empty())
    });
    opened.store.close(PATIENCE).expect("all is written");

    let small = Options {
        max_size: 2000,
        ..options(Sync::Always)
    };
    let opened = Opened::on(&Platter::default(), small);
    for offset in 1..100 {
        opened.append("a", 7, offset).expect("room");
    }
    opened.wait_for(opened.append("a", 7, 100).expect("room"));
    let stored = opened.read()["a"].clone();
    assert_eq!(stored.offset, 100);
    assert!((1..20).contains(&stored.publications.len()), "{stored:?}");
    check(&stored);
    assert!(opened.metric("kept_bytes") <= 2000);
}

#[test]
fn what_can_not_be_a_store_is_named() {
    let directory = std::env::temp_dir().join(format!("hioload-store-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let at = |name: &str| Options {
        path: directory.join(name),
        ..options(Sync::Always)
    };
    let first = Opened::of(Store::open(at("one")).expect("a store"));
    let error = Store::open(at("one")).expect_err("it is in use");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    first.wait_for(first.append("a", 7, 1).expect("room"));
    first.store.close(PATIENCE).expect("all is written");
    drop(first);
    let again = Opened::of(Store::open(at("one")).expect("a store"));
    assert_eq!(again.read()["a"].offset, 1);
    again.store.close(PATIENCE).expect("all is written");
    drop(again);

    std::fs::write(directory.join("garbage"), "x".repeat(10_000)).expect("a file");
    let error = Store::open(at("garbage")).expect_err("no store");
    assert!(error.to_string().contains("damaged or no store"), "{error}");
    let mut image = std::fs::read(directory.join("one")).expect("a file");
    let middle = image.len() / 2;
    image[4096..middle].fill(0x5a);
    std::fs::write(directory.join("torn"), &image).expect("a file");
    let error = Store::open(at("torn")).expect_err("damaged");
    assert!(error.to_string().contains("damaged or no store"), "{error}");
    let error = Store::open(at("nowhere/x")).expect_err("no directory");
    assert!(error.to_string().contains("must exist"), "{error}");
    std::fs::remove_dir_all(&directory).expect("nobody has it");
}
