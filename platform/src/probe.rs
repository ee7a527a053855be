//! What the kernel offers, what is used of it, and why not the rest.

use std::fmt;

use crate::affinity;
use crate::backend::uring;
use crate::limits::Limits;

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

/// What this process can count on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The features of io_uring, or what forbids it.
    pub uring: Result<Vec<Feature>, String>,
    /// The limits of this process.
    pub limits: Limits,
    /// The CPUs this thread may run on.
    pub cpus: Vec<usize>,
}

/// Looks everything up anew. Never fails: what can not be found out is left
/// out.
#[must_use]
pub fn report() -> Report {
    Report {
        kernel: uring::probe::release(),
        uring: uring::probe::survey(),
        limits: Limits::read(),
        cpus: affinity::allowed().unwrap_or_default(),
    }
}

impl Report {
    /// The one line that says what forbids io_uring and what to do about it;
    /// `None` when it can be used.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        self.uring.as_ref().err().cloned()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {}", self.kernel)?;
        match &self.uring {
            Err(cause) => writeln!(f, "{cause}")?,
            Ok(features) => {
                writeln!(f, "io_uring is available")?;
                for feature in features {
                    let state = match (feature.available, feature.used) {
                        (true, true) => "used",
                        (true, false) => "not used",
                        (false, _) => "missing",
                    };
                    let Feature {
                        name, since, why, ..
                    } = feature;
                    writeln!(f, "  {name:<28} since {since:<5} {state:<9} {why}")?;
                }
            }
        }
        let show = |limit: Option<String>| limit.unwrap_or_else(|| "unknown".into());
        let Limits {
            nofile,
            memlock,
            somaxconn,
        } = self.limits;
        writeln!(
            f,
            "open files {}",
            show(nofile.map(|limit| limit.to_string()))
        )?;
        writeln!(
            f,
            "locked memory in bytes {}",
            show(memlock.map(|limit| limit.to_string()))
        )?;
        writeln!(
            f,
            "listen backlog {}",
            show(somaxconn.map(|limit| limit.to_string()))
        )?;
        write!(f, "CPUs allowed {}", affinity::list(&self.cpus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_kernel_and_every_feature() {
        let report = report();
        let text = report.to_string();
        assert!(text.contains(&report.kernel), "{text}");
        assert!(!report.cpus.is_empty());
        for feature in report.uring.iter().flatten() {
            assert!(text.contains(feature.name), "{text}");
            assert!(feature.available || !feature.used, "{feature:?}");
        }
    }

    #[test]
    fn a_forbidden_ring_is_one_line() {
        let report = Report {
            kernel: "6.1.0".into(),
            uring: Err("io_uring is forbidden by something".into()),
            limits: Limits::default(),
            cpus: vec![0, 1],
        };
        assert_eq!(
            report.cause().as_deref(),
            Some("io_uring is forbidden by something")
        );
        let text = report.to_string();
        assert!(text.contains("forbidden by something"), "{text}");
        assert!(text.contains("open files unknown"), "{text}");
        assert!(text.ends_with("CPUs allowed 0-1"), "{text}");
    }
}
