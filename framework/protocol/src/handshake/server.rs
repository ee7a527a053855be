//! The server's half of the opening handshake (RFC 6455 section 4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::field::{self, InvalidField};
use super::{Refusal, Request, Version, extensions};
use crate::deflate::{self, DeflateConfig, DeflateParams};

/// An upgrade that may be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept_key: [u8; 28],
}

/// The use of permessage-deflate that a client offered and this server accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    params: DeflateParams,
    header: String,
}

impl Agreed {
    /// What holds on the connection, for
    /// [`Connection::with_deflate`](crate::Connection::with_deflate).
    pub fn params(&self) -> DeflateParams {
        self.params
    }

    /// The value of `Sec-WebSocket-Extensions` that tells the client.
    pub fn header(&self) -> &str {
        &self.header
    }
}

/// Checks a request for an upgrade. Origin, path and subprotocol are the
/// caller's to decide.
///
/// # Errors
/// - 405: not GET.
/// - 400: not HTTP/1.1, `Upgrade` without `Connection: upgrade`, a key that is
///   not 16 bytes in base64, no version, a body, or a list of extensions or
///   subprotocols that breaks its grammar: RFC 6455 section 9.1 demands that
///   the connection then fails, and a server that ignored the list would
///   answer an offer it has not understood.
/// - 426: no upgrade to `websocket` asked for, or another version than 13.
pub fn accept(request: &Request<'_>) -> Result<Accepted, Refusal> {
    if request.method() != "GET" {
        return Err(Refusal::MethodNotAllowed { allow: "GET" });
    }
    if !field::has_token(request.header_all("upgrade"), "websocket") {
        return Err(Refusal::UpgradeRequired);
    }
    if request.version() != Version::Http11 {
        return Err(Refusal::BadRequest("an upgrade needs HTTP/1.1"));
    }
    if !field::has_token(request.header_all("connection"), "upgrade") {
        return Err(Refusal::BadRequest("Connection does not list upgrade"));
    }
    if request.has_body() {
        return Err(Refusal::BadRequest("an upgrade has no body"));
    }
    match request.header("sec-websocket-version") {
        Some("13") => {}
        Some(_) => return Err(Refusal::UpgradeRequired),
        None => return Err(Refusal::BadRequest("no Sec-WebSocket-Version")),
    }
    let Some(key) = request.header("sec-websocket-key") else {
        return Err(Refusal::BadRequest("no Sec-WebSocket-Key"));
    };
    if !is_key(key) {
        return Err(Refusal::BadRequest(
            "Sec-WebSocket-Key is not 16 bytes in base64",
        ));
    }
    if extensions::parse(request.header_all("sec-websocket-extensions")).is_err() {
        return Err(Refusal::BadRequest("malformed Sec-WebSocket-Extensions"));
    }
    if !protocols_are_tokens(request) {
        return Err(Refusal::BadRequest("malformed Sec-WebSocket-Protocol"));
    }
    Ok(Accepted {
        accept_key: accept_key(key.as_bytes()),
    })
}

fn protocols_are_tokens(request: &Request<'_>) -> bool {
    request
        .header_all("sec-websocket-protocol")
        .flat_map(field::list)
        .all(field::is_token_bytes)
}

/// Accepts the first of the client's offers of permessage-deflate that this
/// configuration can meet (RFC 7692 sections 5.1 and 7.1).
///
/// An offer with an unknown, repeated or invalid parameter is declined, as is
/// one that demands a server window of 8 bits, which zlib cannot make. Other
/// extensions are not known here. Nothing is agreed on if the list breaks its
/// grammar; [`accept`] refuses such a request.
pub fn negotiate_deflate(request: &Request<'_>, config: &DeflateConfig) -> Option<Agreed> {
    let list = extensions::parse(request.header_all("sec-websocket-extensions")).ok()?;
    let (params, header) = deflate::answer(deflate::offers(&list), config)?;
    Some(Agreed { params, header })
}

/// Appends the 101 response, with the chosen subprotocol, the agreed use of
/// permessage-deflate and further headers.
///
/// # Errors
/// [`InvalidField`] if the subprotocol is not a token, or a header has a name
/// that is none, a value with control characters, or a name that the handshake
/// writes itself. Nothing is appended then.
pub fn write_accept(
    out: &mut Vec<u8>,
    accepted: &Accepted,
    protocol: Option<&str>,
    deflate: Option<&Agreed>,
    extra: &[(&str, &str)],
) -> Result<(), InvalidField> {
    if let Some(protocol) = protocol {
        field::check_own("Sec-WebSocket-Protocol", field::is_token(protocol))?;
    }
    for (name, value) in extra {
        field::check(name, value)?;
    }
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accepted.accept_key);
    out.extend_from_slice(b"\r\n");
    let protocol = protocol.map(|protocol| ("Sec-WebSocket-Protocol", protocol));
    let deflate = deflate.map(|agreed| ("Sec-WebSocket-Extensions", agreed.header()));
    for (name, value) in protocol.iter().chain(&deflate).chain(extra) {
        field::write(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn is_key(key: &str) -> bool {
    let mut decoded = [0; 18];
    key.len() == 24
        && STANDARD
            .decode_slice(key, &mut decoded)
            .is_ok_and(|len| len == 16)
}

/// RFC 6455 section 4.2.2, item 5.4: base64 of SHA-1 of the key and a constant.
pub(super) fn accept_key(key: &[u8]) -> [u8; 28] {
    let hash = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let mut accept = [0; 28];
    let written = STANDARD.encode_slice(hash, &mut accept);
    debug_assert_eq!(written, Ok(28), "20 bytes are 28 characters of base64");
    accept
}
