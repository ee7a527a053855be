//! Where workers sit: beside the shards, not on them.

use hioload_platform::placement::Plan;
use hioload_platform::topology::Topology;

/// The CPUs of workers by NUMA node, and the node of each shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seats {
    nodes: Vec<Seat>,
    /// By shard: an index into `nodes`.
    shards: Vec<usize>,
    /// CPUs that no shard is pinned to.
    free: usize,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seat {
    node: Option<usize>,
    /// Those that no shard is pinned to; all, where shards take all.
    cpus: Vec<usize>,
}

impl Seats {
    /// One node, and workers go where the system puts them.
    pub(crate) fn anywhere(shards: usize) -> Self {
        Self {
            nodes: vec![Seat {
                node: None,
                cpus: Vec::new(),
            }],
            shards: vec![0; shards],
            free: 1,
        }
    }

    pub(crate) fn of(topology: &Topology, plan: &Plan) -> Self {
        let taken = plan.cpus();
        let beside = |cpus: &[usize]| {
            let free = cpus.iter().filter(|cpu| !taken.contains(cpu));
            let free: Vec<usize> = free.copied().collect();
            if free.is_empty() { cpus.to_vec() } else { free }
        };
        let groups = topology.nodes();
        let seat = |node, cpus: &[usize]| Seat {
            node,
            cpus: beside(cpus),
        };
        // Shards that are not pinned are on no node.
        let nodes: Vec<Seat> = if taken.is_empty() || groups.len() < 2 {
            vec![seat(None, &topology.ids())]
        } else {
            let groups = groups.iter();
            groups
                .map(|group| seat(Some(group.id), &group.cpus))
                .collect()
        };
        let index = |node: Option<usize>| {
            let same = nodes.iter().position(|seat| seat.node == node);
            same.unwrap_or(0)
        };
        let shards = plan.places().iter();
        let shards: Vec<usize> = shards.map(|place| index(place.node)).collect();
        Self {
            free: topology.cpus().len().saturating_sub(plan.shards()),
            nodes,
            shards,
        }
    }

    /// The workers to have when nobody says how many: one for each CPU that
    /// is no shard's, and one at least.
    pub(crate) fn workers(&self) -> usize {
        self.free.max(1)
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The node of a shard.
    pub(super) fn of_shard(&self, shard: usize) -> usize {
        self.shards.get(shard).copied().unwrap_or(0)
    }

    /// The CPUs of a node's workers; none: any.
    pub(super) fn cpus(&self, node: usize) -> &[usize] {
        &self.nodes[node].cpus
    }

    /// The node for one worker more, when each has so many: where the most
    /// CPUs are left for each worker.
    pub(super) fn next(&self, workers: &[usize]) -> usize {
        // The comparison of n1/c1 with n2/c2, without fractions.
        let share =
            |node: usize, other: usize| (workers[node] + 1) * self.nodes[other].cpus.len().max(1);
        (1..self.nodes()).fold(0, |best, node| {
            if share(node, best) < share(best, node) {
                node
            } else {
                best
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(nodes: &[&[usize]]) -> Seats {
        let seat = |(node, cpus): (usize, &&[usize])| Seat {
            node: Some(node),
            cpus: cpus.to_vec(),
        };
        Seats {
            nodes: nodes.iter().enumerate().map(seat).collect(),
            shards: Vec::new(),
            free: 0,
        }
    }

    #[test]
    fn workers_are_spread_by_the_cpus_of_nodes() {
        let seats = seats(&[&[0, 1], &[2, 3, 4, 5, 6, 7]]);
        let mut workers = vec![0; 2];
        for _ in 0..8 {
            let node = seats.next(&workers);
            workers[node] += 1;
        }
        assert_eq!(workers, [2, 6]);
    }

    #[test]
    fn workers_sit_beside_the_shards_of_this_machine() {
        let topology = Topology::detect();
        let all = topology.ids();
        for shards in 1..=all.len() {
            let config = crate::Config {
                shards,
                ..crate::Config::default()
            };
            let plan = config.plan(&topology).expect("as many shards as CPUs");
            let seats = Seats::of(&topology, &plan);
            assert_eq!(seats.workers(), (all.len() - shards).max(1));
            let taken = plan.cpus();
            for node in 0..seats.nodes() {
                let on_a_shard = |cpu: &usize| taken.contains(cpu);
                let cpus = seats.cpus(node);
                assert!(!cpus.is_empty());
                assert!(!cpus.iter().any(on_a_shard) || cpus.iter().all(on_a_shard));
            }
        }
    }
}
