//! Axes: where a value lies, and which values get a line and a number.

/// One axis of a plot.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    /// Values to mark, ascending, with their text.
    pub(super) ticks: Vec<(f64, String)>,
    /// What the axis shows, with its unit.
    pub(super) label: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
}

/// Ticks of a linear axis, about.
const TICKS: f64 = 5.0;

/// More ticks than these on a logarithmic axis, and only powers of ten get one.
const MAX_TICKS: usize = 9;

/// Distances of ticks in time, in seconds.
const STEPS: [f64; 22] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0, 432_000.0,
];

impl Axis {
    /// From zero to `max` or a little more.
    pub(super) fn linear(max: f64, label: &str, text: impl Fn(f64) -> String) -> Self {
        let max = if max > 0.0 { max } else { 1.0 };
        let step = nice_step(max / TICKS);
        let count = (max / step).ceil();
        let ticks = steps(count).map(|index| index * step);
        Self {
            scale: Scale::Linear,
            from: 0.0,
            to: count * step,
            ticks: ticks.map(|at| (at, text(at))).collect(),
            label: label.to_owned(),
        }
    }

    /// From `min` or a little less to `max` or a little more; both positive.
    pub(super) fn logarithmic(
        min: f64,
        max: f64,
        label: &str,
        text: impl Fn(f64) -> String,
    ) -> Self {
        let (min, max) = (min.max(f64::MIN_POSITIVE), max.max(min));
        let from = last_at_most(min);
        let to = first_at_least(max.max(from * 2.0));
        let decades = decade(from)..=decade(to);
        let all =
            decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(decade)));
        let all: Vec<f64> = all
            .filter(|at| (from * 0.999..=to * 1.001).contains(at))
            .collect();
        let few = all.len() <= MAX_TICKS;
        let marked = all.into_iter().filter(|&at| few || is_power_of_ten(at));
        Self {
            scale: Scale::Logarithmic,
            from,
            to,
            ticks: marked.map(|at| (at, text(at))).collect(),
            label: label.to_owned(),
        }
    }

    /// Time from zero to `seconds`.
    pub(super) fn time(seconds: f64, label: &str) -> Self {
        let seconds = if seconds > 0.0 { seconds } else { 1.0 };
        let least = seconds / (TICKS + 1.0) * 0.99;
        let step = STEPS
            .into_iter()
            .find(|&step| step >= least)
            .unwrap_or(least);
        let ticks = steps((seconds / step + 1e-6).floor()).map(|index| index * step);
        Self {
            scale: Scale::Linear,
            from: 0.0,
            to: seconds,
            ticks: ticks.map(|at| (at, elapsed(at, seconds, step))).collect(),
            label: label.to_owned(),
        }
    }

    /// Percentiles as [`towards_hundred`] places them, up to `to`.
    pub(super) fn percentiles(to: f64, label: &str) -> Self {
        let nines = (1..).take_while(|&nines| f64::from(nines) <= to);
        let nines = nines.map(|nines| (f64::from(nines), nines_text(nines)));
        let middle = (towards_hundred(50.0), "50%".to_owned());
        Self {
            scale: Scale::Linear,
            from: 0.0,
            to: to.max(0.1),
            ticks: [(0.0, "0%".to_owned()), middle]
                .into_iter()
                .chain(nines)
                .collect(),
            label: label.to_owned(),
        }
    }

    /// Where a value lies: 0 is the beginning, 1 the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Logarithmic => {
                (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
            }
        };
        place.clamp(0.0, 1.0)
    }
}

