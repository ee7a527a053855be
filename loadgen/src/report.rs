//! The table for people.

use std::fmt::{self, Display, Formatter, Write as _};

use crate::chat::Visits;
use crate::idle::Beats;
use crate::opens::Connections;
use crate::reconnect::Comeback;
use crate::steps::Table;
use crate::summary::{Centrifugo, Config, Distribution, Server, Summary};

/// Why a void run may still tell what the server costs.
pub(crate) const SERVER_HOLDS: &str = "the server's CPU time per message holds nevertheless: it \
                                       does not depend on how fast the generator was";

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
            if !summary.steps.is_empty() {
                write!(f, "\n{}", Table(&summary.steps))?;
            }
            connections(f, &summary.connections)?;
            if let Some(chat) = &summary.chat {
                visits(f, chat)?;
            }
            if let Some(clients) = &summary.centrifugo {
                commands(f, clients)?;
            }
            if let Some(beats) = &summary.idle {
                pings(f, beats)?;
            }
            if let Some(comeback) = &summary.reconnect {
                outages(f, comeback)?;
            }
            generator(f, summary)?;
            if let Some(process) = &summary.server_process {
                server(f, process, summary)?;
            }
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

/// What was asked for, in one line.
pub(crate) fn describe(summary: &Summary) -> String {
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
        (Some(rate), _) if config.load == "connect" => {
            format!("open loop {} connections/s", rate_number(rate))
        }
        (Some(rate), _) => format!("open loop {}", rates(config, rate)),
        (None, None) if config.load == "reconnect" => "held".to_owned(),
        (None, None) if config.load == "chat" => format!(
            "{}, think {}, stay {}",
            several(config.rooms.unwrap_or(0), "room"),
            config.think.as_deref().unwrap_or(""),
            config.stay.as_deref().unwrap_or("")
        ),
        (None, None) if config.load == "idle" => match config.ping_interval_ns {
            Some(interval) => format!("held, a ping each {}", time(interval)),
            None => "held".to_owned(),
        },
        (None, None) => format!("{} loop", config.pace),
        (None, depth) => format!("closed loop, depth {}", depth.unwrap_or(1)),
    };
    let threads = several(config.threads, "thread");
    let processes = match config.processes {
        1 => String::new(),
        number => format!(" in {} processes", count(number as u64)),
    };
    let backend = match summary.backend {
        "io_uring" => String::new(),
        other => format!(" on {other}"),
    };
    let deflate = match (config.deflate, summary.deflated_connections) {
        (false, _) => String::new(),
        (true, used) => format!(", {} compressed", count(used)),
    };
    if config.load == "idle" {
        return format!("{members}{deflate}, {pace}, {threads}{processes}{backend}");
    }
    format!(
        "{members}{deflate}, {size} {}, {pace}, {threads}{processes}{backend}",
        config.kind
    )
}

