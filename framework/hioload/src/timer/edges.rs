//! The borders: of ticks, of levels, of time.

use hioload_platform::Nanos;

use super::{TimerId, Wheel};

const TICK: Nanos = 1024;

fn drain<T>(wheel: &mut Wheel<T>, now: Nanos) -> Vec<T> {
    std::iter::from_fn(|| wheel.pop(now))
        .map(|(_, value)| value)
        .collect()
}

/// Follows `next_deadline` until a timer fires; the time that took and the steps.
fn run_to_next<T>(wheel: &mut Wheel<T>) -> Option<(Nanos, T, u32)> {
    let mut steps = 0;
    let mut now = 0;
    while let Some(next) = wheel.next_deadline() {
        assert!(next > now, "next_deadline does not advance past {now}");
        now = next;
        steps += 1;
        if let Some((_, value)) = wheel.pop(now) {
            return Some((now, value, steps));
        }
    }
    None
}

#[test]
fn an_empty_wheel_has_no_deadline() {
    let mut wheel = Wheel::<u32>::new(5 * TICK);
    assert_eq!(wheel.next_deadline(), None);
    assert_eq!(wheel.pop(u64::MAX), None);
    assert_eq!((wheel.len(), wheel.is_empty()), (0, true));
}

#[test]
fn a_deadline_rounds_up_to_its_tick() {
    for (deadline, fires) in [
        (1, TICK),
        (TICK - 1, TICK),
        (TICK, TICK),
        (TICK + 1, 2 * TICK),
        (64 * TICK, 64 * TICK),
        (64 * TICK + 1, 65 * TICK),
    ] {
        let mut wheel = Wheel::new(0);
        wheel.insert(deadline, ());
        assert_eq!(wheel.pop(fires - 1), None, "deadline {deadline}");
        assert!(wheel.pop(fires).is_some(), "deadline {deadline}");
        assert!(wheel.is_empty());
    }
}

#[test]
fn every_level_border_fires_on_its_tick() {
    for level in 0..9 {
        let border = TICK << (6 * level);
        for deadline in [border - TICK, border, border + TICK] {
            let mut wheel = Wheel::new(0);
            wheel.insert(deadline.max(1), deadline);
            let (now, value, steps) = run_to_next(&mut wheel).expect("a timer");
            assert_eq!((now, value), (deadline.max(TICK), deadline));
            assert!(steps <= level + 1, "{steps} steps to level {level}");
        }
    }
}

#[test]
fn a_past_deadline_fires_at_the_next_pop() {
    let mut wheel = Wheel::new(10 * TICK + 7);
    wheel.insert(0, 'a');
    wheel.insert(10 * TICK + 7, 'b');
    assert!(
        wheel
            .next_deadline()
            .is_some_and(|next| next <= 10 * TICK + 7)
    );
    assert_eq!(drain(&mut wheel, 10 * TICK + 7), ['a', 'b']);
}

#[test]
fn a_timer_added_while_popping_fires_in_the_same_loop() {
    let now = 5000 * TICK + 500;
    let mut wheel = Wheel::new(0);
    let later = wheel.insert(now + 9 * TICK, 'c');
    wheel.insert(1, 'a');
    assert_eq!(wheel.pop(now).map(|(_, value)| value), Some('a'));
    wheel.insert(now, 'd');
    wheel.insert(2 * TICK, 'b');
    assert!(wheel.rearm(later, now - 1));
    assert_eq!(drain(&mut wheel, now), ['b', 'd', 'c']);
}

#[test]
fn timers_fire_by_tick_and_then_by_age() {
    let far = 3_000_000 * TICK;
    let mut wheel = Wheel::new(0);
    wheel.insert(far, 1);
    wheel.insert(far + TICK, 4);
    assert_eq!(wheel.pop(far - 40 * TICK), None);
    wheel.insert(far - 3, 2);
    wheel.insert(far - TICK, 0);
    let moved = wheel.insert(5 * TICK, 3);
    assert!(wheel.rearm(moved, far));
    assert_eq!(drain(&mut wheel, far + TICK), [0, 1, 2, 3, 4]);
}

