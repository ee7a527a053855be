//! Who is measured when.

use super::catalog::Peer;
use super::measure::{self, Bench, Numbers};
use super::workload::Workload;

/// All peers under one workload.
#[derive(Debug)]
pub(crate) struct Row {
    /// The workload.
    pub(crate) workload: Workload,
    /// What came of each peer, in their order.
    pub(crate) cells: Vec<(Peer, Cell)>,
}

/// What came of one peer.
#[derive(Debug)]
pub(crate) enum Cell {
    /// It has no such feature.
    None,
    /// It has, and failed.
    Failed(String),
    /// A round after the other.
    Measured(Vec<Numbers>),
}

/// Measures all peers, and then again, round after round: what changes slowly
/// reaches all of them. A peer that fails once is left out of further rounds.
pub(crate) fn measure(bench: &Bench<'_>, workload: &Workload, peers: &[Peer]) -> Row {
    let mut cells: Vec<(Peer, Cell)> = peers
        .iter()
        .map(|peer| {
            let cell = if workload.fits(peer) {
                Cell::Measured(Vec::new())
            } else {
                Cell::None
            };
            (*peer, cell)
        })
        .collect();
    for round in 1..=bench.args.rounds() {
        for (peer, cell) in &mut cells {
            let Cell::Measured(numbers) = cell else {
                continue;
            };
            eprintln!("{} round {round}: {}", workload.name, peer.name);
            match measure::measure(bench, workload, peer) {
                Ok(found) => numbers.push(found),
                Err(message) => {
                    eprintln!("FAILED: {} {}: {message}", workload.name, peer.name);
                    *cell = Cell::Failed(message);
                }
            }
        }
    }
    Row {
        workload: *workload,
        cells,
    }
}
