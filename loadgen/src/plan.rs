//! The open loop: when each message is to be sent, decided before the run.

use hioload_platform::Nanos;

use crate::shape::Curve;

/// Planned times are whole multiples of this after the start, so that messages
/// less than this apart are planned for the same instant and leave in one turn.
/// Every sleep between two sends arms a timer and gives up the CPU, which costs
/// some 10 microseconds on a virtual machine: a sleep per message would make
/// the generator the bottleneck at 20,000 messages per second and thread.
const TICK: Nanos = 100_000;

/// The send times of one thread's share of the senders.
///
/// All senders of a run send at the same rate, staggered evenly: with `total`
/// senders, sender `g` sends its message `k` when `k * total + g` messages were
/// due by the [`Curve`], rounded down to a [`TICK`]. A thread owns the senders
/// `first`, `first + stride`, ..., so that every thread's share is even as
/// well. Nothing is stored per message: a sender that lags behind can recompute
/// what it owes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    start: Nanos,
    end: Nanos,
    curve: Curve,
    total: u64,
    stride: u64,
    first: u64,
    senders: usize,
    round: u64,
    next: usize,
}

/// One thread's share of the senders of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Senders in the whole run.
    pub(crate) total: u64,
    /// Threads.
    pub(crate) stride: u64,
    /// This thread.
    pub(crate) first: u64,
    /// This thread's senders.
    pub(crate) senders: usize,
}

impl Plan {
    /// A plan of the messages of `curve` over all senders of the run, for the
    /// times `start..end`.
    pub(crate) fn new(curve: Curve, share: Share, start: Nanos, end: Nanos) -> Self {
        Self {
            start,
            end,
            curve,
            total: share.total,
            stride: share.stride,
            first: share.first,
            senders: share.senders,
            round: 0,
            next: 0,
        }
    }

