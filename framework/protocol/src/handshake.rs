//! The opening handshake (RFC 6455 section 4) over HTTP/1.1 (RFC 9112).
//!
//! A server calls [`parse_request`] on what has arrived until it is complete,
//! decides by path and headers, and answers an upgrade with [`accept`],
//! [`negotiate_deflate`] and [`write_accept`], or anything it does not want with a [`Refusal`]. A client
//! writes a [`ClientRequest`] and calls [`parse_response`].
//!
//! Bytes after the head are not looked at: the first frames may already be
//! among them, and `head_len` says where they begin.

mod client;
pub(crate) mod extensions;
mod field;
mod refusal;
mod request;
mod server;

pub use client::{ClientRequest, ExpectedAccept, Response, ResponseError, parse_response};
pub use field::InvalidField;
pub(crate) use field::is_token_byte;
pub use refusal::Refusal;
pub use request::{Request, Version, parse_request};
pub use server::{Accepted, Agreed, accept, negotiate_deflate, write_accept};

/// Limits on a request or response head. All but the number of headers are in
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// The whole head, with its final empty line.
    pub max_bytes: usize,
    /// The request line, with its line end.
    pub max_request_line: usize,
    /// The number of headers.
    pub max_headers: usize,
}

impl Default for HandshakeLimits {
    /// 8 KiB and 64 headers, as common servers have it: browsers send about 15
    /// headers, and cookies make most of the bytes. Half of that for the
    /// request line.
    fn default() -> Self {
        Self {
            max_bytes: 8 << 10,
            max_request_line: 4 << 10,
            max_headers: 64,
        }
    }
}

/// The outcome of parsing what has arrived so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// Nothing is wrong yet; more bytes are needed.
    Partial,
    /// The head is complete.
    Complete {
        /// Its bytes; what follows them belongs to the caller.
        head_len: usize,
        /// What it says.
        value: T,
    },
}
