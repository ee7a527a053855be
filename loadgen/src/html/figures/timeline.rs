//! The load over time.

use super::{Figure, SINCE_START, greatest, latency_axis, seconds, short, shown};
use crate::html::axis::Axis;
use crate::html::plot::{Line, Plot};
use crate::html::text::{sentence, time};
use crate::report::{count, rate_number};
use crate::series::{Interval, Spread};
use crate::summary::Summary;

/// Percentiles of each interval.
pub(super) fn latency(summary: &Summary) -> Option<Figure> {
    let latency = summary.labels.latency?;
    let points = &summary.series.points;
    let spreads = || points.iter().filter_map(|point| point.latency_ns);
    let worst = spreads().map(|spread| spread.max).max()?;
    let least = spreads().map(|spread| spread.p50).min()?;
    let line = |name, style, of: fn(&Spread) -> u64| Line {
        name,
        style,
        points: points
            .iter()
            .map(|point| {
                (
                    middle(point),
                    point.latency_ns.as_ref().map(|spread| shown(of(spread))),
                )
            })
            .collect(),
    };
    let lines = vec![
        line("maximum", "three", |spread| spread.max),
        line("p99", "two", |spread| spread.p99),
        line("p50", "one", |spread| spread.p50),
    ];
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|point| {
            let spread = point.latency_ns;
            let value =
                |of: fn(Spread) -> u64| spread.map_or("-".into(), |spread| time(of(spread)));
            vec![
                start(point),
                spread.map_or("0".into(), |spread| count(spread.count)),
                value(|spread| spread.p50),
                value(|spread| spread.p99),
                value(|spread| spread.max),
            ]
        })
        .collect();
    Some(Figure {
        title: "Latency over time",
        void: !summary.valid,
        caption: format!(
            "{}, for what was planned within each {}.",
            sentence(latency),
            interval(summary)
        ),
        plot: Plot {
            x: time_axis(summary),
            y: latency_axis(shown(least), shown(worst)),
            hints: hints(points, &rows, |row| {
                format!("p50 {}, p99 {}, maximum {}", row[2], row[3], row[4])
            }),
            lines,
            description: format!(
                "Latency over time: the medians lie between {} and {}, the highest maximum is {}",
                time(least),
                time(spreads().map(|spread| spread.p50).max()?),
                time(worst)
            ),
        },
        columns: vec!["from", "count", "p50", "p99", "maximum"],
        rows,
    })
}

/// Messages per second in each interval.
pub(super) fn throughput(summary: &Summary) -> Option<Figure> {
    summary.labels.received?;
    let points = &summary.series.points;
    let line = |name, style, of: fn(&Interval) -> u64| Line {
        name,
        style,
        points: points
            .iter()
            .map(|point| (middle(point), Some(per_second(point, of(point)))))
            .collect(),
    };
    let lines = vec![
        line("sent", "two", |point| point.sent),
        line("received", "one", |point| point.received),
    ];
    let rates = || points.iter().map(|point| per_second(point, point.received));
    let (least, most) = (rates().reduce(f64::min)?, rates().reduce(f64::max)?);
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|point| {
            let rate = |number| rate_number(per_second(point, number).round());
            vec![start(point), rate(point.sent), rate(point.received)]
        })
        .collect();
    Some(Figure {
        title: "Throughput over time",
        void: !summary.valid,
        caption: format!("Per second, averaged over each {}.", interval(summary)),
        plot: Plot {
            x: time_axis(summary),
            y: Axis::linear(greatest(&lines), "per second", short),
            hints: hints(points, &rows, |row| {
                format!("sent {}/s, received {}/s", row[1], row[2])
            }),
            lines,
            description: format!(
                "Throughput over time: between {} and {} received per second",
                rate_number(least.round()),
                rate_number(most.round())
            ),
        },
        columns: vec!["from", "sent/s", "received/s"],
        rows,
    })
}

/// Only where something happened to them: a straight line tells nothing.
pub(super) fn connections(summary: &Summary) -> Option<Figure> {
    let points = &summary.series.points;
    let first = points.first()?;
    let quiet = points
        .iter()
        .all(|point| point.open == first.open && point.faults == 0);
    if quiet {
        return None;
    }
    let line = |name, style, of: fn(&Interval) -> u64| Line {
        name,
        style,
        points: points
            .iter()
            .map(|point| (middle(point), Some(of(point) as f64)))
            .collect(),
    };
    let lines = vec![
        line("open connections", "one", |point| point.open),
        line("errors", "three", |point| point.faults),
    ];
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|point| vec![start(point), count(point.open), count(point.faults)])
        .collect();
    let faults = points.iter().map(|point| point.faults).sum();
    Some(Figure {
        title: "Connections and errors over time",
        void: false,
        caption: format!(
            "Connections open at the end of each {}, and errors seen within it. What is lost is \
             known only at the end.",
            interval(summary)
        ),
        plot: Plot {
            x: time_axis(summary),
            y: Axis::linear(greatest(&lines), "", short),
            hints: hints(points, &rows, |row| {
                format!("{} open, {} errors", row[1], row[2])
            }),
            lines,
            description: format!(
                "Connections over time, from {} to {}, and {} errors",
                count(first.open),
                count(points.last()?.open),
                count(faults)
            ),
        },
        columns: vec!["from", "open", "errors"],
        rows,
    })
}

fn time_axis(summary: &Summary) -> Axis {
    let last = summary.series.points.last();
    let end = last.map_or(0, |last| last.at_ns + last.length_ns);
    Axis::time(seconds(end), SINCE_START)
}

fn hints(
    points: &[Interval],
    rows: &[Vec<String>],
    text: impl Fn(&[String]) -> String,
) -> Vec<(f64, String)> {
    let texts = rows
        .iter()
        .map(|row| format!("from {}: {}", row[0], text(row)));
    points.iter().map(middle).zip(texts).collect()
}

fn middle(point: &Interval) -> f64 {
    seconds(point.at_ns) + seconds(point.length_ns) / 2.0
}

fn start(point: &Interval) -> String {
    format!("{:.0} s", seconds(point.at_ns))
}

fn per_second(point: &Interval, number: u64) -> f64 {
    if point.length_ns == 0 {
        return 0.0;
    }
    number as f64 / seconds(point.length_ns)
}

fn interval(summary: &Summary) -> String {
    match summary.series.interval_ns {
        1_000_000_000 => "second".into(),
        longer => format!("{:.0} seconds", seconds(longer)),
    }
}
