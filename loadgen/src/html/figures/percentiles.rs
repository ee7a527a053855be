//! The distribution of the latencies.

use super::{Figure, latency_axis, shown};
use crate::html::axis::{Axis, towards_hundred};
use crate::html::plot::{Line, Plot};
use crate::html::text::time;
use crate::report::count;
use crate::summary::{Percentile, Summary};

/// How far over the last step 100% is drawn.
const LAST_STEP: f64 = 0.1;

/// Latency by percentile, and the generator's part of it.
pub(super) fn latency(summary: &Summary) -> Option<Figure> {
    let percentiles = &summary.percentiles;
    let latency = summary.labels.latency.filter(|_| !percentiles.is_empty())?;
    let places = places(percentiles);
    let planned = percentiles.iter().any(|at| at.lateness_ns.is_some());
    let line = |of: fn(&Percentile) -> Option<u64>| {
        let values = percentiles.iter().map(|at| of(at).map(shown));
        places.iter().copied().zip(values).collect::<Vec<_>>()
    };
    let mut lines = vec![Line {
        name: "latency",
        style: "one",
        points: line(|at| Some(at.latency_ns)),
    }];
    if planned {
        lines.push(Line {
            name: "of it: the generator's own lateness",
            style: "two",
            points: line(|at| at.lateness_ns),
        });
    }
    let of_all = &summary.latency_ns;
    // The least latenesses are next to nothing, and would take most of a
    // logarithmic axis.
    let lateness = planned.then_some(summary.sends.lateness_ns.p50);
    let least = shown(of_all.min.min(lateness.unwrap_or(u64::MAX)));
    Some(Figure {
        title: "Latency by percentile",
        void: !summary.valid,
        caption: format!(
            "Of {} latencies, {latency}. To the right, ever rarer ones: at 99.9%, one in a \
             thousand took longer.",
            count(of_all.count)
        ),
        plot: Plot {
            x: Axis::percentiles(places.last().copied().unwrap_or(0.0), "percentile"),
            y: latency_axis(least, shown(of_all.max)),
            hints: percentiles
                .iter()
                .zip(&places)
                .map(|(at, &place)| {
                    let percent = percent(at.percentile);
                    (place, format!("{percent}: {}", time(at.latency_ns)))
                })
                .collect(),
            lines,
            description: format!(
                "Latency by percentile, from {} at the median over {} at 99% to {} at most",
                time(of_all.p50),
                time(of_all.p99),
                time(of_all.max)
            ),
        },
        columns: if planned {
            vec!["percentile", "latency", "lateness"]
        } else {
            vec!["percentile", "latency"]
        },
        rows: percentiles.iter().map(percentile_row).collect(),
    })
}

/// Where percentiles lie; 100% is infinitely far, and drawn a step after the
/// one before it.
fn places(percentiles: &[Percentile]) -> Vec<f64> {
    let mut last = 0.0;
    let mut place = |at: &Percentile| {
        last = match towards_hundred(at.percentile) {
            place if place.is_finite() => place,
            _ if percentiles.len() == 1 => 0.0,
            _ => last + LAST_STEP,
        };
        last
    };
    percentiles.iter().map(&mut place).collect()
}

fn percentile_row(at: &Percentile) -> Vec<String> {
    let values = [Some(at.latency_ns), at.lateness_ns];
    let values = values.into_iter().flatten().map(time);
    std::iter::once(percent(at.percentile))
        .chain(values)
        .collect()
}

/// A percentile with as many digits as tell it from its neighbours.
fn percent(percentile: f64) -> String {
    let text = format!("{percentile:.6}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_keep_the_digits_they_need() {
        assert_eq!(
            [0.0, 50.0, 99.9, 99.99999].map(percent),
            ["0%", "50%", "99.9%", "99.99999%"]
        );
    }
}