    /// When local sender `sender` is to send its message number `sequence`.
    pub(crate) fn planned(&self, sender: usize, sequence: u64) -> Nanos {
        let place = sequence * self.total + self.first + self.stride * sender as u64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and saturates after 584 years"
        )]
        let offset = self.curve.due(place).round() as u64;
        self.start.saturating_add(offset - offset % TICK)
    }

    /// When the next message is due; `None` when the plan has ended.
    pub(crate) fn next(&self) -> Option<Nanos> {
        let planned = self.planned(self.next, self.round);
        (self.senders > 0 && planned < self.end).then_some(planned)
    }

    /// Takes the next message that is due at `now`: its sender and its planned
    /// time.
    pub(crate) fn due(&mut self, now: Nanos) -> Option<(usize, Nanos)> {
        let planned = self.next().filter(|&planned| planned <= now)?;
        let sender = self.next;
        self.next += 1;
        if self.next == self.senders {
            self.next = 0;
            self.round += 1;
        }
        Some((sender, planned))
    }

    /// How many messages of local sender `sender` were taken so far.
    pub(crate) fn taken(&self, sender: usize) -> u64 {
        self.round + u64::from(sender < self.next)
    }

    /// Ends the plan at `end` when that is earlier.
    pub(crate) fn stop(&mut self, end: Nanos) {
        self.end = self.end.min(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shape::Shape;

    const SECOND: Nanos = 1_000_000_000;

    fn drain(plan: &mut Plan, now: Nanos) -> Vec<(usize, Nanos)> {
        std::iter::from_fn(|| plan.due(now)).collect()
    }

    /// As long as any of these tests looks.
    fn constant(rate: f64) -> Curve {
        Curve::new(rate, &Shape::Constant, 0, 100 * SECOND)
    }

    fn alone(senders: usize) -> Share {
        Share {
            total: senders as u64,
            stride: 1,
            first: 0,
            senders,
        }
    }

    #[test]
    fn a_second_holds_exactly_the_rate() {
        let mut plan = Plan::new(constant(1000.0), alone(7), SECOND, 2 * SECOND);
        let sent = drain(&mut plan, 10 * SECOND);
        assert_eq!(sent.len(), 1000);
        assert_eq!(plan.next(), None);
    }

    #[test]
    fn times_are_evenly_spread_and_in_order() {
        let mut plan = Plan::new(constant(1000.0), alone(7), 0, SECOND);
        let sent = drain(&mut plan, SECOND);
        for (index, &(sender, planned)) in sent.iter().enumerate() {
            assert_eq!(sender, index % 7);
            assert_eq!(planned, index as u64 * 1_000_000);
        }
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut plan = Plan::new(constant(10.0), alone(1), 500, SECOND);
        assert_eq!(plan.due(499), None);
        assert_eq!(plan.due(500), Some((0, 500)));
        assert_eq!(plan.due(500), None);
        assert_eq!(plan.next(), Some(100_000_500));
    }

    #[test]
    fn threads_share_one_plan_without_gaps_or_overlap() {
        let mut times = Vec::new();
        for first in 0..3 {
            let senders = if first == 0 { 4 } else { 3 };
            let share = Share {
                total: 10,
                stride: 3,
                first,
                senders,
            };
            let mut plan = Plan::new(constant(1000.0), share, 0, SECOND);
            times.extend(
                drain(&mut plan, SECOND)
                    .into_iter()
                    .map(|(_, planned)| planned),
            );
        }
        times.sort_unstable();
        let expected: Vec<_> = (0..1000).map(|index| index * 1_000_000).collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn a_lagging_sender_can_recompute_what_it_owes() {
        let mut plan = Plan::new(constant(100.0), alone(3), 0, SECOND);
        let sent = drain(&mut plan, 65_000_000);
        assert_eq!(sent.len(), 7);
        assert_eq!((plan.taken(0), plan.taken(1), plan.taken(2)), (3, 2, 2));
        let of_first: Vec<_> = sent
            .iter()
            .filter(|sent| sent.0 == 0)
            .map(|sent| sent.1)
            .collect();
        let recomputed: Vec<_> = (0..plan.taken(0)).map(|k| plan.planned(0, k)).collect();
        assert_eq!(of_first, recomputed);
    }

    #[test]
    fn a_stopped_plan_and_a_plan_without_senders_yield_nothing() {
        let mut plan = Plan::new(constant(1000.0), alone(1), 0, SECOND);
        plan.stop(2_000_000);
        assert_eq!(drain(&mut plan, SECOND).len(), 2);
        let mut none = Plan::new(constant(1000.0), alone(0), 0, SECOND);
        assert_eq!((none.next(), none.due(SECOND)), (None, None));
    }

    #[test]
    fn a_plan_changes_its_rate_at_the_borders_of_steps() {
        let shape = Shape::Steps { then: vec![500.0] };
        let curve = Curve::new(1000.0, &shape, 0, 2 * SECOND);
        let mut plan = Plan::new(curve, alone(3), SECOND, 3 * SECOND);
        let sent = drain(&mut plan, 3 * SECOND);
        let in_first = sent.iter().filter(|sent| sent.1 < 2 * SECOND).count();
        assert_eq!((in_first, sent.len()), (1000, 1500));
        assert_eq!(sent[1001].1 - sent[1000].1, 2_000_000);
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Constant),
            (0.0..5_000.0_f64).prop_map(|to| Shape::Ramp { to }),
            prop::collection::vec(0.1..5_000.0_f64, 0..5).prop_map(|then| Shape::Steps { then }),
        ]
    }

    proptest! {
        #[test]
        fn threads_share_every_shape_in_order_and_without_gaps_or_overlap(
            shape in shapes(),
            rate in 0.1..5_000.0_f64,
            total in 1..12_u64,
            threads in 1..5_u64,
            warmup in 0..2_u64,
        ) {
            // Whole milliseconds for up to five steps.
            let (warmup, duration) = (warmup * SECOND, 1_200_000_000);
            let curve = Curve::new(rate, &shape, warmup, duration);
            let end = SECOND + warmup + duration;
            let place = |share: Share, sender: usize, round: u64| {
                round * total + share.first + threads * sender as u64
            };
            let mut places = Vec::new();
            for first in 0..threads {
                let senders = (first..total).step_by(usize::try_from(threads).unwrap()).count();
                let share = Share { total, stride: threads, first, senders };
                let mut plan = Plan::new(curve.clone(), share, SECOND, end);
                let sent = drain(&mut plan, end);
                prop_assert!(sent.is_sorted_by_key(|sent| sent.1));
                prop_assert_eq!(plan.next(), None);
                for sender in 0..senders {
                    let of_sender: Vec<_> =
                        sent.iter().filter(|sent| sent.0 == sender).map(|sent| sent.1).collect();
                    let recomputed: Vec<_> =
                        (0..plan.taken(sender)).map(|round| plan.planned(sender, round)).collect();
                    prop_assert_eq!(of_sender, recomputed);
                    places.extend((0..plan.taken(sender)).map(|round| place(share, sender, round)));
                }
            }
            places.sort_unstable();
            let count = places.len() as u64;
            prop_assert_eq!(places, (0..count).collect::<Vec<_>>());
            // The first message is due at once, so a started one counts whole.
            prop_assert!((count as f64 - curve.total().ceil()).abs() <= 1.0);
            prop_assert!(count as f64 >= curve.total() - 1e-6);
        }
    }
}
