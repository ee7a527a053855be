//! Pinning threads to CPUs.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use thiserror::Error;

/// A thread could not be placed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AffinityError {
    /// No such CPU, or the process may not use it.
    #[error("CPU {cpu} can not be used; allowed are {}", list(allowed))]
    NotAllowed {
        /// The CPU asked for.
        cpu: usize,
        /// Those the thread may use.
        allowed: Vec<usize>,
    },
    /// A system call failed.
    #[error("{call} failed: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// The CPUs the calling thread may run on, in ascending order: what `taskset`,
/// a cpuset cgroup or a container leaves.
///
/// # Errors
/// When the system call fails, as it does on a machine of more than 1024 CPUs.
pub fn allowed() -> Result<Vec<usize>, AffinityError> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(|error| AffinityError::System {
        call: "sched_getaffinity",
        source: error.into(),
    })?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect())
}

/// Pins the calling thread to one CPU. Memory it touches first from then on
/// comes from that CPU's NUMA node; threads it starts inherit the pin.
///
/// # Errors
/// [`AffinityError::NotAllowed`] names the CPUs that can be used.
pub fn pin(cpu: usize) -> Result<(), AffinityError> {
    let mut set = CpuSet::new();
    let refused = || AffinityError::NotAllowed {
        cpu,
        allowed: allowed().unwrap_or_default(),
    };
    set.set(cpu).map_err(|_too_large| refused())?;
    match sched_setaffinity(Pid::from_raw(0), &set) {
        Ok(()) => Ok(()),
        Err(nix::errno::Errno::EINVAL) => Err(refused()),
        Err(error) => Err(AffinityError::System {
            call: "sched_setaffinity",
            source: error.into(),
        }),
    }
}

/// CPU numbers with runs shortened: `0-3,8`.
pub(crate) fn list(cpus: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cpus;
    while let Some(&first) = rest.first() {
        let run = rest
            .iter()
            .zip(first..)
            .take_while(|&(&cpu, expected)| cpu == expected)
            .count();
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&first.to_string());
        if run > 1 {
            text.push_str(&format!("-{}", first + run - 1));
        }
        rest = &rest[run..];
    }
    if text.is_empty() { "none".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_cpu() {
        let cpu = *allowed()
            .expect("affinity can be read")
            .last()
            .expect("a thread runs somewhere");
        let pinned = std::thread::spawn(move || {
            pin(cpu).expect("an allowed CPU can be used");
            allowed().expect("affinity can be read")
        });
        assert_eq!(pinned.join().expect("the thread ends"), [cpu]);
    }

    #[test]
    fn a_missing_cpu_is_named_with_the_allowed_ones() {
        for cpu in [CpuSet::count() - 1, CpuSet::count() + 7] {
            let error = pin(cpu).expect_err("there are not that many CPUs");
            assert!(
                matches!(&error, AffinityError::NotAllowed { allowed, .. } if !allowed.is_empty())
            );
            assert!(error.to_string().contains(&cpu.to_string()));
        }
    }

    #[test]
    fn lists_are_short() {
        assert_eq!(list(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
        assert_eq!(list(&[5]), "5");
        assert_eq!(list(&[]), "none");
    }
}
