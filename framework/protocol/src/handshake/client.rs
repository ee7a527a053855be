//! The client's half of the opening handshake (RFC 6455 section 4.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::{EMPTY_HEADER, Status};
use thiserror::Error;

use super::field::{self, InvalidField};
use super::server::accept_key;
use super::{HandshakeLimits, Parsed, extensions};
use crate::deflate::{DeflateConfig, DeflateParams, Offer, Unacceptable};

/// A request for an upgrade.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// Host and, unless it is the scheme's default, port.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Subprotocols in order of preference.
    pub protocols: &'a [&'a str],
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// The origin, which browsers send and servers check.
    pub origin: Option<&'a str>,
    /// Offers permessage-deflate with these settings.
    pub deflate: Option<&'a DeflateConfig>,
}

/// What the response to a request must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedAccept {
    accept_key: [u8; 28],
    protocols: Vec<String>,
    deflate: Option<Offer>,
}

/// A granted upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
    /// The use of permessage-deflate that the server accepted, for
    /// [`Connection::with_deflate`](crate::Connection::with_deflate).
    pub deflate: Option<DeflateParams>,
}

/// Why the upgrade did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The server answered with another status than 101.
    #[error("the server answered {0} {1}")]
    Status(u16, String),
    /// The response is not HTTP/1.1.
    #[error("malformed response: {0}")]
    Malformed(&'static str),
    /// The head exceeds the limit in bytes or headers.
    #[error("the response head is too large")]
    TooLarge,
    /// `Upgrade` is not `websocket`.
    #[error("the response does not upgrade to websocket")]
    NoUpgrade,
    /// `Connection` does not list `upgrade`.
    #[error("the response does not say Connection: Upgrade")]
    NoConnectionUpgrade,
    /// `Sec-WebSocket-Accept` is missing, repeated or not the one for our key.
    #[error("Sec-WebSocket-Accept does not match the key")]
    WrongAccept,
    /// A subprotocol that was not offered, or more than one.
    #[error("the server chose a subprotocol that was not offered")]
    UnofferedProtocol,
    /// An extension although none was offered.
    #[error("the server chose an extension that was not offered")]
    UnofferedExtension,
    /// `Sec-WebSocket-Extensions` is malformed, or not an answer to the offer.
    #[error("bad answer to the offered extension: {0}")]
    BadExtension(&'static str),
}

impl ClientRequest<'_> {
    /// Checks that every part can be written as it is.
    ///
    /// # Errors
    /// [`InvalidField`] names the first part that cannot.
    pub fn validate(&self) -> Result<(), InvalidField> {
        field::check_own("Host", is_host(self.host))?;
        field::check_own(":target", is_target(self.target))?;
        for protocol in self.protocols {
            field::check_own("Sec-WebSocket-Protocol", field::is_token(protocol))?;
        }
        if let Some(origin) = self.origin {
            field::check_own("Origin", field::is_value(origin))?;
        }
        self.headers
            .iter()
            .try_for_each(|(name, value)| field::check(name, value))
    }

    /// Appends the request and returns what the response must say.
    ///
    /// `nonce` is fresh for each connection, from a random source. What
    /// [`validate`](Self::validate) refuses is left out (an invalid target
    /// becomes `/`), so that no part can smuggle lines into the head.
    pub fn write(&self, nonce: [u8; 16], out: &mut Vec<u8>) -> ExpectedAccept {
        let target = if is_target(self.target) {
            self.target
        } else {
            "/"
        };
        let host = if is_host(self.host) { self.host } else { "" };
        let key = STANDARD.encode(nonce);
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        field::write(out, "Host", host);
        field::write(out, "Upgrade", "websocket");
        field::write(out, "Connection", "Upgrade");
        field::write(out, "Sec-WebSocket-Key", &key);
        field::write(out, "Sec-WebSocket-Version", "13");
        if let Some(origin) = self.origin.filter(|origin| field::is_value(origin)) {
            field::write(out, "Origin", origin);
        }
        let offered = self
            .protocols
            .iter()
            .filter(|protocol| field::is_token(protocol));
        let protocols: Vec<String> = offered.map(|&protocol| protocol.to_owned()).collect();
        if !protocols.is_empty() {
            field::write(out, "Sec-WebSocket-Protocol", &protocols.join(", "));
        }
        let deflate = self.deflate.map(Offer::of_client);
        if let Some(offer) = &deflate {
            field::write(out, "Sec-WebSocket-Extensions", &offer.header());
        }
        for (name, value) in self.headers {
            if field::check(name, value).is_ok() {
                field::write(out, name, value);
            }
        }
        out.extend_from_slice(b"\r\n");
        ExpectedAccept {
            accept_key: accept_key(key.as_bytes()),
            protocols,
            deflate,
        }
    }
}

