//! The answer to a WebSocket upgrade.

use hioload_protocol::handshake::Refusal;

use crate::config::Backpressure;
use crate::http::Response;

/// Accepts or refuses a WebSocket upgrade.
#[derive(Debug)]
pub struct Upgrade(pub(crate) Decision);

#[derive(Debug)]
pub(crate) enum Decision {
    Accept(Terms),
    Refuse(Refusal),
    Answer(Response),
}

/// What an accepted connection gets beside the defaults.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    pub(crate) protocol: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) backpressure: Option<Backpressure>,
    pub(crate) params: Vec<(Box<str>, Box<str>)>,
}

impl Upgrade {
    /// Accepts, without a subprotocol and with the server's backpressure
    /// policy.
    #[must_use]
    pub fn accept() -> Self {
        Self(Decision::Accept(Terms::default()))
    }

    /// Refuses with an HTTP status and a short reason.
    #[must_use]
    pub fn refuse(refusal: Refusal) -> Self {
        Self(Decision::Refuse(refusal))
    }

    /// Refuses with a response of the app's own: a status that no
    /// [`Refusal`] has, headers such as `Retry-After` or `WWW-Authenticate`.
    /// The connection ends after it. A status below 300 becomes 500: it would
    /// not refuse.
    #[must_use]
    pub fn answer(response: Response) -> Self {
        if response.status() < 300 {
            tracing::error!(
                status = response.status(),
                "the app refuses an upgrade with a status that refuses nothing"
            );
            return Self::refuse(Refusal::Internal);
        }
        Self(Decision::Answer(response))
    }

    /// The status of the response: 101 where the upgrade is accepted.
    #[must_use]
    pub fn status(&self) -> u16 {
        match &self.0 {
            Decision::Accept(_) => 101,
            Decision::Refuse(refusal) => refusal.status(),
            Decision::Answer(response) => response.status(),
        }
    }

    /// Names the subprotocol chosen; it must be one the client offered
    /// (RFC 6455 section 4.2.2).
    #[must_use]
    pub fn protocol(mut self, name: &str) -> Self {
        if let Decision::Accept(terms) = &mut self.0 {
            terms.protocol = Some(name.to_owned());
        }
        self
    }

    /// Adds a header to the response, such as `Set-Cookie`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Decision::Accept(terms) = &mut self.0 {
            terms.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Leaves a value to the connection, for [`Conn::param`](super::Conn::param).
    #[must_use]
    pub fn param(mut self, name: &str, value: &str) -> Self {
        if let Decision::Accept(terms) = &mut self.0 {
            terms.params.push((name.into(), value.into()));
        }
        self
    }

    /// Overrides the server's backpressure policy for this connection.
    #[must_use]
    pub fn backpressure(mut self, policy: Backpressure) -> Self {
        if let Decision::Accept(terms) = &mut self.0 {
            terms.backpressure = Some(policy);
        }
        self
    }
}

impl From<Refusal> for Upgrade {
    fn from(refusal: Refusal) -> Self {
        Self::refuse(refusal)
    }
}
