//! Why a connection failed, in words that many failures share: what is counted
//! names no address, port or number of one connection.

use std::collections::BTreeMap;
use std::io;

use hioload::client::DialError;
use hioload_platform::limits;
use hioload_protocol::handshake::ResponseError;

/// Causes told apart; the rest counts as one.
const MAX_CAUSES: usize = 32;

/// Why a connection did not open.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// What it is counted as.
    pub(crate) cause: String,
    /// Whose fault it is and what to do about it, for one who reads it first.
    pub(crate) message: String,
}

/// Counts one failure by its cause; a new cause beyond the bound counts as
/// another.
pub(crate) fn count(causes: &mut BTreeMap<String, u64>, cause: &str) {
    add(causes, cause, 1);
}

/// Adds another thread's counts, under the same bound.
pub(crate) fn merge(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (cause, &number) in from {
        add(into, cause, number);
    }
}

fn add(causes: &mut BTreeMap<String, u64>, cause: &str, number: u64) {
    let known = causes.contains_key(cause) || causes.len() < MAX_CAUSES;
    let cause = if known { cause } else { "other causes" };
    *causes.entry(cause.to_owned()).or_default() += number;
}

/// Why TCP did not connect.
pub(crate) fn of_connect(error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::TimedOut => "timed out",
        io::ErrorKind::ConnectionReset => "reset",
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => "no local port",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "no route",
        _ if limits::is_out_of_descriptors(error) => "too few open files",
        kind => return format!("connect: {kind}"),
    };
    format!("connect: {what}")
}

/// Why the upgrade was not granted. The reason phrase is the server's to
/// choose, so only the status is told apart.
pub(crate) fn of_answer(error: &ResponseError) -> String {
    match error {
        ResponseError::Status(status, _) => format!("handshake: refused with HTTP {status}"),
        other => format!("handshake: {other}"),
    }
}

/// Why TLS did not come about.
pub(crate) fn of_tls(error: &DialError) -> String {
    match error {
        DialError::Untrusted(_) => "TLS: certificate not trusted".to_owned(),
        _ => "TLS: failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_bounded_and_their_sum_is_exact() {
        let (mut one, mut other) = (BTreeMap::new(), BTreeMap::new());
        for index in 0..1000 {
            count(&mut one, &format!("cause {index}"));
            count(&mut other, &format!("another {index}"));
        }
        merge(&mut one, &other);
        assert!(one.len() <= MAX_CAUSES + 1);
        assert_eq!(one.values().sum::<u64>(), 2000);
    }

    #[test]
    fn causes_name_the_layer_and_no_single_connection() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(of_connect(&refused), "connect: refused");
        let ports = io::Error::from(io::ErrorKind::AddrNotAvailable);
        assert_eq!(of_connect(&ports), "connect: no local port");
        let status = ResponseError::Status(503, "Service Unavailable, take 17".into());
        assert_eq!(of_answer(&status), "handshake: refused with HTTP 503");
    }
}
