//! Whole distributions, at as many percentiles as a plot needs.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Percentiles for each factor of ten towards 100.
const PER_DECADE: i32 = 10;

/// Factors of ten at most: one message in 10,000,000.
const DECADES: i32 = 7;

/// One percentile of the distributions of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percentile {
    /// From 0 to 100.
    pub(crate) percentile: f64,
    pub(crate) latency_ns: u64,
    pub(crate) lateness_ns: Option<u64>,
}

/// Percentiles that lie ever closer to 100, evenly on the axis on which 90, 99
/// and 99.9 are, down to that of a single message, and 100. None where nothing
/// was recorded.
pub(crate) fn percentiles(latency: &Histogram<u64>, lateness: &Histogram<u64>) -> Vec<Percentile> {
    if latency.is_empty() {
        return Vec::new();
    }
    let single = 1.0 / latency.len() as f64;
    let at = |quantile: f64| Percentile {
        percentile: quantile * 100.0,
        latency_ns: latency.value_at_quantile(quantile),
        lateness_ns: (!lateness.is_empty()).then(|| lateness.value_at_quantile(quantile)),
    };
    (0..=PER_DECADE * DECADES)
        .map(|step| 10_f64.powf(-f64::from(step) / f64::from(PER_DECADE)))
        .take_while(|&rest| rest > single)
        .map(|rest| at(1.0 - rest))
        .chain([at(1.0)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl Iterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).expect("three digits are allowed");
        values.for_each(|value| histogram.saturating_record(value));
        histogram
    }

    #[test]
    fn they_reach_from_the_least_to_the_greatest_and_never_fall() {
        let points = percentiles(&of(1..=1000), &of(0..0));
        let (first, last) = (points[0], points[points.len() - 1]);
        assert_eq!((first.percentile, first.latency_ns), (0.0, 1));
        assert_eq!((last.percentile, last.latency_ns), (100.0, 1000));
        assert!(
            points
                .windows(2)
                .all(|two| two[0].percentile < two[1].percentile)
        );
        assert!(
            points
                .windows(2)
                .all(|two| two[0].latency_ns <= two[1].latency_ns)
        );
        assert_eq!(points.len(), 3 * 10 + 1);
        assert_eq!(first.lateness_ns, None);
    }

    #[test]
    fn an_empty_distribution_has_none_and_a_single_value_one() {
        assert_eq!(percentiles(&of(0..0), &of(0..0)), []);
        let one = percentiles(&of(7..8), &of(3..4));
        assert_eq!(one.len(), 1);
        assert_eq!((one[0].latency_ns, one[0].lateness_ns), (7, Some(3)));
    }
}
