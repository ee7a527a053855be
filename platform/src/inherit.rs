//! Listening sockets inherited from whoever started this process: socket
//! activation.
//!
//! The protocol is that of systemd (`sd_listen_fds(3)`): `LISTEN_PID` names
//! this process, `LISTEN_FDS` says how many descriptors there are, from 3 on,
//! and `LISTEN_FDNAMES` their names (`FileDescriptorName=` of a socket unit),
//! parted by colons. The one who started us keeps its own descriptors of the
//! same sockets: what connects while no server runs waits for the next.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;

use thiserror::Error;

use crate::socket::Listener;

#[cfg(unix)]
use unix as imp;
#[cfg(windows)]
use windows as imp;

/// Descriptors inherited at most.
#[cfg(unix)]
const MOST: usize = 256;

/// A listener this process was started with.
#[derive(Debug)]
pub struct Inherited {
    /// Its name, `unknown` when it was given none, as in systemd.
    pub name: String,
    /// The socket; no other program that this one starts inherits it again.
    pub listener: Listener,
}

/// Inherited sockets that cannot be used: whoever started this process is at
/// fault.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InheritError {
    /// A variable does not say what it should.
    #[error("the environment variable {variable} is {value:?}, which {why}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A descriptor is not a listening TCP socket.
    #[error("the inherited descriptor {number} ({name}) is no listening TCP socket: {source}")]
    Descriptor {
        /// Its number.
        number: i32,
        /// Its name.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// They were asked for before: a descriptor has one owner.
    #[error("the inherited sockets were taken already; ask for them once")]
    Taken,
    /// This system has no socket activation.
    #[error("this system has no inherited sockets; give addresses to listen on")]
    Unsupported,
}

/// The names of the sockets this process was started with, in their order;
/// none when the variables are for another process.
///
/// # Errors
/// [`InheritError::Variable`].
pub fn names() -> Result<Vec<String>, InheritError> {
    imp::announced()
}

/// Takes the sockets this process was started with, in their order.
///
/// # Errors
/// [`InheritError`]; none was started with is an empty list.
pub fn take() -> Result<Vec<Inherited>, InheritError> {
    imp::take()
}

/// The names of the descriptors that `fds` and `names` announce.
#[cfg(unix)]
fn parse(fds: &str, names: Option<&str>) -> Result<Vec<String>, InheritError> {
    let count: usize = fds.parse().map_err(|_| InheritError::Variable {
        variable: "LISTEN_FDS",
        value: fds.into(),
        why: "is no number",
    })?;
    if count > MOST {
        return Err(InheritError::Variable {
            variable: "LISTEN_FDS",
            value: fds.into(),
            why: "is more than the 256 that are taken",
        });
    }
    let Some(text) = names else {
        return Ok(vec!["unknown".into(); count]);
    };
    let names: Vec<String> = text.split(':').map(Into::into).collect();
    if names.len() == count || (count == 0 && text.is_empty()) {
        Ok(names.into_iter().take(count).collect())
    } else {
        Err(InheritError::Variable {
            variable: "LISTEN_FDNAMES",
            value: text.into(),
            why: "has another number of names than LISTEN_FDS says",
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_descriptors_in_their_order() {
        assert_eq!(parse("2", Some("http:https")).unwrap(), ["http", "https"]);
        assert_eq!(parse("2", None).unwrap(), ["unknown", "unknown"]);
        assert_eq!(parse("0", None).unwrap(), [""; 0]);
        assert_eq!(parse("0", Some("")).unwrap(), [""; 0]);
    }

    #[test]
    fn variables_that_say_nothing_are_named() {
        for (fds, names, variable) in [
            ("", None, "LISTEN_FDS"),
            ("-1", None, "LISTEN_FDS"),
            ("257", None, "LISTEN_FDS"),
            ("2", Some("one"), "LISTEN_FDNAMES"),
            ("1", Some("one:two"), "LISTEN_FDNAMES"),
        ] {
            let error = parse(fds, names).unwrap_err().to_string();
            assert!(error.contains(variable), "{error}");
        }
    }
}
