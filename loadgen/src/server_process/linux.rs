//! A process as `/proc` and its CPU clock show it.

use std::fs;
use std::io::ErrorKind;

use hioload_platform::Nanos;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::Reading;

/// A process that existed when it was found.
///
/// CPU time is that of its CPU clock: exact to the nanosecond, and it includes
/// the threads that have ended, which a sum over `/proc/PID/task` loses. The
/// `utime` and `stime` of `/proc/PID/stat` tell only how it is split: they are
/// in ticks of 10 milliseconds, estimated from where each tick fell.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    name: String,
    clock: ClockId,
    page: u64,
    /// Ticks from boot to its start: another process with its number has
    /// another one.
    started: u64,
}

/// What is used of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    user: u64,
    system: u64,
    threads: u64,
    started: u64,
    pages: u64,
}

impl Process {
    pub(super) fn find(pid: u32) -> Result<Self, String> {
        let stat = stat(pid)?;
        if let Some(process) = process_of(pid)
            && process != pid
        {
            return Err(format!("is a thread; its process is {process}"));
        }
        let number = i32::try_from(pid).map_err(|_| "is no process number")?;
        let clock = clock_getcpuclockid(Pid::from_raw(number))
            .map_err(|error| format!("its CPU time is not to be had: {error}"))?;
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        Ok(Self {
            pid,
            name: stat.name,
            clock,
            page: page
                .and_then(|page| u64::try_from(page).ok())
                .unwrap_or(4096),
            started: stat.started,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its use until now, or what became of it.
    pub(super) fn read(&self, now: Nanos) -> Result<Reading, String> {
        let ended = || format!("the server process {} has ended", self.pid);
        let stat = stat(self.pid).map_err(|_| ended())?;
        if stat.started != self.started {
            return Err(ended());
        }
        let cpu = clock_gettime(self.clock).map_err(|_| ended())?;
        let part = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Reading {
            at: now,
            cpu: part(cpu.tv_sec()) * 1_000_000_000 + part(cpu.tv_nsec()),
            user_ticks: stat.user,
            system_ticks: stat.system,
            resident: stat.pages * self.page,
            threads: stat.threads,
        })
    }

    /// Bytes resident. `smaps_rollup` walks the page tables and is exact, where
    /// `stat` may be off by up to 64 pages per CPU, which is much when divided
    /// among a thousand connections. It takes about a millisecond per 100 MiB,
    /// so it is read between the phases of a run, and it may be forbidden.
    pub(super) fn resident(&self) -> Option<u64> {
        let stat = stat(self.pid).ok()?;
        if stat.started != self.started {
            return None;
        }
        let exact = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok();
        let exact = exact.as_deref().and_then(|text| field(text, "Rss:"));
        Some(exact.map_or(stat.pages * self.page, |kib| kib * 1024))
    }
}

/// Reads `/proc/PID/stat`; a process that has ended but was not waited for is
/// as good as none.
fn stat(pid: u32) -> Result<Stat, String> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| match error.kind() {
            ErrorKind::NotFound => "there is no such process on this machine".to_owned(),
            _ => format!("cannot look at this process: {error}"),
        })?;
    let stat = parse_stat(&text).ok_or("cannot understand /proc/PID/stat")?;
    if matches!(stat.state, 'Z' | 'X') {
        return Err("this process has ended".into());
    }
    Ok(stat)
}

/// The name is in parentheses and may hold any character, so it ends at the
/// last one; the numbers after it are those of proc(5) from 3 on.
fn parse_stat(text: &str) -> Option<Stat> {
    let (before, after) = text.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
    Some(Stat {
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        user: number(14)?,
        system: number(15)?,
        threads: number(20)?,
        started: number(22)?,
        pages: number(24)?,
    })
}

/// The process that a thread belongs to.
fn process_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    u32::try_from(field(&status, "Tgid:")?).ok()
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let text =
            "42 (a) S (b) R 1 42 42 0 -1 4194560 1 0 0 0 150 70 0 0 20 0 3 0 900 1000 25 9\n";
        let stat = parse_stat(text).expect("as the kernel writes it");
        assert_eq!(stat.name, "a) S (b");
        assert_eq!((stat.state, stat.user, stat.system), ('R', 150, 70));
        assert_eq!((stat.threads, stat.started, stat.pages), (3, 900, 25));
        assert_eq!(parse_stat("42 (short) R 1"), None);
    }

    #[test]
    fn the_own_process_is_found_and_its_cpu_time_grows() {
        let me = Process::find(std::process::id()).expect("this process exists");
        let before = me.read(0).expect("and lives");
        let mut after = before;
        for turn in 0_u64.. {
            std::hint::black_box(turn);
            after = me.read(1).expect("and lives");
            if after.cpu > before.cpu + 1_000_000 {
                break;
            }
        }
        assert!(after.user_ticks >= before.user_ticks);
        assert!(me.resident().is_some_and(|bytes| bytes > 4096));
    }

    #[test]
    fn an_ended_process_is_no_longer_one_also_before_it_is_waited_for() {
        let mut child = std::process::Command::new("true")
            .spawn()
            .expect("true is there");
        let pid = child.id();
        let ended = loop {
            match Process::find(pid) {
                Ok(_) => std::thread::yield_now(),
                Err(ended) => break ended,
            }
        };
        assert_eq!(ended, "this process has ended");
        child.wait().expect("it is a child");
        let gone = Process::find(pid).expect_err("nobody has that number so soon");
        assert!(gone.contains("no such process"), "{gone}");
    }
}
