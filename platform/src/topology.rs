//! Which CPUs there are, and which of them share what.
//!
//! Read from `/sys/devices/system`; what a container hides is `None` or the CPU
//! alone, never an error: placement is an optimisation.

use std::fs;
use std::path::Path;

use crate::affinity;

/// One CPU this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: usize,
    /// The CPUs of the same core, itself included (SMT siblings), ascending.
    pub siblings: Vec<usize>,
    /// Its socket.
    pub package: Option<usize>,
    /// Its NUMA node.
    pub node: Option<usize>,
}

/// The CPUs this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    cpus: Vec<Cpu>,
}

impl Topology {
    /// Reads the CPUs the calling thread may run on. If not even those can be
    /// read, as many as the standard library counts.
    #[must_use]
    pub fn detect() -> Self {
        let allowed = affinity::allowed().unwrap_or_else(|_unreadable| {
            (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
        });
        Self::read(Path::new("/sys/devices/system"), &allowed)
    }

    fn read(root: &Path, allowed: &[usize]) -> Self {
        let nodes = nodes(&root.join("node"));
        let cpus = allowed.iter().map(|&id| {
            let topology = root.join(format!("cpu/cpu{id}/topology"));
            let siblings = fs::read_to_string(topology.join("thread_siblings_list"))
                .ok()
                .and_then(|text| parse_cpus(&text))
                .filter(|siblings| siblings.contains(&id));
            let package = fs::read_to_string(topology.join("physical_package_id"));
            Cpu {
                id,
                siblings: siblings.unwrap_or_else(|| vec![id]),
                package: package.ok().and_then(|text| text.trim().parse().ok()),
                node: nodes
                    .iter()
                    .find(|(_, cpus)| cpus.contains(&id))
                    .map(|&(node, _)| node),
            }
        });
        Self {
            cpus: cpus.collect(),
        }
    }

    /// The CPUs, ascending.
    #[must_use]
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// The NUMA node of a CPU.
    #[must_use]
    pub fn node_of(&self, cpu: usize) -> Option<usize> {
        self.cpus.iter().find(|candidate| candidate.id == cpu)?.node
    }

    /// CPU numbers in the order shards should take them: one of every core
    /// first, then their siblings.
    #[must_use]
    pub fn spread(&self) -> Vec<usize> {
        let rank = |cpu: &Cpu| {
            let before = |sibling: &&Cpu| sibling.id < cpu.id && cpu.siblings.contains(&sibling.id);
            self.cpus.iter().filter(before).count()
        };
        let mut order: Vec<_> = self.cpus.iter().map(|cpu| (rank(cpu), cpu.id)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, id)| id).collect()
    }
}

/// The NUMA nodes and their CPUs.
fn nodes(root: &Path) -> Vec<(usize, Vec<usize>)> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    let node = |entry: fs::DirEntry| {
        let id = entry
            .file_name()
            .to_str()?
            .strip_prefix("node")?
            .parse()
            .ok()?;
        let text = fs::read_to_string(entry.path().join("cpulist")).ok()?;
        Some((id, parse_cpus(&text)?))
    };
    let mut nodes: Vec<_> = entries.flatten().filter_map(node).collect();
    nodes.sort_unstable();
    nodes
}

/// The most CPUs a list may name: beyond any Linux (`NR_CPUS` is at most 8192).
const MOST: usize = 1 << 16;

/// Parses the kernel's list format, `0-3,8,10-11`. `None` when it is not one.
fn parse_cpus(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(id: usize, siblings: &[usize], node: usize) -> Cpu {
        Cpu {
            id,
            siblings: siblings.to_vec(),
            package: Some(0),
            node: Some(node),
        }
    }

    #[test]
    fn lists_of_cpus_parse() {
        assert_eq!(
            parse_cpus("0-3,8,10-11\n"),
            Some(vec![0, 1, 2, 3, 8, 10, 11])
        );
        assert_eq!(parse_cpus("0\n"), Some(vec![0]));
        assert_eq!(parse_cpus("\n"), Some(vec![]));
        for broken in ["3-1", "a", "1-", "0-99999999", "1,,x"] {
            assert_eq!(parse_cpus(broken), None, "{broken}");
        }
    }

    #[test]
    fn shards_take_whole_cores_first() {
        let cpus = vec![
            cpu(0, &[0, 1], 0),
            cpu(1, &[0, 1], 0),
            cpu(2, &[2, 3], 1),
            cpu(3, &[2, 3], 1),
        ];
        let topology = Topology { cpus };
        assert_eq!(topology.spread(), [0, 2, 1, 3]);
        assert_eq!(topology.node_of(3), Some(1));
        assert_eq!(topology.node_of(9), None);
    }

    #[test]
    fn a_core_whose_first_sibling_is_not_allowed_counts_as_a_core() {
        let topology = Topology {
            cpus: vec![cpu(1, &[0, 1], 0), cpu(2, &[2, 3], 0)],
        };
        assert_eq!(topology.spread(), [1, 2]);
    }

    #[test]
    fn without_sys_a_cpu_stands_alone() {
        let topology = Topology::read(Path::new("/nowhere"), &[0, 4]);
        assert_eq!(topology.cpus()[1].siblings, [4]);
        assert_eq!(
            (topology.cpus()[1].package, topology.cpus()[1].node),
            (None, None)
        );
    }

    #[test]
    fn this_machine_has_a_cpu_to_run_on() {
        let topology = Topology::detect();
        assert!(!topology.cpus().is_empty());
        assert!(
            topology
                .cpus()
                .iter()
                .all(|cpu| cpu.siblings.contains(&cpu.id))
        );
        assert_eq!(topology.spread().len(), topology.cpus().len());
    }
}
