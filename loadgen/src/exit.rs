//! What the exit code says.

/// How a run ended, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// The command line is wrong (`EX_USAGE` of sysexits.h).
    Usage,
    /// This machine does not let the run take place: io_uring forbidden, too
    /// few descriptors, a file that can not be written.
    Environment,
    /// Not all connections could be made.
    Connect,
    /// A message was lost, duplicated, reordered or corrupted, or a connection
    /// closed when it should not.
    Broken,
    /// Ended by a signal before its time, without any of the above.
    Interrupted,
    /// A search found no rate that meets the goals.
    Missed,
    /// All is well with the server as far as seen, but the numbers are not to
    /// be used: the generator was the bottleneck.
    NotValid,
    /// Everything sent was received; the numbers are valid, or need not be.
    Ok,
}

impl Exit {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Missed => 1,
            Self::Broken => 2,
            Self::Connect => 3,
            Self::NotValid => 4,
            Self::Environment => 5,
            Self::Usage => 64,
            Self::Interrupted => 130,
        }
    }

    /// The table printed by `--help`.
    pub(crate) const HELP: &'static str = "\
Exit codes:
  0    every message came back, intact, once, in order
  1    with --find-max: no rate met the goals
  2    messages lost, duplicated, reordered or corrupted, or more connections than --tolerate
       allows closed unexpectedly
  3    more connections than --tolerate allows did not open (refused, timed out, handshake refused)
       or did not come back, or none opened at all
  4    with --require-valid: the generator was itself the bottleneck, or could not send all it
       planned; without it such a run says NOT VALID and ends with 0
  5    this machine does not allow the run: io_uring, open files, CPUs, a file, no process
       with the number of --server-pid
  64   wrong command line
  130  interrupted (the report says what was measured until then)
When several apply, the first of 5, 3, 2, 130, 1, 4 wins.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code() {
        let all = [
            Exit::Usage,
            Exit::Environment,
            Exit::Connect,
            Exit::Broken,
            Exit::Interrupted,
            Exit::Missed,
            Exit::NotValid,
            Exit::Ok,
        ];
        for exit in all {
            let line = format!("\n  {:<5}", exit.code());
            assert!(Exit::HELP.contains(&line), "{exit:?} is missing");
        }
    }
}
