//! What the kernel offers, what is used of it, what holds this machine back.

mod advice;
#[cfg(target_os = "linux")]
mod linux;
mod setting;
mod text;
#[cfg(windows)]
mod windows;

use std::fmt;

pub use advice::Advice;
pub use setting::{Setting, Settings};

use crate::backend::{Backend, Choice, Selection};
pub use crate::limits::{Limit, Limits};
use crate::placement::Plan;
use crate::topology::Topology;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(windows)]
use windows as imp;

/// One thing a kernel may offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it is called.
    pub name: &'static str,
    /// The Linux version it came in.
    pub since: &'static str,
    /// Whether this kernel has it, for this process.
    pub available: bool,
    /// Whether the driver uses it.
    pub used: bool,
    /// What for, or why not.
    pub why: String,
}

impl Feature {
    /// `used`, `not used` or `missing`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.available, self.used) {
            (true, true) => "used",
            (true, false) => "not used",
            (false, _) => "missing",
        }
    }
}

/// What forbids io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CauseKind {
    /// A seccomp profile.
    Seccomp,
    /// `kernel.io_uring_disabled`.
    Sysctl,
    /// SELinux, AppArmor or the like.
    SecurityModule,
    /// The kernel is too old, or was built without it.
    Kernel,
    /// No memory for a ring: memlock before Linux 5.12, or the control group.
    Memory,
    /// No descriptor is left.
    Descriptors,
    /// The system is not Linux, and io_uring not missed.
    NotLinux,
    /// Something else.
    Other,
}

impl CauseKind {
    /// A word for programs; it stays the same between versions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Sysctl => "sysctl",
            Self::SecurityModule => "security-module",
            Self::Kernel => "kernel",
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
            Self::NotLinux => "not-linux",
            Self::Other => "other",
        }
    }
}

/// What forbids io_uring, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// For programs.
    pub kind: CauseKind,
    /// For people: one line.
    pub line: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// What is asked of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where the shards would run.
    pub plan: Plan,
    /// The connections to be served, all shards together.
    pub connections: u64,
    /// The descriptors they need.
    pub descriptors: u64,
    /// Which backend they would use.
    pub backend: Choice,
}

/// What this process can count on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kernel's release, as `uname -r` or `ver` prints it.
    pub kernel: String,
    /// The features of io_uring, or what forbids it.
    pub uring: Result<Vec<Feature>, Cause>,
    /// The limits of this process.
    pub limits: Limits,
    /// The kernel's settings.
    pub settings: Settings,
    /// The CPUs.
    pub topology: Topology,
    /// What was asked for.
    pub wanted: Wanted,
}

/// Looks everything up anew. Never fails: what can not be found out is left
/// out.
#[must_use]
pub fn report(topology: Topology, wanted: Wanted) -> Report {
    Report {
        kernel: imp::release(),
        uring: uring(),
        limits: Limits::read(),
        settings: Settings::read(),
        topology,
        wanted,
    }
}

/// The features of io_uring, tried on a small ring, or what forbids it.
///
/// # Errors
/// The one cause, with what to do about it.
pub fn uring() -> Result<Vec<Feature>, Cause> {
    imp::uring()
}

impl Report {
    /// The backend a server would use; `None` when it could not start.
    #[must_use]
    pub fn backend(&self) -> Option<Backend> {
        match (self.wanted.backend, &self.uring) {
            (Choice::Uring, Err(_)) => None,
            (Choice::Uring, Ok(_)) => Some(Backend::Uring),
            (Choice::Compio, _) => Some(Backend::Compio),
            (Choice::Auto, uring) => {
                let uring = uring.as_ref().map(drop).map_err(Clone::clone);
                Some(Selection::from(uring).backend)
            }
        }
    }

    /// What holds this machine back from what was asked for, the worst first.
    #[must_use]
    pub fn advice(&self) -> Vec<Advice> {
        advice::of(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{CpuList, Placement, Request, plan};

    pub(super) fn example() -> Report {
        let topology = Topology::detect();
        let request = Request {
            shards: 0,
            placement: Placement::Spread,
            cpus: &CpuList::default(),
            pin: true,
            most: 64,
        };
        let wanted = Wanted {
            plan: plan(&topology, &request).expect("the default can be met"),
            connections: 1000,
            descriptors: 1256,
            backend: Choice::Auto,
        };
        report(topology, wanted)
    }

    #[test]
    fn a_report_names_the_kernel_and_every_feature() {
        let report = example();
        let text = report.to_string();
        assert!(text.contains(&report.kernel), "{text}");
        assert!(report.backend().is_some(), "there is always a fallback");
        for feature in report.uring.iter().flatten() {
            assert!(text.contains(feature.name), "{text}");
            assert!(feature.available || !feature.used, "{feature:?}");
        }
    }

    #[test]
    fn only_who_insists_on_a_forbidden_io_uring_has_no_backend() {
        let asked = |backend, uring| {
            let mut report = example();
            report.wanted.backend = backend;
            report.uring = uring;
            report.backend()
        };
        let forbidden = || {
            Err(Cause {
                kind: CauseKind::Seccomp,
                line: "io_uring is forbidden by something".into(),
            })
        };
        let there = || Ok(Vec::new());
        assert_eq!(asked(Choice::Auto, there()), Some(Backend::Uring));
        assert_eq!(asked(Choice::Auto, forbidden()), Some(Backend::Compio));
        assert_eq!(asked(Choice::Compio, there()), Some(Backend::Compio));
        assert_eq!(asked(Choice::Uring, there()), Some(Backend::Uring));
        assert_eq!(asked(Choice::Uring, forbidden()), None);
    }

    #[test]
    fn a_forbidden_ring_is_one_line_and_the_first_advice() {
        let report = Report {
            uring: Err(Cause {
                kind: CauseKind::Seccomp,
                line: "io_uring is forbidden by something".into(),
            }),
            limits: Limits::default(),
            ..example()
        };
        let text = report.to_string();
        assert!(text.contains("forbidden by something"), "{text}");
        assert!(
            report.advice()[0]
                .problem
                .contains("forbidden by something")
        );
    }
}
