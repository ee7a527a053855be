//! The limit on open descriptors.

use hioload_platform::limits::{self, LimitError};

/// Descriptors of each thread besides its connections: ring, eventfd, timer
/// and what a probe opens for a moment.
const PER_THREAD: u64 = 8;

/// Descriptors of the process: standard streams, the JSON file, libraries.
const RESERVE: u64 = 32;

/// How many descriptors a run needs.
pub(crate) fn needed(connections: usize, threads: usize) -> u64 {
    connections as u64 + threads as u64 * PER_THREAD + RESERVE
}

/// Raises the limit as far as it goes and checks that `needed` fit.
///
/// # Errors
/// What to do when they do not fit.
pub(crate) fn reserve(needed: u64) -> Result<(), String> {
    match limits::raise_nofile(needed) {
        Ok(_) => Ok(()),
        Err(LimitError::TooLow { now, .. }) => Err(format!(
            "this run needs {needed} open files, the limit is {now} (ulimit -Hn); raise it \
             (`ulimit -n {needed}` as root, or LimitNOFILE=, or limits.conf), use fewer \
             connections, or share them among several --processes"
        )),
        Err(error) => Err(format!("cannot make room for open files: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use hioload_platform::limits::Limits;

    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_is_needed() {
        let hard = Limits::read().nofile.unwrap().hard;
        assert_eq!(reserve(hard), Ok(()));
        assert!(Limits::read().nofile.unwrap().soft >= hard);
    }

    #[test]
    fn a_refusal_names_the_number_needed() {
        let message = reserve(u64::MAX - 1).unwrap_err();
        assert!(message.contains(&(u64::MAX - 1).to_string()), "{message}");
    }
}
