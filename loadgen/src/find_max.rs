//! The search for the highest rate that meets latency goals.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::exit::Exit;
use crate::goal::Goals;
use crate::report::{count, rate_number};
use crate::run;
use crate::search::{Search, Verdict};
use crate::settings::Settings;
use crate::summary::{Ended, Summary};
use crate::table::{Head, Row};
use crate::together::Together;
use crate::validity::{self, Spent};

/// Name and version of the JSON schema.
const SCHEMA: &str = "hioload-loadgen-search/1";

/// Messages that a round has at least when the rate is lowered: of fewer than a
/// hundred the 99th percentile is the largest.
const FEWEST: f64 = 100.0;

/// What a search came to.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    pub(crate) schema: &'static str,
    pub(crate) generator: &'static str,
    pub(crate) goals: Goals,
    pub(crate) answer: Answer,
    /// The answer in words.
    pub(crate) conclusion: String,
    pub(crate) interrupted: bool,
    pub(crate) exit_code: u8,
    /// Why a round could not take place, or null.
    pub(crate) failure: Option<String>,
    pub(crate) rounds: Vec<Round>,
}

/// The highest rate that met the goals, and what is known of those above.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Answer {
    /// Per second; null when no rate met the goals.
    pub(crate) rate: Option<f64>,
    /// Messages per second received in the round at this rate.
    pub(crate) received: Option<f64>,
    /// The lowest rate that did not; null when the search ended before one.
    pub(crate) next: Option<f64>,
    /// Why it did not: `missed`, or `generator_limit`, where the server can do
    /// at least `rate`.
    pub(crate) limit: Option<Verdict>,
}

/// One run of the search.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) rate: f64,
    pub(crate) verdict: Verdict,
    /// Why the verdict is not `met`.
    pub(crate) causes: Vec<String>,
    /// The whole result.
    pub(crate) result: Summary,
}

/// Searches with a run for each round, each with connections of its own, so
/// that no round answers for what another left behind.
///
/// # Errors
/// When this machine does not allow the runs.
pub(crate) fn find_max(
    settings: &Settings,
    goals: &Goals,
    together: &Together,
) -> Result<(Found, Exit), String> {
    let slowest = FEWEST * 1e9 / settings.duration as f64;
    let mut search = Search::new(settings.rate().unwrap_or(slowest), slowest);
    let mut rounds = Vec::new();
    let mut exit = Exit::Ok;
    let mut failure = None;
    if !settings.quiet {
        eprintln!("{}", Head("round"));
    }
    while let Some(rate) = search.next() {
        let number = rounds.len() + 1;
        let asked = settings.at_rate(rate, number);
        let ended = run::run(&asked, together)?;
        let (result, ended_as) = Summary::new(&asked, &ended);
        failure.clone_from(&result.failure);
        if failure.is_some() {
            exit = ended_as;
            break;
        }
        if together.interrupted() {
            exit = exit.min(Exit::Interrupted);
            break;
        }
        let (verdict, causes) = judge(goals, &ended, &result);
        search.note(verdict);
        let round = Round {
            rate,
            verdict,
            causes,
            result,
        };
        if !settings.quiet {
            eprintln!("{}", Line(number, &round));
        }
        rounds.push(round);
        if ended.tally.faults.wrong() > 0 {
            exit = Exit::Broken;
            break;
        }
    }
    let answer = Answer::of(&search, &rounds);
    let exit = exit.min(answer.exit(settings.require_valid));
    let found = Found {
        schema: SCHEMA,
        generator: concat!("hioload-loadgen ", env!("CARGO_PKG_VERSION")),
        goals: goals.clone(),
        conclusion: answer.words(goals, &rounds),
        answer,
        interrupted: together.interrupted(),
        exit_code: exit.code(),
        failure,
        rounds,
    };
    Ok((found, exit))
}

/// Whether a round met the goals, and if not, why.
fn judge(goals: &Goals, ended: &Ended, result: &Summary) -> (Verdict, Vec<String>) {
    let tally = &ended.tally;
    let spent: Vec<Spent> = ended.threads.iter().map(|thread| thread.0).collect();
    let limits = validity::limits(tally, &spent);
    if !limits.is_empty() {
        return (Verdict::GeneratorLimit, limits);
    }
    let mut causes = goals.missed(&tally.latency);
    if tally.latency.is_empty() {
        causes.push("no message was sent and received within the measurement".into());
    }
    if tally.unsent > 0 {
        let unsent = count(tally.unsent);
        causes.push(format!("the server did not take {unsent} planned messages"));
    }
    let unopened = result.connections.failed;
    if unopened > 0 && !result.errors.tolerated {
        causes.push(format!("{} connections did not open", count(unopened)));
    }
    let faults = result.errors.untolerated().into_iter();
    causes.extend(faults.map(|(number, cause)| format!("{} {cause}", count(number))));
    if causes.is_empty() {
        (Verdict::Met, causes)
    } else {
        (Verdict::Missed, causes)
    }
}

