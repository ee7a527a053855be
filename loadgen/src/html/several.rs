//! Reports of several runs: the rounds of a search, the groups of a scenario.

use std::fmt::{self, Display, Formatter};

use super::text::{Text, sentence, time};
use super::{begin, body, configuration, end, tables};
use crate::find_max::Found;
use crate::mixed::Mix;
use crate::report::{self, count, rate_number};
use crate::search::Verdict;
use crate::summary::{Distribution, Rates};

/// The columns of [`numbers`].
const NUMBERS: [&str; 6] = ["sent/s", "received/s", "p50", "p99", "p99.9", "maximum"];

/// A search as an HTML document.
pub(crate) struct SearchPage<'a>(pub(crate) &'a Found);

/// A scenario's result as an HTML document.
pub(crate) struct MixPage<'a>(pub(crate) &'a Mix);

/// What a run or a group came to, in a row.
fn numbers(rates: &Rates, latency: &Distribution) -> impl Iterator<Item = String> {
    let times = [latency.p50, latency.p99, latency.p99_9, latency.max];
    let times = times.map(|value| match latency.count {
        0 => "-".to_owned(),
        _ => time(value),
    });
    [rates.sent, rates.received]
        .map(rate_number)
        .into_iter()
        .chain(times)
}

/// A box with a word and sentences.
fn verdict(f: &mut Formatter<'_>, class: &str, word: &str, says: &[&str]) -> fmt::Result {
    write!(
        f,
        "<div class=\"verdict {class}\" role=\"status\"><strong>{}</strong>",
        Text(word)
    )?;
    for said in says {
        write!(f, "<p>{}</p>", Text(&sentence(said)))?;
    }
    f.write_str("</div>\n")
}

impl Display for SearchPage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let found = self.0;
        let first = found.rounds.first().map(|round| &round.result);
        let url = first.map_or("", |result| &result.config.url);
        begin(f, &format!("Highest rate on {url}"))?;
        writeln!(
            f,
            "<header>\n<h1>WebSocket load: the highest rate</h1>\n<p class=\"url\">{}</p>\n\
             </header>\n<main>",
            Text(url)
        )?;
        let (class, word) = match (&found.failure, found.answer.rate) {
            (Some(_), _) => ("bad", "A round did not take place".to_owned()),
            (None, Some(rate)) => ("good", format!("{} per second", rate_number(rate))),
            (None, None) => ("bad", "No rate".to_owned()),
        };
        let mut says = vec![found.conclusion.as_str()];
        says.extend(found.failure.as_deref());
        if found.interrupted {
            says.push("a signal ended the search early");
        }
        verdict(f, class, &word, &says)?;
        f.write_str("<section>\n<h2>Rounds</h2>\n")?;
        let rows: Vec<Vec<String>> = (1..)
            .zip(&found.rounds)
            .map(|(number, round)| {
                let verdict = match round.verdict {
                    Verdict::Met => "met".to_owned(),
                    Verdict::Missed => format!("missed: {}", round.causes.join("; ")),
                    Verdict::GeneratorLimit => format!("generator: {}", round.causes.join("; ")),
                };
                let number: u64 = number;
                [count(number), rate_number(round.rate)]
                    .into_iter()
                    .chain(numbers(&round.result.rates, &round.result.latency_ns))
                    .chain([verdict])
                    .collect()
            })
            .collect();
        let mut columns = vec!["round", "planned/s"];
        columns.extend(NUMBERS);
        columns.push("goals");
        tables::grid(f, "Rounds", &columns, &rows)?;
        f.write_str("</section>\n")?;
        if let Some(first) = first {
            configuration(f, first)?;
        }
        end(f, found.generator, found.schema)
    }
}

impl Display for MixPage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mix = self.0;
        begin(f, &format!("Loads of {}", mix.file))?;
        writeln!(
            f,
            "<header>\n<h1>WebSocket loads together</h1>\n<p class=\"url\">{}</p>\n</header>\n\
             <main>",
            Text(&mix.file)
        )?;
        judgement(f, mix)?;
        if mix.failure.is_none() {
            overview(f, mix)?;
        }
        for group in &mix.groups {
            writeln!(
                f,
                "<article>\n<h1>Group {}</h1>\n<p class=\"url\">{}</p>\n<p>{}</p>",
                Text(&group.name),
                Text(&group.result.config.url),
                Text(&report::describe(&group.result))
            )?;
            body(f, &group.result)?;
            f.write_str("</article>\n")?;
        }
        end(f, mix.generator, mix.schema)
    }
}

fn judgement(f: &mut Formatter<'_>, mix: &Mix) -> fmt::Result {
    if let Some(failure) = &mix.failure {
        return verdict(f, "bad", "The run did not take place", &[failure]);
    }
    let mut says: Vec<&str> = mix.reasons.iter().map(String::as_str).collect();
    if mix.interrupted {
        says.push("a signal ended the run early");
    }
    let failed = mix.groups.iter().any(|group| group.result.failed());
    let (class, word) = match (failed, mix.valid, mix.interrupted) {
        (true, ..) => ("bad", "Failed"),
        (_, false, _) => ("bad", "Not valid"),
        (_, _, true) => ("warn", "Interrupted"),
        (..) => ("good", "Valid"),
    };
    verdict(f, class, word, &says)
}

/// A row for each group and one for all.
fn overview(f: &mut Formatter<'_>, mix: &Mix) -> fmt::Result {
    writeln!(f, "<section>\n<h2>Groups{}</h2>", tables::tag(!mix.valid))?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for group in &mix.groups {
        let result = &group.result;
        let errors = count(result.errors.total);
        let name = std::iter::once(group.name.clone());
        let row = name.chain(numbers(&result.rates, &result.latency_ns));
        rows.push(row.chain([errors]).collect());
    }
    let total = &mix.total;
    let name = std::iter::once("all".to_owned());
    let row = name.chain(numbers(&total.rates, &total.latency_ns));
    rows.push(row.chain([count(total.errors.total)]).collect());
    let mut columns = vec!["group"];
    columns.extend(NUMBERS);
    columns.push("errors");
    tables::grid(f, "Groups", &columns, &rows)?;
    writeln!(
        f,
        "<p class=\"note\">All together within {:.1} s, from the beginning of the first \
         measurement to the end of the last.</p>\n</section>",
        total.measured_seconds
    )
}
