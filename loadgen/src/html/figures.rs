//! What is plotted of a run.

mod percentiles;
mod server;
mod timeline;

use std::fmt::{self, Formatter};

use super::axis::Axis;
use super::plot::{Line, Plot};
use super::tables;
use super::text::Text;
use crate::summary::{Server, Summary};

/// A plot with its title, and its numbers as a table.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    title: &'static str,
    /// Whether it is about throughput or latency of a run in which they are
    /// void.
    void: bool,
    /// What has to be known to read it.
    caption: String,
    plot: Plot,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

const SINCE_START: &str = "since the start of the measurement";

impl Figure {
    /// Writes it.
    pub(super) fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "<figure>\n<h2>{}{}</h2>\n<figcaption>{}</figcaption>",
            Text(self.title),
            tables::tag(self.void),
            Text(&self.caption)
        )?;
        self.plot.write(f)?;
        f.write_str("<details><summary>Numbers</summary>\n")?;
        tables::grid(f, self.title, &self.columns, &self.rows)?;
        f.write_str("</details>\n</figure>\n")
    }
}

/// What there is to plot of the load.
pub(super) fn of_load(summary: &Summary) -> Vec<Figure> {
    let figures = [
        percentiles::latency(summary),
        timeline::latency(summary),
        timeline::throughput(summary),
        timeline::connections(summary),
    ];
    figures.into_iter().flatten().collect()
}

/// What there is to plot of the server's process.
pub(super) fn of_server(server: &Server) -> Vec<Figure> {
    if server.samples.is_empty() {
        return Vec::new();
    }
    vec![server::cpu(server), server::memory(server)]
}

fn latency_axis(least: f64, most: f64) -> Axis {
    Axis::logarithmic(least, most, "", |nanos| {
        let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
        let unit = units.into_iter().find(|unit| nanos >= unit.0 * 0.999);
        let (unit, name) = unit.unwrap_or((1.0, "ns"));
        format!("{:.0} {name}", nanos / unit)
    })
}

fn greatest(lines: &[Line]) -> f64 {
    let values = lines
        .iter()
        .flat_map(|line| line.points.iter().filter_map(|point| point.1));
    values.fold(0.0, f64::max)
}

/// A latency on a logarithmic axis, which has no zero.
fn shown(nanos: u64) -> f64 {
    nanos.max(1) as f64
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// A number for an axis.
fn short(number: f64) -> String {
    match number {
        1e6.. => format!("{}M", number / 1e6),
        1e4.. => format!("{}k", number / 1e3),
        _ => format!("{}", (number * 1e6).round() / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_axes_are_short() {
        assert_eq!(
            [0.2, 2_000.0, 15_000.0, 2.5e6].map(short),
            ["0.2", "2000", "15k", "2.5M"]
        );
    }
}
