//! The wheel against an ordered map, over random sequences of operations.

use std::collections::BTreeMap;

use hioload_platform::Nanos;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{TimerId, Wheel};

const TICK: Nanos = 1024;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A deadline so much later than now.
    Insert(Nanos),
    /// A deadline so much earlier than now.
    InsertPast(Nanos),
    Cancel(prop::sample::Index),
    /// Every one that is pending.
    CancelAll,
    Rearm(prop::sample::Index, Nanos),
    /// Time passes, and at most so many timers are popped.
    Advance(Nanos, usize),
    /// Time passes until the next deadline.
    Follow,
}

/// Spans around the borders of ticks and levels, and of every magnitude.
fn span() -> impl Strategy<Value = Nanos> {
    prop_oneof![
        0..4 * TICK,
        (0..10_u32, 0..70_u64, 0..5_u64).prop_map(|(level, slots, near)| {
            let border = (u128::from(TICK) * u128::from(slots)) << (6 * level);
            u64::try_from(border)
                .unwrap_or(u64::MAX)
                .saturating_add(near)
                .saturating_sub(2)
        }),
        (any::<u64>(), 0..64_u32).prop_map(|(bits, shift)| bits >> shift),
        Just(u64::MAX),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let some = prop_oneof![0..4_usize, Just(usize::MAX)];
    prop_oneof![
        8 => span().prop_map(Step::Insert),
        1 => span().prop_map(Step::InsertPast),
        3 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        3 => (any::<prop::sample::Index>(), span()).prop_map(|(i, d)| Step::Rearm(i, d)),
        3 => ((0..1_u64 << 36).prop_flat_map(|max| 0..=max), some.clone())
            .prop_map(|(d, n)| Step::Advance(d, n)),
        1 => (span(), some).prop_map(|(d, n)| Step::Advance(d, n)),
        4 => Just(Step::Follow),
    ]
}

/// Many timers in few slots, and most of them cancelled: chunks fill up, empty
/// and are joined.
fn crowded() -> impl Strategy<Value = Vec<Step>> {
    let near = prop_oneof![
        Just(40 * TICK),
        (0..3_u64).prop_map(|slot| 100_000_000 + slot * 300_000_000),
        (0..20_000_000_000_u64),
    ];
    let inserts = (
        near.clone(),
        prop_oneof![3 => 1..80_usize, 1 => 300..400_usize],
    )
        .prop_map(|(span, n)| vec![Step::Insert(span); n]);
    let cancels = vec(any::<prop::sample::Index>().prop_map(Step::Cancel), 1..160);
    let rearms = vec(
        (any::<prop::sample::Index>(), near).prop_map(|(i, d)| Step::Rearm(i, d)),
        1..20,
    );
    let time = prop_oneof![
        (0..400_000_000_u64, 0..30_usize).prop_map(|(d, n)| Step::Advance(d, n)),
        Just(Step::Follow),
    ];
    let steps = prop_oneof![
        4 => inserts,
        3 => cancels,
        1 => Just(vec![Step::CancelAll]),
        1 => rearms,
        1 => time.prop_map(|step| vec![step]),
    ];
    vec(steps, 1..25).prop_map(|steps| steps.concat())
}

/// What the wheel promises, in the plainest data structure.
#[derive(Default)]
struct Model {
    now: Nanos,
    /// The latest `now` the wheel has been told.
    seen: Nanos,
    inserted: u64,
    /// By the key the wheel holds as its value.
    pending: BTreeMap<u32, Timer>,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    /// The first moment it is due; `None` is never, as the last tick of time
    /// has no end.
    due: Option<Nanos>,
    /// What orders it among the others: its tick, and when it was made, unless
    /// it was re-armed. A past deadline is due at once instead.
    order: Option<(Nanos, Option<u64>)>,
}

impl Model {
    fn insert(&mut self, deadline: Nanos) -> Timer {
        self.inserted += 1;
        self.arm(deadline, Some(self.inserted))
    }

    fn arm(&self, deadline: Nanos, inserted: Option<u64>) -> Timer {
        if deadline <= self.seen {
            return Timer {
                due: Some(deadline),
                order: None,
            };
        }
        let due = deadline.checked_next_multiple_of(TICK);
        Timer {
            due,
            order: due.map(|due| (due, inserted)),
        }
    }

    fn due(&self) -> impl Iterator<Item = u32> {
        let due = |timer: &Timer| timer.due.is_some_and(|due| due <= self.now);
        self.pending
            .iter()
            .filter(move |(_, timer)| due(timer))
            .map(|(&key, _)| key)
    }

    fn earliest(&self) -> Option<Nanos> {
        self.pending
            .values()
            .map(|timer| timer.due.unwrap_or(u64::MAX))
            .min()
    }
}

struct Pair {
    wheel: Wheel<u32>,
    model: Model,
    ids: Vec<TimerId>,
}

impl Pair {
    fn new(now: Nanos) -> Self {
        let model = Model {
            now,
            seen: now,
            ..Model::default()
        };
        Self {
            wheel: Wheel::new(now),
            model,
            ids: Vec::new(),
        }
    }

    fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Insert(span) => self.insert(self.model.now.saturating_add(span)),
            Step::InsertPast(span) => self.insert(self.model.now.saturating_sub(span)),
            Step::Cancel(which) => self.cancel(which)?,
            Step::CancelAll => {
                for key in std::mem::take(&mut self.model.pending).into_keys() {
                    prop_assert_eq!(self.wheel.cancel(self.ids[key as usize]), Some(key));
                }
            }
            Step::Rearm(which, span) => self.rearm(which, span)?,
            Step::Advance(span, limit) => {
                self.model.now = self.model.now.saturating_add(span);
                self.pop(limit)?;
            }
            Step::Follow => {
                if let Some(next) = self.wheel.next_deadline() {
                    self.model.now = self.model.now.max(next);
                    self.pop(usize::MAX)?;
                }
            }
        }
        self.check()
    }

    fn insert(&mut self, deadline: Nanos) {
        let key = u32::try_from(self.ids.len()).expect("few timers");
        self.ids.push(self.wheel.insert(deadline, key));
        let timer = self.model.insert(deadline);
        self.model.pending.insert(key, timer);
    }

    /// Any timer ever made, most of them stale.
    fn pick(&self, which: prop::sample::Index) -> Option<(u32, TimerId)> {
        let index = (!self.ids.is_empty()).then(|| which.index(self.ids.len()))?;
        Some((u32::try_from(index).ok()?, self.ids[index]))
    }

    fn cancel(&mut self, which: prop::sample::Index) -> Result<(), TestCaseError> {
        if let Some((key, id)) = self.pick(which) {
            let expected = self.model.pending.remove(&key).map(|_| key);
            prop_assert_eq!(self.wheel.cancel(id), expected);
        }
        Ok(())
    }

    fn rearm(&mut self, which: prop::sample::Index, span: Nanos) -> Result<(), TestCaseError> {
        if let Some((key, id)) = self.pick(which) {
            let deadline = self.model.now.saturating_add(span);
            let timer = self.model.arm(deadline, None);
            let pending = self
                .model
                .pending
                .get_mut(&key)
                .map(|old| *old = timer)
                .is_some();
            prop_assert_eq!(self.wheel.rearm(id, deadline), pending);
        }
        Ok(())
    }

    fn pop(&mut self, limit: usize) -> Result<(), TestCaseError> {
        let mut last_tick = 0;
        let mut last_inserted = None;
        for _ in 0..limit {
            self.model.seen = self.model.now;
            let Some((id, key)) = self.wheel.pop(self.model.now) else {
                return self.check_nothing_due();
            };
            prop_assert_eq!(id, self.ids[key as usize]);
            let timer = self.model.pending.remove(&key);
            let timer = timer.ok_or_else(|| TestCaseError::fail("fired, but not pending"))?;
            prop_assert!(
                timer.due.is_some_and(|due| due <= self.model.now),
                "early: {:?}",
                timer
            );
            if let Some((tick, inserted)) = timer.order {
                prop_assert!(last_tick <= tick, "{:?} after {}", timer, last_tick);
                last_tick = tick;
                if inserted.is_some() {
                    prop_assert!(
                        last_inserted < timer.order,
                        "{:?} came later",
                        last_inserted
                    );
                    last_inserted = timer.order;
                }
            }
        }
        Ok(())
    }

    fn check_nothing_due(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.model.due().next(), None, "due but not fired");
        let next = self.wheel.next_deadline();
        let advances = next.is_none_or(|next| next > self.model.now || next == u64::MAX);
        prop_assert!(
            advances,
            "waiting until {:?} would spin at {}",
            next,
            self.model.now
        );
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.wheel.len(), self.model.pending.len());
        let next = self.wheel.next_deadline();
        prop_assert_eq!(next.is_none(), self.wheel.is_empty());
        let earliest = self.model.earliest().map(|at| at.max(self.model.seen));
        prop_assert!(
            next <= earliest,
            "next {:?} is later than {:?}",
            next,
            earliest
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_wheel_does_what_an_ordered_map_does(
        start in span(),
        steps in vec(step(), 1..120),
    ) {
        let mut pair = Pair::new(start);
        for step in steps {
            pair.run(step)?;
        }
    }

    #[test]
    fn a_crowded_wheel_does_what_an_ordered_map_does(steps in crowded()) {
        let mut pair = Pair::new(0);
        for step in steps {
            pair.run(step)?;
        }
    }
}
