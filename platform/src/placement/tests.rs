//! Orders and plans on machines of other shapes.

use super::*;
use crate::topology::machines;

/// Shards, CPUs (as text) and everything else as by default.
fn planned(topology: &Topology, shards: usize, cpus: &str) -> Result<Plan, PlacementError> {
    let cpus = cpus.parse().expect("a list");
    plan(
        topology,
        &Request {
            shards,
            placement: Placement::Spread,
            cpus: &cpus,
            pin: true,
            most: 64,
        },
    )
}

fn nodes(plan: &Plan) -> Vec<Option<usize>> {
    plan.places().iter().map(|place| place.node).collect()
}

#[test]
fn spread_goes_over_nodes_then_caches_then_cores_and_siblings_come_last() {
    let order = order(&machines::two_nodes(), Placement::Spread);
    let cores = [0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15];
    assert_eq!(order[..16], cores);
    assert_eq!(order[16..], cores.map(|cpu| cpu + 16));
}

#[test]
fn pack_fills_a_cache_and_then_a_node_and_siblings_come_last() {
    let order = order(&machines::two_nodes(), Placement::Pack);
    assert_eq!(order, (0..32).collect::<Vec<_>>());
    let in_cache = |shards: &[usize]| {
        let topology = machines::two_nodes();
        let l3: Vec<_> = shards.iter().map(|&cpu| topology.cpus()[cpu].l3).collect();
        l3.windows(2).all(|pair| pair[0] == pair[1])
    };
    assert!(in_cache(&order[..4]) && in_cache(&order[4..8]));
}

#[test]
fn slow_cores_come_after_fast_ones_and_before_siblings() {
    for placement in [Placement::Spread, Placement::Pack] {
        let intel = order(&machines::hybrid(), placement);
        assert_eq!(intel, [0, 2, 4, 6, 8, 9, 10, 11, 1, 3, 5, 7]);
        let arm = order(&machines::big_little(), placement);
        assert_eq!(arm, [4, 5, 0, 1, 2, 3]);
    }
}

#[test]
fn a_container_gets_a_shard_on_each_core_it_may_use() {
    // 4-7 are cores of node 0, 24-27 the second siblings of cores of node 1.
    let container = machines::container();
    let plan = planned(&container, 0, "").expect("a plan");
    assert_eq!(plan.cpus(), [4, 24, 5, 25, 6, 26, 7, 27]);
    let packed = order(&container, Placement::Pack);
    assert_eq!(packed, [4, 5, 6, 7, 24, 25, 26, 27]);
}

#[test]
fn pack_begins_where_most_shards_fit() {
    let mut cpus = machines::two_nodes().cpus().to_vec();
    cpus.retain(|cpu| cpu.id == 0 || (12..16).contains(&cpu.id));
    let order = order(&Topology::of(cpus), Placement::Pack);
    assert_eq!(order, [12, 13, 14, 15, 0]);
}

#[test]
fn by_default_there_is_a_shard_per_core_and_its_memory_is_on_its_node() {
    let plan = planned(&machines::two_nodes(), 0, "").expect("a plan");
    assert_eq!(plan.shards(), 16);
    assert_eq!(nodes(&plan), [Some(0), Some(1)].repeat(8));
    assert_eq!(
        planned(&machines::hybrid(), 0, "")
            .expect("a plan")
            .shards(),
        8
    );
}

#[test]
fn a_list_is_taken_in_its_order_and_says_how_many_shards() {
    let machine = machines::two_nodes();
    let plan = planned(&machine, 0, "8,0-1,31").expect("a plan");
    assert_eq!(plan.cpus(), [8, 0, 1, 31]);
    assert_eq!(nodes(&plan), [Some(1), Some(0), Some(0), Some(1)]);
    let fewer = planned(&machine, 2, "8,0-1,31").expect("a plan");
    assert_eq!(fewer.cpus(), [8, 0]);
}

#[test]
fn more_shards_than_cpus_are_not_pinned() {
    let plan = planned(&machines::big_little(), 7, "").expect("a plan");
    assert_eq!((plan.shards(), plan.cpus().len()), (7, 0));
    let free = Request {
        shards: 2,
        placement: Placement::Pack,
        cpus: &CpuList::default(),
        pin: false,
        most: 64,
    };
    let plan = super::plan(&machines::big_little(), &free).expect("a plan");
    assert_eq!((plan.shards(), plan.cpus().len()), (2, 0));
}

#[test]
fn what_can_not_be_met_is_said_in_one_line() {
    let machine = machines::container();
    for (shards, cpus, words) in [
        (
            0,
            "4,9",
            "CPU 9 can not be used; this process may use 4-7,24-27",
        ),
        (
            3,
            "4,5",
            "3 shards were asked for, but the list of CPUs has 2",
        ),
        (65, "", "65 shards were asked for; the most is 64"),
    ] {
        let error = planned(&machine, shards, cpus).expect_err(cpus).to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }
    let twice = Request {
        shards: 0,
        placement: Placement::Spread,
        cpus: &CpuList::from(vec![4, 5, 4]),
        pin: true,
        most: 64,
    };
    assert_eq!(
        super::plan(&machine, &twice),
        Err(PlacementError::Twice { cpu: 4 })
    );
    assert_eq!(
        super::plan(
            &machine,
            &Request {
                pin: false,
                cpus: &CpuList::from(vec![4]),
                ..twice
            }
        ),
        Err(PlacementError::NotPinned)
    );
}
