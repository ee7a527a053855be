//! The server's process over time.

use super::{Figure, SINCE_START, greatest, seconds, short};
use crate::html::axis::Axis;
use crate::html::plot::{Line, Plot};
use crate::summary::Server;

/// What it used of the CPUs.
pub(super) fn cpu(server: &Server) -> Figure {
    let values = samples(server, |cores, _| cores * 100.0);
    let rows = rows_of(&values, |percent| format!("{percent:.0}%"));
    let most = values.iter().map(|value| value.1).fold(0.0, f64::max);
    let lines = vec![line_of(&values)];
    Figure {
        title: "Server: CPU over time",
        void: false,
        caption: "All threads of the server's process, since the sample before; 100% is one CPU."
            .into(),
        plot: Plot {
            x: sample_axis(server),
            y: Axis::linear(greatest(&lines), "", |percent| {
                format!("{}%", short(percent))
            }),
            hints: hint_all(&values, &rows),
            lines,
            description: format!("CPU of the server over time, {most:.0}% at most"),
        },
        columns: vec!["until", "CPU"],
        rows,
    }
}

/// What it kept in memory.
pub(super) fn memory(server: &Server) -> Figure {
    const MIB: f64 = 1_048_576.0;
    let values = samples(server, |_, bytes| bytes as f64 / MIB);
    let rows = rows_of(&values, |mib| format!("{mib:.1} MiB"));
    let most = values.iter().map(|value| value.1).fold(0.0, f64::max);
    let lines = vec![line_of(&values)];
    Figure {
        title: "Server: memory over time",
        void: false,
        caption:
            "Resident set of the server's process, without what the kernel keeps for its sockets."
                .into(),
        plot: Plot {
            x: sample_axis(server),
            y: Axis::linear(greatest(&lines), "", |mib| format!("{} MiB", short(mib))),
            hints: hint_all(&values, &rows),
            lines,
            description: format!("Memory of the server over time, {most:.1} MiB at most"),
        },
        columns: vec!["at", "resident"],
        rows,
    }
}

/// Times in seconds with what `of` makes of cores and bytes.
fn samples(server: &Server, of: fn(f64, u64) -> f64) -> Vec<(f64, f64)> {
    let samples = server.samples.iter();
    samples
        .map(|sample| (seconds(sample.at_ns), of(sample.cores, sample.rss_bytes)))
        .collect()
}

fn rows_of(values: &[(f64, f64)], text: fn(f64) -> String) -> Vec<Vec<String>> {
    values
        .iter()
        .map(|&(at, value)| vec![format!("{at:.1} s"), text(value)])
        .collect()
}

fn line_of(values: &[(f64, f64)]) -> Line {
    Line {
        name: "server",
        style: "one",
        points: values
            .iter()
            .map(|&(at, value)| (at, Some(value)))
            .collect(),
    }
}

fn hint_all(values: &[(f64, f64)], rows: &[Vec<String>]) -> Vec<(f64, String)> {
    values
        .iter()
        .zip(rows)
        .map(|(value, row)| (value.0, row.join(": ")))
        .collect()
}

fn sample_axis(server: &Server) -> Axis {
    let last = server.samples.last().map_or(0, |sample| sample.at_ns);
    Axis::time(seconds(last), SINCE_START)
}
