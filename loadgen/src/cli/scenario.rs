//! The scenario file of `mixed`: groups whose fields are a pattern's options.
//!
//! A group becomes the command line of its pattern, so that a pattern has one
//! set of names, defaults and checks wherever it is written.

use std::collections::BTreeSet;
use std::ops::Range;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command, CommandFactory as _, Parser as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Cli, Job};
use crate::settings::Settings;

/// The most groups of a scenario: each has threads of its own.
const MAX_GROUPS: usize = 64;

/// The command that reads scenarios, which is no pattern.
const MIXED: &str = "mixed";

/// Options of a pattern that a group does not have: where the result of the
/// whole goes, what is made of the URL, and what takes more than one run.
const NOT_IN_GROUPS: [&str; 11] = [
    "find-max",
    "help",
    "html",
    "json",
    "part",
    "processes",
    "quiet",
    "require-valid",
    "server-pid",
    "url",
    "version",
];

/// Fields of a group besides the options of its pattern.
const OF_GROUPS: [&str; 6] = ["name", "pattern", "path", "url", "target", "start"];

/// Fields before the groups besides options.
const OF_ALL: [&str; 2] = ["target", "group"];

type Field<'a> = (&'a str, Range<usize>, &'a Spanned<DeValue<'a>>);

/// Reads the groups of a scenario; the first is run `run`, the others follow.
///
/// # Errors
/// What is wrong, with file and line.
pub(super) fn read(file: &str, text: &str, run: u32) -> Result<Vec<Settings>, String> {
    let reader = Reader {
        file,
        text,
        command: Cli::command(),
    };
    let table = DeTable::parse(text).map_err(|error| {
        let message = error.message();
        reader.wrong(error.span().unwrap_or_default(), message)
    })?;
    reader.groups(table.get_ref(), run)
}

/// A file that is being read.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    command: Command,
}

/// A group, and what is said of it in errors.
struct Group<'a> {
    name: &'a str,
    table: &'a DeTable<'a>,
    span: Range<usize>,
}

