//! Tables for people, in Markdown.

use super::catalog::{OURS, Peer};
use super::measure::Numbers;
use super::schedule::{Cell, Row};
use super::stats::Spread;
use super::workload::Load;

/// One thing that is measured.
struct Column {
    title: &'static str,
    value: fn(&Numbers) -> Option<f64>,
    /// What a unit of the column is in that of the value.
    unit: f64,
    /// Whether a column with the ratio to ours follows.
    ratio: bool,
}

const fn column(
    title: &'static str,
    value: fn(&Numbers) -> Option<f64>,
    unit: f64,
    ratio: bool,
) -> Column {
    Column {
        title,
        value,
        unit,
        ratio,
    }
}

const COLUMNS: [Column; 10] = [
    column("/s", |numbers| numbers.per_second, 1.0, true),
    column("CPU ns", |numbers| numbers.cpu_ns, 1.0, true),
    column("user", |numbers| numbers.user_ns, 1.0, true),
    column("system", |numbers| numbers.system_ns, 1.0, false),
    column("p50 us", |numbers| numbers.p50_ns, 1e3, false),
    column("p99 us", |numbers| numbers.p99_ns, 1e3, false),
    column("p99.9 us", |numbers| numbers.p99_9_ns, 1e3, true),
    column("max us", |numbers| numbers.max_ns, 1e3, false),
    column("RSS MiB", |numbers| numbers.rss_bytes, 1048576.0, false),
    column(
        "B/connection",
        |numbers| numbers.bytes_per_connection,
        1.0,
        true,
    ),
];

/// The table of one workload.
pub(crate) fn of(row: &Row) -> String {
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| rounds(row).any(|numbers| (column.value)(numbers).is_some()))
        .collect();
    let mut lines = vec![vec!["server".to_owned()]];
    for column in &columns {
        lines[0].push(title(column, &row.workload.load));
        if column.ratio {
            lines[0].push("x".to_owned());
        }
    }
    lines[0].push("notes".to_owned());
    let ours = row.cells.iter().find(|(peer, _)| peer.name == OURS);
    for (peer, cell) in &row.cells {
        lines.push(line(peer, cell, ours.map(|(_, cell)| cell), &columns));
    }
    format!(
        "### {}: {}\n\n{}",
        row.workload.name,
        row.workload.about,
        aligned(&lines)
    )
}

fn rounds(row: &Row) -> impl Iterator<Item = &Numbers> {
    row.cells.iter().flat_map(|(_, cell)| match cell {
        Cell::Measured(rounds) => rounds.as_slice(),
        Cell::None | Cell::Failed(_) => &[],
    })
}

fn title(column: &Column, load: &Load) -> String {
    let what = match (column.title, load) {
        ("/s", Load::Broadcast { .. }) => "deliveries/s",
        ("/s", Load::Storm { .. }) => "handshakes/s",
        ("/s", _) => "messages/s",
        (title, _) => title,
    };
    what.to_owned()
}

fn line(peer: &Peer, cell: &Cell, ours: Option<&Cell>, columns: &[&Column]) -> Vec<String> {
    let mut line = vec![peer.name.to_owned()];
    for column in columns {
        let spread = spread(cell, column);
        let blank = match cell {
            Cell::None => "none",
            Cell::Failed(_) => "failed",
            Cell::Measured(_) => "-",
        };
        let shown = |shown: Option<String>| shown.unwrap_or_else(|| blank.to_owned());
        line.push(shown(spread.map(|spread| span(spread, column.unit))));
        if column.ratio {
            let base = ours.and_then(|ours| self::spread(ours, column));
            let ratio = spread.zip(base).filter(|(_, base)| base.median > 0.0);
            line.push(shown(ratio.map(|(spread, base)| {
                format!("{:.2}", spread.median / base.median)
            })));
        }
    }
    line.push(notes(cell));
    line
}

