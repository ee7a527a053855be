//! CPU time of processes, from `/proc`.

use std::fs;

/// Length of a tick in `/proc`: it is 10 ms on every Linux.
const TICK_NS: u64 = 10_000_000;

/// CPU time until now, in nanoseconds. The parts are counted by ticks, and so
/// is their sum; [`exact`] is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticked {
    /// In user mode.
    pub(crate) user: u64,
    /// In the kernel.
    pub(crate) system: u64,
    /// Of child processes that have ended, both together.
    pub(crate) children: u64,
}

impl Ticked {
    /// A process's; `pid` may be `self`.
    pub(crate) fn of(pid: &str) -> Result<Self, String> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        Self::parse(&text).ok_or_else(|| format!("{path} is not what it was in Linux 6: {text:?}"))
    }

    /// The name, in parentheses, may contain anything; the fields after it are
    /// separated by single spaces.
    fn parse(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut times = fields
            .split(' ')
            .skip(11)
            .map_while(|field| field.parse::<u64>().ok());
        let mut next = || times.next().map(|ticks| ticks * TICK_NS);
        let (user, system) = (next()?, next()?);
        Some(Self {
            user,
            system,
            children: next()? + next()?,
        })
    }

    /// All of it.
    pub(crate) fn total(self) -> u64 {
        self.user + self.system + self.children
    }
}

/// CPU time of the threads of a process until now, to the nanosecond. Threads
/// that have ended are not in it.
pub(crate) fn exact(pid: u32) -> Result<u64, String> {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?;
    let mut nanos = 0;
    for thread in threads.flatten() {
        // It may have ended since.
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        nanos += text
            .split(' ')
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(nanos)
}

/// Memory of a process that is in RAM.
pub(crate) fn resident(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse::<u64>().ok())
        .map(|kib| kib << 10)
        .ok_or_else(|| format!("{path} has no VmRSS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 3 4 5 6 20 0 1 0 99 0 0";
        let expected = Ticked {
            user: 3 * TICK_NS,
            system: 4 * TICK_NS,
            children: 11 * TICK_NS,
        };
        assert_eq!(Ticked::parse(stat), Some(expected));
        assert_eq!(expected.total(), 18 * TICK_NS);
        assert_eq!(Ticked::parse("7 (a) S 1 7"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let pid = std::process::id();
        assert!(exact(pid).expect("it exists") > 0);
        assert!(resident(pid).expect("it exists") > 1 << 16);
        assert!(Ticked::of("self").is_ok());
    }
}
