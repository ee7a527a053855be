//! Endpoints that do as they are told, on time that passes at will.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::breaker::Shown;
use super::*;
use crate::config::Event;

const SECOND: Duration = Duration::from_secs(1);

/// What an endpoint does, each for one request; the last for all that follow.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Says(&'static str),
    SaysAfter(Duration, &'static str),
    Fails(u16),
    Hangs,
    Refuses,
}

use Deed::{Fails, Hangs, Refuses, Says, SaysAfter};

const YES: Deed = Says("{\"result\":{\"data\":1}}");
const NO: Deed = Says("{\"error\":{\"code\":403,\"message\":\"no\"}}");

#[derive(Default)]
struct Stage {
    deeds: Vec<Mutex<Vec<Deed>>>,
    asked: Vec<AtomicUsize>,
    /// Requests that were given up.
    dropped: Arc<AtomicUsize>,
    is_ill: AtomicBool,
}

struct Guard(Arc<AtomicUsize>, bool);

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Transport for Stage {
    async fn post(&self, endpoint: usize, _: &Letter) -> Result<Vec<u8>, Failure> {
        self.asked[endpoint].fetch_add(1, Ordering::SeqCst);
        let deed = {
            let mut deeds = self.deeds[endpoint].lock().unwrap();
            if deeds.len() > 1 {
                deeds.remove(0)
            } else {
                deeds[0]
            }
        };
        let mut guard = Guard(self.dropped.clone(), false);
        let said = match deed {
            Says(body) => Ok(body.as_bytes().to_vec()),
            SaysAfter(delay, body) => {
                sleep(delay).await;
                Ok(body.as_bytes().to_vec())
            }
            Fails(status) => Err(Failure::Status(status)),
            Hangs => std::future::pending().await,
            Refuses => Err(Failure::Connection),
        };
        guard.1 = true;
        said
    }

    async fn look(&self, _: usize) -> bool {
        !self.is_ill.load(Ordering::SeqCst)
    }
}

fn caller(mode: Mode, retries: u32, deeds: &[&[Deed]]) -> Arc<Caller<Stage>> {
    let endpoint = |_: &&[Deed]| Endpoint::new("http://e".into(), 3, SECOND * 10);
    Arc::new(Caller {
        transport: Stage {
            deeds: deeds.iter().map(|all| Mutex::new(all.to_vec())).collect(),
            asked: deeds.iter().map(|_| AtomicUsize::new(0)).collect(),
            ..Stage::default()
        },
        endpoints: deeds.iter().map(endpoint).collect(),
        mode,
        patience: Patience {
            timeout: SECOND,
            retries,
            backoff: SECOND / 10,
            backoff_max: SECOND,
        },
    })
}

impl Caller<Stage> {
    async fn said(self: &Arc<Self>) -> Result<Said, Failure> {
        let letter = Letter::single(Event::Rpc, b"{}".to_vec(), None);
        let answers = self
            .call(Arc::new(letter), Instant::now() + SECOND * 5)
            .await;
        answers.map(|mut answers| answers.remove(0))
    }

    fn asked(&self) -> Vec<usize> {
        let asked = self.transport.asked.iter();
        asked.map(|one| one.load(Ordering::SeqCst)).collect()
    }
}

fn is_yes(said: &Result<Said, Failure>) -> bool {
    matches!(said, Ok(Said::Result(_)))
}

fn is_no(said: &Result<Said, Failure>) -> bool {
    matches!(said, Ok(Said::Error(refusal)) if refusal.code == 403)
}

