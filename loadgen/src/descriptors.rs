//! The limit on open descriptors.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors of each thread besides its connections: ring, eventfd, timer
/// and what a probe opens for a moment.
const PER_THREAD: u64 = 8;

/// Descriptors of the process: standard streams, the JSON file, libraries.
const RESERVE: u64 = 32;

/// How many descriptors a run needs.
pub(crate) fn needed(connections: usize, threads: usize) -> u64 {
    connections as u64 + threads as u64 * PER_THREAD + RESERVE
}

/// Raises the soft limit to the hard one and checks that `needed` fit.
///
/// # Errors
/// What to do when they do not fit.
pub(crate) fn reserve(needed: u64) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| format!("cannot read the limit on open files: {errno}"))?;
    let limit = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        hard
    } else {
        soft
    };
    if needed <= limit {
        return Ok(());
    }
    Err(format!(
        "this run needs {needed} open files, the limit is {limit} (ulimit -Hn); raise it \
         (`ulimit -n {needed}` as root, or LimitNOFILE=, or limits.conf), or use fewer connections"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        assert_eq!(reserve(1), Ok(()));
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }

    #[test]
    fn a_refusal_names_the_number_needed() {
        let message = reserve(u64::MAX - 1).unwrap_err();
        assert!(message.contains(&(u64::MAX - 1).to_string()), "{message}");
    }
}