fn spread(cell: &Cell, column: &Column) -> Option<Spread> {
    match cell {
        Cell::Measured(rounds) => Spread::of(rounds.iter().map(column.value)),
        Cell::None | Cell::Failed(_) => None,
    }
}

/// The median, with lowest and highest where they differ.
fn span(spread: Spread, unit: f64) -> String {
    let [median, min, max] = [spread.median, spread.min, spread.max].map(|v| number(v / unit));
    if min == max {
        median
    } else {
        format!("{median} ({min} to {max})")
    }
}

/// Three or more digits.
fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What a reader must know, once each, with in how many rounds.
fn notes(cell: &Cell) -> String {
    let rounds = match cell {
        Cell::None => return "has no such feature".into(),
        Cell::Failed(message) => return message.replace(['\n', '|'], " "),
        Cell::Measured(rounds) => rounds,
    };
    let marked = |is: fn(&Numbers) -> bool, what: &str| {
        let count = rounds.iter().filter(|numbers| is(numbers)).count();
        (count > 0).then(|| format!("{what} ({count} of {})", rounds.len()))
    };
    let unclean = |numbers: &Numbers| numbers.notes.iter().any(|note| note.contains("not closed"));
    let notes = [
        marked(
            |numbers| !numbers.valid,
            "generator full or late: rate and latencies are not the server's alone",
        ),
        marked(
            |numbers| !numbers.canary.is_well(),
            "CANARY: the machine was not well",
        ),
        marked(unclean, "connections not closed cleanly"),
    ];
    notes.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// A Markdown table whose columns line up, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let count = lines[0].len();
    let width = |at: usize| {
        lines
            .iter()
            .map(|line| line[at].len())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let is_text = |at: usize| at == 0 || at == count - 1;
    let mut text = String::new();
    for (row, line) in lines.iter().enumerate() {
        for (at, cell) in line.iter().enumerate() {
            let width = widths[at];
            text.push_str(&if is_text(at) {
                format!("| {cell:width$} ")
            } else {
                format!("| {cell:>width$} ")
            });
        }
        text.push_str("|\n");
        if row == 0 {
            for (at, &width) in widths.iter().enumerate() {
                let end = if is_text(at) { '-' } else { ':' };
                text.push_str(&format!("| {}{end} ", "-".repeat(width - 1)));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{catalog, workload};

    fn numbers(cpu: f64) -> Numbers {
        Numbers {
            cpu_ns: Some(cpu),
            valid: true,
            ..Numbers::default()
        }
    }

    #[test]
    fn ratios_are_to_ours_and_what_is_missing_has_a_word() {
        let peers = catalog::all();
        let row = Row {
            workload: workload::all(false)[0],
            cells: vec![
                (
                    peers[0],
                    Cell::Measured(vec![numbers(4_000.0), numbers(5_000.0)]),
                ),
                (peers[1], Cell::Measured(vec![numbers(2_000.0)])),
                (peers[2], Cell::None),
                (peers[3], Cell::Failed("it | ended".into())),
            ],
        };
        let table = of(&row);
        let cells = |name: &str| -> Vec<String> {
            let line = table
                .lines()
                .find(|line| line.starts_with(&format!("| {name} ")));
            let cells = line.expect("each peer has a line").split('|');
            cells.skip(2).map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(cells("hioload")[..2], ["4,000 (4,000 to 5,000)", "1.00"]);
        assert_eq!(cells("raw-uring")[..2], ["2,000", "0.50"]);
        assert_eq!(
            cells("raw-epoll")[..3],
            ["none", "none", "has no such feature"]
        );
        assert_eq!(
            cells("tokio-uring")[..3],
            ["failed", "failed", "it   ended"]
        );
    }

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [0.1234, 12.34, 123.4, 1_234.5, 1_234_567.0, -1_234.0].map(number);
        assert_eq!(
            shown,
            ["0.12", "12.3", "123", "1,234", "1,234,567", "-1,234"]
        );
    }
}
