//! What a receiver knows about one sender's sequence numbers.

use std::collections::VecDeque;

/// Gaps remembered per sender. A server that loses more than this many
/// separate stretches is broken beyond telling a late message from a duplicate.
const MAX_GAPS: usize = 1024;

/// Checks that numbers arrive as 0, 1, 2, ...: counts what is missing, late or
/// twice. Allocates only after the first gap.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    next: u64,
    missing: Option<Box<Missing>>,
}

/// Skipped numbers, as half-open ranges in rising order.
#[derive(Debug, Default)]
struct Missing {
    gaps: VecDeque<(u64, u64)>,
    forgotten: u64,
}

/// How a number fits what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next one.
    InOrder,
    /// So many before it were skipped.
    Skipped(u64),
    /// It had been skipped: reordered.
    Late,
    /// It was here before.
    Duplicate,
}

impl Sequence {
    /// A stream of which the numbers below `first` are not waited for.
    pub(crate) fn starting(first: u64) -> Self {
        Self {
            next: first,
            missing: None,
        }
    }

    /// The number expected next; all below have arrived or are missing.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Takes note that `number` arrived.
    pub(crate) fn accept(&mut self, number: u64) -> Arrival {
        if number == self.next {
            self.next += 1;
            return Arrival::InOrder;
        }
        if number > self.next {
            let skipped = number - self.next;
            self.missing.get_or_insert_default().add(self.next, number);
            self.next = number + 1;
            return Arrival::Skipped(skipped);
        }
        let late = self
            .missing
            .as_mut()
            .is_some_and(|missing| missing.remove(number));
        if late {
            Arrival::Late
        } else {
            Arrival::Duplicate
        }
    }

    /// How many numbers below `end` have not arrived.
    pub(crate) fn missing(&self, end: u64) -> u64 {
        let skipped = self.missing.as_ref().map_or(0, |missing| missing.count());
        skipped + end.saturating_sub(self.next)
    }

    /// How many different numbers have arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.next - self.missing(0)
    }
}

impl Missing {
    fn add(&mut self, from: u64, to: u64) {
        self.push(from, to);
        if self.gaps.len() > MAX_GAPS
            && let Some((from, to)) = self.gaps.pop_front()
        {
            self.forgotten += to - from;
        }
    }

    fn push(&mut self, from: u64, to: u64) {
        if from < to {
            self.gaps.push_back((from, to));
        }
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some(at) = self
            .gaps
            .iter()
            .position(|&(from, to)| (from..to).contains(&number))
        else {
            return false;
        };
        let (from, to) = self.gaps[at];
        match (number == from, number + 1 == to) {
            (true, true) => {
                self.gaps.remove(at);
            }
            (true, false) => self.gaps[at].0 = number + 1,
            (false, true) => self.gaps[at].1 = number,
            (false, false) => {
                self.gaps[at].1 = number;
                self.gaps.insert(at + 1, (number + 1, to));
            }
        }
        true
    }

    fn count(&self) -> u64 {
        self.forgotten + self.gaps.iter().map(|&(from, to)| to - from).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orderly_stream_misses_nothing_and_allocates_nothing() {
        let mut sequence = Sequence::default();
        assert!((0..1000).all(|number| sequence.accept(number) == Arrival::InOrder));
        assert_eq!((sequence.missing(1000), sequence.arrived()), (0, 1000));
        assert!(sequence.missing.is_none());
    }

    #[test]
    fn what_never_came_is_missing() {
        let mut sequence = Sequence::default();
        sequence.accept(0);
        assert_eq!(sequence.accept(4), Arrival::Skipped(3));
        assert_eq!(sequence.missing(10), 3 + 5);
        assert_eq!(sequence.arrived(), 2);
    }

    #[test]
    fn a_late_number_is_reordered_once_and_a_duplicate_after_that() {
        let mut sequence = Sequence::default();
        sequence.accept(5);
        assert_eq!(sequence.accept(2), Arrival::Late);
        assert_eq!(sequence.accept(2), Arrival::Duplicate);
        assert_eq!(sequence.accept(5), Arrival::Duplicate);
        assert_eq!(sequence.missing(6), 4);
        for number in [0, 4, 1, 3] {
            assert_eq!(sequence.accept(number), Arrival::Late);
        }
        assert_eq!((sequence.missing(6), sequence.arrived()), (0, 6));
    }

    #[test]
    fn memory_is_bounded_and_the_count_stays_exact() {
        let mut sequence = Sequence::default();
        for number in 0..10_000 {
            sequence.accept(2 * number + 1);
        }
        assert_eq!(sequence.missing(20_000), 10_000);
        assert_eq!(sequence.arrived(), 10_000);
        assert!(sequence.missing.as_ref().unwrap().gaps.len() <= MAX_GAPS);
    }
}
