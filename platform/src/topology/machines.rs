//! Machines of other shapes as `/sys` shows them, from `tests/machines`: written after
//! the kernel's layout, not copied from a machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Topology, parse_cpus, sys};

#[cfg(feature = "hwloc")]
pub(crate) const NAMES: [&str; 4] = ["two_nodes", "container", "hybrid", "big_little"];

/// Two sockets, two L3 caches each, SMT: 32 CPUs.
pub(crate) fn two_nodes() -> Topology {
    topology("two_nodes")
}

/// A container on the machine of `two_nodes` that may use CPUs 4-7 and 24-27.
pub(crate) fn container() -> Topology {
    topology("container")
}

/// Four performance cores with SMT (0-7) and four efficiency cores (8-11).
pub(crate) fn hybrid() -> Topology {
    topology("hybrid")
}

/// Four slow cores (0-3) and two fast ones (4-5).
pub(crate) fn big_little() -> Topology {
    topology("big_little")
}

fn topology(name: &str) -> Topology {
    let tree = tree(name);
    Topology::of(sys::read(&tree.devices(), &tree.allowed))
}

/// A machine as files, which go with it.
pub(crate) struct Tree {
    root: PathBuf,
    pub(crate) allowed: Vec<usize>,
}

impl Tree {
    /// What stands for `/`.
    #[cfg(feature = "hwloc")]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn devices(&self) -> PathBuf {
        self.root.join("sys/devices")
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).expect("the tree is still there");
    }
}

pub(crate) fn tree(name: &str) -> Tree {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let unique = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = format!("hioload-machine-{name}-{}-{}", unique.0, unique.1);
    let mut tree = Tree {
        root: std::env::temp_dir().join(folder),
        allowed: Vec::new(),
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/machines/{name}.txt"));
    let text = fs::read_to_string(file).expect("a machine");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let (path, value) = line.split_once(' ').expect("a path and a value");
        if path == "allowed" {
            tree.allowed = cpus(value);
        } else {
            expand(&tree.devices(), path, value);
        }
    }
    tree
}

/// Writes the files of one line.
fn expand(devices: &Path, path: &str, value: &str) {
    let Some((before, rest)) = path.split_once('[') else {
        return write(&devices.join(path), value);
    };
    let (list, after) = rest.split_once(']').expect("a closing bracket");
    let value = if value == "=" { list } else { value };
    for cpu in cpus(list) {
        write(&devices.join(format!("{before}{cpu}{after}")), value);
    }
}

fn write(file: &Path, value: &str) {
    let folder = file.parent().expect("a file in a folder");
    fs::create_dir_all(folder).expect("a folder");
    fs::write(file, format!("{value}\n")).expect("a file");
    let name = file.file_name().and_then(|name| name.to_str());
    let mask = match name.expect("a name") {
        "thread_siblings_list" => "thread_siblings",
        "core_siblings_list" => "core_siblings",
        "shared_cpu_list" => "shared_cpu_map",
        "cpulist" => "cpumap",
        _ => return,
    };
    let bits = cpus(value)
        .into_iter()
        .fold(0_u32, |bits, cpu| bits | 1 << cpu);
    fs::write(folder.join(mask), format!("{bits:08x}\n")).expect("a file");
}

fn cpus(list: &str) -> Vec<usize> {
    parse_cpus(list).expect("a list")
}