impl Reader<'_> {
    /// An error at a place of the file.
    fn wrong(&self, at: Range<usize>, what: impl std::fmt::Display) -> String {
        let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("{}:{line}: {what}", self.file)
    }

    fn groups(&self, table: &DeTable<'_>, run: u32) -> Result<Vec<Settings>, String> {
        let Some(groups) = table.get("group") else {
            return Err(self.wrong(0..0, "there is no [[group]]"));
        };
        let DeValue::Array(list) = groups.get_ref() else {
            return Err(self.wrong(groups.span(), "`group` is a list; write [[group]]"));
        };
        if list.is_empty() || list.len() > MAX_GROUPS {
            let count = list.len();
            let what = format!("{count} groups are not 1 to {MAX_GROUPS}");
            return Err(self.wrong(groups.span(), what));
        }
        let mut names = BTreeSet::new();
        let mut read = Vec::with_capacity(list.len());
        for (number, group) in (0..).zip(list.iter()) {
            let DeValue::Table(own) = group.get_ref() else {
                return Err(self.wrong(group.span(), "a group is a table; write [[group]]"));
            };
            let name = self.text_of(own, "name", group.span())?;
            if !names.insert(name) {
                let what = format!("there are two groups `{name}`");
                return Err(self.wrong(group.span(), what));
            }
            let group = Group {
                name,
                table: own,
                span: group.span(),
            };
            read.push(self.group(&group, table, run.wrapping_add(number))?);
        }
        Ok(read)
    }

    /// One group as the settings of its pattern.
    fn group(&self, group: &Group<'_>, all: &DeTable<'_>, run: u32) -> Result<Settings, String> {
        let pattern = self.pattern(group)?;
        let mut line = vec![
            "hioload-loadgen".to_owned(),
            pattern.get_name().to_owned(),
            format!("--url={}", self.url(group, all)?),
        ];
        let common = fields(all).filter(|field| !OF_ALL.contains(&field.0));
        let common = common.filter(|field| !group.table.contains_key(field.0));
        let own = fields(group.table).filter(|field| !OF_GROUPS.contains(&field.0));
        let given: Vec<Field<'_>> = common.chain(own).collect();
        for field in &given {
            let allowed = options(pattern);
            let option = allowed.iter().find(|option| field_name(option) == field.0);
            let option = option.ok_or_else(|| self.unknown(group, field, &allowed))?;
            line.extend(self.arguments(option, field)?);
        }
        if given.iter().all(|field| field.0 != "threads") {
            line.push("--threads=1".into());
        }
        let start = match group.table.get("start") {
            None => 0,
            Some(value) => super::duration(self.string("start", value)?)
                .map_err(|what| self.wrong(value.span(), format!("`start`: {what}")))?,
        };
        let cli = Cli::try_parse_from(line).map_err(|error| {
            let at = given.iter().find(|field| is_about(&error, field.0));
            let at = at.map_or(group.span.clone(), |field| field.1.clone());
            let text = error.to_string();
            let what = text.split("\n\n").next().unwrap_or_default();
            let what = what.trim_start_matches("error: ");
            self.wrong(at, format!("group `{}`: {what}", group.name))
        })?;
        let wrong = |what| {
            self.wrong(
                group.span.clone(),
                format!("group `{}`: {what}", group.name),
            )
        };
        match cli.job(run).map_err(wrong)? {
            Job::Run(settings) => Ok(Settings {
                name: Some(group.name.to_owned()),
                start,
                ..*settings
            }),
            Job::Mixed(_) | Job::Print(_) => Err(wrong("this is no pattern".into())),
        }
    }

    fn pattern(&self, group: &Group<'_>) -> Result<&Command, String> {
        let name = self.text_of(group.table, "pattern", group.span.clone())?;
        let patterns = || {
            let all = self.command.get_subcommands();
            all.filter(|pattern| ![MIXED, "help"].contains(&pattern.get_name()))
        };
        patterns()
            .find(|pattern| pattern.get_name() == name)
            .ok_or_else(|| {
                let names: Vec<&str> = patterns().map(Command::get_name).collect();
                let span = group.table.get("pattern").map(Spanned::span);
                let (group, names) = (group.name, names.join(", "));
                let what = format!("group `{group}`: pattern `{name}` is none of {names}");
                self.wrong(span.unwrap_or_default(), what)
            })
    }

    fn url(&self, group: &Group<'_>, all: &DeTable<'_>) -> Result<String, String> {
        let own = |field| {
            group
                .table
                .get(field)
                .map(|value| self.string(field, value))
        };
        let target = match own("target") {
            None => all.get("target").map(|value| self.string("target", value)),
            own => own,
        };
        let wrong = |what| {
            let group_name = group.name;
            Err(self.wrong(group.span.clone(), format!("group `{group_name}`: {what}")))
        };
        match (own("url"), target, own("path")) {
            (Some(url), _, None) => Ok(url?.to_owned()),
            (Some(_), _, Some(_)) => wrong("`url` and `path` exclude each other"),
            (None, Some(target), Some(path)) => {
                let (target, path) = (target?.trim_end_matches('/'), path?);
                match path.starts_with('/') {
                    true => Ok(format!("{target}{path}")),
                    false => wrong("`path` begins with /"),
                }
            }
            (None, _, None) => wrong("`path` is missing, as in path = \"/echo\""),
            (None, None, Some(_)) => {
                wrong("`target` is missing, as in target = \"ws://127.0.0.1:8000\"")
            }
        }
    }

    fn unknown(&self, group: &Group<'_>, field: &Field<'_>, options: &[&Arg]) -> String {
        let mut known: Vec<String> = options.iter().map(|option| field_name(option)).collect();
        if group.table.contains_key(field.0) {
            known.extend(OF_GROUPS.map(str::to_owned));
        } else {
            known.extend(OF_ALL.map(str::to_owned));
        }
        known.sort_unstable();
        let what = format!(
            "group `{}`: unknown field `{}`; allowed are {}",
            group.name,
            field.0,
            known.join(", ")
        );
        self.wrong(field.1.clone(), what)
    }

    /// A field as arguments of the command line.
    fn arguments(&self, option: &Arg, field: &Field<'_>) -> Result<Vec<String>, String> {
        let (name, _, value) = field;
        let long = option.get_long().unwrap_or_default();
        let wrong = |is| Err(self.wrong(value.span(), format!("`{name}` is {is}")));
        match (option.get_action(), value.get_ref()) {
            (ArgAction::SetTrue, DeValue::Boolean(true)) => Ok(vec![format!("--{long}")]),
            (ArgAction::SetTrue, DeValue::Boolean(false)) => Ok(Vec::new()),
            (ArgAction::SetTrue, _) => wrong("true or false"),
            (ArgAction::Append, DeValue::Array(list)) => {
                let each = list.iter().map(|item| scalar(item.get_ref()));
                match each.collect::<Option<Vec<_>>>() {
                    Some(each) => Ok(each.iter().map(|one| format!("--{long}={one}")).collect()),
                    None => wrong("a list of strings or numbers"),
                }
            }
            (_, one) => match scalar(one) {
                Some(one) => Ok(vec![format!("--{long}={one}")]),
                None => wrong("a string or a number"),
            },
        }
    }

    /// A string that has to be there.
    fn text_of<'b>(
        &self,
        table: &'b DeTable<'_>,
        field: &str,
        span: Range<usize>,
    ) -> Result<&'b str, String> {
        match table.get(field) {
            Some(value) => self.string(field, value),
            None => Err(self.wrong(span, format!("the group has no `{field}`"))),
        }
    }

    fn string<'b>(&self, field: &str, value: &'b Spanned<DeValue<'_>>) -> Result<&'b str, String> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.wrong(value.span(), format!("`{field}` is a string"))),
        }
    }
}

