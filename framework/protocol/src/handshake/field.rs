//! Header fields: lists of tokens, and what may be written.

use thiserror::Error;

/// A header that would break the head it is written into.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("header {name:?} has an invalid name or value, or is the handshake's own")]
pub struct InvalidField {
    /// The name as given.
    pub name: String,
}

/// Headers that only the handshake itself may write.
const OWN: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
];

/// Checks a header that the application adds to a handshake.
pub(super) fn check(name: &str, value: &str) -> Result<(), InvalidField> {
    let own = OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
    if is_token(name) && is_value(value) && !own {
        Ok(())
    } else {
        Err(InvalidField {
            name: name.to_owned(),
        })
    }
}

/// Checks a value that the handshake writes under a name of its own.
pub(super) fn check_own(name: &str, valid: bool) -> Result<(), InvalidField> {
    if valid {
        Ok(())
    } else {
        Err(InvalidField {
            name: name.to_owned(),
        })
    }
}

/// Appends one header line; name and value were checked.
pub(super) fn write(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    is_token_bytes(text.as_bytes())
}

pub(super) fn is_token_bytes(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Visible characters, spaces and tabs; above all no line end.
pub(super) fn is_value(text: &str) -> bool {
    text.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7F))
}

/// The elements of a comma-separated list.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether a list, given as the values of all headers of its name, has `token`
/// in any case.
pub(super) fn has_token<'b>(mut values: impl Iterator<Item = &'b [u8]>, token: &str) -> bool {
    values.any(|value| list(value).any(|element| element.eq_ignore_ascii_case(token.as_bytes())))
}

/// Whether a CR or LF stands on its own (RFC 9112 section 2.2). A CR at the end
/// may still get its LF.
pub(super) fn has_bare_line_end(head: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in head {
        if (byte == b'\n') != (previous == b'\r') {
            return true;
        }
        previous = byte;
    }
    false
}

/// The length of the head, with its empty line, if it is all there.
pub(super) fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_must_be_cr_lf() {
        for good in [&b"a\r\nb\r\n\r\n"[..], b"a\r", b"", b"\r\n"] {
            assert!(!has_bare_line_end(good), "{good:?}");
        }
        for bad in [&b"a\nb"[..], b"a\rb", b"\n", b"a\r\r\n", b"a\r\n\n"] {
            assert!(has_bare_line_end(bad), "{bad:?}");
        }
    }

    #[test]
    fn application_headers_cannot_inject_or_override() {
        assert_eq!(check("X-Trace", "a b\tc ü"), Ok(()));
        for (name, value) in [
            ("X", "a\r\nSet-Cookie: b"),
            ("X", "a\nb"),
            ("X", "\0"),
            ("", "a"),
            ("X Y", "a"),
            ("X:", "a"),
            ("Sec-WebSocket-Accept", "a"),
            ("upgrade", "h2c"),
        ] {
            assert!(check(name, value).is_err(), "{name:?}: {value:?}");
        }
    }
}
