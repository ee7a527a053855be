//! The report to pass on: one HTML file that needs nothing else. It has no
//! script and asks for nothing over the network; its policy forbids both.

mod axis;
mod figures;
mod plot;
mod sections;
mod several;
mod tables;
mod text;

use std::fmt::{self, Display, Formatter};

use crate::report::{self, bytes, count, rate_number, several, whole_bytes};
use crate::summary::{Distribution, Server, Summary};
use text::{Text, sentence, time};

pub(crate) use several::{MixPage, SearchPage};

/// A [`Summary`] as an HTML document.
pub(crate) struct Page<'a>(pub(crate) &'a Summary);

const STYLE: &str = include_str!("html/page.css");

impl Display for Page<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let summary = self.0;
        let title = format!("{}: {}", heading(summary), verdict(summary).0);
        begin(f, &title)?;
        header(f, summary)?;
        f.write_str("<main>\n")?;
        body(f, summary)?;
        end(f, summary.generator, summary.schema)
    }
}

/// Everything before what is visible.
fn begin(f: &mut Formatter<'_>, title: &str) -> fmt::Result {
    writeln!(
        f,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
             http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
             'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, \
             initial-scale=1\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>",
        Text(title),
    )
}

/// The end of the main part, and of the document.
fn end(f: &mut Formatter<'_>, generator: &str, schema: &str) -> fmt::Result {
    writeln!(
        f,
        "</main>\n<footer>{}, results as {}.</footer>\n</body>\n</html>",
        Text(generator),
        Text(schema)
    )
}

/// All about a run but its heading.
fn body(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    judgement(f, summary)?;
    if summary.failure.is_none() {
        tiles(f, summary)?;
        results(f, summary)?;
        for figure in figures::of_load(summary) {
            figure.write(f)?;
        }
        sections::of_load(f, summary)?;
        if let Some(process) = &summary.server_process {
            server(f, process)?;
        }
        errors(f, summary)?;
        generator(f, summary)?;
    }
    configuration(f, summary)
}

fn heading(summary: &Summary) -> String {
    format!("{} load on {}", summary.config.load, summary.config.url)
}

fn header(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    writeln!(
        f,
        "<header>\n<h1>WebSocket load: {}</h1>\n<p class=\"url\">{}</p>\n<p>{}</p>\n<p>Finished \
         {}, after {:.1} s of measurement.</p>\n</header>",
        Text(summary.config.load),
        Text(&summary.config.url),
        Text(&report::describe(summary)),
        Text(&summary.finished),
        summary.measured_seconds,
    )
}

/// The result in two words, and how it looks.
fn verdict(summary: &Summary) -> (&'static str, &'static str) {
    if summary.failure.is_some() {
        ("The run did not take place", "bad")
    } else if summary.failed() {
        ("Failed", "bad")
    } else if !summary.valid {
        ("Not valid", "bad")
    } else if summary.interrupted {
        ("Interrupted", "warn")
    } else {
        ("Valid", "good")
    }
}

fn judgement(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    let (word, class) = verdict(summary);
    write!(
        f,
        "<div class=\"verdict {class}\" role=\"status\"><strong>{word}</strong>"
    )?;
    if let Some(failure) = &summary.failure {
        return writeln!(f, "<p>{}</p></div>", Text(failure));
    }
    let unopened = summary.connections.failed;
    if summary.errors.total > 0 || unopened > 0 {
        let (errors, unopened) = (count(summary.errors.total), count(unopened));
        let tolerated = match summary.errors.tolerated {
            true => " Failed connections are within what the run tolerates.",
            false => "",
        };
        write!(
            f,
            "<p>{errors} errors, and {unopened} connections did not open; the causes are \
             below.{tolerated}</p>"
        )?;
    }
    if summary.interrupted {
        f.write_str("<p>A signal ended the run early. This is what was measured until then.</p>")?;
    }
    if summary.valid && summary.errors.total == 0 {
        let well = match summary.labels.received {
            Some(_) => {
                let arrived = count(summary.messages.arrived_total);
                format!("All {arrived} messages arrived intact, once and in order")
            }
            None => "Nothing went wrong".to_owned(),
        };
        write!(f, "<p>{well}, and the generator had reserve.</p>")?;
    }
    if !summary.valid {
        f.write_str("<p>Throughput and latency are void:</p><ul>")?;
        for reason in &summary.reasons {
            write!(f, "<li>{}</li>", Text(reason))?;
        }
        f.write_str("</ul>")?;
        if summary
            .server_process
            .as_ref()
            .is_some_and(|server| server.valid)
        {
            write!(f, "<p>But {}.</p>", Text(report::SERVER_HOLDS))?;
        }
    }
    f.write_str("</div>\n")
}