/// Parses the response at the start of `buf` and checks that it grants what
/// was asked.
///
/// # Errors
/// [`ResponseError`]; the connection is of no further use.
pub fn parse_response(
    buf: &[u8],
    expected: &ExpectedAccept,
    limits: &HandshakeLimits,
) -> Result<Parsed<Response>, ResponseError> {
    let within = &buf[..buf.len().min(limits.max_bytes)];
    let lines = field::lines(within);
    let end = lines.head_len;
    let head = &within[..end.unwrap_or(within.len())];
    if lines.bare {
        return Err(ResponseError::Malformed("line end is not CR LF"));
    }
    let mut headers = vec![EMPTY_HEADER; lines.count.min(limits.max_headers)];
    let mut parsed = httparse::Response::new(&mut headers);
    let status = parsed.parse(head).map_err(malformed)?;
    if end.is_none() && buf.len() >= limits.max_bytes {
        return Err(ResponseError::TooLarge);
    }
    let (Some(head_len), Status::Complete(_)) = (end, status) else {
        return Ok(Parsed::Partial);
    };
    match parsed.code {
        Some(101) => {}
        Some(code) => {
            return Err(ResponseError::Status(
                code,
                parsed.reason.unwrap_or_default().to_owned(),
            ));
        }
        None => return Err(ResponseError::Malformed("no status")),
    }
    if parsed.version != Some(1) {
        return Err(ResponseError::Malformed("not HTTP/1.1"));
    }
    let value = check_response(parsed.headers, expected)?;
    Ok(Parsed::Complete { head_len, value })
}

/// RFC 6455 section 4.1, items 2 to 6 on the server's response.
fn check_response(
    headers: &[httparse::Header<'_>],
    expected: &ExpectedAccept,
) -> Result<Response, ResponseError> {
    let values = |name: &'static str| {
        let named = move |h: &&httparse::Header<'_>| h.name.eq_ignore_ascii_case(name);
        headers.iter().filter(named).map(|header| header.value)
    };
    let mut upgrade = values("upgrade");
    if !upgrade
        .next()
        .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        || upgrade.next().is_some()
    {
        return Err(ResponseError::NoUpgrade);
    }
    if !field::has_token(values("connection"), "upgrade") {
        return Err(ResponseError::NoConnectionUpgrade);
    }
    let mut accept = values("sec-websocket-accept");
    if accept.next() != Some(&expected.accept_key) || accept.next().is_some() {
        return Err(ResponseError::WrongAccept);
    }
    let deflate = check_extensions(values("sec-websocket-extensions"), expected)?;
    let mut protocol = values("sec-websocket-protocol");
    let chosen = match protocol.next() {
        None => None,
        Some(value) => {
            let offered = expected.protocols.iter().find(|p| p.as_bytes() == value);
            Some(offered.ok_or(ResponseError::UnofferedProtocol)?.clone())
        }
    };
    if protocol.next().is_some() {
        return Err(ResponseError::UnofferedProtocol);
    }
    Ok(Response {
        protocol: chosen,
        deflate,
    })
}

/// RFC 6455 section 9.1 and RFC 7692 section 5: at most the one extension that
/// was offered, once, with parameters that answer the offer.
fn check_extensions<'b>(
    values: impl Iterator<Item = &'b [u8]>,
    expected: &ExpectedAccept,
) -> Result<Option<DeflateParams>, ResponseError> {
    let Ok(list) = extensions::parse(values) else {
        return Err(ResponseError::BadExtension("malformed"));
    };
    match (&list[..], &expected.deflate) {
        ([], _) => Ok(None),
        (_, None) => Err(ResponseError::UnofferedExtension),
        ([answer], Some(offer)) => match offer.check(answer) {
            Ok(params) => Ok(Some(params)),
            Err(Unacceptable(reason)) => Err(ResponseError::BadExtension(reason)),
        },
        (_, Some(_)) => Err(ResponseError::BadExtension("more than one extension")),
    }
}

#[cold]
fn malformed(error: httparse::Error) -> ResponseError {
    match error {
        httparse::Error::TooManyHeaders => ResponseError::TooLarge,
        httparse::Error::Version => ResponseError::Malformed("not HTTP/1.1"),
        httparse::Error::Status => ResponseError::Malformed("bad status line"),
        _ => ResponseError::Malformed("bad header"),
    }
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
}

fn is_target(target: &str) -> bool {
    target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}
