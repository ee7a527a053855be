//! What `--help` says below the options.

use crate::exit::Exit;

/// From when latency counts, and why: the same words for every command, since
/// it decides what its numbers mean.
const LATENCY: &str = "\
From when latency counts:
  Open loop (--rate; broadcast always): when each message is to leave is planned before the run,
  as users come, who do not wait for each other. Its latency counts from the planned time, whether
  it could leave then or not. A server that stalls for a second so gets a second added to the
  messages due at the stall's beginning, half of one to those due in its middle. A generator that
  waits for the answer before it starts the next clock sends nothing meanwhile, and reports one
  slow message instead of all that were held up (coordinated omission).
  Closed loop (--depth; echo without --rate): a connection sends its next message when an answer
  arrives, and latency counts from that send. It finds the highest throughput. Its latencies are
  those of a full server and leave out what a stall does to others; do not compare them with those
  of an open loop.
  When the generator itself came late to more than 1% of the planned messages, the run is NOT
  VALID, so that its own delay is not mistaken for the server's.";

/// Everything below the options.
pub(crate) fn below() -> String {
    format!("{LATENCY}\n\n{}", Exit::HELP)
}
