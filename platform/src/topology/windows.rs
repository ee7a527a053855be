//! `GetLogicalProcessorInformationEx`: which CPUs share what.

use std::io;
use std::mem::offset_of;
use std::ptr;

use windows_sys::Win32::Foundation::ERROR_INSUFFICIENT_BUFFER;
use windows_sys::Win32::System::SystemInformation::{
    CACHE_RELATIONSHIP, CACHE_RELATIONSHIP_0, GROUP_AFFINITY, GetLogicalProcessorInformationEx,
    NUMA_NODE_RELATIONSHIP, NUMA_NODE_RELATIONSHIP_0, PROCESSOR_RELATIONSHIP, RelationAll,
    RelationCache, RelationNumaNode, RelationNumaNodeEx, RelationProcessorCore,
    RelationProcessorPackage, SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX,
};

use super::Cpu;
use crate::affinity;

/// Looks the allowed CPUs up. What the system does not say is `None`, and a CPU
/// without a core stands alone.
pub(super) fn read(allowed: &[usize]) -> Vec<Cpu> {
    let records = records().unwrap_or_else(|error| {
        tracing::warn!(%error, "the system does not say how the CPUs lie");
        Vec::new()
    });
    cpus(&Relations::parse(&records), allowed)
}

fn cpus(relations: &Relations, allowed: &[usize]) -> Vec<Cpu> {
    let cpu = |&id: &usize| {
        let core = relations.cores.iter().find(|core| core.cpus.contains(&id));
        let with = |cpus: &&Vec<usize>| cpus.contains(&id);
        let node = relations.nodes.iter().find(|(_, cpus)| cpus.contains(&id));
        Cpu {
            id,
            core: core.map_or(id, |core| core.cpus[0]),
            l3: relations.l3.iter().find(with).map(|cpus| cpus[0]),
            node: node.map(|&(node, _)| node),
            package: relations.packages.iter().position(|cpus| with(&cpus)),
            slow: core.is_some_and(|core| core.class < relations.fastest(allowed)),
        }
    };
    allowed.iter().map(cpu).collect()
}

