//! What the admin page asks for, for who presents its token.

use hioload::control::{DebugEndpoint, DebugToken};
use hioload::{Handle, Request, Response};

/// Where the page asks for the inside of the server.
pub(crate) const STATE: &str = "/admin/state";

/// Where it calls what the application calls by `/api/METHOD`.
pub(crate) const CALL: &str = "/admin/api/{method}";

/// The operator's door, on one shard.
pub(crate) struct Admin {
    token: Option<DebugToken>,
    state: DebugEndpoint,
}

impl Admin {
    /// `None`: there is no token, and no page.
    pub(crate) fn new(token: Option<DebugToken>, handle: Handle) -> Self {
        Self {
            state: DebugEndpoint::new(handle, token.clone()),
            token,
        }
    }

    /// Whether the token is presented; else the answer that says so. Nothing
    /// else is told to who does not, not even which methods there are.
    pub(crate) fn admit(&self, request: &Request<'_>) -> Result<(), Response> {
        let is_presented = self.token.as_ref().is_some_and(|t| t.is_presented(request));
        if is_presented {
            return Ok(());
        }
        Err(Response::text(401, "the admin token is missing or wrong\n")
            .header("WWW-Authenticate", "Bearer")
            .header("Cache-Control", "no-store"))
    }

    /// What the shards said last; `null` before they have said anything, which
    /// is nothing that a page should have to complain about.
    pub(crate) fn state(&self, request: &Request<'_>) -> Response {
        if let Err(refused) = self.admit(request) {
            return refused;
        }
        let answer = self.state.answer(request);
        if answer.status() == 503 {
            return Response::ok("application/json", "null".as_bytes())
                .header("Cache-Control", "no-store");
        }
        answer
    }
}

/// There is no page, and why.
pub(crate) fn off() -> Response {
    Response::text(
        404,
        "The admin page is off: set token in [admin] of the configuration, or \
         HIOLOAD_ADMIN_TOKEN, and start the server again.\n",
    )
}
