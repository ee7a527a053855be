//! The subcommands about configuration and tokens. None of them serves.

mod check_config;
mod check_token;
mod gen_config;
mod gen_token;

use std::path::Path;
use std::process::ExitCode;

use crate::cli::{Cli, Command, Seats};

/// What is asked about is wrong: exit code 1. What could not be asked: 2, as of
/// every other command.
const WRONG: u8 = 1;

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

/// Runs a subcommand; `None` for one that is not here.
pub(crate) fn run(command: &Command) -> Option<Outcome> {
    Some(match command {
        Command::CheckConfig { file } => check_config::run(file.as_deref()),
        Command::GenConfig { output } => gen_config::run(output.as_deref()),
        Command::GenToken(asked) => gen_token::run(asked),
        Command::CheckToken { token, config } => check_token::run(token, config.as_deref()),
        Command::Probe { .. } => return None,
    })
}

/// A command line with a file and nothing else.
fn with_config(file: Option<&Path>) -> Cli {
    Cli {
        seats: Seats {
            config: file.map(Into::into),
            ..Seats::default()
        },
        ..Cli::default()
    }
}
