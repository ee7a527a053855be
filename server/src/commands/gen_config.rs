//! `gen-config`: the documented example, with secrets of its own.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use uuid::Uuid;

use super::Outcome;
use crate::announce;

const EXAMPLE: &str = include_str!("../../hioload-server.toml");

/// The lines of the example that are secrets, each once.
const SECRETS: [&str; 3] = ["debug_token = \"\"", "token_secret = \"\"", "\nkey = \"\""];

pub(super) fn run(output: Option<&Path>) -> Outcome {
    let config = config();
    let Some(path) = output else {
        announce(config.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        // Secrets are in it.
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(config.as_bytes()));
    match written {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(format!(
            "{} is there already, and is not overwritten; name another file, or move it away",
            path.display()
        )
        .into()),
        Err(error) => Err(format!("cannot write {}: {error}", path.display()).into()),
    }
}

fn config() -> String {
    SECRETS.iter().fold(EXAMPLE.to_owned(), |config, empty| {
        let filled = empty.replace("\"\"", &format!("\"{}\"", secret()));
        config.replacen(empty, &filled, 1)
    })
}

/// 244 bits from the operating system, in hexadecimal.
fn secret() -> String {
    let half = || Uuid::new_v4().simple().to_string();
    half() + &half()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_of_the_example_is_filled_in_and_another_each_time() {
        for empty in SECRETS {
            assert_eq!(EXAMPLE.matches(empty).count(), 1, "{empty}");
            assert!(!config().contains(empty), "{empty}");
        }
        assert_ne!(config(), config());
        let table: toml::Table = config().parse().unwrap();
        let key = table["api"]["key"].as_str().unwrap();
        assert_eq!(key.len(), 64);
        assert_ne!(table["client"]["token_secret"].as_str(), Some(key));
    }
}
