//! Why a request is refused, as an HTTP response.

use std::fmt;

/// A request that is not served.
///
/// Each is answered with its status and reason, and the connection is closed:
/// after a refused request nobody can be sure where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// 400: the request is malformed; says how.
    BadRequest(&'static str),
    /// 403: not allowed, such as a foreign origin.
    Forbidden,
    /// 404: nothing at this path.
    NotFound,
    /// 405: the path exists, the method does not.
    MethodNotAllowed {
        /// The methods that exist, as in the Allow header: `"GET, HEAD"`.
        allow: &'static str,
    },
    /// 408: the head did not arrive in time.
    Timeout,
    /// 413: a body larger than accepted.
    PayloadTooLarge,
    /// 414: the request line is too long.
    UriTooLong,
    /// 426: the path speaks WebSocket version 13 only.
    UpgradeRequired,
    /// 431: the head is too large or has too many headers.
    HeadersTooLarge,
    /// 500: the server failed.
    Internal,
    /// 501: a transfer coding that is not understood.
    NotImplemented,
    /// 503: overloaded or stopping.
    Unavailable,
    /// 503: this client's address has as many connections as it may.
    TooManyConnections,
    /// 505: not HTTP/1.0 or 1.1.
    VersionNotSupported,
}

impl Refusal {
    /// Every [`label`](Self::label), in the order of the variants.
    pub const LABELS: [&'static str; 14] = [
        "bad_request",
        "forbidden",
        "not_found",
        "method_not_allowed",
        "timeout",
        "payload_too_large",
        "uri_too_long",
        "upgrade_required",
        "headers_too_large",
        "internal",
        "not_implemented",
        "unavailable",
        "too_many_connections",
        "version_not_supported",
    ];

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.parts().0
    }

    /// One line for the peer, sent as the body.
    pub fn reason(&self) -> &str {
        match self {
            Self::BadRequest(reason) => reason,
            Self::Forbidden => "not allowed",
            Self::NotFound => "nothing here",
            Self::MethodNotAllowed { .. } => "method not allowed here",
            Self::Timeout => "the request took too long to arrive",
            Self::PayloadTooLarge => "the body is too large",
            Self::UriTooLong => "the request line is too long",
            Self::UpgradeRequired => "this resource speaks WebSocket version 13",
            Self::HeadersTooLarge => "the headers are too large",
            Self::Internal => "the server failed",
            Self::NotImplemented => "transfer coding not implemented",
            Self::Unavailable => "the server is overloaded or stopping",
            Self::TooManyConnections => "too many connections from this address",
            Self::VersionNotSupported => "only HTTP/1.1 is spoken here",
        }
    }

    /// A name for metrics, one of [`LABELS`](Self::LABELS).
    pub fn label(&self) -> &'static str {
        self.parts().2
    }

    /// Appends the whole HTTP response.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (status, phrase, _) = self.parts();
        let reason = self.reason();
        let length = reason.len() + 1;
        let head = format!(
            "HTTP/1.1 {status} {phrase}\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n"
        );
        out.extend_from_slice(head.as_bytes());
        match self {
            Self::MethodNotAllowed { allow } => {
                out.extend_from_slice(format!("Allow: {allow}\r\n").as_bytes());
                out.extend_from_slice(b"Connection: close\r\n");
            }
            // RFC 9110 section 7.8 demands Upgrade, and Connection naming it;
            // RFC 6455 section 4.4 the version.
            Self::UpgradeRequired => out.extend_from_slice(
                b"Connection: close, Upgrade\r\n\
                  Upgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\n",
            ),
            _ => out.extend_from_slice(b"Connection: close\r\n"),
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(reason.as_bytes());
        out.push(b'\n');
    }

    fn parts(&self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BadRequest(_) => (400, "Bad Request", "bad_request"),
            Self::Forbidden => (403, "Forbidden", "forbidden"),
            Self::NotFound => (404, "Not Found", "not_found"),
            Self::MethodNotAllowed { .. } => (405, "Method Not Allowed", "method_not_allowed"),
            Self::Timeout => (408, "Request Timeout", "timeout"),
            Self::PayloadTooLarge => (413, "Content Too Large", "payload_too_large"),
            Self::UriTooLong => (414, "URI Too Long", "uri_too_long"),
            Self::UpgradeRequired => (426, "Upgrade Required", "upgrade_required"),
            Self::HeadersTooLarge => (431, "Request Header Fields Too Large", "headers_too_large"),
            Self::Internal => (500, "Internal Server Error", "internal"),
            Self::NotImplemented => (501, "Not Implemented", "not_implemented"),
            Self::Unavailable => (503, "Service Unavailable", "unavailable"),
            Self::TooManyConnections => (503, "Service Unavailable", "too_many_connections"),
            Self::VersionNotSupported => {
                (505, "HTTP Version Not Supported", "version_not_supported")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status(), self.reason())
    }
}

impl std::error::Error for Refusal {}
