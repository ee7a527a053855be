//! Options for open loops whose rate changes.

use std::str::FromStr;

use clap::Args;

use hioload_platform::Nanos;

use super::{SECOND, duration, rate};
use crate::goal::Goals;
use crate::settings::Settings;
use crate::shape::Shape;

/// The most steps of a run: each keeps two histograms per thread, 1 MiB.
const MAX_STEPS: usize = 64;

/// Where a search for the highest rate begins without --rate.
const FIRST_RATE: f64 = 1000.0;

/// How long a round of a search lasts.
const ROUND: Nanos = 5 * SECOND;

/// How the rate changes.
#[derive(Debug, Args)]
pub(super) struct Rates {
    /// Open loop whose rate changes evenly over the measurement, as in
    /// `0..50000`; the warm-up has the first of the two.
    #[arg(long, value_name = "FROM..TO")]
    ramp: Option<Ramp>,
    /// Open loop with one rate after the other, as in `1000,2000,4000`, over
    /// the same connections and each with a row of its own in the result; the
    /// warm-up has the first. What a server still owes at the end of a step
    /// delays the next one.
    #[arg(long, value_name = "R1,R2,...", value_delimiter = ',', value_parser = rate, conflicts_with = "ramp")]
    steps: Vec<f64>,
    /// Search for the highest rate that meets latency goals, as in `p99=5ms` or
    /// `p50=1ms,p99.9=20ms`: of p50, p90, p99, p99.9 and max. Begins at --rate
    /// (for echo 1,000 by default), doubles it until a goal is missed or
    /// messages are lost, then bisects to within 5%, in at most 24 rounds. Each
    /// round opens its connections anew, and a round that fails is repeated
    /// once. Where the generator was itself the bottleneck the answer says "at
    /// least".
    #[arg(long, value_name = "GOALS", conflicts_with_all = ["ramp", "steps"])]
    find_max: Option<Goals>,
    /// How long each step, or each round of --find-max, lasts [default: as
    /// --duration for steps, 5s for rounds]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    step_duration: Option<Nanos>,
}

/// From one rate to another; one of them may be zero.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ramp {
    from: f64,
    to: f64,
}

impl FromStr for Ramp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text
            .split_once("..")
            .ok_or_else(|| format!("'{text}' is not a ramp; write FROM..TO"))?;
        let end = |text: &str| match text.parse() {
            Ok(0.0) => Ok(0.0),
            _ => rate(text),
        };
        let ramp = Self {
            from: end(from)?,
            to: end(to)?,
        };
        if ramp.from == 0.0 && ramp.to == 0.0 {
            return Err("a ramp from 0 to 0 sends nothing".into());
        }
        Ok(ramp)
    }
}

impl Rates {
    /// The rate an open loop begins with, if these options or `rate` ask for
    /// one.
    pub(super) fn first(&self, rate: Option<f64>) -> Option<f64> {
        let ramp = self.ramp.map(|ramp| ramp.from);
        let usual = self.find_max.as_ref().map(|_| FIRST_RATE);
        ramp.or(self.steps.first().copied()).or(rate).or(usual)
    }

    /// Has the run change its rate as these options say.
    pub(super) fn apply(&self, settings: &mut Settings) -> Result<(), String> {
        if let Some(Ramp { to, .. }) = self.ramp {
            settings.shape = Shape::Ramp { to };
        }
        if self.steps.len() > MAX_STEPS {
            let count = self.steps.len();
            return Err(format!("--steps: {count} are more than {MAX_STEPS}"));
        }
        if self.step_duration == Some(0) {
            return Err("--step-duration must be longer than zero".into());
        }
        if let Some(goals) = &self.find_max {
            settings.find_max = Some(goals.clone());
            settings.duration = self.step_duration.unwrap_or(ROUND);
        } else if let [_, then @ ..] = self.steps.as_slice() {
            let then = then.to_vec();
            settings.shape = Shape::Steps { then };
            let each = self.step_duration.unwrap_or(settings.duration);
            settings.duration = each * self.steps.len() as u64;
        } else if self.step_duration.is_some() {
            return Err("--step-duration is for --steps and --find-max".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::settings;
    use crate::settings::{Load, Pace};

    fn first(settings: &Settings) -> f64 {
        match settings.load {
            Load::Echo {
                pace: Pace::Open { rate },
                ..
            }
            | Load::Broadcast { rate, .. } => rate,
            ref other => panic!("no open loop: {other:?}"),
        }
    }

    #[test]
    fn a_ramp_begins_with_its_first_rate() {
        for pattern in ["echo", "broadcast"] {
            let ramp = settings(&format!("{pattern} --ramp 0..5000 --duration 2m")).unwrap();
            assert_eq!(first(&ramp), 0.0);
            assert_eq!(ramp.shape, Shape::Ramp { to: 5000.0 });
            assert_eq!(ramp.duration, 120 * SECOND);
        }
    }

    #[test]
    fn steps_last_as_long_as_one_run_each_unless_told() {
        for (length, total) in [("--duration 4s", 12), ("--step-duration 2s", 6)] {
            let steps = settings(&format!("broadcast --steps 10,20,5 {length}")).unwrap();
            assert_eq!(first(&steps), 10.0);
            let then = vec![20.0, 5.0];
            assert_eq!(steps.shape, Shape::Steps { then });
            assert_eq!(steps.duration, total * SECOND);
        }
    }

    #[test]
    fn a_search_begins_at_a_rate_with_rounds_of_its_own_length() {
        let search = settings("echo --find-max p99=5ms").unwrap();
        assert_eq!((first(&search), search.duration), (1000.0, 5 * SECOND));
        assert_eq!(search.find_max, Some("p99=5ms".parse().unwrap()));
        let search = settings("echo --find-max max=1s --rate 70 --step-duration 2s").unwrap();
        assert_eq!((first(&search), search.duration), (70.0, 2 * SECOND));
    }

    #[test]
    fn rates_that_contradict_each_other_are_refused() {
        for bad in [
            "--ramp 5",
            "--ramp 0..0",
            "--ramp -1..5",
            "--ramp 1..x",
            "--steps 5,0",
            "--steps 1..5",
            "--steps ,",
            "--rate 5 --ramp 1..5",
            "--rate 5 --steps 1,5",
            "--ramp 1..5 --steps 1,5",
            "--depth 2 --ramp 1..5",
            "--depth 2 --steps 1,5",
            "--rate 5 --step-duration 2s",
            "--steps 1,5 --step-duration 0s",
            "--depth 2 --find-max p99=5ms",
            "--steps 1,5 --find-max p99=5ms",
            "--find-max p98=5ms",
        ] {
            assert!(settings(&format!("echo {bad}")).is_err(), "{bad}");
        }
        let many = vec!["1"; MAX_STEPS + 1].join(",");
        let refused = settings(&format!("echo --steps {many}")).unwrap_err();
        assert!(refused.contains("65 are more than 64"), "{refused}");
    }
}
