//! Which shard runs on which CPU.

use thiserror::Error;

use crate::affinity;
use crate::topology::{Cpu, ListError, Topology, parse_cpus};

/// In which order shards take the CPUs. Either way a physical core is taken
/// once before any of them is taken twice, and slow cores after fast ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// In turn over NUMA nodes, then over the L3 caches of a node: each shard
    /// gets the most memory bandwidth and cache there is.
    #[default]
    Spread,
    /// One L3 cache after the other, node after node, those with the most free
    /// cores first: shards that talk to each other stay close, and the rest of
    /// the machine stays free.
    Pack,
}

impl Placement {
    /// Its name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Pack => "pack",
        }
    }
}

/// A list of CPUs, one per shard, in the order of the shards.
///
/// Parses from `0-3,8`; the empty list leaves the choice to a [`Placement`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

impl CpuList {
    /// The CPUs.
    #[must_use]
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// Whether none are listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::str::FromStr for CpuList {
    type Err = ListError;

    fn from_str(text: &str) -> Result<Self, ListError> {
        parse_cpus(text).map(Self)
    }
}

impl From<Vec<usize>> for CpuList {
    /// Duplicates are found by [`plan`].
    fn from(cpus: Vec<usize>) -> Self {
        Self(cpus)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How many shards; 0: as many as CPUs are listed, or else one per physical
    /// core, but not more than `most`.
    pub shards: usize,
    /// The order in which CPUs are taken when none are listed.
    pub placement: Placement,
    /// The CPUs; empty: chosen by `placement`.
    pub cpus: &'a CpuList,
    /// Whether shards get CPUs of their own at all.
    pub pin: bool,
    /// The most shards.
    pub most: usize,
}

/// The request can not be met.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlacementError {
    /// A listed CPU does not exist, or is not this process's to use.
    #[error(
        "CPU {cpu} can not be used; this process may use {}",
        affinity::list(allowed)
    )]
    Forbidden {
        /// Which.
        cpu: usize,
        /// Those it may use.
        allowed: Vec<usize>,
    },
    /// A CPU is listed twice.
    #[error("CPU {cpu} is in the list twice; each shard needs one of its own")]
    Twice {
        /// Which.
        cpu: usize,
    },
    /// More shards are asked for than CPUs are listed.
    #[error(
        "{shards} shards were asked for, but the list of CPUs has {cpus}; list one for each, or \
         leave one of the two settings out"
    )]
    TooFewCpus {
        /// The shards.
        shards: usize,
        /// The CPUs.
        cpus: usize,
    },
    /// More shards than the server supports.
    #[error("{shards} shards were asked for; the most is {most}")]
    TooManyShards {
        /// The shards.
        shards: usize,
        /// The most.
        most: usize,
    },
    /// CPUs are listed, and pinning is off.
    #[error("CPUs are listed but pin = false leaves shards where they are; remove one of the two")]
    NotPinned,
}

/// Where one shard runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The CPU it is pinned to; `None`: the scheduler moves it.
    pub cpu: Option<usize>,
    /// The NUMA node of that CPU, on which its memory lies.
    pub node: Option<usize>,
}

/// Where each shard runs; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    places: Vec<Place>,
}

impl Plan {
    /// The places, by shard.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.places.len()
    }

    /// The CPUs by shard; empty when shards are not pinned.
    #[must_use]
    pub fn cpus(&self) -> Vec<usize> {
        self.places.iter().filter_map(|place| place.cpu).collect()
    }
}

/// Decides where shards run. When more are asked for than there are CPUs, and
/// none are listed, none is pinned: the scheduler shares better.
///
/// # Errors
/// Whatever of the request can not be met; nothing is left out in silence.
pub fn plan(topology: &Topology, request: &Request<'_>) -> Result<Plan, PlacementError> {
    let listed = request.cpus.as_slice();
    check(topology, listed)?;
    if !listed.is_empty() && !request.pin {
        return Err(PlacementError::NotPinned);
    }
    let shards = match (request.shards, listed.len()) {
        (0, 0) => topology.cores().len().clamp(1, request.most),
        (0, cpus) => cpus,
        (shards, _) => shards,
    };
    if shards > request.most {
        let most = request.most;
        return Err(PlacementError::TooManyShards { shards, most });
    }
    if !listed.is_empty() && shards > listed.len() {
        let cpus = listed.len();
        return Err(PlacementError::TooFewCpus { shards, cpus });
    }
    let cpus = if listed.is_empty() {
        order(topology, request.placement)
    } else {
        listed.to_vec()
    };
    let pinned = request.pin && shards <= cpus.len();
    let place = |shard: usize| {
        let cpu = cpus.get(shard).copied().filter(|_| pinned);
        let node = cpu.and_then(|cpu| topology.node_of(cpu));
        Place { cpu, node }
    };
    Ok(Plan {
        places: (0..shards).map(place).collect(),
    })
}

fn check(topology: &Topology, listed: &[usize]) -> Result<(), PlacementError> {
    let allowed = topology.ids();
    for (index, &cpu) in listed.iter().enumerate() {
        if !allowed.contains(&cpu) {
            return Err(PlacementError::Forbidden { cpu, allowed });
        }
        if listed[..index].contains(&cpu) {
            return Err(PlacementError::Twice { cpu });
        }
    }
    Ok(())
}

/// All CPUs in the order shards take them.
#[must_use]
pub fn order(topology: &Topology, placement: Placement) -> Vec<usize> {
    let cpus = topology.cpus();
    // Which sibling of its core, among those that may be used.
    let sibling = |cpu: &Cpu| {
        let before = cpus.iter().take_while(|other| other.id < cpu.id);
        before.filter(|other| other.core == cpu.core).count()
    };
    let tiers = split(cpus.to_vec(), |cpu| (sibling(cpu), cpu.slow));
    let order = tiers.into_iter().flat_map(|(_, tier)| {
        let nodes = split(tier, |cpu| cpu.node);
        let nodes = nodes.into_iter().map(|(node, cpus)| {
            let caches = split(cpus, |cpu| cpu.l3);
            (node, arrange(caches, placement))
        });
        arrange(nodes.collect(), placement)
    });
    order.map(|cpu| cpu.id).collect()
}

/// The CPUs of groups as one list, by turns or group by group.
fn arrange<K: Ord>(mut groups: Vec<(K, Vec<Cpu>)>, placement: Placement) -> Vec<Cpu> {
    match placement {
        Placement::Spread => {
            let longest = groups.iter().map(|(_, cpus)| cpus.len()).max();
            let rounds = 0..longest.unwrap_or_default();
            let round = |index| groups.iter().filter_map(move |(_, cpus)| cpus.get(index));
            rounds.flat_map(round).cloned().collect()
        }
        Placement::Pack => {
            // Stable: among equals the lowest number comes first.
            groups.sort_by_key(|(_, cpus)| std::cmp::Reverse(cpus.len()));
            groups.into_iter().flat_map(|(_, cpus)| cpus).collect()
        }
    }
}

/// The CPUs by key, keys ascending, each group in the order given.
fn split<K: Ord>(cpus: Vec<Cpu>, key: impl Fn(&Cpu) -> K) -> Vec<(K, Vec<Cpu>)> {
    let mut groups = std::collections::BTreeMap::<K, Vec<Cpu>>::new();
    for cpu in cpus {
        groups.entry(key(&cpu)).or_default().push(cpu);
    }
    groups.into_iter().collect()
}

#[cfg(test)]
mod tests;
