//! Where a result comes from: machine and command line.

use std::ffi::OsString;
use std::fs;
use std::thread;

use serde::Serialize;

/// The machine that the generator ran on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// Name and release of the kernel; the name alone where it does not tell.
    pub(crate) system: String,
    pub(crate) architecture: &'static str,
    /// The processor's name, where the system tells.
    pub(crate) cpu: Option<String>,
    /// CPUs that this process may use.
    pub(crate) cpus: usize,
    pub(crate) memory_bytes: Option<u64>,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let release = read("/proc/sys/kernel/osrelease");
        let system = match release.as_deref().map(str::trim) {
            Some(release) => format!("Linux {release}"),
            None => std::env::consts::OS.to_owned(),
        };
        let memory = read("/proc/meminfo").and_then(|text| {
            let total = value(&text, "MemTotal")?;
            total.split_ascii_whitespace().next()?.parse::<u64>().ok()
        });
        Self {
            system,
            architecture: std::env::consts::ARCH,
            cpu: read("/proc/cpuinfo").and_then(|text| value(&text, "model name")),
            cpus: thread::available_parallelism().map_or(1, |cpus| cpus.get()),
            memory_bytes: memory.map(|kib| kib * 1024),
        }
    }
}

/// What follows a name and a colon in the first line that begins so.
fn value(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

/// Options whose values are secrets.
const SECRETS: [&str; 3] = ["--header", "--token", "--token-secret"];

/// The arguments as they were given, without the values of headers and tokens,
/// which may be secrets: results are made to be passed on.
pub(crate) fn command(arguments: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut option = None;
    arguments
        .map(|argument| {
            let argument = argument.to_string_lossy().into_owned();
            let is_secret = |name: &str| SECRETS.into_iter().find(|secret| *secret == name);
            if let Some(option) = option.take() {
                return hidden(option, &argument);
            }
            let (name, value) = argument.split_once('=').unwrap_or((&argument, ""));
            match is_secret(name) {
                Some(_) if name.len() < argument.len() => {
                    format!("{name}={}", hidden(name, value))
                }
                secret => {
                    option = secret;
                    argument
                }
            }
        })
        .collect()
}

/// What is shown of an option's value: a header's name, and nothing else.
fn hidden(option: &str, value: &str) -> String {
    match (option, value.split_once(':')) {
        ("--header", Some((name, _))) => format!("{name}: ..."),
        _ => "...".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::here();
        assert!(
            machine.cpus > 0 && !machine.system.is_empty(),
            "{machine:?}"
        );
    }

    #[test]
    fn values_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz: fast\nmodel name\t: other\n";
        assert_eq!(
            value(text, "model name").as_deref(),
            Some("Some CPU @ 3 GHz: fast")
        );
        assert_eq!(value(text, "model"), None);
    }

    #[test]
    fn header_values_are_left_out() {
        let given = [
            "echo",
            "--header",
            "Authorization: Bearer a:b",
            "--header=X-Key: secret",
            "--token-secret",
            "a=b:c",
            "--token=a.b.c",
        ];
        let shown = command(given.into_iter().chain(["--text"]).map(OsString::from));
        assert_eq!(
            shown,
            [
                "echo",
                "--header",
                "Authorization: ...",
                "--header=X-Key: ...",
                "--token-secret",
                "...",
                "--token=...",
                "--text"
            ]
        );
    }
}
