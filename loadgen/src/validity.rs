//! Whether the numbers are about the server or about the generator.

use hioload_platform::Nanos;
use hioload_platform::thread_time::ThreadTime;
use serde::{Deserialize, Serialize};

use crate::tally::{LATE, Tally};

/// A thread that was on a CPU, or waiting for one, for more than this share of
/// the measurement had no reserve: answers waited for it, not it for answers.
const BUSY: f64 = 0.90;

/// The share of planned messages that may leave late. Above it the tail
/// percentiles measure the generator's schedule.
const LATE_SHARE: f64 = 0.01;

/// A thread that waits for a CPU for more than this share of the time is late
/// because of others, not because of its own work.
const CROWDED: f64 = 0.10;

/// What one thread spent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spent {
    /// CPU time within the measurement.
    #[serde(with = "Time")]
    pub(crate) cpu: ThreadTime,
    /// The measurement.
    pub(crate) measured: Nanos,
}

/// How a [`ThreadTime`] travels between processes.
#[derive(Serialize, Deserialize)]
#[serde(remote = "ThreadTime")]
struct Time {
    user: Nanos,
    system: Nanos,
    waited: Nanos,
}

impl Spent {
    /// Share of the time on a CPU.
    pub(crate) fn busy(self) -> f64 {
        share(self.cpu.used(), self.measured)
    }

    /// Share of the time ready to run without getting a CPU.
    pub(crate) fn waited(self) -> f64 {
        share(self.cpu.waited, self.measured)
    }
}

/// Why the numbers are not to be used, with what to do about it; none when
/// they are valid.
pub(crate) fn reasons(tally: &Tally, threads: &[Spent]) -> Vec<String> {
    if threads.iter().all(|thread| thread.measured == 0) {
        return vec!["nothing was measured: the run ended before the warm-up did".into()];
    }
    let mut reasons = limits(tally, threads);
    if tally.unsent > 0 {
        reasons.push(format!(
            "{} planned messages could not be sent because the server did not take them, and are \
             missing from the latencies; lower --rate",
            tally.unsent
        ));
    }
    if tally.faults.lost > 0 {
        reasons.push(format!(
            "{} messages were lost, and are missing from the throughput and the latencies",
            tally.faults.lost
        ));
    }
    if tally.timed && tally.latency.is_empty() && tally.faults.count() == 0 {
        let nothing = match &tally.comeback {
            Some(_) => {
                "no connection was dropped within the measurement; restart the server while it runs"
            }
            None => {
                "no message was sent and received within the measurement; raise --duration or the \
                 load"
            }
        };
        reasons.push(nothing.into());
    }
    reasons
}

/// How the generator was its own bottleneck, with what to do about it; none
/// when it had a reserve and kept its plan.
pub(crate) fn limits(tally: &Tally, threads: &[Spent]) -> Vec<String> {
    let mut limits = Vec::new();
    for (thread, spent) in threads.iter().enumerate() {
        let (busy, waited) = (spent.busy(), spent.waited());
        if busy > BUSY {
            limits.push(format!(
                "generator thread {thread} used {:.0}% of a CPU: it was the bottleneck, so the \
                 server can do at least this much; add --threads or another machine, or lower \
                 the load",
                busy * 100.0
            ));
        } else if busy + waited > BUSY {
            limits.push(format!(
                "generator thread {thread} waited for a CPU {:.0}% of the time besides using one \
                 {:.0}%; keep other programs off its CPU (--pin), or use fewer --threads",
                waited * 100.0,
                busy * 100.0
            ));
        }
    }
    let late = share(tally.late, tally.lateness.len());
    if late > LATE_SHARE {
        let advice = late_advice(threads);
        limits.push(format!(
            "{:.1}% of the messages left more than {} ms after their planned time (99th percentile \
             {:.1} ms): {advice}",
            late * 100.0,
            LATE / 1_000_000,
            tally.lateness.value_at_quantile(0.99) as f64 / 1e6,
        ));
    }
    limits
}

