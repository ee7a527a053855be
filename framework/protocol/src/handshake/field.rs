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

pub(crate) fn is_token_bytes(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

pub(crate) fn is_token_byte(byte: u8) -> bool {
    const TOKEN: [bool; 256] = alphanumeric_or(b"!#$%&'*+-.^_`|~");
    TOKEN[usize::from(byte)]
}

/// Which bytes are letters, digits or one of `others`.
pub(super) const fn alphanumeric_or(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
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

/// The lines of a head, found in one pass over its line ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// The length of the head, with its empty line, if it is all there.
    pub(super) head_len: Option<usize>,
    /// The length of the first line with its end, if that is there.
    pub(super) first: Option<usize>,
    /// Complete lines, the empty one included.
    pub(super) count: usize,
    /// Whether a CR or LF stands on its own (RFC 9112 section 2.2). A CR at
    /// the end may still get its LF.
    pub(super) bare: bool,
}

/// Reads up to the end of the head.
pub(super) fn lines(bytes: &[u8]) -> Lines {
    let mut lines = Lines::default();
    for at in memchr::memchr2_iter(b'\r', b'\n', bytes) {
        if bytes[at] == b'\r' {
            lines.bare |= bytes.get(at + 1).is_some_and(|&next| next != b'\n');
            continue;
        }
        lines.bare |= at == 0 || bytes[at - 1] != b'\r';
        lines.first = lines.first.or(Some(at + 1));
        lines.count += 1;
        if bytes[..=at].ends_with(b"\r\n\r\n") {
            lines.head_len = Some(at + 1);
            break;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_must_be_cr_lf() {
        for good in [&b"a\r\nb\r\n\r\n"[..], b"a\r", b"", b"\r\n"] {
            assert!(!lines(good).bare, "{good:?}");
        }
        for bad in [&b"a\nb"[..], b"a\rb", b"\n", b"a\r\r\n", b"a\r\n\n"] {
            assert!(lines(bad).bare, "{bad:?}");
        }
    }

    #[test]
    fn the_head_ends_at_the_first_empty_line() {
        let found = lines(b"GET /\r\nA: b\r\n\r\n\nrest\r\n\r\n");
        let expected = Lines {
            head_len: Some(15),
            first: Some(7),
            count: 3,
            bare: false,
        };
        assert_eq!(found, expected);
        assert_eq!(lines(b"GET /\r\nA: b\r\n").head_len, None);
        assert_eq!(lines(b"\r\n\r").head_len, None);
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