fn fields<'a>(table: &'a DeTable<'a>) -> impl Iterator<Item = Field<'a>> {
    let all = table.iter();
    all.map(|(key, value)| (key.get_ref().as_ref(), key.span(), value))
}

/// What a group may say of a pattern.
fn options(pattern: &Command) -> Vec<&Arg> {
    let all = pattern.get_arguments();
    all.filter(|option| {
        let long = option.get_long();
        long.is_some_and(|long| !NOT_IN_GROUPS.contains(&long))
    })
    .collect()
}

/// How an option is called in a file.
fn field_name(option: &Arg) -> String {
    option.get_long().unwrap_or_default().replace('-', "_")
}

/// Whether an error of the command line is about a field.
fn is_about(error: &clap::Error, field: &str) -> bool {
    let about = |text: &str| {
        let option = text.trim_start_matches('-').split([' ', '=']).next();
        option.is_some_and(|option| option.replace('-', "_") == field)
    };
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => about(text),
        Some(ContextValue::Strings(texts)) => texts.iter().any(|text| about(text)),
        _ => false,
    }
}

/// A string or number as it is written on a command line.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix());
            number.ok().map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::mixed::EXAMPLE;
    use super::*;
    use crate::settings::{Load, Pace};
    use crate::shape::Shape;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_example_is_what_its_comments_say() {
        let groups = read("example", EXAMPLE, 7).unwrap();
        let names: Vec<_> = groups.iter().map(|group| group.name.as_deref()).collect();
        let all = ["requests", "prices", "rooms", "held", "burst"].map(Some);
        assert_eq!(names, all);
        let [requests, prices, rooms, held, burst] = &groups[..] else {
            panic!("not five groups")
        };
        assert_eq!(requests.target.to_string(), "ws://127.0.0.1:8000/echo");
        let Load::Echo { connections, pace } = requests.load else {
            panic!("not an echo")
        };
        assert_eq!((connections, pace), (50, Pace::Open { rate: 2000.0 }));
        assert_eq!(
            (requests.warmup, requests.duration),
            (SECOND / 2, 3 * SECOND)
        );
        assert!(matches!(prices.load, Load::Broadcast { topics: 2, .. }));
        assert_eq!(prices.kind, hioload_protocol::Kind::Text);
        let Load::Chat(talk) = rooms.load else {
            panic!("not a chat")
        };
        assert_eq!((talk.users, talk.rooms), (40, 4));
        let Load::Idle {
            connections,
            ping_interval,
        } = held.load
        else {
            panic!("not idle")
        };
        assert_eq!((connections, ping_interval), (200, Some(SECOND / 2)));
        let then = vec![2000.0];
        assert_eq!(burst.shape, Shape::Steps { then });
        let times = (burst.start, burst.warmup, burst.duration);
        assert_eq!(times, (SECOND, 0, 2 * SECOND));
        let runs: Vec<_> = groups.iter().map(|group| group.run).collect();
        assert_eq!(runs, [7, 8, 9, 10, 11]);
        assert!(groups.iter().all(|group| group.threads == 1));
    }

    #[test]
    fn a_group_may_chat_in_channels() {
        let text = "[[group]]\nname = \"a\"\npattern = \"chat\"\nprotocol = \"centrifugo\"\n\
                    url = \"ws://127.0.0.1:1/\"\nrecoverable = true\nhistory_every = 3\n\
                    subprotocol = [\"x\"]\n";
        let groups = read("f", text, 0).unwrap();
        let dialect = groups[0].centrifugo.as_ref().unwrap();
        assert!(dialect.recoverable && !dialect.join_leave);
        assert_eq!(dialect.history_every, Some(3));
        assert_eq!(groups[0].protocols, ["x"]);
    }

    /// The error of a scenario with one good group and these lines, which
    /// begin at line 7.
    fn error(lines: &str) -> String {
        let text = format!(
            "target = \"ws://127.0.0.1:1\"\n[[group]]\nname = \"a\"\npattern = \"echo\"\n\
             path = \"/\"\n[[group]]\n{lines}"
        );
        read("f.toml", &text, 0).unwrap_err()
    }

    #[test]
    fn errors_name_the_file_the_line_and_what_is_allowed() {
        const GOOD: &str = "name = \"b\"\npattern = \"echo\"\npath = \"/\"\n";
        for (lines, said) in [
            ("pattern = \"echo\"", "f.toml:6: the group has no `name`"),
            ("name = 5", "f.toml:7: `name` is a string"),
            (
                "name = \"a\"\npattern = \"echo\"",
                "f.toml:6: there are two groups `a`",
            ),
            (
                "name = \"b\"\npattern = \"mixed\"",
                "f.toml:8: group `b`: pattern `mixed` is none of echo, broadcast",
            ),
            (
                "name = \"b\"\npattern = \"echo\"",
                "f.toml:6: group `b`: `path` is missing",
            ),
            (
                &format!("{GOOD}conections = 5"),
                "f.toml:10: group `b`: unknown field `conections`; allowed are backend, ca, connect_concurrency, ",
            ),
            (
                &format!("{GOOD}publishers = 5"),
                "f.toml:10: group `b`: unknown field `publishers`",
            ),
            (
                &format!("{GOOD}\nconnections = 0"),
                "f.toml:11: group `b`: invalid value '0' for '--connections <N>'",
            ),
            (
                &format!("{GOOD}text = 1"),
                "f.toml:10: `text` is true or false",
            ),
            (
                &format!("{GOOD}size = [1]"),
                "f.toml:10: `size` is a string or a number",
            ),
            (
                &format!("{GOOD}steps = [[1]]"),
                "f.toml:10: `steps` is a list of strings or numbers",
            ),
            (
                &format!("{GOOD}rate = 5\ndepth = 2"),
                "group `b`: the argument '--",
            ),
            (
                &format!("{GOOD}start = \"5\""),
                "f.toml:10: `start`: '5' is not a time",
            ),
            (
                &format!("{GOOD}duration = \"0s\""),
                "f.toml:6: group `b`: --duration must be longer than zero",
            ),
            (
                &format!("{GOOD}url = \"ws://127.0.0.1:1/\""),
                "f.toml:6: group `b`: `url` and `path` exclude",
            ),
            ("name = ", "f.toml:7: "),
        ] {
            let error = error(lines);
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn what_concerns_the_whole_run_is_no_field_of_a_group() {
        for field in NOT_IN_GROUPS {
            let field = field.replace('-', "_");
            // A group has a URL of its own by that name.
            if field != "url" {
                let group = "name = \"b\"\npattern = \"echo\"\npath = \"/\"\n";
                let error = error(&format!("{group}{field} = 1"));
                let said = format!("f.toml:10: group `b`: unknown field `{field}`");
                assert!(error.contains(&said), "{error}");
            }
        }
    }

    #[test]
    fn what_stands_before_the_groups_is_checked_and_overridden() {
        let group = "[[group]]\nname = \"a\"\npattern = \"echo\"\nurl = \"ws://127.0.0.1:1/\"\n";
        let groups = read("f", &format!("size = 5\nrate = 0x10\n{group}size = 7\n"), 0).unwrap();
        assert_eq!((groups[0].sizes.min(), groups[0].rate()), (7, Some(16.0)));
        let refused = |text: &str| read("f", text, 0).unwrap_err();
        let unknown = refused(&format!("\nsizes = 5\n{group}"));
        assert!(
            unknown.starts_with("f:2: group `a`: unknown field `sizes`"),
            "{unknown}"
        );
        assert!(refused("").starts_with("f:1: there is no [[group]]"));
        assert!(refused("group = 5").starts_with("f:1: `group` is a list"));
        assert!(refused("group = []").contains("0 groups are not 1 to 64"));
        assert!(refused("group = [5]").contains("a group is a table"));
    }
}
