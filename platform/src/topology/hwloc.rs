//! The library hwloc (2.5 or later), for systems whose `/sys` says less than it
//! knows.

use std::collections::BTreeMap;
use std::path::Path;

use hwlocality::Topology;
use hwlocality::object::TopologyObject;
use hwlocality::object::types::ObjectType;
use hwlocality::topology::builder::BuildFlags;

use super::{Cpu, sys};

/// How the `allowed` CPUs lie. Which of them are slow is read below `devices`,
/// because hwloc ranks kinds of CPUs from the same files.
///
/// # Errors
/// What the library says when it can not read this machine, or that it misses
/// an allowed CPU.
pub(super) fn read(devices: &Path, allowed: &[usize]) -> Result<Vec<Cpu>, String> {
    // With the CPUs that are not ours: a core keeps its name whoever may use it.
    let topology = Topology::builder()
        .with_flags(BuildFlags::INCLUDE_DISALLOWED)
        .map_err(|error| error.to_string())?
        .build()
        .map_err(|error| error.to_string())?;
    let os_index = |object: &TopologyObject| object.os_index();
    let first = |object: &TopologyObject| members(object).min();
    let known = owners(&topology, ObjectType::PU, os_index);
    let cores = owners(&topology, ObjectType::Core, first);
    let l3 = owners(&topology, ObjectType::L3Cache, first);
    // Where the kernel knows no nodes hwloc makes one up.
    let nodes = if devices.join("system/node").exists() {
        owners(&topology, ObjectType::NUMANode, os_index)
    } else {
        BTreeMap::new()
    };
    let packages = owners(&topology, ObjectType::Package, os_index);
    let slow = sys::slow(devices, allowed);
    let cpu = |&id: &usize| {
        if !known.contains_key(&id) {
            return Err(format!("it misses CPU {id}"));
        }
        Ok(Cpu {
            id,
            core: cores.get(&id).copied().unwrap_or(id),
            l3: l3.get(&id).copied(),
            node: nodes.get(&id).copied(),
            package: packages.get(&id).copied(),
            slow: slow.contains(&id),
        })
    };
    allowed.iter().map(cpu).collect()
}

/// For each CPU, what `name` gives for the object of that type it belongs to.
fn owners(
    topology: &Topology,
    of: ObjectType,
    name: impl Fn(&TopologyObject) -> Option<usize>,
) -> BTreeMap<usize, usize> {
    let mut owners = BTreeMap::new();
    for object in topology.objects_with_type(of) {
        if let Some(name) = name(object) {
            owners.extend(members(object).map(|cpu| (cpu, name)));
        }
    }
    owners
}

/// The CPUs of an object.
fn members(object: &TopologyObject) -> impl Iterator<Item = usize> {
    let set = object
        .cpuset()
        .map(|set| set.iter_set().collect::<Vec<_>>());
    set.into_iter().flatten().map(usize::from)
}

#[cfg(test)]
mod tests {
    use super::super::{DEVICES, machines};
    use super::*;
    use crate::affinity;

    #[test]
    fn both_providers_say_the_same_of_this_machine() {
        let allowed = affinity::allowed().expect("affinity can be read");
        let devices = Path::new(DEVICES);
        let found = read(devices, &allowed).expect("hwloc knows this machine");
        println!("{found:#?}");
        assert_eq!(found, sys::read(devices, &allowed));
    }

    /// Set in the process whose hwloc is to look at another machine.
    const MACHINE: &str = "HIOLOAD_TEST_MACHINE";

    /// hwloc reads another root only when its environment says so, so this test
    /// runs itself again, once for every machine.
    #[test]
    fn both_providers_say_the_same_of_other_machines() {
        if let Ok(name) = std::env::var(MACHINE) {
            let tree = machines::tree(&name);
            let found = read(&tree.devices(), &tree.allowed).expect("hwloc reads the tree");
            assert_eq!(found, sys::read(&tree.devices(), &tree.allowed), "{name}");
            return;
        }
        for name in machines::NAMES {
            let tree = machines::tree(name);
            let own = std::env::current_exe().expect("a path");
            let test = "topology::hwloc::tests::both_providers_say_the_same_of_other_machines";
            let output = std::process::Command::new(own)
                .args(["--exact", test, "--nocapture"])
                .env(MACHINE, name)
                .env("HWLOC_FSROOT", tree.root())
                .env("HWLOC_COMPONENTS", "linux,stop")
                .output()
                .expect("the test runs");
            assert!(
                output.status.success(),
                "{name}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}
