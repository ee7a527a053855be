//! The text of server-sent events (WHATWG HTML, section 9.2, `text/event-stream`).
//!
//! Only the server's side: a message becomes the `data` lines of an event, and
//! names and ids are checked so that they cannot forge a line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::message::Kind;

/// A comment, which clients ignore: keeps a silent stream alive on its way
/// through proxies.
pub const COMMENT: &[u8] = b":\n\n";

/// The `data` lines of an event and the empty line that ends it.
///
/// A text may have line breaks of any kind (CR LF, LF, CR): the format has one
/// line for each, and the client gets each as LF. Binary payloads, which the
/// format cannot carry, are base64 (RFC 4648 section 4, with padding).
#[must_use]
pub fn data(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + payload.len() / 3 + 16);
    match kind {
        Kind::Text => text_lines(payload, &mut out),
        Kind::Binary => {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(STANDARD.encode(payload).as_bytes());
            out.push(b'\n');
        }
    }
    out.push(b'\n');
    out
}

fn text_lines(mut text: &[u8], out: &mut Vec<u8>) {
    loop {
        let end = memchr::memchr2(b'\r', b'\n', text);
        // The space is taken away again, and saves one that the line begins
        // with.
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&text[..end.unwrap_or(text.len())]);
        out.push(b'\n');
        let Some(end) = end else { return };
        let line_break = if text[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        text = &text[end + line_break..];
    }
}

/// Whether a text may be the value of a field: `event` or `id`. Line breaks
/// would begin other fields, and an id with a NUL is ignored.
#[must_use]
pub fn is_value(text: &str) -> bool {
    !text.contains(['\r', '\n', '\0'])
}

/// Appends a field, whose value [may be one](is_value).
pub fn field(name: &str, value: &str, out: &mut Vec<u8>) {
    debug_assert!(is_value(value), "{value:?} would forge lines");
    for part in [name, ": ", value, "\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}