/// What one looks for first. Void figures are shown as such.
fn tiles(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    let mut tiles = Vec::new();
    let void = !summary.valid;
    if summary.labels.received.is_some() {
        let rate = rate_number(summary.rates.received);
        tiles.push((void, rate, "received per second".into()));
    }
    if summary.labels.latency.is_some() && summary.latency_ns.count > 0 {
        let of = &summary.latency_ns;
        for (value, name) in [
            (of.p50, "p50"),
            (of.p99, "p99"),
            (of.p99_9, "p99.9"),
            (of.max, "maximum"),
        ] {
            tiles.push((void, time(value), format!("latency, {name}")));
        }
    }
    if let Some(server) = &summary.server_process {
        if let (Some(cpu), Some(per)) = (server.cpu_ns_per_message, server.per) {
            tiles.push((
                !server.valid,
                format!("{} ns", rate_number(cpu)),
                format!("server CPU per {per}"),
            ));
        }
        if let Some(each) = server.rss_bytes_per_connection {
            tiles.push((
                false,
                whole_bytes(each),
                "server memory per connection".into(),
            ));
        }
    }
    tiles.push((false, count(summary.errors.total), "errors".into()));
    f.write_str("<ul class=\"tiles\">\n")?;
    for (void, value, name) in tiles {
        let class = if void { " class=\"void\"" } else { "" };
        writeln!(
            f,
            "<li{class}><b>{}</b><span>{}</span></li>",
            Text(&value),
            Text(&name)
        )?;
    }
    f.write_str("</ul>\n")
}

fn results(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    let tag = tables::tag(!summary.valid);
    writeln!(f, "<section>\n<h2>Results{tag}</h2>")?;
    if summary.labels.received.is_some() {
        let (messages, rates) = (&summary.messages, &summary.rates);
        let row = |name: &str, number, rate, data| {
            let data = format!("{}/s", bytes(data));
            vec![name.to_owned(), count(number), rate_number(rate), data]
        };
        let rows = [
            row("sent", messages.sent, rates.sent, rates.sent_bytes),
            row(
                "received",
                messages.received,
                rates.received,
                rates.received_bytes,
            ),
        ];
        tables::grid(
            f,
            "Throughput",
            &["", "messages", "per second", "payload"],
            &rows,
        )?;
    }
    if let Some(latency) = summary.labels.latency {
        writeln!(
            f,
            "<h3>Latency</h3>\n<p class=\"note\">{}.</p>",
            Text(&sentence(latency))
        )?;
        let mut columns = vec!["", "latency"];
        let mut of = vec![&summary.latency_ns];
        if summary.sends.planned > 0 {
            columns.push("of it: lateness");
            of.push(&summary.sends.lateness_ns);
        }
        tables::grid(f, "Latency", &columns, &distributions(&of))?;
        if summary.sends.planned > 0 {
            f.write_str(
                "<p class=\"note\">Lateness is the generator's own part: from the planned time to \
                 when it came to send.</p>\n",
            )?;
        }
    }
    f.write_str("</section>\n")
}

/// A row for each percentile, a column for each distribution.
fn distributions(of: &[&Distribution]) -> Vec<Vec<String>> {
    type Value = fn(&Distribution) -> u64;
    let percentiles: [(&str, Value); 8] = [
        ("p50", |of| of.p50),
        ("p90", |of| of.p90),
        ("p99", |of| of.p99),
        ("p99.9", |of| of.p99_9),
        ("p99.99", |of| of.p99_99),
        ("maximum", |of| of.max),
        ("minimum", |of| of.min),
        ("mean", mean),
    ];
    let rows = percentiles.into_iter().map(|(name, value)| {
        let values = of.iter().map(|of| match of.count {
            0 => "-".to_owned(),
            _ => time(value(of)),
        });
        std::iter::once(name.to_owned()).chain(values).collect()
    });
    rows.collect()
}

fn mean(of: &Distribution) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a mean of latencies lies between them"
    )]
    let mean = of.mean.round() as u64;
    mean
}

