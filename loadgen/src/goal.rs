//! Latency goals such as `p99=5ms`.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use hdrhistogram::Histogram;
use serde::Serialize;

use hioload_platform::Nanos;

use crate::report::time;

/// What a goal may be about.
const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// One percentile and its bound.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Goal {
    /// One of [`PERCENTILES`].
    pub(crate) percentile: &'static str,
    /// The bound.
    pub(crate) at_most_ns: Nanos,
    #[serde(skip)]
    quantile: f64,
}

/// Goals that are to be met together; at least one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Goals(Vec<Goal>);

impl Goals {
    /// The goals that latencies miss, in words.
    pub(crate) fn missed(&self, latency: &Histogram<u64>) -> Vec<String> {
        let missed = |goal: &Goal| {
            let seen = latency.value_at_quantile(goal.quantile);
            (seen > goal.at_most_ns).then(|| {
                let bound = time(goal.at_most_ns);
                format!("{} was {}, over {bound}", goal.percentile, time(seen))
            })
        };
        self.0.iter().filter_map(missed).collect()
    }
}

impl Display for Goals {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, goal) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(
                f,
                "{comma}{} within {}",
                goal.percentile,
                time(goal.at_most_ns)
            )?;
        }
        Ok(())
    }
}

impl FromStr for Goals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let goals: Result<Vec<Goal>, String> = text.split(',').map(goal).collect();
        let goals = goals?;
        for (index, goal) in goals.iter().enumerate() {
            let before = &goals[..index];
            if before
                .iter()
                .any(|other| other.percentile == goal.percentile)
            {
                return Err(format!("{} is there twice", goal.percentile));
            }
        }
        Ok(Self(goals))
    }
}

fn goal(text: &str) -> Result<Goal, String> {
    let (name, bound) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not a goal; write p99=5ms"))?;
    let known = PERCENTILES.iter().find(|known| known.0 == name);
    let &(percentile, quantile) = known.ok_or_else(|| {
        let names = PERCENTILES.map(|known| known.0).join(", ");
        format!("'{name}' is none of {names}")
    })?;
    Ok(Goal {
        percentile,
        at_most_ns: bound_of(bound)?,
        quantile,
    })
}

/// A latency such as `200us`, `2.5ms` or `1s`, over zero and up to a minute.
fn bound_of(text: &str) -> Result<Nanos, String> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => f64::NAN,
    };
    let nanos = number.parse().unwrap_or(f64::NAN) * unit;
    if !(1e3..=6e10).contains(&nanos) {
        return Err(format!(
            "'{text}' is not a latency from 1us to 60s; write 200us, 2.5ms or 1s"
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be from 1 us to a minute"
    )]
    Ok(nanos.round() as Nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_and_said() {
        let goals: Goals = "p99=5ms,p99.9=2.5s,max=200us".parse().unwrap();
        assert_eq!(
            goals.to_string(),
            "p99 within 5.00 ms, p99.9 within 2.50 s, max within 200 us"
        );
        for bad in [
            "",
            "p99",
            "p98=5ms",
            "p99=5",
            "p99=0ms",
            "p99=-1ms",
            "p99=nanms",
            "p99=2m",
            "p99=61s",
            "p99=5ms,",
            "p99=5ms,p99=6ms",
        ] {
            assert!(bad.parse::<Goals>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn only_what_is_over_its_bound_is_missed() {
        let goals: Goals = "p50=2ms,max=10ms".parse().unwrap();
        let mut latency = Histogram::new(3).unwrap();
        for _ in 0..99 {
            latency.record(1_000_000).unwrap();
        }
        assert_eq!(goals.missed(&latency), [""; 0]);
        latency.record(20_000_000).unwrap();
        let missed = goals.missed(&latency);
        assert_eq!(missed.len(), 1, "{missed:?}");
        assert!(missed[0].starts_with("max was 20.0 ms"), "{missed:?}");
    }
}
