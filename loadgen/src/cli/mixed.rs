//! The command `mixed`: where the scenario comes from and the results go.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;

use super::scenario;
use crate::mixed::Scenario;
use crate::reporting;

/// The longest scenario, in bytes: some 10,000 fields.
const MAX_FILE: u64 = 1 << 20;

/// What `--example` prints.
pub(super) const EXAMPLE: &str = include_str!("example.toml");

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct Mixed {
    /// The scenario: groups of connections, each with a pattern and its
    /// options.
    #[arg(required_unless_present = "example")]
    file: Option<PathBuf>,
    /// Print a scenario with comments, and end.
    #[arg(long)]
    pub(super) example: bool,
    /// Write the result as JSON to FILE, or to standard output instead of the
    /// table for `-`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report of all groups to FILE: one HTML page with plots, to be
    /// passed on.
    #[arg(long, value_name = "FILE", value_parser = reporting::file)]
    html: Option<PathBuf>,
    /// End with exit code 4 when the numbers of a group are not valid, not only
    /// with the line that says so.
    #[arg(long)]
    require_valid: bool,
    /// No live progress on standard error.
    #[arg(long, short)]
    quiet: bool,
}

impl Mixed {
    /// Reads the scenario.
    pub(super) fn scenario(self, run: u32) -> Result<Scenario, String> {
        let path = self.file.unwrap_or_default();
        let file = path.display().to_string();
        let mut text = String::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
            .map_err(|error| format!("cannot read {file}: {error}"))?;
        if text.len() as u64 > MAX_FILE {
            return Err(format!("{file} is longer than {MAX_FILE} bytes"));
        }
        let mut groups = scenario::read(&file, &text, run)?;
        for group in &mut groups {
            group.quiet = self.quiet;
            group.require_valid = self.require_valid;
        }
        Ok(Scenario {
            file,
            groups,
            json: self.json,
            html: self.html,
        })
    }
}
