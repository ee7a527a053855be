//! Pinning threads to CPUs.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

use std::io;

use thiserror::Error;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(windows)]
use windows as imp;

#[cfg(windows)]
pub(crate) use imp::cpus;

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
/// a cpuset cgroup or a container leaves, on Windows `start /affinity` or a
/// job. Windows numbers CPUs by group: CPU 3 of group 1 is 67.
///
/// # Errors
/// When the system call fails, as it does on a Linux machine of more than 1024
/// CPUs.
pub fn allowed() -> Result<Vec<usize>, AffinityError> {
    imp::allowed()
}

/// Pins the calling thread to one CPU. Memory it touches first from then on
/// comes from that CPU's NUMA node. Threads it starts inherit the pin, but not
/// on Windows.
///
/// # Errors
/// [`AffinityError::NotAllowed`] names the CPUs that can be used.
pub fn pin(cpu: usize) -> Result<(), AffinityError> {
    imp::confine(&[cpu])
}

/// Lets the calling thread run on these CPUs and no others, whatever it was
/// confined to before. On Windows, where a thread runs in one group of 64
/// CPUs, on those in the group of the first.
///
/// # Errors
/// [`AffinityError::NotAllowed`] with the first CPU when none of them can be
/// used, or one does not exist.
pub fn confine(cpus: &[usize]) -> Result<(), AffinityError> {
    imp::confine(cpus)
}

/// The CPU an error is about; none at all is as a CPU that does not exist.
fn first(cpus: &[usize]) -> usize {
    cpus.first().copied().unwrap_or(usize::MAX)
}

impl AffinityError {
    fn not_allowed(cpu: usize) -> Self {
        Self::NotAllowed {
            cpu,
            allowed: allowed().unwrap_or_default(),
        }
    }

    fn system(call: &'static str, source: io::Error) -> Self {
        Self::System { call, source }
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
    fn a_pinned_thread_may_be_given_all_cpus_again() {
        let all = allowed().expect("affinity can be read");
        let widened = std::thread::spawn({
            let all = all.clone();
            move || {
                pin(all[0]).expect("an allowed CPU can be used");
                confine(&all).expect("allowed CPUs can be used");
                allowed().expect("affinity can be read")
            }
        });
        assert_eq!(widened.join().expect("the thread ends"), all);
        let none = confine(&[]).expect_err("a thread runs somewhere");
        assert!(matches!(none, AffinityError::NotAllowed { .. }), "{none}");
    }

    #[test]
    fn a_missing_cpu_is_named_with_the_allowed_ones() {
        // The last that Linux and Windows can name, and beyond.
        for cpu in [1023, 1031, (1 << 22) - 1, usize::MAX] {
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