impl Answer {
    fn of(search: &Search, rounds: &[Round]) -> Self {
        let rate = search.met();
        let best = rounds.iter().rev().find(|round| {
            round.verdict == Verdict::Met && rate.is_some_and(|rate| rate == round.rate)
        });
        Self {
            rate,
            received: best.map(|round| round.result.rates.received),
            next: search.failed().map(|failed| failed.0),
            limit: search.failed().map(|failed| failed.1),
        }
    }

    fn exit(&self, require_valid: bool) -> Exit {
        match (self.rate, self.limit) {
            (_, Some(Verdict::GeneratorLimit)) if require_valid => Exit::NotValid,
            (None, Some(Verdict::Missed)) => Exit::Missed,
            _ => Exit::Ok,
        }
    }

    fn words(&self, goals: &Goals, rounds: &[Round]) -> String {
        let rate = |rate: f64| format!("{} msg/s", rate_number(rate));
        let above = self.next.map_or_else(String::new, |next| {
            let failed = |round: &&Round| round.rate == next && round.verdict != Verdict::Met;
            let causes = rounds.iter().rev().find(failed);
            let causes = causes.map_or_else(String::new, |round| round.causes.join("; "));
            format!("at {}: {causes}", rate(next))
        });
        match (self.rate, self.limit) {
            (Some(met), Some(Verdict::GeneratorLimit)) => format!(
                "at least {} with {goals}; the generator was the limit: {above}",
                rate(met)
            ),
            (Some(met), Some(_)) => format!("{} with {goals}; {above}", rate(met)),
            (Some(met), None) => format!(
                "at least {} with {goals}; the search ended before a rate failed",
                rate(met)
            ),
            (None, Some(Verdict::GeneratorLimit)) => {
                format!("unknown: the generator was the limit at every rate tried, {above}")
            }
            (None, Some(_)) => format!("no rate tried met {goals}; {above}"),
            (None, None) => {
                "unknown: the search ended before a round passed or failed twice".into()
            }
        }
    }
}

/// A round as a line; its number comes first.
struct Line<'a>(usize, &'a Round);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(number, round) = *self;
        let rates = &round.result.rates;
        let row = Row {
            number,
            rates: [round.rate, rates.sent, rates.received],
            latency: &round.result.latency_ns,
            lateness: &round.result.sends.lateness_ns,
        };
        let verdict = match round.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "missed: ",
            Verdict::GeneratorLimit => "generator: ",
        };
        // What to do about it follows in the JSON and in the answer.
        let causes = round.causes.iter();
        let brief: Vec<&str> = causes
            .filter_map(|cause| cause.split([':', ';']).next())
            .collect();
        write!(f, "{row}  {verdict}{}", brief.join("; "))
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Head("round"))?;
        for (number, round) in (1..).zip(&self.rounds) {
            writeln!(f, "{}", Line(number, round))?;
        }
        if self.interrupted {
            writeln!(f, "interrupted in round {}", self.rounds.len() + 1)?;
        }
        writeln!(f, "\nanswer     {}", self.conclusion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rate: Option<f64>, limit: Option<Verdict>) -> Answer {
        Answer {
            rate,
            received: rate,
            next: limit.map(|_| 2000.0),
            limit,
        }
    }

    #[test]
    fn the_answer_says_whose_limit_was_found() {
        let goals: Goals = "p99=5ms".parse().unwrap();
        let (missed, generator) = (Some(Verdict::Missed), Some(Verdict::GeneratorLimit));
        for (answer, words, exit) in [
            (
                answer(Some(1000.0), missed),
                "1,000 msg/s with p99",
                Exit::Ok,
            ),
            (
                answer(Some(1000.0), generator),
                "at least 1,000 msg/s with p99 within 5.00 ms; the generator was the limit",
                Exit::NotValid,
            ),
            (answer(Some(1000.0), None), "at least 1,000 msg/s", Exit::Ok),
            (answer(None, missed), "no rate tried met", Exit::Missed),
            (answer(None, generator), "unknown", Exit::NotValid),
            (answer(None, None), "unknown", Exit::Ok),
        ] {
            let said = answer.words(&goals, &[]);
            assert!(said.starts_with(words), "{said}");
            assert_eq!(answer.exit(true), exit, "{said}");
        }
        assert_eq!(answer(Some(1000.0), generator).exit(false), Exit::Ok);
    }
}