/// The planned rate, as it changes.
fn rates(config: &Config, first: f64) -> String {
    match (config.ramp_to, config.steps.as_slice()) {
        (Some(to), _) => format!("{} to {} msg/s", rate_number(first), rate_number(to)),
        (None, []) => format!("{} msg/s", rate_number(first)),
        (None, steps) => format!("in {} steps", steps.len()),
    }
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

/// How connections opened, and why others did not.
fn connections(f: &mut Formatter<'_>, opens: &Connections) -> fmt::Result {
    row(f, "connect", &opens.connect_ns)?;
    row(f, "handshake", &opens.handshake_ns)?;
    let rate = match opens.opened_per_second {
        0.0 => String::new(),
        rate => format!(", {} handshakes/s", rate_number(rate)),
    };
    writeln!(
        f,
        "\nopened     {} of {} connections{rate}",
        count(opens.opened),
        count(opens.attempted)
    )?;
    for (cause, &number) in &opens.failures {
        writeln!(f, "           {} failed: {cause}", count(number))?;
    }
    Ok(())
}

/// Joins and leaves of a chat.
fn visits(f: &mut Formatter<'_>, visits: &Visits) -> fmt::Result {
    writeln!(
        f,
        "visits     {} joins, {} leaves, {} receipts not demanded (near a join or a leave)",
        count(visits.joins),
        count(visits.leaves),
        count(visits.unasked_receipts)
    )
}

/// What clients of Centrifugo's protocol asked for, and how long it took.
fn commands(f: &mut Formatter<'_>, clients: &Centrifugo) -> fmt::Result {
    row(f, "publish", &clients.publish_ns)?;
    if clients.histories > 0 {
        row(f, "history", &clients.history_ns)?;
    }
    if clients.presences > 0 {
        row(f, "presence", &clients.presence_ns)?;
    }
    writeln!(
        f,
        "commands   {} connects, {} subscribes, {} unsubscribes, {} publishes, {} histories with \
         {} publications, {} presences with {} clients",
        count(clients.connects),
        count(clients.subscribes),
        count(clients.unsubscribes),
        count(clients.publishes),
        count(clients.histories),
        count(clients.history_publications),
        count(clients.presences),
        count(clients.presence_clients),
    )?;
    writeln!(
        f,
        "pushes     {} joins, {} leaves, {} pings",
        count(clients.joins),
        count(clients.leaves),
        count(clients.server_pings),
    )
}

/// Pings and pongs of idle connections.
fn pings(f: &mut Formatter<'_>, beats: &Beats) -> fmt::Result {
    writeln!(
        f,
        "pings      {} of the server answered; {} sent, {} answered, {} pongs unasked",
        count(beats.server_pings),
        count(beats.pings_sent),
        count(beats.pongs),
        count(beats.unsolicited_pongs)
    )
}

/// When connections were down, and how they came back.
fn outages(f: &mut Formatter<'_>, comeback: &Comeback) -> fmt::Result {
    for outage in &comeback.outages {
        let back = match outage.all_back_ns {
            Some(nanos) => format!("all back after {}", time(nanos)),
            None => "not all back".to_owned(),
        };
        writeln!(
            f,
            "outage     {} dropped, {back}, {} attempts failed",
            count(outage.dropped),
            count(outage.failed_attempts)
        )?;
    }
    for (cause, &number) in &comeback.drops {
        writeln!(f, "           {} dropped: {cause}", count(number))?;
    }
    for (cause, &number) in &comeback.failed_attempts {
        writeln!(f, "           {} attempts failed: {cause}", count(number))?;
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

fn server(f: &mut Formatter<'_>, server: &Server, summary: &Summary) -> fmt::Result {
    write!(f, "server     process {} ({})", server.pid, server.name)?;
    if let Some(cores) = server.cores {
        write!(f, ": CPU {:.0}%", cores * 100.0)?;
    }
    if let (Some(cpu), Some(per)) = (server.cpu_ns_per_message, server.per) {
        write!(f, ", {} ns per {per}", rate_number(cpu))?;
    }
    if let (Some(user), Some(system)) = (server.user_ns_per_message, server.system_ns_per_message) {
        write!(
            f,
            " ({} user, {} system)",
            rate_number(user),
            rate_number(system)
        )?;
    }
    writeln!(f)?;
    let memory = |bytes: Option<u64>| bytes.map_or("unknown".into(), |at| self::bytes(at as f64));
    write!(
        f,
        "           memory {} before, {} with all connections open",
        memory(server.rss_before_bytes),
        memory(server.rss_open_bytes),
    )?;
    if let Some(each) = server.rss_bytes_per_connection {
        write!(f, " ({} per connection)", whole_bytes(each))?;
    }
    writeln!(f, ", {} at the end", memory(server.rss_end_bytes))?;
    if let Some(note) = &server.note {
        writeln!(f, "           {note}")?;
    } else if server.valid && !summary.valid {
        writeln!(f, "           {SERVER_HOLDS}")?;
    }
    Ok(())
}

fn errors(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    if let Some(failure) = &summary.failure {
        return writeln!(f, "errors     {failure}");
    }
    let failed = summary.connections.failed;
    let tolerated = summary.errors.tolerated;
    if failed > 0 && !tolerated {
        writeln!(f, "errors     {} connections did not open", count(failed))?;
    } else if failed > 0 || (tolerated && summary.errors.of_connections() > 0) {
        writeln!(f, "tolerated  failed connections, as --tolerate allows")?;
    }
    if summary.errors.cut_off > 0 {
        let cut_off = count(summary.errors.cut_off);
        writeln!(
            f,
            "cut off    {cut_off} receipts, by connections that failed"
        )?;
    }
    let causes = summary.errors.causes();
    if causes.is_empty() {
        return match summary.messages.arrived_total {
            _ if failed > 0 => examples(f, summary),
            0 if summary.idle.is_some() => writeln!(f, "errors     none"),
            0 => writeln!(f, "errors     none, and no messages"),
            arrived => writeln!(
                f,
                "errors     none; all {} {} verified",
                count(arrived),
                if summary.idle.is_some() {
                    "pongs"
                } else {
                    "messages"
                }
            ),
        };
    }
    let mut name = "errors";
    for (number, cause) in causes {
        writeln!(f, "{name:<10} {} {cause}", count(number))?;
        name = "";
    }
    examples(f, summary)
}

/// Some of what went wrong, in words.
fn examples(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    for example in &summary.errors.examples {
        writeln!(f, "           e.g. {example}")?;
    }
    Ok(())
}

/// A number of things.
pub(crate) fn several(number: usize, noun: &str) -> String {
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

/// Bytes, which may be fewer than none: memory may shrink while connections
/// open.
pub(crate) fn whole_bytes(bytes: f64) -> String {
    let sign = if bytes <= -0.5 { "-" } else { "" };
    format!("{sign}{} B", rate_number(bytes.abs().round()))
}

/// Bytes with a unit.
pub(crate) fn bytes(rate: f64) -> String {
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
pub(crate) fn time(nanos: u64) -> String {
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
        assert_eq!(
            [1782.3, -0.2, -12.0].map(whole_bytes),
            ["1,782 B", "0 B", "-12 B"]
        );
    }
}
