//! The open loop: when each message is to be sent, decided before the run.

use hioload_platform::Nanos;

/// Planned times are whole multiples of this after the start, so that messages
/// less than this apart are planned for the same instant and leave in one turn.
/// Every sleep between two sends arms a timer and gives up the CPU, which costs
/// some 10 microseconds on a virtual machine: a sleep per message would make
/// the generator the bottleneck at 20,000 messages per second and thread.
const TICK: Nanos = 100_000;

/// The send times of one thread's share of the senders.
///
/// All senders of a run send at the same constant rate, staggered evenly: with
/// `total` senders and one message every `interval` nanoseconds, sender `g`
/// sends its message `k` at `start + (k * total + g) * interval`, rounded down
/// to a [`TICK`]. A thread owns the senders `first`, `first + stride`, ..., so
/// that every thread's share is even as well. Nothing is stored per message: a
/// sender that lags behind can recompute what it owes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    start: Nanos,
    end: Nanos,
    interval: f64,
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
    /// A plan of `rate` messages per second over all senders of the run, for
    /// the times `start..end`.
    pub(crate) fn new(rate: f64, share: Share, start: Nanos, end: Nanos) -> Self {
        Self {
            start,
            end,
            interval: 1e9 / rate,
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
        let offset = (place as f64 * self.interval) as u64;
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
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn drain(plan: &mut Plan, now: Nanos) -> Vec<(usize, Nanos)> {
        std::iter::from_fn(|| plan.due(now)).collect()
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
        let mut plan = Plan::new(1000.0, alone(7), SECOND, 2 * SECOND);
        let sent = drain(&mut plan, 10 * SECOND);
        assert_eq!(sent.len(), 1000);
        assert_eq!(plan.next(), None);
    }

    #[test]
    fn times_are_evenly_spread_and_in_order() {
        let mut plan = Plan::new(1000.0, alone(7), 0, SECOND);
        let sent = drain(&mut plan, SECOND);
        for (index, &(sender, planned)) in sent.iter().enumerate() {
            assert_eq!(sender, index % 7);
            assert_eq!(planned, index as u64 * 1_000_000);
        }
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut plan = Plan::new(10.0, alone(1), 500, SECOND);
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
            let mut plan = Plan::new(1000.0, share, 0, SECOND);
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
        let mut plan = Plan::new(100.0, alone(3), 0, SECOND);
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
        let mut plan = Plan::new(1000.0, alone(1), 0, SECOND);
        plan.stop(2_000_000);
        assert_eq!(drain(&mut plan, SECOND).len(), 2);
        let mut none = Plan::new(1000.0, alone(0), 0, SECOND);
        assert_eq!((none.next(), none.due(SECOND)), (None, None));
    }
}
