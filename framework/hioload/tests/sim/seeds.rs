//! Many runs, and what to do about one that fails.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::swarm::{Report, Swarm};

/// A run that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) reason: String,
    pub(crate) history: Vec<String>,
}

/// One run.
pub(crate) fn run(seed: u64) -> Result<Report, Failure> {
    let mut swarm = Swarm::start(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| swarm.run()));
    let reason = match outcome {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(reason)) => reason,
        Err(panic) => said(panic.as_ref()),
    };
    let mut history = swarm.server.history();
    let tail = asked("HIOLOAD_SIM_TAIL", 60);
    history.drain(..history.len().saturating_sub(tail));
    // Its drivers would wait for what will never come.
    std::mem::forget(swarm);
    Err(Failure {
        seed,
        reason,
        history,
    })
}

/// A number from the environment.
fn asked<N: FromStr>(name: &str, default: N) -> N {
    let Ok(text) = std::env::var(name) else {
        return default;
    };
    let number = text.parse().ok();
    number.unwrap_or_else(|| panic!("{name}={text} is no number"))
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("no text"))
}

/// Seeds to run, from the environment or few.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeds {
    pub(crate) from: u64,
    pub(crate) count: u64,
}

impl Seeds {
    pub(crate) fn asked() -> Self {
        Self {
            from: asked("HIOLOAD_SIM_FROM", 0),
            count: asked("HIOLOAD_SIM_SEEDS", 25),
        }
    }

    /// Runs them on all CPUs, up to the first failure: that of the lowest seed
    /// known to fail.
    pub(crate) fn run(self) -> Result<Vec<Report>, Failure> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let (next, end) = (
            AtomicU64::new(self.from),
            self.from.saturating_add(self.count),
        );
        let outcome: Mutex<Result<_, Failure>> = Mutex::new(Ok(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..cpus {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::SeqCst);
                        if seed >= end {
                            return;
                        }
                        let ended = run(seed);
                        let mut outcome = outcome.lock().expect("runs are caught");
                        match (ended, outcome.as_mut()) {
                            (Ok(report), Ok(reports)) => reports.push(report),
                            (Ok(_), Err(_)) => {}
                            (Err(failure), Err(first)) if first.seed < failure.seed => {}
                            (Err(failure), _) => {
                                next.store(end, Ordering::SeqCst);
                                *outcome = Err(failure);
                            }
                        }
                    }
                });
            }
        });
        outcome.into_inner().expect("runs are caught")
    }
}

/// Runs the seeds asked for; says how many passed, or which one failed and how
/// to see it again.
pub(crate) fn check(seeds: Seeds) {
    let start = Instant::now();
    match seeds.run() {
        Ok(reports) => {
            let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
            eprintln!(
                "{} seeds from {} passed in {:.1} s: {} answers and {} deliveries checked, \
                 {:.0} s simulated, digest {:016x}",
                reports.len(),
                seeds.from,
                start.elapsed().as_secs_f64(),
                sum(|report| report.answered),
                sum(|report| report.delivered),
                sum(|report| report.time) as f64 / 1e9,
                reports.iter().fold(0, |all, report| all ^ report.digest),
            );
        }
        Err(Failure {
            seed,
            reason,
            history,
        }) => {
            let mut text = String::new();
            for line in history {
                writeln!(text, "    {line:.140}").expect("a string takes all");
            }
            eprintln!("{text}\nseed {seed} failed: {reason}");
            panic!("see it again: ci/sim --seeds 1 --from {seed}");
        }
    }
}
