//! The table for people.

use std::fmt::{self, Display, Formatter, Write as _};

use crate::summary::{Distribution, Summary};

/// Prints a [`Summary`] as aligned lines.
pub(crate) struct Report<'a>(pub(crate) &'a Summary);

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let summary = self.0;
        writeln!(f, "{}  {}", summary.config.load, summary.config.url)?;
        writeln!(f, "{}", describe(summary))?;
        if summary.failure.is_none() {
            volumes(f, summary)?;
            times(f, summary)?;
            generator(f, summary)?;
        }
        errors(f, summary)?;
        if summary.interrupted {
            writeln!(
                f,
                "interrupted after {:.1} s of measurement",
                summary.measured_seconds
            )?;
        }
        Ok(())
    }
}

fn describe(summary: &Summary) -> String {
    let config = &summary.config;
    let size = if config.size_min == config.size_max {
        format!("{} B", count(config.size_min as u64))
    } else {
        format!(
            "{} to {} B",
            count(config.size_min as u64),
            count(config.size_max as u64)
        )
    };
    let members = match (config.publishers, config.subscribers, config.topics) {
        (Some(publishers), Some(subscribers), Some(topics)) => format!(
            "{}, {}, {}",
            several(publishers, "publisher"),
            several(subscribers, "subscriber"),
            several(topics, "topic")
        ),
        _ => several(config.connections, "connection"),
    };
    let pace = match (config.rate, config.depth) {
        (Some(rate), _) => format!("open loop {} msg/s", rate_number(rate)),
        (None, depth) => format!("closed loop, depth {}", depth.unwrap_or(1)),
    };
    let threads = several(config.threads, "thread");
    let backend = match summary.backend {
        "io_uring" => String::new(),
        other => format!(" on {other}"),
    };
    let deflate = match (config.deflate, summary.deflated_connections) {
        (false, _) => String::new(),
        (true, used) => format!(", {} compressed", count(used)),
    };
    format!(
        "{members}{deflate}, {size} {}, {pace}, {threads}{backend}",
        config.kind
    )
}

fn volumes(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    let (messages, rates) = (&summary.messages, &summary.rates);
    let seconds = format!("in {:.1} s", summary.measured_seconds);
    writeln!(
        f,
        "\n{:<10} {:>15} {:>15} {:>14}",
        seconds, "messages", "messages/s", "data/s"
    )?;
    for (name, total, rate, data) in [
        ("sent", messages.sent, rates.sent, rates.sent_bytes),
        (
            "received",
            messages.received,
            rates.received,
            rates.received_bytes,
        ),
    ] {
        let (total, rate, data) = (count(total), rate_number(rate), bytes(data));
        writeln!(f, "{name:<10} {total:>15} {rate:>15} {data:>14}")?;
    }
    Ok(())
}

fn times(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    write!(f, "\n{:<10}", "")?;
    for name in ["p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        write!(f, " {name:>10}")?;
    }
    writeln!(f)?;
    row(f, "latency", &summary.latency_ns)?;
    if summary.sends.planned > 0 {
        row(f, "lateness", &summary.sends.lateness_ns)?;
        writeln!(
            f,
            "           latency counts from the planned time; lateness is the generator's own part"
        )?;
    }
    Ok(())
}

fn row(f: &mut Formatter<'_>, name: &str, times: &Distribution) -> fmt::Result {
    write!(f, "{name:<10}")?;
    for value in [
        times.p50,
        times.p90,
        times.p99,
        times.p99_9,
        times.p99_99,
        times.max,
    ] {
        let value = if times.count == 0 {
            "-".into()
        } else {
            time(value)
        };
        write!(f, " {value:>10}")?;
    }
    writeln!(f)
}

fn generator(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    writeln!(f)?;
    for (index, thread) in summary.threads.iter().enumerate() {
        let share = |part: u64| match thread.measured_ns {
            0 => 0.0,
            whole => part as f64 * 100.0 / whole as f64,
        };
        writeln!(
            f,
            "generator  thread {index}: CPU {:.0}% ({:.0}% user, {:.0}% system), waited for a CPU \
             {:.0}%",
            share(thread.user_ns + thread.system_ns),
            share(thread.user_ns),
            share(thread.system_ns),
            share(thread.waited_ns),
        )?;
    }
    let sends = &summary.sends;
    if sends.planned > 0 {
        writeln!(
            f,
            "sends      {} planned, {} late by the generator, {} held back by the server, {} never \
             sent",
            count(sends.planned),
            count(sends.late),
            count(sends.held_back),
            count(sends.unsent)
        )?;
    }
    Ok(())
}

fn errors(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    if let Some(failure) = &summary.failure {
        return writeln!(f, "errors     {failure}");
    }
    let causes = summary.errors.causes();
    if causes.is_empty() {
        return match summary.messages.arrived_total {
            0 => writeln!(f, "errors     none, and no messages"),
            arrived => writeln!(
                f,
                "errors     none; all {} messages verified",
                count(arrived)
            ),
        };
    }
    let mut name = "errors";
    for (number, cause) in causes {
        writeln!(f, "{name:<10} {} {cause}", count(number))?;
        name = "";
    }
    for example in &summary.errors.examples {
        writeln!(f, "           e.g. {example}")?;
    }
    Ok(())
}

fn several(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number as u64))
}

/// A whole number with thousands separators.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate: whole above 100, else with one digit.
pub(crate) fn rate_number(rate: f64) -> String {
    if rate >= 100.0 || rate == rate.trunc() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rates are positive and far below 2^64"
        )]
        return count(rate.round() as u64);
    }
    format!("{rate:.1}")
}

/// Bytes per second with a unit.
fn bytes(rate: f64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = rate;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A time with three significant digits and a unit.
fn time(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (nanos as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    let mut out = String::new();
    let written = write!(out, "{value:.digits$} {unit}");
    debug_assert!(written.is_ok(), "writing to a string does not fail");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn times_have_three_digits_and_a_unit() {
        assert_eq!(
            [7, 1_234, 56_789, 987_654, 1_500_000, 61_000_000_000].map(time),
            ["7 ns", "1.23 us", "56.8 us", "988 us", "1.50 ms", "61.0 s"]
        );
    }

    #[test]
    fn rates_have_sensible_digits() {
        assert_eq!([0.5, 20.0, 1234.6].map(rate_number), ["0.5", "20", "1,235"]);
        assert_eq!(
            [512.0, 2048.0, 3e9].map(bytes),
            ["512 B", "2.0 KiB", "2.8 GiB"]
        );
    }
}
