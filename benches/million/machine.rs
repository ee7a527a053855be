//! What `/proc` tells of the machine and of processes.

use std::collections::HashMap;
use std::fs;

use serde::Serialize;

use crate::Failure;

/// Ticks of a second in which the kernel tells CPU time to programs, on every
/// architecture that Rust runs on (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// Memory of the machine, in bytes, and its sockets.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) available: u64,
    /// The kernel's objects: sockets, inodes, requests of rings.
    pub(crate) slab: u64,
    /// TCP sockets in use, both ends, of the whole machine.
    pub(crate) tcp_sockets: u64,
    /// Memory of their buffers.
    pub(crate) tcp_buffers: u64,
}

impl Memory {
    pub(crate) fn now() -> Result<Self, Failure> {
        let meminfo = read("/proc/meminfo")?;
        let fields = fields(&meminfo);
        let kilobytes = |name: &str| {
            let field = fields.get(name).ok_or_else(|| missing(name))?;
            Ok::<_, Failure>(number(field.trim_end_matches(" kB"))? << 10)
        };
        let (tcp_sockets, pages) = tcp(&read("/proc/net/sockstat")?)?;
        Ok(Self {
            available: kilobytes("MemAvailable")?,
            slab: kilobytes("Slab")?,
            tcp_sockets,
            tcp_buffers: pages << 12,
        })
    }
}

/// What processes use.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Usage {
    /// Resident memory in bytes.
    pub(crate) resident: u64,
    /// CPU time in milliseconds, in steps of ten.
    pub(crate) user_ms: u64,
    /// In the kernel.
    pub(crate) system_ms: u64,
}

impl Usage {
    /// Of one process, until now.
    pub(crate) fn of(process: u32) -> Result<Self, Failure> {
        let status = read(&format!("/proc/{process}/status"))?;
        let resident = *fields(&status)
            .get("VmRSS")
            .ok_or_else(|| missing("VmRSS"))?;
        let (user, system) = times(&read(&format!("/proc/{process}/stat"))?)?;
        Ok(Self {
            resident: number(resident.trim_end_matches(" kB"))? << 10,
            user_ms: user * 1000 / TICKS_PER_SECOND,
            system_ms: system * 1000 / TICKS_PER_SECOND,
        })
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            resident: self.resident + other.resident,
            user_ms: self.user_ms + other.user_ms,
            system_ms: self.system_ms + other.system_ms,
        }
    }
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| format!("{path} can not be read: {error}").into())
}

fn missing(name: &str) -> Failure {
    format!("the kernel does not tell {name}").into()
}

fn number(text: &str) -> Result<u64, Failure> {
    let parsed = text.trim().parse();
    parsed.map_err(|_| format!("{text:?} is no number").into())
}

/// `Name: value` by name.
fn fields(text: &str) -> HashMap<&str, &str> {
    let split = text.lines().filter_map(|line| line.split_once(':'));
    split.map(|(name, value)| (name, value.trim())).collect()
}

/// TCP sockets in use and pages of their buffers.
fn tcp(sockstat: &str) -> Result<(u64, u64), Failure> {
    let line = *fields(sockstat).get("TCP").ok_or_else(|| missing("TCP"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let value = |name: &str| {
        let place = words.iter().position(|&word| word == name);
        let value = place.and_then(|place| words.get(place + 1));
        number(value.ok_or_else(|| missing(name))?)
    };
    Ok((value("inuse")?, value("mem")?))
}

/// Ticks in user mode and in the kernel. The name of the program, in
/// parentheses, may contain anything.
fn times(stat: &str) -> Result<(u64, u64), Failure> {
    let (_, rest) = stat.rsplit_once(')').ok_or_else(|| missing("times"))?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    match words.get(11..13) {
        Some([user, system]) => Ok((number(user)?, number(system)?)),
        _ => Err(missing("times")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_with_their_memory() {
        let text =
            "sockets: used 9\nTCP: inuse 7 orphan 0 tw 3 alloc 8 mem 2\nUDP: inuse 1 mem 5\n";
        assert_eq!(tcp(text).expect("it is there"), (7, 2));
        assert!(tcp("UDP: inuse 1 mem 5\n").is_err());
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b 1) S 1 2 3 4 5 6 7 8 9 10 41 42 0 0";
        assert_eq!(times(stat).expect("they are there"), (41, 42));
        assert!(times("7 (short) S 1").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_and_this_process_are_told() {
        let memory = Memory::now().expect("Linux tells");
        assert!(memory.available > 0 && memory.slab > 0);
        let usage = Usage::of(std::process::id()).expect("Linux tells");
        assert!(usage.resident > 1 << 20);
    }
}
