//! D7: waking is cross-thread, coalesced, and never lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use hioload_platform::{Driver, Event, Wake};

use crate::rig::{Fixture, Rig, Sizes};

fn woken<S>(event: &Event<S>) -> bool {
    matches!(event, Event::Woken)
}

pub(crate) fn wakes_before_a_turn_cost_one<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let waker = rig.driver.waker();
    for _ in 0..3 {
        for _ in 0..100 {
            waker.clone().wake();
        }
        rig.expect("wake", woken);
        rig.never("a second wake", Duration::from_millis(10), woken);
    }
}

pub(crate) fn no_wake_of_many_threads_is_lost<F: Fixture>() {
    const THREADS: u64 = 8;
    const WAKES: u64 = 2000;
    let mut rig = Rig::<F>::open(Sizes::default());
    let said = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (waker, said) = (rig.driver.waker(), Arc::clone(&said));
            std::thread::spawn(move || {
                for round in 0..WAKES {
                    said.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                    if round % 64 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    // Looks only when woken: a lost wake would leave the last words unheard.
    let (mut heard, mut wakes) = (0, 0);
    while heard < THREADS * WAKES {
        rig.expect("wake", woken);
        wakes += 1;
        heard = said.load(Ordering::Relaxed);
    }
    for thread in threads {
        thread.join().expect("a thread that wakes ends");
    }
    assert!(wakes <= THREADS * WAKES);
}

pub(crate) fn drivers_wake_each_other<F: Fixture>() {
    const ROUNDS: u64 = 2000;
    let ball = Arc::new(AtomicU64::new(0));
    let (to_second, from_first) = mpsc::channel();
    let (to_first, from_second) = mpsc::channel();
    let play = |parity: u64, ball: Arc<AtomicU64>| {
        move |mut rig: Rig<F>, peer: &<F::Driver as Driver>::Waker| {
            loop {
                let now = ball.load(Ordering::Relaxed);
                if now >= ROUNDS {
                    rig.driver.wake(peer);
                    rig.pump(Duration::ZERO);
                    return;
                }
                if now % 2 == parity {
                    ball.store(now + 1, Ordering::Relaxed);
                    rig.driver.wake(peer);
                    rig.driver.wake(peer);
                }
                rig.expect("wake", woken);
            }
        }
    };
    let rig = Rig::<F>::open(Sizes::default());
    let second = std::thread::spawn({
        let (net, play) = (rig.net.clone(), play(1, Arc::clone(&ball)));
        move || {
            let rig = Rig::<F>::join(&net, Sizes::default());
            to_first.send(rig.driver.waker()).expect("the first waits");
            let peer = from_first.recv().expect("the first sends");
            play(rig, &peer);
        }
    });
    to_second
        .send(rig.driver.waker())
        .expect("the second waits");
    let peer = from_second.recv().expect("the second sends");
    play(0, Arc::clone(&ball))(rig, &peer);
    second.join().expect("the second player is content");
    assert_eq!(ball.load(Ordering::Relaxed), ROUNDS);
}

pub(crate) fn a_wake_ends_a_wait_without_deadline<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let waker = rig.driver.waker();
    let sleeper = std::thread::spawn(move || {
        // Long enough for the other thread to wait in the kernel.
        Rig::<F>::open(Sizes::default()).pump(Duration::from_millis(20));
        waker.wake();
    });
    let mut events = Vec::new();
    rig.driver
        .wait(None, &mut events)
        .expect("the driver goes on");
    assert!(matches!(events[..], [Event::Woken]), "{events:?}");
    sleeper.join().expect("the waking thread ends");
}

pub(crate) fn a_driver_may_wake_itself<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let own = rig.driver.waker();
    rig.driver.wake(&own);
    rig.expect("wake", woken);
    rig.never("a second wake", Duration::from_millis(10), woken);
}

pub(crate) fn a_wake_of_a_gone_driver_does_nothing<F: Fixture>() {
    let rig = Rig::<F>::open(Sizes::default());
    let gone = rig.driver.waker();
    drop(rig);
    gone.wake();
    let mut rig = Rig::<F>::open(Sizes::default());
    rig.driver.wake(&gone);
    let gone = {
        let other = Rig::<F>::open(Sizes::default());
        other.driver.waker()
    };
    rig.driver.wake(&gone);
    rig.never("an event", Duration::from_millis(10), |_| true);
}

pub(crate) fn a_wake_of_a_driver_that_ends_before_its_turn_arrives<F: Fixture>() {
    let mut rig = Rig::<F>::open(Sizes::default());
    let waker = rig.driver.waker();
    let other = std::thread::spawn(move || {
        let mut other = Rig::<F>::open(Sizes::default());
        other.driver.wake(&waker);
    });
    other.join().expect("the other thread ends");
    rig.expect("wake", woken);
}
