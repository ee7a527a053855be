//! What is particular to a kind of load: steps, connections, rooms, pings.

use std::collections::BTreeMap;
use std::fmt::{self, Formatter};

use super::text::{Text, time};
use super::{distributions, tables};
use crate::chat::Visits;
use crate::idle::Beats;
use crate::opens::Connections;
use crate::reconnect::Comeback;
use crate::report::{count, rate_number};
use crate::steps::Step;
use crate::summary::{Centrifugo, Summary};

/// The sections that the load has.
pub(super) fn of_load(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    if !summary.steps.is_empty() {
        steps(f, &summary.steps)?;
    }
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
    connections(f, &summary.connections)
}

/// A row for each step, and why some are void.
fn steps(f: &mut Formatter<'_>, steps: &[Step]) -> fmt::Result {
    f.write_str("<section>\n<h2>Steps</h2>\n")?;
    let columns = [
        "step",
        "planned/s",
        "sent/s",
        "received/s",
        "p50",
        "p99",
        "p99.9",
        "maximum",
        "lateness, p99",
        "missing",
        "",
    ];
    let rows: Vec<Vec<String>> = (1..)
        .zip(steps)
        .map(|(number, step)| {
            let rates = [step.rate, step.sent, step.received].map(rate_number);
            let of = &step.latency_ns;
            let times = [of.p50, of.p99, of.p99_9, of.max, step.lateness_ns.p99].map(time);
            let verdict = if step.valid { "valid" } else { "not valid" };
            let number: u64 = number;
            std::iter::once(count(number))
                .chain(rates)
                .chain(times)
                .chain([count(step.missing), verdict.to_owned()])
                .collect()
        })
        .collect();
    tables::grid(f, "Steps of the rate", &columns, &rows)?;
    let reasons = (1..).zip(steps).flat_map(|(number, step)| {
        let reasons = step.reasons.iter();
        reasons.map(move |reason| (number, reason))
    });
    let reasons: Vec<(u64, &String)> = reasons.collect();
    if !reasons.is_empty() {
        f.write_str("<ul class=\"causes\">\n")?;
        for (number, reason) in reasons {
            writeln!(f, "<li>Step {number} is not valid: {}</li>", Text(reason))?;
        }
        f.write_str("</ul>\n")?;
    }
    f.write_str("</section>\n")
}

fn visits(f: &mut Formatter<'_>, visits: &Visits) -> fmt::Result {
    f.write_str("<section>\n<h2>Rooms</h2>\n")?;
    let entries = [
        ("Joins", count(visits.joins)),
        ("Leaves", count(visits.leaves)),
        (
            "Receipts not demanded, near a join or a leave",
            count(visits.unasked_receipts),
        ),
    ];
    tables::list(f, &entries)?;
    f.write_str("</section>\n")
}

fn commands(f: &mut Formatter<'_>, clients: &Centrifugo) -> fmt::Result {
    f.write_str("<section>\n<h2>Clients</h2>\n")?;
    let rows: Vec<Vec<String>> = [
        ("connect", clients.connects, None),
        ("subscribe", clients.subscribes, None),
        ("unsubscribe", clients.unsubscribes, None),
        ("publish", clients.publishes, Some(&clients.publish_ns)),
        ("history", clients.histories, Some(&clients.history_ns)),
        ("presence", clients.presences, Some(&clients.presence_ns)),
    ]
    .into_iter()
    .map(|(command, answered, times)| {
        let times = times.filter(|times| times.count > 0);
        let shown = match times {
            Some(times) => [times.p50, times.p99, times.max].map(time),
            None => ["-"; 3].map(str::to_owned),
        };
        [command.to_owned(), count(answered)]
            .into_iter()
            .chain(shown)
            .collect()
    })
    .collect();
    let columns = ["command", "answered", "p50", "p99", "maximum"];
    tables::grid(
        f,
        "Commands, from the planned action to the reply",
        &columns,
        &rows,
    )?;
    let entries = [
        (
            "Publications in histories",
            count(clients.history_publications),
        ),
        ("Clients in presences", count(clients.presence_clients)),
        ("Joins told", count(clients.joins)),
        ("Leaves told", count(clients.leaves)),
        ("Pings of the server", count(clients.server_pings)),
    ];
    tables::list(f, &entries)?;
    f.write_str("</section>\n")
}

fn pings(f: &mut Formatter<'_>, beats: &Beats) -> fmt::Result {
    f.write_str("<section>\n<h2>Pings</h2>\n")?;
    let entries = [
        ("Of the server, answered", count(beats.server_pings)),
        ("Of the generator", count(beats.pings_sent)),
        ("Of them answered", count(beats.pongs)),
        ("Pongs unasked", count(beats.unsolicited_pongs)),
    ];
    tables::list(f, &entries)?;
    f.write_str("</section>\n")
}

fn outages(f: &mut Formatter<'_>, comeback: &Comeback) -> fmt::Result {
    f.write_str("<section>\n<h2>Outages</h2>\n")?;
    let rows: Vec<Vec<String>> = (1..)
        .zip(&comeback.outages)
        .map(|(number, outage)| {
            let back = outage.all_back_ns.map_or("never".into(), time);
            let number: u64 = number;
            vec![
                count(number),
                count(outage.dropped),
                back,
                count(outage.failed_attempts),
            ]
        })
        .collect();
    let columns = ["outage", "dropped", "all back after", "attempts failed"];
    tables::grid(f, "Outages", &columns, &rows)?;
    causes(f, "Drops by cause", &comeback.drops)?;
    causes(f, "Failed attempts by cause", &comeback.failed_attempts)?;
    f.write_str("</section>\n")
}

fn connections(f: &mut Formatter<'_>, opens: &Connections) -> fmt::Result {
    f.write_str("<section>\n<h2>Connections</h2>\n")?;
    let mut entries = vec![
        ("Begun", count(opens.attempted)),
        ("Opened", count(opens.opened)),
        ("Failed", count(opens.failed)),
    ];
    if opens.opened_per_second > 0.0 {
        let rate = rate_number(opens.opened_per_second);
        entries.push(("Handshakes per second", rate));
    }
    tables::list(f, &entries)?;
    let times = distributions(&[&opens.connect_ns, &opens.handshake_ns]);
    tables::grid(f, "Time to open", &["", "TCP", "handshake"], &times)?;
    causes(f, "Failed connections by cause", &opens.failures)?;
    f.write_str("</section>\n")
}

/// A table of causes, if there are any.
fn causes(f: &mut Formatter<'_>, caption: &str, of: &BTreeMap<String, u64>) -> fmt::Result {
    if of.is_empty() {
        return Ok(());
    }
    let rows = of.iter();
    let rows: Vec<Vec<String>> = rows
        .map(|(cause, &number)| vec![cause.clone(), count(number)])
        .collect();
    tables::grid(f, caption, &["cause", "count"], &rows)
}