fn server(f: &mut Formatter<'_>, server: &Server) -> fmt::Result {
    let memory = |at: Option<u64>| at.map_or("unknown".into(), |at| bytes(at as f64));
    let threads = several(
        usize::try_from(server.threads).unwrap_or(usize::MAX),
        "thread",
    );
    let mut entries = vec![
        (
            "Process",
            format!("{} ({}), {threads}", server.pid, server.name),
        ),
        (
            "CPU",
            server.cores.map_or("unknown".into(), |cores| {
                format!(
                    "{:.0}% of a CPU over {:.1} s",
                    cores * 100.0,
                    server.measured_seconds
                )
            }),
        ),
    ];
    if let (Some(per), Some(cpu)) = (server.per, server.cpu_ns_per_message) {
        let mut text = format!("{} ns per {per}", rate_number(cpu));
        let split = server.user_ns_per_message.zip(server.system_ns_per_message);
        if let Some((user, system)) = split {
            let (user, system) = (rate_number(user), rate_number(system));
            text.push_str(&format!(": user {user} ns, system {system} ns"));
        }
        entries.push(("CPU per message", text));
    }
    entries.extend([
        ("Memory before connecting", memory(server.rss_before_bytes)),
        ("With all connections open", memory(server.rss_open_bytes)),
        ("At the end of measurement", memory(server.rss_end_bytes)),
        ("After closing them", memory(server.rss_closed_bytes)),
    ]);
    if let Some(each) = server.rss_bytes_per_connection {
        entries.push(("Memory per connection", whole_bytes(each)));
    }
    if let Some(note) = &server.note {
        entries.push(("Note", note.clone()));
    }
    f.write_str("<section>\n<h2>Server process</h2>\n")?;
    tables::list(f, &entries)?;
    f.write_str(
        "<p class=\"note\">User and system time are told apart by the kernel's ticks; their sum is \
         exact. Memory is the resident set, without what the kernel keeps for sockets.</p>\n\
         </section>\n",
    )?;
    let figures = figures::of_server(server);
    figures.iter().try_for_each(|figure| figure.write(f))
}

fn errors(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    let causes = summary.errors.causes();
    f.write_str("<section>\n<h2>Errors</h2>\n")?;
    if causes.is_empty() {
        return f.write_str("<p>None.</p>\n</section>\n");
    }
    let rows: Vec<Vec<String>> = causes
        .into_iter()
        .map(|(number, cause)| vec![cause, count(number)])
        .collect();
    tables::grid(f, "Errors by cause", &["cause", "count"], &rows)?;
    if !summary.errors.examples.is_empty() {
        f.write_str("<h3>Examples</h3>\n<ul class=\"causes\">\n")?;
        for example in &summary.errors.examples {
            writeln!(f, "<li>{}</li>", Text(example))?;
        }
        f.write_str("</ul>\n")?;
    }
    f.write_str("</section>\n")
}

fn generator(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    f.write_str("<section>\n<h2>Generator</h2>\n")?;
    let share = |part: u64, whole: u64| match whole {
        0 => "-".to_owned(),
        whole => format!("{:.0}%", part as f64 * 100.0 / whole as f64),
    };
    let threads = summary.threads.iter().enumerate();
    let rows: Vec<Vec<String>> = threads
        .map(|(index, thread)| {
            vec![
                format!("thread {index}"),
                count(thread.connections as u64),
                share(thread.user_ns, thread.measured_ns),
                share(thread.system_ns, thread.measured_ns),
                share(thread.waited_ns, thread.measured_ns),
            ]
        })
        .collect();
    let columns = ["", "connections", "user", "system", "waiting"];
    tables::grid(f, "CPU of the generator's threads", &columns, &rows)?;
    f.write_str("<p class=\"note\">Waiting is ready to run, but without a CPU.</p>\n")?;
    let sends = &summary.sends;
    if sends.planned > 0 {
        writeln!(
            f,
            "<p class=\"note\">{} messages planned, {} late by the generator, {} held back by the \
             server, {} never sent.</p>",
            count(sends.planned),
            count(sends.late),
            count(sends.held_back),
            count(sends.unsent)
        )?;
    }
    f.write_str("</section>\n")
}

fn configuration(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    let (config, machine) = (&summary.config, &summary.machine);
    f.write_str("<section>\n<h2>Configuration and machine</h2>\n")?;
    let command =
        std::iter::once("hioload-loadgen").chain(summary.command.iter().map(String::as_str));
    writeln!(
        f,
        "<pre>{}</pre>",
        Text(&command.collect::<Vec<_>>().join(" "))
    )?;
    let mut entries = vec![
        ("Load", report::describe(summary)),
        ("Warm-up", time(config.warmup_ns)),
        ("Measurement", time(config.duration_ns)),
        (
            "Generator",
            format!("{} on {}", summary.generator, summary.backend),
        ),
        (
            "Its system",
            format!("{}, {}", machine.system, machine.architecture),
        ),
    ];
    if let Some(cpu) = &machine.cpu {
        entries.push(("Its processor", cpu.clone()));
    }
    entries.push(("CPUs it may use", machine.cpus.to_string()));
    if !config.cpus.is_empty() {
        let pinned: Vec<String> = config.cpus.iter().map(usize::to_string).collect();
        entries.push(("Threads pinned to CPUs", pinned.join(", ")));
    }
    if let Some(memory) = machine.memory_bytes {
        entries.push(("Memory", bytes(memory as f64)));
    }
    tables::list(f, &entries)?;
    f.write_str("</section>\n")
}
