//! Whole servers under everything a network can do, by seed: see `swarm.rs`
//! for a run, `plan.rs` for what a seed makes of it, `model.rs` for what is
//! promised. `ci/sim` runs many of them.

mod model;
mod plan;
mod promises;
mod script;
mod seeds;
mod service;
mod swarm;

use seeds::Seeds;

#[test]
fn every_message_arrives_once_and_in_order_or_the_connection_died_seeds_asked_for() {
    seeds::check(Seeds::asked());
}
