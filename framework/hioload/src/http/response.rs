//! The answer to a plain HTTP request.

use std::borrow::Cow;
use std::io::Write;

use super::event_stream::EventStream;
use super::message_stream::{Framing, MessageStream};
use super::request::Request;

/// A whole response, body included.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, Cow<'static, str>)>,
    body: Cow<'static, [u8]>,
    /// It has no length: what follows ends with the connection.
    is_stream: bool,
    /// What follows instead of a body.
    stream: Option<Box<Following>>,
}

/// What follows a head, for as long as the connection lasts.
#[derive(Clone, Debug)]
pub(crate) enum Following {
    Events(EventStream),
    Messages(MessageStream),
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
            is_stream: false,
            stream: None,
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
            is_stream: false,
            stream: None,
        }
    }

    /// A stream of server-sent events: what is published to topics from now on.
    #[must_use]
    pub fn sse() -> EventStream {
        EventStream::default()
    }

    /// What the app sends to a connection of its own that this request becomes;
    /// see [`App::answer`](crate::App::answer).
    #[must_use]
    pub fn messages(framing: Framing) -> MessageStream {
        MessageStream::new(framing)
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

    /// The same response with another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
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

    /// Whether only the end of the connection ends it.
    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// What follows the head; nothing when only that is asked for.
    pub(crate) fn take_stream(
        &mut self,
        request: &Request<'_>,
        head_only: bool,
    ) -> Option<Box<Following>> {
        if head_only {
            return None;
        }
        let mut following = self.stream.take()?;
        if let Following::Events(stream) = &mut *following
            && let Some(last) = request.header("Last-Event-ID")
        {
            stream.resume(last);
        }
        Some(following)
    }

    /// Appends the encoded response; without the body for `HEAD`.
    pub(crate) fn write(&self, head_only: bool, keep_alive: bool, out: &mut Vec<u8>) {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let _infallible = write!(
            out,
            "HTTP/1.1 {} {}\r\nConnection: {connection}\r\n",
            self.status,
            reason_phrase(self.status),
        );
        // Both say that no content follows, and a length would be that of
        // another response (RFC 9110 section 8.6).
        let bodyless = matches!(self.status, 204 | 304);
        if !bodyless {
            let _infallible = write!(out, "Content-Type: {}\r\n", self.content_type);
        }
        if !bodyless && !self.is_stream {
            let _infallible = write!(out, "Content-Length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            let _infallible = write!(out, "{name}: {value}\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if !head_only && !bodyless {
            out.extend_from_slice(&self.body);
        }
    }
}

impl From<EventStream> for Response {
    fn from(stream: EventStream) -> Self {
        Self {
            content_type: "text/event-stream",
            is_stream: true,
            stream: Some(Box::new(Following::Events(stream))),
            ..Self::ok("", &[][..])
        }
        .header("Cache-Control", "no-store")
    }
}

impl From<MessageStream> for Response {
    fn from(stream: MessageStream) -> Self {
        Self {
            content_type: stream.content_type,
            is_stream: true,
            stream: Some(Box::new(Following::Messages(stream))),
            ..Self::ok("", &[][..])
        }
        .header("Cache-Control", "no-store")
    }
}

/// The phrases of the statuses this server sends (RFC 9110 section 15); a
/// client must not rely on them.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        426 => "Upgrade Required",
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
    fn what_has_no_content_has_no_length() {
        for status in [204, 304] {
            let mut out = Vec::new();
            Response::text(status, "ignored").write(false, true, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert!(!text.contains("Content-Length"), "{text}");
            assert!(text.ends_with("\r\n\r\n"), "{text}");
        }
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
