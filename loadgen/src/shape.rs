//! How the rate of an open loop changes during a run.

use hioload_platform::Nanos;

use crate::tally::Window;

const SECOND: f64 = 1e9;

/// How the rate goes on after the warm-up, which has the load's own rate.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Shape {
    /// It stays.
    #[default]
    Constant,
    /// It changes evenly until the end of the measurement.
    Ramp {
        /// Messages per second at the end.
        to: f64,
    },
    /// The measurement has parts of the same length; the first one has the
    /// load's rate.
    Steps {
        /// Messages per second in each of the other parts.
        then: Vec<f64>,
    },
}

impl Shape {
    /// The parts of the measurement, when it has steps.
    pub(crate) fn steps(&self, measured: Window) -> Vec<Window> {
        let Self::Steps { then } = self else {
            return Vec::new();
        };
        let count = then.len() as u64 + 1;
        let length = (measured.to - measured.from) / count;
        (0..count)
            .map(|step| Window {
                from: measured.from + step * length,
                to: measured.from + (step + 1) * length,
            })
            .collect()
    }

    /// The rate of each step for a load that begins with `first`; none without
    /// steps.
    pub(crate) fn rates(&self, first: f64) -> Vec<f64> {
        match self {
            Self::Steps { then } => [&[first], then.as_slice()].concat(),
            _ => Vec::new(),
        }
    }
}

/// The rate of a whole run as a function of time, and its inverse: when the
/// n-th message is due.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pieces: Vec<Piece>,
}

/// A part of a run in which the rate changes evenly, or not at all.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Nanoseconds after the start of the run.
    from: f64,
    /// Messages due before it.
    before: f64,
    /// Messages due before its end.
    after: f64,
    /// Messages per second at its start.
    rate: f64,
    /// Change of the rate, in messages per second per second.
    slope: f64,
}

impl Curve {
    /// `rate` during the warm-up, then what `shape` makes of it.
    pub(crate) fn new(rate: f64, shape: &Shape, warmup: Nanos, duration: Nanos) -> Self {
        let mut curve = Self { pieces: Vec::new() };
        match shape {
            Shape::Constant => curve.push(0, warmup + duration, rate, rate),
            Shape::Ramp { to } => {
                curve.push(0, warmup, rate, rate);
                curve.push(warmup, warmup + duration, rate, *to);
            }
            Shape::Steps { .. } => {
                curve.push(0, warmup, rate, rate);
                let measured = Window {
                    from: warmup,
                    to: warmup + duration,
                };
                for (step, rate) in shape.steps(measured).iter().zip(shape.rates(rate)) {
                    curve.push(step.from, step.to, rate, rate);
                }
            }
        }
        curve
    }

    fn push(&mut self, from: Nanos, to: Nanos, first: f64, last: f64) {
        let seconds = (to - from) as f64 / SECOND;
        if seconds == 0.0 {
            return;
        }
        let before = self.total();
        self.pieces.push(Piece {
            from: from as f64,
            before,
            after: before + (first + last) / 2.0 * seconds,
            rate: first,
            slope: (last - first) / seconds,
        });
    }

    /// The integral of the rate over the run: how many messages are due.
    pub(crate) fn total(&self) -> f64 {
        self.pieces.last().map_or(0.0, |piece| piece.after)
    }

    /// When the message with so many before it is due, in nanoseconds after
    /// the start; infinite after the last.
    pub(crate) fn due(&self, place: u64) -> f64 {
        let place = place as f64;
        let index = self.pieces.partition_point(|piece| piece.after <= place);
        match self.pieces.get(index) {
            None => f64::INFINITY,
            Some(piece) => piece.from + piece.until(place - piece.before),
        }
    }
}

impl Piece {
    /// Nanoseconds from its start until `count` messages were due: solves
    /// `rate * t + slope / 2 * t * t = count`. This form of the solution
    /// divides by a sum, not by the slope: it also holds when that is zero,
    /// and loses no digits when it is small.
    fn until(self, count: f64) -> f64 {
        if count <= 0.0 {
            return 0.0;
        }
        let square = self.rate * self.rate + 2.0 * self.slope * count;
        2.0 * SECOND * count / (self.rate + square.max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: Nanos = 1_000_000_000;

    #[test]
    fn a_ramp_doubles_back_to_its_area() {
        let curve = Curve::new(0.0, &Shape::Ramp { to: 100.0 }, S, 2 * S);
        assert_eq!(curve.total(), 100.0);
        // Nothing in the warm-up; a quarter of the messages in half of the time.
        assert_eq!(curve.due(0), 1e9);
        assert_eq!(curve.due(25), 2e9);
        assert_eq!(curve.due(100), f64::INFINITY);
    }

    #[test]
    fn a_ramp_may_end_at_zero() {
        let curve = Curve::new(100.0, &Shape::Ramp { to: 0.0 }, 0, 2 * S);
        assert_eq!(curve.due(75), 1e9);
        assert!(curve.due(99) < 2e9);
        assert_eq!(curve.due(100), f64::INFINITY);
    }

    #[test]
    fn steps_begin_where_the_one_before_ends() {
        let shape = Shape::Steps {
            then: vec![20.0, 5.0],
        };
        let curve = Curve::new(10.0, &shape, S, 3 * S);
        assert_eq!(curve.total(), 45.0);
        let due: Vec<f64> = [9, 10, 20, 21, 40].map(|place| curve.due(place)).to_vec();
        assert_eq!(due, [0.9e9, 1e9, 2e9, 2.05e9, 3e9]);
        assert_eq!(shape.rates(10.0), [10.0, 20.0, 5.0]);
        let windows = shape.steps(Window { from: 7, to: 37 });
        let bounds: Vec<_> = windows.iter().map(|step| (step.from, step.to)).collect();
        assert_eq!(bounds, [(7, 17), (17, 27), (27, 37)]);
    }

    /// Messages due until `at` nanoseconds, by the rates themselves.
    fn area(first: f64, last: f64, seconds: f64) -> f64 {
        (first + last) / 2.0 * seconds
    }

    proptest! {
        #[test]
        fn the_inverse_of_a_ramp_is_its_inverse(
            from in 0.0..100_000.0_f64,
            to in 0.0..100_000.0_f64,
            seconds in 1..600_u64,
            share in 0.0..1.0_f64,
        ) {
            let curve = Curve::new(from, &Shape::Ramp { to }, 0, seconds * S);
            let place = (curve.total() * share).floor();
            prop_assume!(place < curve.total());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^53")]
            let due = curve.due(place as u64) / SECOND;
            let rate = from + (to - from) * due / seconds as f64;
            prop_assert!((area(from, rate, due) - place).abs() < 1e-3 + place * 1e-9);
        }
    }
}
