//! What the operating system allows this process.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fmt;
use std::io;

use thiserror::Error;

#[cfg(unix)]
use unix as imp;
#[cfg(windows)]
use windows as imp;

/// A limit of this process: what counts now, and how far it may be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What counts now.
    pub soft: u64,
    /// How far an unprivileged process may raise it.
    pub hard: u64,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { soft, hard } = *self;
        match (soft == u64::MAX, hard == u64::MAX) {
            (true, _) => write!(f, "unlimited"),
            (false, true) => write!(f, "{soft} (may be raised without limit)"),
            (false, false) => write!(f, "{soft} (may be raised to {hard})"),
        }
    }
}

/// The limits a server runs into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Open descriptors, one per connection: `RLIMIT_NOFILE`; what a process
    /// of Windows may ever have.
    pub nofile: Option<Limit>,
    /// Locked memory in bytes (`RLIMIT_MEMLOCK`): before Linux 5.12 rings
    /// count against it. Windows has no such limit.
    pub memlock: Option<Limit>,
    /// Connections a listener may keep waiting (`net.core.somaxconn`).
    pub somaxconn: Option<u64>,
}

impl Limits {
    /// Reads them; what can not be read is `None`.
    #[must_use]
    pub fn read() -> Self {
        imp::read()
    }
}

/// The limit on open descriptors can not be what is needed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The hard limit is too low: it was raised as far as it goes.
    #[error("{needed} open files are needed and {now} allowed; {}", imp::ADVICE)]
    TooLow {
        /// What was asked for.
        needed: u64,
        /// What is allowed now.
        now: u64,
    },
    /// A system call failed.
    #[error("{call} failed: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// Makes room for `needed` open descriptors, raising the soft limit to the hard
/// one if it is lower than needed. Returns the soft limit now.
///
/// # Errors
/// [`LimitError::TooLow`] when the hard limit is lower still; the soft limit is
/// the hard one then.
pub fn raise_nofile(needed: u64) -> Result<u64, LimitError> {
    imp::raise_nofile(needed)
}

/// Whether an error says that no descriptor is left: `EMFILE`, `ENFILE`,
/// `WSAEMFILE`. It has no [`io::ErrorKind`] of its own.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(imp::is_out_of_descriptors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_suffices_is_left_alone() {
        let before = Limits::read().nofile.expect("there is such a limit");
        assert_eq!(raise_nofile(1).expect("one is allowed"), before.soft);
        assert_eq!(Limits::read().nofile, Some(before));
    }

    #[test]
    fn what_can_not_be_had_is_named() {
        let hard = Limits::read().nofile.expect("there is such a limit").hard;
        if hard == u64::MAX {
            return;
        }
        let error = raise_nofile(hard + 1).expect_err("the hard limit is lower");
        assert!(matches!(error, LimitError::TooLow { now, .. } if now == hard));
        assert!(error.to_string().contains(&hard.to_string()));
    }

    #[test]
    fn limits_read_well() {
        assert_eq!(
            Limit { soft: 5, hard: 9 }.to_string(),
            "5 (may be raised to 9)"
        );
        assert_eq!(
            Limit {
                soft: u64::MAX,
                hard: u64::MAX
            }
            .to_string(),
            "unlimited"
        );
        assert_eq!(
            Limit {
                soft: 5,
                hard: u64::MAX
            }
            .to_string(),
            "5 (may be raised without limit)"
        );
    }
}
