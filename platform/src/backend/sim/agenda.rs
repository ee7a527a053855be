//! What is to happen, and when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::op::{Completion, Failure, Tag};
use super::world::{DriverId, EndId};
use crate::clock::Nanos;

/// Something that happens at a point in time.
#[derive(Debug)]
pub(super) enum Action {
    /// A parcel reaches the other end of a connection.
    Arrive {
        from: EndId,
        to: EndId,
        parcel: Parcel,
    },
    /// The window of the other end has opened.
    Credit { to: EndId, bytes: usize },
    /// A request for a connection reaches its target, for the nth time.
    Syn { from: EndId, attempt: u32 },
    /// A request for a connection is answered.
    Answer {
        to: EndId,
        outcome: Result<(), Failure>,
    },
    /// A connect has had its time.
    ConnectTimeout { driver: DriverId, tag: Tag },
    /// A driver may see a completion.
    Complete {
        driver: DriverId,
        completion: Completion,
    },
    /// A receive goes on with what its last burst left.
    Resume(EndId),
    /// Nothing was acknowledged for too long.
    GiveUp(EndId),
}

/// What travels from one end of a connection to the other.
#[derive(Debug)]
pub(super) enum Parcel {
    Bytes(Vec<u8>),
    Fin,
    Reset,
}

/// Actions by time; those of the same time in the order they were added.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Due>,
    added: u64,
}

#[derive(Debug)]
struct Due {
    at: Nanos,
    sequence: u64,
    action: Action,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Nanos, action: Action) {
        let sequence = self.added;
        self.added += 1;
        self.heap.push(Due {
            at,
            sequence,
            action,
        });
    }

    /// When the next action is due.
    pub(super) fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|due| due.at)
    }

    /// Takes the next action out, if it is due by `until`.
    pub(super) fn pop(&mut self, until: Nanos) -> Option<(Nanos, Action)> {
        self.next().filter(|&at| at <= until)?;
        self.heap.pop().map(|due| (due.at, due.action))
    }
}

impl Due {
    /// The heap yields the greatest first: earlier is greater.
    fn rank(&self) -> (std::cmp::Reverse<Nanos>, std::cmp::Reverse<u64>) {
        (std::cmp::Reverse(self.at), std::cmp::Reverse(self.sequence))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Due {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_come_by_time_and_then_in_order() {
        let mut agenda = Agenda::default();
        for (at, end) in [(5, 1), (3, 2), (5, 3), (3, 4)] {
            agenda.add(at, Action::Resume(EndId(end)));
        }
        assert_eq!(agenda.next(), Some(3));
        let mut seen = Vec::new();
        while let Some((at, Action::Resume(EndId(end)))) = agenda.pop(4) {
            seen.push((at, end));
        }
        assert_eq!(seen, [(3, 2), (3, 4)], "not what is due later");
        while let Some((at, Action::Resume(EndId(end)))) = agenda.pop(5) {
            seen.push((at, end));
        }
        assert_eq!(seen, [(3, 2), (3, 4), (5, 1), (5, 3)]);
    }
}
