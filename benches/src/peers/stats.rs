//! Medians.

/// What several rounds came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Lower median.
    pub(crate) median: f64,
    /// Lowest.
    pub(crate) min: f64,
    /// Highest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of the rounds that have a value; nothing when none has.
    pub(crate) fn of(values: impl Iterator<Item = Option<f64>>) -> Option<Self> {
        let mut values: Vec<f64> = values.flatten().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len().checked_sub(1)? / 2)?,
            min: *values.first()?,
            max: *values.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_without_a_value_do_not_count() {
        let spread = Spread::of([Some(3.0), None, Some(1.0), Some(2.0)].into_iter());
        let expected = Spread {
            median: 2.0,
            min: 1.0,
            max: 3.0,
        };
        assert_eq!(spread, Some(expected));
        assert_eq!(Spread::of([None].into_iter()), None);
    }
}
