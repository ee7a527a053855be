//! Which CPUs there are, which of them share what, and how much of their time
//! this process may have.
//!
//! On Linux two providers answer: `/sys` and, with the cargo feature `hwloc`,
//! the library of that name; on Windows the system itself. What a container
//! hides is `None` or the CPU alone, never an error: placement is an
//! optimisation.

#[cfg(all(target_os = "linux", feature = "hwloc"))]
mod hwloc;
mod list;
#[cfg(test)]
pub(crate) mod machines;
#[cfg(target_os = "linux")]
mod memory;
mod quota;
// The tests of other systems read copies of it.
#[cfg(any(target_os = "linux", test))]
mod sys;
#[cfg(windows)]
mod windows;

use std::collections::BTreeMap;
use std::fmt;
#[cfg(target_os = "linux")]
use std::path::Path;

pub use list::{ListError, parse_cpus};
#[cfg(target_os = "linux")]
pub use memory::node_of_memory;
pub use quota::Quota;

use crate::affinity;

/// One CPU this process may use. Cores and L3 groups are named after their
/// lowest CPU, which need not be one this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: usize,
    /// Its core: the lowest CPU among its SMT siblings and itself.
    pub core: usize,
    /// The lowest CPU of those that share its L3 cache.
    pub l3: Option<usize>,
    /// Its NUMA node.
    pub node: Option<usize>,
    /// Its socket.
    pub package: Option<usize>,
    /// Whether it is of a slower kind than the fastest here (an efficiency
    /// core).
    pub slow: bool,
}

/// Who said how the CPUs lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The kernel, in `/sys/devices`.
    Sys,
    /// The library hwloc.
    Hwloc,
    /// Windows, by `GetLogicalProcessorInformationEx`.
    Windows,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sys => "/sys",
            Self::Hwloc => "hwloc",
            Self::Windows => "Windows",
        })
    }
}

/// CPUs that share something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The number of the package, node or core; the lowest CPU of an L3 group.
    pub id: usize,
    /// Those of its CPUs this process may use, ascending; at least one.
    pub cpus: Vec<usize>,
}

/// The CPUs this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    cpus: Vec<Cpu>,
    provider: Provider,
    quota: Option<Quota>,
}

impl Topology {
    /// Reads the CPUs the calling thread may run on. If not even those can be
    /// read, as many as the standard library counts.
    #[must_use]
    pub fn detect() -> Self {
        let allowed = affinity::allowed().unwrap_or_else(|_unreadable| {
            (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
        });
        let (cpus, provider) = cpus(&allowed);
        Self {
            cpus,
            provider,
            quota: Quota::detect(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(cpus: Vec<Cpu>) -> Self {
        Self {
            cpus,
            provider: Provider::Sys,
            quota: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn with_quota(self, quota: Option<Quota>) -> Self {
        Self { quota, ..self }
    }

    /// The CPUs, ascending.
    #[must_use]
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// The numbers of the CPUs, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<usize> {
        self.cpus.iter().map(|cpu| cpu.id).collect()
    }

    /// Who said so.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// How much of the CPUs' time the control group allows, if it limits that.
    #[must_use]
    pub fn quota(&self) -> Option<Quota> {
        self.quota
    }

    /// The NUMA node of a CPU.
    #[must_use]
    pub fn node_of(&self, cpu: usize) -> Option<usize> {
        self.cpus.iter().find(|candidate| candidate.id == cpu)?.node
    }

    /// The physical cores, ascending.
    #[must_use]
    pub fn cores(&self) -> Vec<Group> {
        self.groups(|cpu| Some(cpu.core))
    }

    /// The CPUs that share an L3 cache; empty where that is not known.
    #[must_use]
    pub fn l3_groups(&self) -> Vec<Group> {
        self.groups(|cpu| cpu.l3)
    }

    /// The NUMA nodes; empty where they are not known.
    #[must_use]
    pub fn nodes(&self) -> Vec<Group> {
        self.groups(|cpu| cpu.node)
    }

    /// The sockets; empty where they are not known.
    #[must_use]
    pub fn packages(&self) -> Vec<Group> {
        self.groups(|cpu| cpu.package)
    }

    fn groups(&self, of: impl Fn(&Cpu) -> Option<usize>) -> Vec<Group> {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for cpu in &self.cpus {
            if let Some(id) = of(cpu) {
                groups.entry(id).or_default().push(cpu.id);
            }
        }
        let group = |(id, cpus)| Group { id, cpus };
        groups.into_iter().map(group).collect()
    }
}

/// Where the kernel tells about devices.
#[cfg(target_os = "linux")]
const DEVICES: &str = "/sys/devices";

#[cfg(all(target_os = "linux", feature = "hwloc"))]
fn cpus(allowed: &[usize]) -> (Vec<Cpu>, Provider) {
    match hwloc::read(Path::new(DEVICES), allowed) {
        Ok(cpus) => (cpus, Provider::Hwloc),
        Err(error) => {
            tracing::warn!(%error, "hwloc does not know this machine: /sys is asked");
            (sys::read(Path::new(DEVICES), allowed), Provider::Sys)
        }
    }
}

#[cfg(all(target_os = "linux", not(feature = "hwloc")))]
fn cpus(allowed: &[usize]) -> (Vec<Cpu>, Provider) {
    (sys::read(Path::new(DEVICES), allowed), Provider::Sys)
}

#[cfg(windows)]
fn cpus(allowed: &[usize]) -> (Vec<Cpu>, Provider) {
    (windows::read(allowed), Provider::Windows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_cpu_to_run_on() {
        let topology = Topology::detect();
        assert!(!topology.cpus().is_empty());
        assert_eq!(
            topology.ids(),
            affinity::allowed().expect("affinity can be read")
        );
        let of_cores = topology.cores().into_iter().flat_map(|core| core.cpus);
        assert_eq!(of_cores.count(), topology.cpus().len());
    }

    #[test]
    fn groups_hold_only_what_may_be_used() {
        let topology = machines::container();
        let group = |id, cpus: &[usize]| Group {
            id,
            cpus: cpus.to_vec(),
        };
        assert_eq!(
            topology.nodes(),
            [group(0, &[4, 5, 6, 7]), group(1, &[24, 25, 26, 27])]
        );
        assert_eq!(topology.cores().len(), 8);
        // CPU 24's core is named after CPU 8, which is not ours.
        assert_eq!(topology.cores()[4], group(8, &[24]));
        assert_eq!(topology.node_of(24), Some(1));
        assert_eq!(topology.node_of(8), None);
    }
}
