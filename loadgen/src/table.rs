//! Lines of a table with one rate each.

use std::fmt::{self, Display, Formatter};

use crate::report::{rate_number, time};
use crate::summary::Distribution;

/// The columns of a [`Row`].
const COLUMNS: [&str; 8] = [
    "planned/s",
    "sent/s",
    "received/s",
    "p50",
    "p99",
    "p99.9",
    "max",
    "late p99",
];

/// The line above the rows, whose first column is called `first`.
pub(crate) struct Head(pub(crate) &'static str);

impl Display for Head {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5}", self.0)?;
        COLUMNS.iter().try_for_each(|name| write!(f, " {name:>10}"))
    }
}

/// What came of one rate.
pub(crate) struct Row<'a> {
    /// Its number.
    pub(crate) number: usize,
    /// Per second: planned, sent, received.
    pub(crate) rates: [f64; 3],
    /// From the planned time to receipt.
    pub(crate) latency: &'a Distribution,
    /// From the planned time to the send.
    pub(crate) lateness: &'a Distribution,
}

impl Display for Row<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5}", self.number)?;
        for rate in self.rates {
            write!(f, " {:>10}", rate_number(rate))?;
        }
        let Distribution {
            p50,
            p99,
            p99_9,
            max,
            ..
        } = *self.latency;
        for value in [p50, p99, p99_9, max, self.lateness.p99] {
            write!(f, " {:>10}", time(value))?;
        }
        Ok(())
    }
}