/// Why messages left late, and what to do about it.
fn late_advice(threads: &[Spent]) -> String {
    let most = |of: fn(Spent) -> f64| threads.iter().map(|&spent| of(spent)).fold(0.0, f64::max);
    let (busy, waited) = (most(Spent::busy), most(Spent::waited));
    if waited > CROWDED {
        format!(
            "it had to wait for a CPU {:.0}% of the time; keep other programs off its CPU (--pin)",
            waited * 100.0
        )
    } else if busy > 0.5 {
        "the generator could not keep up; add --threads or lower --rate".into()
    } else {
        format!(
            "the generator used only {:.0}% of a CPU but was woken too late: the machine, or the \
             host of a virtual one, is busy with something else",
            busy * 100.0
        )
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Window;

    const SECOND: Nanos = 1_000_000_000;

    fn tally() -> Tally {
        let mut tally = Tally::new(Window {
            from: 0,
            to: 10 * SECOND,
        });
        for _ in 0..1000 {
            tally.came_to(0, 50_000);
            tally.received(0, 100_000, 20);
        }
        tally
    }

    fn thread(used: Nanos, waited: Nanos) -> Spent {
        Spent {
            cpu: ThreadTime {
                user: used / 2,
                system: used - used / 2,
                waited,
            },
            measured: SECOND,
        }
    }

    #[test]
    fn a_generator_with_reserve_is_valid() {
        assert_eq!(
            reasons(&tally(), &[thread(SECOND / 2, SECOND / 10); 3]),
            [""; 0]
        );
    }

    #[test]
    fn one_saturated_thread_is_enough() {
        let threads = [thread(SECOND / 2, 0), thread(SECOND * 95 / 100, 0)];
        let reasons = reasons(&tally(), &threads);
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].contains("thread 1 used 95%"), "{reasons:?}");
    }

    #[test]
    fn waiting_for_a_cpu_is_no_reserve() {
        let reasons = reasons(&tally(), &[thread(SECOND / 2, SECOND * 45 / 100)]);
        assert!(reasons[0].contains("waited for a CPU 45%"), "{reasons:?}");
    }

    #[test]
    fn late_sends_above_one_in_a_hundred_void_the_run() {
        let mut late = tally();
        for _ in 0..10 {
            late.came_to(0, 2 * LATE);
        }
        assert_eq!(reasons(&late, &[thread(0, 0)]), [""; 0]);
        for _ in 0..10 {
            late.came_to(0, 2 * LATE);
        }
        for (thread, cause) in [
            (thread(0, 0), "woken too late"),
            (thread(SECOND / 5, SECOND / 5), "wait for a CPU 20%"),
            (thread(SECOND * 4 / 5, 0), "could not keep up"),
        ] {
            let reasons = reasons(&late, &[thread]);
            assert!(
                reasons[0].contains("left more than 1 ms after"),
                "{reasons:?}"
            );
            assert!(reasons[0].contains(cause), "{reasons:?}");
        }
    }

    #[test]
    fn messages_never_sent_void_the_run() {
        let mut tally = tally();
        tally.unsent = 3;
        assert!(reasons(&tally, &[thread(0, 0)])[0].contains("3 planned messages"));
    }

    #[test]
    fn lost_messages_void_the_run() {
        let mut tally = tally();
        tally.faults.lost = 3;
        assert!(reasons(&tally, &[thread(0, 0)])[0].contains("3 messages were lost"));
    }

    #[test]
    fn nothing_measured_is_not_valid() {
        let nothing = Spent {
            cpu: ThreadTime::default(),
            measured: 0,
        };
        assert!(reasons(&tally(), &[nothing])[0].contains("nothing was measured"));
        let empty = Tally::new(Window {
            from: 0,
            to: SECOND,
        });
        assert!(reasons(&empty, &[thread(0, 0)])[0].contains("no message"));
    }
}
