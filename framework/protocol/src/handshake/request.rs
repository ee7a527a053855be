//! An HTTP/1.1 request head, for plain routes and upgrades alike.
//!
//! Strict where leniency lets two parsers on one path disagree (RFC 9112
//! sections 2.2, 5.1, 5.2 and 6.3): bare line ends, folded headers, spaces
//! before a colon, repeated single headers, contradicting body lengths.

use httparse::{EMPTY_HEADER, Header, Status};

use super::field::{alphanumeric_or, has_token, is_token, lines, list};
use super::{HandshakeLimits, Parsed, Refusal};
use crate::body::BodyLength;

/// The HTTP version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A parsed request head that borrows the buffer it was parsed from.
#[derive(Debug)]
pub struct Request<'b> {
    method: &'b str,
    target: &'b str,
    version: Version,
    headers: Vec<Header<'b>>,
}

/// Headers of which a request may have only one.
const SINGLE: [&str; 7] = [
    "authorization",
    "host",
    "content-length",
    "transfer-encoding",
    "origin",
    "sec-websocket-key",
    "sec-websocket-version",
];

/// Parses the request head at the start of `buf`.
///
/// A head that cannot become valid is refused as soon as that shows. One empty
/// line before it is skipped, as RFC 9112 section 2.2 asks.
///
/// # Errors
/// 400, 414, 431 and 505, as the variants of [`Refusal`] say.
pub fn parse_request<'b>(
    buf: &'b [u8],
    limits: &HandshakeLimits,
) -> Result<Parsed<Request<'b>>, Refusal> {
    if buf == b"\r" {
        return Ok(Parsed::Partial);
    }
    let skipped = if buf.starts_with(b"\r\n") { 2 } else { 0 };
    let bytes = &buf[skipped..];
    if bytes.first().is_some_and(|&b| b == b'\r' || b == b'\n') {
        return Err(Refusal::BadRequest("empty line before the request"));
    }
    let within = &bytes[..bytes.len().min(limits.max_bytes)];
    let lines = lines(within);
    let end = lines.head_len;
    let head = &within[..end.unwrap_or(within.len())];
    if lines.first.unwrap_or(head.len()) > limits.max_request_line {
        return Err(Refusal::UriTooLong);
    }
    if lines.bare {
        return Err(Refusal::BadRequest("line end is not CR LF"));
    }

    // No head has more headers than lines.
    let mut headers = vec![EMPTY_HEADER; lines.count.min(limits.max_headers)];
    let mut parsed = httparse::Request::new(&mut headers);
    let status = parsed.parse(head).map_err(refuse)?;
    if end.is_none() && bytes.len() >= limits.max_bytes {
        return Err(Refusal::HeadersTooLarge);
    }
    let (Some(len), Status::Complete(_)) = (end, status) else {
        return Ok(Parsed::Partial);
    };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Ok(Parsed::Partial);
    };
    let version = if version == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    let used = parsed.headers.len();
    headers.truncate(used);
    let value = Request {
        method,
        target,
        version,
        headers,
    };
    value.check()?;
    Ok(Parsed::Complete {
        head_len: skipped + len,
        value,
    })
}

#[cold]
fn refuse(error: httparse::Error) -> Refusal {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => Refusal::HeadersTooLarge,
        Error::Version => Refusal::VersionNotSupported,
        Error::HeaderName => Refusal::BadRequest("malformed header name"),
        Error::HeaderValue => Refusal::BadRequest("malformed header value"),
        Error::NewLine => Refusal::BadRequest("malformed line end"),
        Error::Token | Error::Status => Refusal::BadRequest("malformed request line"),
    }
}

