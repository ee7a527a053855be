//! What each step of the rate came to.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::report::count;
use crate::settings::Settings;
use crate::summary::{Distribution, Ended};
use crate::table::{Head, Row};
use crate::validity;

/// One step of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    /// Messages per second that were planned.
    pub(crate) rate: f64,
    pub(crate) valid: bool,
    pub(crate) reasons: Vec<String>,
    pub(crate) measured_seconds: f64,
    /// Per second, within the step.
    pub(crate) sent: f64,
    /// Per second, within the step.
    pub(crate) received: f64,
    /// Of messages planned within the step.
    pub(crate) latency_ns: Distribution,
    pub(crate) lateness_ns: Distribution,
    pub(crate) planned: u64,
    pub(crate) late: u64,
    pub(crate) unsent: u64,
    /// Sent, and not received intact and in order.
    pub(crate) missing: u64,
}

impl Step {
    /// The steps that a run came to.
    pub(crate) fn all(settings: &Settings, ended: &Ended) -> Vec<Self> {
        let Some(first) = settings.rate() else {
            return Vec::new();
        };
        let rates = settings.shape.rates(first);
        (rates.iter().zip(&ended.tally.steps).enumerate())
            .filter_map(|(index, (&rate, tally))| {
                let threads = ended.steps.iter();
                let spent: Vec<_> = threads.filter_map(|steps| steps.get(index)).collect();
                let measured = spent.iter().map(|spent| spent.measured).max()?;
                let seconds = measured as f64 / 1e9;
                let spent: Vec<_> = spent.into_iter().copied().collect();
                let mut reasons = validity::reasons(tally, &spent);
                if tally.faults.lost > 0 {
                    let missing = count(tally.faults.lost);
                    reasons.push(format!("{missing} messages did not come back as sent"));
                }
                Some(Self {
                    rate,
                    valid: reasons.is_empty(),
                    reasons,
                    measured_seconds: seconds,
                    sent: tally.sent.messages as f64 / seconds.max(1e-9),
                    received: tally.received.messages as f64 / seconds.max(1e-9),
                    latency_ns: Distribution::of(&tally.latency),
                    lateness_ns: Distribution::of(&tally.lateness),
                    planned: tally.lateness.len(),
                    late: tally.late,
                    unsent: tally.unsent,
                    missing: tally.faults.lost,
                })
            })
            .collect()
    }
}

/// Prints steps as aligned lines, those that are not valid with why.
pub(crate) struct Table<'a>(pub(crate) &'a [Step]);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Head("step"))?;
        for (number, step) in (1..).zip(self.0) {
            let row = Row {
                number,
                rates: [step.rate, step.sent, step.received],
                latency: &step.latency_ns,
                lateness: &step.lateness_ns,
            };
            let mark = if step.valid { "" } else { "  NOT VALID" };
            writeln!(f, "{row}{mark}")?;
        }
        for (number, step) in (1..).zip(self.0) {
            for reason in &step.reasons {
                writeln!(f, "     step {number} is not valid: {reason}")?;
            }
        }
        Ok(())
    }
}
