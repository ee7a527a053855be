//! The state of a server over HTTP, for who has the token.

use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::http::{Request, Response};
use crate::server::Handle;

/// What a request for the debug state must present. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DebugToken(Box<str>);

/// A debug token that could be guessed, or not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a debug token has at least {} visible ASCII characters",
    DebugToken::LEAST
)]
pub struct WeakToken;

impl DebugToken {
    /// The shortest that is taken.
    pub const LEAST: usize = 16;

    /// A token of visible ASCII characters.
    ///
    /// # Errors
    /// [`WeakToken`] if it is shorter than [`LEAST`](Self::LEAST), or has other
    /// characters.
    pub fn new(token: impl Into<Box<str>>) -> Result<Self, WeakToken> {
        let token = token.into();
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && token.len() >= Self::LEAST {
            Ok(Self(token))
        } else {
            Err(WeakToken)
        }
    }

    /// Whether a request presents it as `Authorization: Bearer TOKEN`. Takes as
    /// long for any token of the same length.
    #[must_use]
    pub fn is_presented(&self, request: &Request<'_>) -> bool {
        let header = request.header("Authorization").unwrap_or_default();
        let (scheme, token) = header.split_once(' ').unwrap_or_default();
        let equal = self.0.as_bytes().ct_eq(token.trim_start().as_bytes());
        scheme.eq_ignore_ascii_case("bearer") && equal.into()
    }
}

impl fmt::Debug for DebugToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DebugToken(redacted)")
    }
}

/// Answers requests for the debug state; an app mounts it where it likes,
/// `/debug/state` usually. It is for operators: it names peers and topics.
#[derive(Clone, Debug)]
pub struct DebugEndpoint {
    handle: Handle,
    token: Option<DebugToken>,
}

impl DebugEndpoint {
    /// Without a token there is nothing: every request is answered 404.
    #[must_use]
    pub fn new(handle: Handle, token: Option<DebugToken>) -> Self {
        Self { handle, token }
    }

    /// 404 without a token to compare with, 401 without the right
    /// `Authorization: Bearer TOKEN`.
    ///
    /// A shard does not wait for others, so the answer is what they said to the
    /// request before, if that is less than five seconds ago. The first request
    /// is answered 503 with `Retry-After: 1`, as `curl --retry` understands.
    #[must_use]
    pub fn answer(&self, request: &Request<'_>) -> Response {
        let Some(token) = &self.token else {
            return Response::not_found();
        };
        if !token.is_presented(request) {
            return Response::text(401, "the debug token is missing or wrong\n")
                .header("WWW-Authenticate", "Bearer")
                .header("Cache-Control", "no-store");
        }
        let Some(state) = self.handle.poll_debug_state() else {
            return Response::text(503, "the shards are asked; ask again in a second\n")
                .header("Retry-After", "1")
                .header("Cache-Control", "no-store");
        };
        match serde_json::to_vec_pretty(&state) {
            Ok(body) => Response::ok("application/json", body).header("Cache-Control", "no-store"),
            Err(error) => {
                tracing::error!(%error, "the debug state has no JSON");
                Response::text(500, "the state has no JSON; the log says why\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_is_not_shown() {
        let token = DebugToken::new("0123456789abcdef").expect("long enough");
        assert!(!format!("{token:?}").contains("0123"));
        assert_eq!(DebugToken::new("0123456789abcde"), Err(WeakToken));
        assert_eq!(DebugToken::new("0123456789 abcdef"), Err(WeakToken));
        assert!(WeakToken.to_string().contains("16"));
    }
}
