//! The answer to a plain HTTP request.

use std::borrow::Cow;
use std::io::Write;

/// A whole response, body included.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, Cow<'static, str>)>,
    body: Cow<'static, [u8]>,
}

impl Response {
    /// 200 with a body.
    #[must_use]
    pub fn ok(content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            status: 200,
            content_type,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// 404 with a short text.
    #[must_use]
    pub fn not_found() -> Self {
        Self::text(404, "not found\n")
    }

    /// A status with a short text.
    #[must_use]
    pub fn text(status: u16, body: &'static str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            headers: Vec::new(),
            body: Cow::Borrowed(body.as_bytes()),
        }
    }

    /// Adds a header. A value with a line break is left out: it would forge
    /// headers.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let value = value.into();
        if !value.contains(['\r', '\n', '\0']) {
            self.headers.push((name, value));
        }
        self
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Appends the encoded response; without the body for `HEAD`.
    pub(crate) fn write(&self, head_only: bool, keep_alive: bool, out: &mut Vec<u8>) {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let _infallible = write!(
            out,
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {connection}\r\n",
            self.status,
            reason_phrase(self.status),
            self.content_type,
            self.body.len(),
        );
        for (name, value) in &self.headers {
            let _infallible = write!(out, "{name}: {value}\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if !head_only {
            out.extend_from_slice(&self.body);
        }
    }
}

/// The phrases of the statuses this server sends (RFC 9110 section 15); a
/// client must not rely on them.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_has_the_length_but_not_the_body() {
        let mut out = Vec::new();
        Response::ok("text/plain", &b"hello"[..]).write(true, true, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("Content-Length: 5\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_header_value_cannot_forge_another() {
        let mut out = Vec::new();
        let forged = Response::not_found()
            .header("X-A", "1\r\nX-B: 2")
            .header("X-C", "3");
        forged.write(false, false, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("X-B"), "{text}");
        assert!(text.contains("X-C: 3\r\n"), "{text}");
        assert!(text.contains("Connection: close\r\n"), "{text}");
    }
}
