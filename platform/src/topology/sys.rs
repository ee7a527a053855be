//! The kernel's own word, under `/sys/devices`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use super::Cpu;
use super::list::parse_cpus;

/// How the `allowed` CPUs lie. `devices` is `/sys/devices`, or a copy of it.
pub(super) fn read(devices: &Path, allowed: &[usize]) -> Vec<Cpu> {
    let nodes = nodes(&devices.join("system/node"));
    let slow = slow(devices, allowed);
    let cpu = |&id: &usize| {
        let root = devices.join(format!("system/cpu/cpu{id}"));
        let siblings = cpus(&root.join("topology/thread_siblings_list"));
        Cpu {
            id,
            core: first_with(siblings, id).unwrap_or(id),
            l3: l3(&root.join("cache"), id),
            node: nodes
                .iter()
                .find(|(_, cpus)| cpus.contains(&id))
                .map(|&(node, _)| node),
            package: value(&root.join("topology/physical_package_id")),
            slow: slow.contains(&id),
        }
    };
    allowed.iter().map(cpu).collect()
}

/// Those of slower kinds: `cpu_capacity` (Arm, RISC-V) is less than that of the
/// fastest by more than a fifth, which is beyond what one kind varies by; or
/// Intel's driver for efficiency cores has them (Linux 5.13).
pub(super) fn slow(devices: &Path, allowed: &[usize]) -> Vec<usize> {
    let capacity = |&id: &usize| {
        let file = devices.join(format!("system/cpu/cpu{id}/cpu_capacity"));
        Some((id, value::<u64>(&file)?))
    };
    let capacities: BTreeMap<usize, u64> = allowed.iter().filter_map(capacity).collect();
    let fastest = capacities.values().max().copied().unwrap_or_default();
    let atoms = cpus(&devices.join("cpu_atom/cpus")).unwrap_or_default();
    // Where only efficiency cores are left there is nothing faster.
    let all_atoms = allowed.iter().all(|cpu| atoms.contains(cpu));
    let is_slow = |id: &usize| {
        let less = |&own: &u64| own.saturating_mul(5) < fastest.saturating_mul(4);
        capacities.get(id).is_some_and(less) || (!all_atoms && atoms.contains(id))
    };
    allowed.iter().copied().filter(is_slow).collect()
}

/// The lowest CPU that shares the L3 cache of `id`.
fn l3(cache: &Path, id: usize) -> Option<usize> {
    let entries = fs::read_dir(cache).ok()?;
    let level_3 = |index: &fs::DirEntry| value(&index.path().join("level")) == Some(3);
    let index = entries.flatten().find(level_3)?;
    first_with(cpus(&index.path().join("shared_cpu_list")), id)
}

/// The lowest of a list that must contain `id`.
fn first_with(cpus: Option<Vec<usize>>, id: usize) -> Option<usize> {
    let cpus = cpus.filter(|cpus| cpus.contains(&id))?;
    cpus.into_iter().min()
}

/// The NUMA nodes and their CPUs.
fn nodes(root: &Path) -> Vec<(usize, Vec<usize>)> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    let node = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let id = name.to_str()?.strip_prefix("node")?.parse().ok()?;
        Some((id, cpus(&entry.path().join("cpulist"))?))
    };
    let mut nodes: Vec<_> = entries.flatten().filter_map(node).collect();
    nodes.sort_unstable();
    nodes
}

fn cpus(file: &Path) -> Option<Vec<usize>> {
    parse_cpus(&fs::read_to_string(file).ok()?).ok()
}

fn value<T: FromStr>(file: &Path) -> Option<T> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::machines;
    use super::*;

    #[test]
    fn without_sys_a_cpu_stands_alone() {
        let cpus = read(Path::new("/nowhere"), &[0, 4]);
        let alone = Cpu {
            id: 4,
            core: 4,
            l3: None,
            node: None,
            package: None,
            slow: false,
        };
        assert_eq!(cpus[1], alone);
    }

    #[test]
    fn two_nodes_with_siblings_and_two_caches_each_are_seen() {
        let topology = machines::two_nodes();
        let lengths = |groups: Vec<super::super::Group>| -> Vec<usize> {
            groups.iter().map(|group| group.cpus.len()).collect()
        };
        assert_eq!(lengths(topology.packages()), [16, 16]);
        assert_eq!(lengths(topology.nodes()), [16, 16]);
        assert_eq!(lengths(topology.l3_groups()), [8, 8, 8, 8]);
        assert_eq!(lengths(topology.cores()), [2; 16]);
        let expected = Cpu {
            id: 29,
            core: 13,
            l3: Some(12),
            node: Some(1),
            package: Some(1),
            slow: false,
        };
        assert_eq!(topology.cpus()[29], expected);
    }

    #[test]
    fn efficiency_cores_are_told_from_the_others() {
        let slow = |cpus: &[Cpu]| -> Vec<usize> {
            let slow = cpus.iter().filter(|cpu| cpu.slow);
            slow.map(|cpu| cpu.id).collect()
        };
        assert_eq!(slow(machines::hybrid().cpus()), [8, 9, 10, 11]);
        assert_eq!(slow(machines::big_little().cpus()), [0, 1, 2, 3]);
        assert_eq!(slow(machines::two_nodes().cpus()), [0; 0]);
    }
}