impl<'b> Request<'b> {
    /// The method, as sent: methods are case-sensitive.
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// The request target, as sent.
    pub fn target(&self) -> &'b str {
        self.target
    }

    /// The target's path, not decoded. `"*"` for `OPTIONS *`.
    pub fn path(&self) -> &'b str {
        let target = origin_form(self.target);
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        if path.is_empty() { "/" } else { path }
    }

    /// The target's query, not decoded, without its question mark.
    pub fn query(&self) -> Option<&'b str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The HTTP version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The first header of this name, in any case, if its value is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'b str> {
        self.header_all(name)
            .next()
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.headers
            .iter()
            .map(|header| (header.name, header.value))
    }

    /// Whether the client asks for the WebSocket protocol on this connection:
    /// `Upgrade` lists `websocket` and `Connection` lists `upgrade`.
    pub fn wants_upgrade(&self) -> bool {
        has_token(self.header_all("upgrade"), "websocket")
            && has_token(self.header_all("connection"), "upgrade")
    }

    /// The subprotocols that the client offers, in its order of preference,
    /// of all `Sec-WebSocket-Protocol` headers together. Elements that are no
    /// tokens are left out; [`accept`](super::accept) refuses them.
    pub fn protocols(&self) -> impl Iterator<Item = &'b str> {
        self.header_all("sec-websocket-protocol")
            .flat_map(list)
            .filter_map(|element| std::str::from_utf8(element).ok())
            .filter(|element| is_token(element))
    }

    /// Whether another request may follow on this connection (RFC 9112
    /// section 9.3).
    pub fn keep_alive(&self) -> bool {
        let listed = |token| has_token(self.header_all("connection"), token);
        match self.version {
            Version::Http11 => !listed("close"),
            Version::Http10 => listed("keep-alive") && !listed("close"),
        }
    }

    /// The length of the body in bytes, if `Content-Length` gives one.
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length").and_then(decimal)
    }

    /// How long the body is that the head announces; `None` when it announces
    /// none, which is as good as an empty one.
    pub fn body_length(&self) -> Option<BodyLength> {
        if self.header_all("transfer-encoding").next().is_some() {
            return Some(BodyLength::Chunked);
        }
        self.content_length().map(BodyLength::Counted)
    }

    /// Whether a body follows the head.
    pub fn has_body(&self) -> bool {
        !matches!(self.body_length(), None | Some(BodyLength::Counted(0)))
    }

    /// Whether the client waits for an interim answer before it sends the body
    /// (RFC 9110 section 10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.version == Version::Http11 && has_token(self.header_all("expect"), "100-continue")
    }

    /// The values of all headers of this name, in any case, as sent.
    pub fn header_all(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    fn check(&self) -> Result<(), Refusal> {
        self.check_target()?;
        let mut seen = 0_u8;
        for header in &self.headers {
            let is = |name: &&str| name.eq_ignore_ascii_case(header.name);
            let single = SINGLE.iter().position(is).map_or(0, |index| 1 << index);
            if seen & single != 0 {
                return Err(Refusal::BadRequest("repeated header that may occur once"));
            }
            seen |= single;
        }
        let host = self.header_all("host").next();
        if self.version == Version::Http11 && host.is_none() {
            return Err(Refusal::BadRequest("no Host header"));
        }
        if host.is_some_and(|host| !host.iter().all(|&b| is_host(b))) {
            return Err(Refusal::BadRequest("malformed Host header"));
        }
        self.check_body()
    }

    /// The forms of RFC 9112 section 3.2 that a server can be asked for.
    fn check_target(&self) -> Result<(), Refusal> {
        let known = match self.target.as_bytes() {
            [b'/', ..] => true,
            b"*" => self.method == "OPTIONS",
            _ => absolute_form(self.target).is_some(),
        };
        if known
            && self
                .target
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'#')
        {
            Ok(())
        } else {
            Err(Refusal::BadRequest("malformed request target"))
        }
    }

    fn check_body(&self) -> Result<(), Refusal> {
        let length = self.header_all("content-length").next();
        let coding = self.header_all("transfer-encoding").next();
        match (length, coding) {
            (None, None) => Ok(()),
            (Some(_), Some(_)) => Err(Refusal::BadRequest(
                "both Content-Length and Transfer-Encoding",
            )),
            (Some(_), None) => match self.content_length() {
                Some(_) => Ok(()),
                None => Err(Refusal::BadRequest("malformed Content-Length")),
            },
            (None, Some(_)) if self.version == Version::Http10 => {
                Err(Refusal::BadRequest("Transfer-Encoding in HTTP/1.0"))
            }
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(()),
            (None, Some(_)) => Err(Refusal::NotImplemented),
        }
    }
}

/// Digits only: `parse` would also take a sign.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Bytes of `uri-host [":" port]` (RFC 3986 section 3.2.2).
fn is_host(byte: u8) -> bool {
    const HOST: [bool; 256] = alphanumeric_or(b"-._~!$&'()*+,;=%:[]");
    HOST[usize::from(byte)]
}

/// What follows the authority of `http://authority/path`.
fn absolute_form(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let known = ["http", "https", "ws", "wss"]
        .iter()
        .any(|s| s.eq_ignore_ascii_case(scheme));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    if known && end != 0 {
        Some(&rest[end..])
    } else {
        None
    }
}

fn origin_form(target: &str) -> &str {
    if target.starts_with('/') {
        target
    } else {
        absolute_form(target).unwrap_or(target)
    }
}