/// How far a percentile below 100 lies on the way there: 1 at 90%, 2 at 99%.
pub(super) fn towards_hundred(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

/// `0`, `1`, ... `last`.
fn steps(last: f64) -> impl Iterator<Item = f64> {
    (0..).map(f64::from).take_while(move |&index| index <= last)
}

/// The least of 1, 2, 5, 10, ... that is at least `step`.
fn nice_step(step: f64) -> f64 {
    first_at_least(step)
}

fn first_at_least(value: f64) -> f64 {
    let unit = 10_f64.powi(decade(value));
    let digits = [1.0, 2.0, 5.0, 10.0];
    let digit = digits
        .into_iter()
        .find(|digit| digit * unit >= value * 0.9999);
    digit.unwrap_or(10.0) * unit
}

fn last_at_most(value: f64) -> f64 {
    let unit = 10_f64.powi(decade(value));
    let digits = [5.0, 2.0, 1.0];
    let digit = digits
        .into_iter()
        .find(|digit| digit * unit <= value * 1.0001);
    digit.unwrap_or(1.0) * unit
}

fn decade(value: f64) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the exponent of a double is below 400"
    )]
    let decade = (value.log10() + 1e-9).floor() as i32;
    decade
}

fn is_power_of_ten(value: f64) -> bool {
    (value / 10_f64.powi(decade(value)) - 1.0).abs() < 1e-6
}

/// A time on an axis that reaches to `whole` seconds, with a tick per `step`.
fn elapsed(seconds: f64, whole: f64, step: f64) -> String {
    let (value, unit) = if whole <= 180.0 {
        (seconds, "s")
    } else if whole <= 3.0 * 3_600.0 {
        (seconds / 60.0, "min")
    } else {
        (seconds / 3_600.0, "h")
    };
    let digits = match step {
        _ if value == value.trunc() => 0,
        ..0.1 => 2,
        _ => 1,
    };
    format!("{value:.digits$} {unit}")
}

/// 90%, 99%, 99.9%, ...
fn nines_text(nines: i32) -> String {
    match nines {
        1 => "90%".to_owned(),
        2 => "99%".to_owned(),
        more => format!("99.{}%", "9".repeat(usize::try_from(more - 2).unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.1.as_str()).collect()
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_covers_the_greatest() {
        let axis = Axis::linear(870.0, "", |at| format!("{at}"));
        assert_eq!(texts(&axis), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!((axis.place(0.0), axis.place(500.0)), (0.0, 0.5));
        assert_eq!(
            texts(&Axis::linear(0.0, "", |at| format!("{at:.1}")))[0],
            "0.0"
        );
    }

    #[test]
    fn a_logarithmic_axis_has_even_decades() {
        let axis = Axis::logarithmic(12.0, 950.0, "", |at| format!("{at}"));
        assert_eq!(
            texts(&axis),
            ["10", "20", "50", "100", "200", "500", "1000"]
        );
        assert!((axis.place(100.0) - 0.5).abs() < 1e-9);
        let wide = Axis::logarithmic(1.0, 1e6, "", |at| format!("{at}"));
        assert_eq!(
            texts(&wide),
            ["1", "10", "100", "1000", "10000", "100000", "1000000"]
        );
        assert_eq!(wide.place(0.0), 0.0);
    }

    #[test]
    fn all_values_alike_still_make_an_axis() {
        for value in [1.0, 50.0, 1e9] {
            let axis = Axis::logarithmic(value, value, "", |at| format!("{at}"));
            assert!(axis.ticks.len() >= 2, "{axis:?}");
            assert!(axis.place(value).is_finite());
        }
    }

    #[test]
    fn time_has_the_unit_that_fits() {
        assert_eq!(
            texts(&Axis::time(10.0, "")),
            ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s"]
        );
        assert_eq!(
            texts(&Axis::time(600.0, "")),
            ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]
        );
        assert_eq!(
            texts(&Axis::time(0.3, "")),
            [
                "0 s", "0.05 s", "0.10 s", "0.15 s", "0.20 s", "0.25 s", "0.30 s"
            ]
        );
        assert!(texts(&Axis::time(86_400.0, ""))[1].ends_with(" h"));
    }

    #[test]
    fn percentiles_come_ever_closer_to_a_hundred() {
        let axis = Axis::percentiles(3.3, "");
        assert_eq!(texts(&axis), ["0%", "50%", "90%", "99%", "99.9%"]);
        assert!((towards_hundred(99.9) - 3.0).abs() < 1e-9);
    }
}