/// The records of the system, one behind the other.
fn records() -> io::Result<Vec<u8>> {
    let mut len = 0;
    // SAFETY: without a buffer only the length needed is written.
    unsafe { GetLogicalProcessorInformationEx(RelationAll, ptr::null_mut(), &raw mut len) };
    // Once more for a CPU that is added in between.
    for _attempt in 0..2 {
        let words = (len as usize).div_ceil(size_of::<u64>());
        let mut buffer = vec![0_u64; words];
        let start = buffer
            .as_mut_ptr()
            .cast::<SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX>();
        // SAFETY: the buffer is aligned as the records are, to 8, and holds
        // the `len` bytes that may be written.
        if unsafe { GetLogicalProcessorInformationEx(RelationAll, start, &raw mut len) } != 0 {
            let bytes = buffer.into_iter().flat_map(u64::to_ne_bytes);
            return Ok(bytes.take(len as usize).collect());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(ERROR_INSUFFICIENT_BUFFER.cast_signed()) {
            return Err(error);
        }
    }
    Err(io::Error::from_raw_os_error(
        ERROR_INSUFFICIENT_BUFFER.cast_signed(),
    ))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Relations {
    cores: Vec<Core>,
    l3: Vec<Vec<usize>>,
    nodes: Vec<(usize, Vec<usize>)>,
    packages: Vec<Vec<usize>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Core {
    cpus: Vec<usize>,
    /// Higher is faster.
    class: u8,
}

impl Relations {
    /// The highest class of the cores with a CPU we may use: where only
    /// efficiency cores are left there is nothing faster.
    fn fastest(&self, allowed: &[usize]) -> u8 {
        let ours = |core: &&Core| core.cpus.iter().any(|cpu| allowed.contains(cpu));
        let classes = self.cores.iter().filter(ours).map(|core| core.class);
        classes.max().unwrap_or_default()
    }

    /// Reads the records as bytes, each as long as it says: a record that is
    /// cut short, or of a kind not known, says nothing.
    fn parse(mut records: &[u8]) -> Self {
        let mut relations = Self::default();
        while let Some(record) = Record::first(records) {
            relations.take(&record);
            records = &records[record.0.len()..];
        }
        relations
    }

    #[expect(
        non_upper_case_globals,
        reason = "the constants are named as the system names them"
    )]
    fn take(&mut self, record: &Record<'_>) {
        match record.kind() {
            RelationProcessorCore => {
                if let (Some(cpus), Some(class)) = (record.processors(), record.class()) {
                    self.cores.push(Core { cpus, class });
                }
            }
            RelationProcessorPackage => self.packages.extend(record.processors()),
            RelationNumaNode | RelationNumaNodeEx => {
                let known = |node| self.nodes.iter().any(|&(known, _)| known == node);
                if let Some((node, cpus)) = record.node()
                    && !known(node)
                {
                    self.nodes.push((node, cpus));
                }
            }
            RelationCache => self.l3.extend(record.l3()),
            _ => {}
        }
    }
}

/// Where a record's own structure begins.
const BODY: usize = offset_of!(SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX, Anonymous);

/// One record, whole.
struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    fn first(records: &'a [u8]) -> Option<Self> {
        let size = offset_of!(SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX, Size);
        let size = usize::try_from(u32::from_ne_bytes(bytes(records, size)?)).ok()?;
        if size < BODY {
            return None;
        }
        records.get(..size).map(Self)
    }

    fn kind(&self) -> i32 {
        bytes(self.0, 0).map_or(-1, i32::from_ne_bytes)
    }

    fn class(&self) -> Option<u8> {
        let at = BODY + offset_of!(PROCESSOR_RELATIONSHIP, EfficiencyClass);
        self.0.get(at).copied()
    }

    /// The CPUs of a core or a package.
    fn processors(&self) -> Option<Vec<usize>> {
        self.cpus(
            offset_of!(PROCESSOR_RELATIONSHIP, GroupCount),
            offset_of!(PROCESSOR_RELATIONSHIP, GroupMask),
        )
    }

    fn node(&self) -> Option<(usize, Vec<usize>)> {
        let at = BODY + offset_of!(NUMA_NODE_RELATIONSHIP, NodeNumber);
        let node = u32::from_ne_bytes(bytes(self.0, at)?);
        let cpus = self.cpus(
            offset_of!(NUMA_NODE_RELATIONSHIP, GroupCount),
            offset_of!(NUMA_NODE_RELATIONSHIP, Anonymous)
                + offset_of!(NUMA_NODE_RELATIONSHIP_0, GroupMasks),
        )?;
        Some((usize::try_from(node).ok()?, cpus))
    }

    /// The CPUs of an L3 cache; `None` of another.
    fn l3(&self) -> Option<Vec<usize>> {
        let level = self
            .0
            .get(BODY + offset_of!(CACHE_RELATIONSHIP, Level))
            .copied()?;
        if level != 3 {
            return None;
        }
        self.cpus(
            offset_of!(CACHE_RELATIONSHIP, GroupCount),
            offset_of!(CACHE_RELATIONSHIP, Anonymous)
                + offset_of!(CACHE_RELATIONSHIP_0, GroupMasks),
        )
    }

    /// The CPUs of an array of group masks, ascending; `None` when there are
    /// none. Nodes and caches before Windows Server 2022 leave the count zero
    /// and have one mask.
    fn cpus(&self, count: usize, masks: usize) -> Option<Vec<usize>> {
        let count = u16::from_ne_bytes(bytes(self.0, BODY + count)?).max(1);
        let mut cpus = Vec::new();
        for index in 0..usize::from(count) {
            let at = BODY + masks + index * size_of::<GROUP_AFFINITY>();
            let mask = bytes(self.0, at + offset_of!(GROUP_AFFINITY, Mask))?;
            let group = bytes(self.0, at + offset_of!(GROUP_AFFINITY, Group))?;
            cpus.extend(affinity::cpus(
                u16::from_ne_bytes(group),
                usize::from_ne_bytes(mask),
            ));
        }
        cpus.sort_unstable();
        (!cpus.is_empty()).then_some(cpus)
    }
}