#[tokio::test(start_paused = true)]
async fn the_next_endpoint_is_asked_when_one_fails_and_a_refusal_is_an_answer() {
    let other = Says("{\"error\":{\"code\":499}}");
    for (first, asked, code) in [
        (YES, [1, 0], 0),
        (NO, [1, 0], 403),
        (Refuses, [1, 1], 499),
        (Fails(503), [1, 1], 499),
        (Fails(404), [1, 1], 499),
        (Hangs, [1, 1], 499),
        (Says("no answer"), [1, 1], 499),
        (Says("{\"result\":{\"data\":1}"), [1, 1], 499),
        (Says("{\"error\":{\"code\":0}}"), [1, 1], 499),
        (Says("{\"disconnect\":{\"code\":200}}"), [1, 1], 499),
    ] {
        let caller = caller(Mode::Failover, 0, &[&[first], &[other]]);
        let said = match caller.said().await {
            Ok(Said::Result(_)) => 0,
            Ok(Said::Error(refusal)) => refusal.code,
            other => panic!("{first:?}: {other:?}"),
        };
        assert_eq!((caller.asked(), said), (asked.to_vec(), code), "{first:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    for (deeds, retries, asked, good) in [
        (&[Fails(500), YES][..], 1, 2, true),
        (&[Refuses, Hangs, YES], 2, 3, true),
        (&[Fails(500), YES], 0, 1, false),
        (&[Fails(400), YES], 3, 1, false),
        (&[Says("{"), YES], 3, 1, false),
        (&[Fails(500)], 2, 3, false),
    ] {
        let caller = caller(Mode::Failover, retries, &[deeds]);
        let said = caller.said().await;
        assert_eq!(is_yes(&said), good, "{deeds:?} {said:?}");
        assert_eq!(caller.asked(), [asked], "{deeds:?}");
    }
}

#[test]
fn a_pause_doubles_up_to_its_most_and_half_of_it_is_chance() {
    let patience = caller(Mode::Failover, 0, &[]).patience;
    for (retry, chance, millis) in [
        (0, 1.0, 100),
        (0, 0.0, 50),
        (1, 1.0, 200),
        (3, 0.5, 600),
        (4, 1.0, 1000),
        (99, 0.0, 500),
    ] {
        let pause = patience.pause(retry, chance);
        assert_eq!(pause, Duration::from_millis(millis), "{retry} {chance}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_is_tried_ends_in_time() {
    let caller = caller(Mode::Failover, 10, &[&[Hangs], &[Hangs]]);
    let began = Instant::now();
    assert_eq!(caller.said().await.unwrap_err(), Failure::Timeout);
    assert!(
        began.elapsed() <= SECOND * 5 + SECOND / 100,
        "{:?}",
        began.elapsed()
    );
    // The third requests would have opened the breakers within it.
    assert_eq!(caller.asked(), [3, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_counts_and_the_others_are_given_up() {
    let slow = SaysAfter(SECOND / 2, "{\"result\":{}}");
    let caller = caller(Mode::Fastest, 0, &[&[slow], &[Fails(500)], &[NO]]);
    let began = Instant::now();
    assert!(is_no(&caller.said().await));
    assert!(began.elapsed() < SECOND / 4);
    assert_eq!(caller.asked(), [1, 1, 1]);
    // Those that were given up end when the runtime turns to them.
    while caller.transport.dropped.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(caller.endpoints[0].in_flight.load(Ordering::SeqCst), 0);
    assert_eq!(caller.endpoints[0].shown(), Shown::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_fastest_are_all_asked_again_when_none_answers() {
    let caller = caller(Mode::Fastest, 1, &[&[Fails(500), Hangs], &[Refuses, YES]]);
    assert!(is_yes(&caller.said().await));
    assert_eq!(caller.asked(), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn all_must_agree_and_those_that_have_answered_are_not_asked_again() {
    let other = Says("{\"result\":{\"data\":2}}");
    let agreed = caller(Mode::All, 1, &[&[YES], &[Fails(500), other]]);
    let said = agreed.said().await;
    let Ok(Said::Result(raw)) = &said else {
        panic!("{said:?}");
    };
    assert_eq!(raw.get(), "{\"data\":1}", "the first one's");
    assert_eq!(agreed.asked(), [1, 2]);
    let refused = caller(Mode::All, 0, &[&[YES], &[NO]]);
    assert!(is_no(&refused.said().await));
    let missing = caller(Mode::All, 0, &[&[YES], &[Refuses]]);
    assert_eq!(missing.said().await.unwrap_err(), Failure::Connection);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_again_and_again_is_left_alone_until_it_is_tried() {
    let deeds = [Fails(500), Fails(500), Fails(500), Fails(500), YES];
    let caller = caller(Mode::Failover, 0, &[&deeds, &[NO]]);
    for _ in 0..5 {
        assert!(is_no(&caller.said().await));
    }
    assert_eq!(caller.asked(), [3, 5], "left alone after three");
    sleep(SECOND * 12).await;
    assert!(is_no(&caller.said().await), "one try, which fails");
    assert!(is_no(&caller.said().await));
    assert_eq!(caller.asked(), [4, 7]);
    sleep(SECOND * 12).await;
    assert!(is_yes(&caller.said().await), "well again");
    assert!(is_yes(&caller.said().await));
    assert_eq!(caller.asked(), [6, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_client_can_not_take_an_endpoint_from_others() {
    let caller = caller(Mode::Failover, 0, &[&[Fails(422)]]);
    for _ in 0..10 {
        assert_eq!(caller.said().await.unwrap_err(), Failure::Status(422));
    }
    assert_eq!(caller.asked(), [10]);
}

#[tokio::test(start_paused = true)]
async fn where_no_endpoint_is_well_nobody_waits() {
    let caller = caller(Mode::All, 3, &[&[YES], &[YES]]);
    caller.endpoints[1].looked_at(false);
    assert!(is_yes(&caller.said().await), "once may be chance");
    caller.endpoints[1].looked_at(false);
    let began = Instant::now();
    assert_eq!(caller.said().await.unwrap_err(), Failure::Unavailable);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(caller.asked(), [1, 1], "not the one that is well either");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_looked_at_while_it_is_up_and_down() {
    let caller = caller(Mode::Failover, 0, &[&[YES]]);
    let watching = caller.clone();
    let watch = tokio::spawn(async move { watching.watch(0, SECOND).await });
    for is_ill in [true, false, true] {
        caller.transport.is_ill.store(is_ill, Ordering::SeqCst);
        sleep(SECOND * 4).await;
        assert_eq!(caller.endpoints[0].is_up(), !is_ill);
    }
    watch.abort();
}