#[test]
fn a_jump_of_centuries_is_one_call() {
    const CENTURIES: Nanos = 500 * 365 * 86_400 * 1_000_000_000;
    let mut wheel = Wheel::new(0);
    wheel.insert(1, 'a');
    wheel.insert(3_600_000_000_000, 'b');
    wheel.insert(CENTURIES, 'c');
    assert_eq!(drain(&mut wheel, CENTURIES - 1), ['a', 'b']);
    assert_eq!(
        wheel.pop(CENTURIES + TICK).map(|(_, value)| value),
        Some('c')
    );
}

#[test]
fn time_does_not_go_back() {
    let mut wheel = Wheel::new(0);
    assert_eq!(wheel.pop(100 * TICK), None);
    wheel.insert(50 * TICK, ());
    assert!(wheel.pop(0).is_some());
}

#[test]
fn the_end_of_time_is_never() {
    let last = u64::MAX - (TICK - 1);
    let mut wheel = Wheel::new(0);
    let never = wheel.insert(u64::MAX, 'n');
    wheel.insert(last, 'l');
    assert_eq!(drain(&mut wheel, last - 1), []);
    assert_eq!(drain(&mut wheel, u64::MAX), ['l']);
    assert_eq!(wheel.next_deadline(), Some(u64::MAX));
    assert_eq!(wheel.cancel(never), Some('n'));
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn a_wheel_may_start_at_any_time() {
    for start in [
        0,
        1,
        TICK - 1,
        TICK,
        (TICK << 12) - 1,
        u64::MAX >> 1,
        u64::MAX - 5 * TICK,
    ] {
        let mut wheel = Wheel::new(start);
        wheel.insert(start + TICK, ());
        assert_eq!(wheel.pop(start + TICK - 1), None, "start {start}");
        assert!(wheel.pop(start + 2 * TICK).is_some(), "start {start}");
    }
}

#[test]
fn a_stale_id_does_nothing() {
    let mut wheel = Wheel::new(0);
    let fired = wheel.insert(1, 'a');
    assert_eq!(wheel.pop(TICK), Some((fired, 'a')));
    let cancelled = wheel.insert(2 * TICK, 'b');
    assert_eq!(wheel.cancel(cancelled), Some('b'));
    let alive = wheel.insert(3 * TICK, 'c');
    for stale in [fired, cancelled] {
        assert_eq!(wheel.cancel(stale), None);
        assert!(!wheel.rearm(stale, 0));
    }
    assert_eq!(wheel.pop(3 * TICK), Some((alive, 'c')));
    let mut other = Wheel::<char>::new(0);
    assert_eq!(other.cancel(alive), None);
}

#[test]
fn a_due_timer_can_still_be_cancelled_or_moved() {
    let mut wheel = Wheel::new(0);
    let ids: Vec<TimerId> = (0..5).map(|value| wheel.insert(TICK, value)).collect();
    assert_eq!(wheel.pop(TICK), Some((ids[0], 0)));
    assert_eq!(wheel.cancel(ids[2]), Some(2));
    assert_eq!(wheel.cancel(ids[4]), Some(4));
    assert!(wheel.rearm(ids[1], 9 * TICK));
    assert_eq!(drain(&mut wheel, TICK), [3]);
    assert_eq!(wheel.next_deadline(), Some(9 * TICK));
    assert_eq!(drain(&mut wheel, 9 * TICK), [1]);
}

#[test]
fn a_timer_put_off_again_and_again_fires_once_at_its_last_deadline() {
    let mut wheel = Wheel::new(0);
    let id = wheel.insert(10 * TICK, 'a');
    for n in 1..100 {
        assert!(wheel.rearm(id, (10 + n) * TICK));
        assert_eq!(wheel.pop(n * TICK / 2), None);
    }
    assert_eq!(wheel.pop(109 * TICK - 1), None);
    assert_eq!(wheel.next_deadline(), Some(109 * TICK), "it has moved");
    assert!(wheel.rearm(id, 200 * TICK) && wheel.rearm(id, 120 * TICK));
    assert_eq!(drain(&mut wheel, 119 * TICK), []);
    assert!(wheel.rearm(id, 300 * TICK));
    assert_eq!(wheel.cancel(id), Some('a'));
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn what_was_put_off_for_a_timer_means_no_later_one() {
    let mut wheel = Wheel::new(0);
    let old = wheel.insert(10 * TICK, 'a');
    assert!(wheel.rearm(old, 90 * TICK) && wheel.rearm(old, 5 * TICK));
    assert!(wheel.next_deadline().is_some_and(|next| next <= 5 * TICK));
    assert_eq!(wheel.cancel(old), Some('a'));
    assert!(!wheel.rearm(old, TICK));
    let new = wheel.insert(20 * TICK, 'b');
    assert_eq!(new.index(), old.index());
    assert_eq!(wheel.pop(20 * TICK - 1), None);
    assert_eq!(wheel.next_deadline(), Some(20 * TICK));
    assert_eq!(wheel.pop(20 * TICK), Some((new, 'b')));
}

#[test]
fn places_are_used_again() {
    let mut wheel = Wheel::new(0);
    for round in 0..1000_u64 {
        let ids: Vec<TimerId> = (0..10).map(|i| wheel.insert(round + i * TICK, i)).collect();
        assert!(ids.iter().all(|id| id.index() < 10));
        assert!(ids.iter().all(|&id| wheel.cancel(id).is_some()));
    }
    assert!(wheel.is_empty());
}

#[test]
fn a_hundred_thousand_timers_fire_once_and_on_time() {
    const TIMERS: usize = 100_000;
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut delay = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % 60_000_000_000
    };
    let mut wheel = Wheel::new(0);
    let mut deadlines: Vec<Option<Nanos>> = (0..TIMERS).map(|_| Some(delay())).collect();
    let ids: Vec<TimerId> = deadlines
        .iter()
        .enumerate()
        .map(|(i, d)| wheel.insert(d.unwrap_or(0), i))
        .collect();
    for i in (0..TIMERS).step_by(3) {
        assert_eq!(wheel.cancel(ids[i]), Some(i));
        deadlines[i] = None;
    }
    for i in (1..TIMERS).step_by(3) {
        let deadline = delay();
        assert!(wheel.rearm(ids[i], deadline));
        deadlines[i] = Some(deadline);
    }
    while let Some(now) = wheel.next_deadline() {
        while let Some((id, i)) = wheel.pop(now) {
            assert_eq!(id, ids[i]);
            let deadline = deadlines[i]
                .take()
                .expect("fires once and only if not cancelled");
            assert!(
                deadline <= now && now - deadline < TICK,
                "{deadline} fired at {now}"
            );
        }
    }
    assert!(deadlines.iter().all(Option::is_none));
}

/// As connections that come and go at once: none is left, and nearly no seats.
#[test]
fn timers_that_are_all_cancelled_leave_little_behind() {
    let mut wheel = Wheel::new(0);
    for round in 0..20_000_u64 {
        let few = 1 + round % 7;
        let deadline = |timer: u64| (round * 31 + timer * 977) % 40_000 * 1_000_000;
        let ids: Vec<_> = (0..few)
            .map(|timer| wheel.insert(deadline(timer), timer))
            .collect();
        for (timer, id) in (0..few).zip(ids) {
            assert_eq!(wheel.cancel(id), Some(timer));
        }
    }
    assert!(wheel.is_empty());
    assert_eq!(wheel.next_deadline(), None);
    assert_eq!(wheel.pop(u64::MAX), None);
}