fn bytes<const N: usize>(all: &[u8], at: usize) -> Option<[u8; N]> {
    all.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of one or more masks at `masks`, counted at `count`.
    fn record(
        kind: i32,
        head: &[(usize, u8)],
        at: (usize, usize),
        sets: &[(u16, usize)],
    ) -> Vec<u8> {
        let (count, masks) = at;
        let mut body = vec![0; masks + sets.len() * size_of::<GROUP_AFFINITY>()];
        for &(at, value) in head {
            body[at] = value;
        }
        let sets_len = u16::try_from(sets.len()).expect("few");
        body[count..count + 2].copy_from_slice(&sets_len.to_ne_bytes());
        for (index, (group, mask)) in sets.iter().enumerate() {
            let at = masks + index * size_of::<GROUP_AFFINITY>();
            body[at..at + size_of::<usize>()].copy_from_slice(&mask.to_ne_bytes());
            let at = at + offset_of!(GROUP_AFFINITY, Group);
            body[at..at + 2].copy_from_slice(&group.to_ne_bytes());
        }
        let size = u32::try_from(BODY + body.len()).expect("small");
        [&kind.to_ne_bytes()[..], &size.to_ne_bytes(), &body].concat()
    }

    const PROCESSOR: (usize, usize) = (
        offset_of!(PROCESSOR_RELATIONSHIP, GroupCount),
        offset_of!(PROCESSOR_RELATIONSHIP, GroupMask),
    );

    fn core(class: u8, mask: usize) -> Vec<u8> {
        let class = (offset_of!(PROCESSOR_RELATIONSHIP, EfficiencyClass), class);
        record(RelationProcessorCore, &[class], PROCESSOR, &[(0, mask)])
    }

    fn cache(level: u8, mask: usize) -> Vec<u8> {
        let at = (
            offset_of!(CACHE_RELATIONSHIP, GroupCount),
            offset_of!(CACHE_RELATIONSHIP, Anonymous),
        );
        record(RelationCache, &[(0, level)], at, &[(0, mask)])
    }

    fn node(number: u8, mask: usize) -> Vec<u8> {
        let at = (
            offset_of!(NUMA_NODE_RELATIONSHIP, GroupCount),
            offset_of!(NUMA_NODE_RELATIONSHIP, Anonymous),
        );
        record(RelationNumaNode, &[(0, number)], at, &[(0, mask)])
    }

    /// Two fast cores with two threads each, two slow ones with one.
    fn hybrid() -> Vec<u8> {
        let package = record(RelationProcessorPackage, &[], PROCESSOR, &[(0, 0b11_1111)]);
        [
            core(1, 0b11),
            core(1, 0b1100),
            core(0, 0b1_0000),
            core(0, 0b10_0000),
            cache(2, 0b11),
            cache(3, 0b1111),
            cache(3, 0b11_0000),
            node(0, 0b1111),
            node(1, 0b11_0000),
            package,
        ]
        .concat()
    }

    #[test]
    fn each_cpu_finds_its_core_cache_node_and_package() {
        let cpus = cpus(&Relations::parse(&hybrid()), &[1, 5]);
        let expected = [
            Cpu {
                id: 1,
                core: 0,
                l3: Some(0),
                node: Some(0),
                package: Some(0),
                slow: false,
            },
            Cpu {
                id: 5,
                core: 5,
                l3: Some(4),
                node: Some(1),
                package: Some(0),
                slow: true,
            },
        ];
        assert_eq!(cpus, expected);
    }

    #[test]
    fn where_only_slow_cores_are_left_none_is_slower() {
        let cpus = cpus(&Relations::parse(&hybrid()), &[4, 5]);
        assert!(cpus.iter().all(|cpu| !cpu.slow), "{cpus:?}");
    }

    #[test]
    fn a_package_may_lie_in_several_groups() {
        let sets = [(1, 0b11), (0, 0b1)];
        let package = record(RelationProcessorPackage, &[], PROCESSOR, &sets);
        assert_eq!(Relations::parse(&package).packages, [[0, 64, 65]]);
    }

    #[test]
    fn an_old_node_without_a_count_has_one_mask() {
        let mut old = node(3, 0b101);
        let count = BODY + offset_of!(NUMA_NODE_RELATIONSHIP, GroupCount);
        old[count..count + 2].fill(0);
        assert_eq!(Relations::parse(&old).nodes, [(3, vec![0, 2])]);
    }

    #[test]
    fn records_that_are_cut_or_unknown_say_nothing() {
        let whole = hybrid();
        for len in 0..whole.len() {
            let cut = Relations::parse(&whole[..len]);
            assert!(cut.cores.len() <= 4 && cut.packages.is_empty(), "{len}");
        }
        let unknown = record(99, &[], PROCESSOR, &[(0, 1)]);
        assert_eq!(Relations::parse(&unknown), Relations::default());
        // More masks than the record holds.
        let mut greedy = core(0, 1);
        greedy[BODY + PROCESSOR.0] = 9;
        assert_eq!(Relations::parse(&greedy), Relations::default());
        // A size of nothing would never end.
        assert_eq!(Relations::parse(&[0; 64]), Relations::default());
    }

    #[test]
    fn this_machine_says_which_cores_it_has() {
        let allowed = affinity::allowed().expect("affinity can be read");
        let cpus = read(&allowed);
        let ids: Vec<_> = cpus.iter().map(|cpu| cpu.id).collect();
        assert_eq!(ids, allowed);
        assert!(cpus.iter().all(|cpu| cpu.package.is_some()), "{cpus:?}");
    }
}
