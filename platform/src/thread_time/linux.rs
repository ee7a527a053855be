//! `getrusage` and `/proc`.

use std::fs;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::ThreadTime;
use crate::clock::Nanos;

pub(super) fn now() -> ThreadTime {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).ok();
    ThreadTime {
        user: usage.map_or(0, |usage| nanos(usage.user_time())),
        system: usage.map_or(0, |usage| nanos(usage.system_time())),
        waited: run_queue_wait().unwrap_or(0),
    }
}

fn nanos(time: TimeVal) -> Nanos {
    let (seconds, micros) = (time.tv_sec(), time.tv_usec());
    let seconds = Nanos::try_from(seconds).unwrap_or(0);
    let micros = Nanos::try_from(micros).unwrap_or(0);
    seconds * 1_000_000_000 + micros * 1_000
}

fn run_queue_wait() -> Option<Nanos> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}
