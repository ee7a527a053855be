//! The answer to a WebSocket upgrade.

use hioload_protocol::handshake::Refusal;

use crate::config::Backpressure;

/// Accepts or refuses a WebSocket upgrade.
#[derive(Debug)]
pub struct Upgrade(pub(crate) Decision);

#[derive(Debug)]
pub(crate) enum Decision {
    Accept(Terms),
    Refuse(Refusal),
}

/// What an accepted connection gets beside the defaults.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    pub(crate) protocol: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) backpressure: Option<Backpressure>,
}

impl Upgrade {
    /// Accepts.
    #[must_use]
    pub fn accept() -> Self {
        Self(Decision::Accept(Terms::default()))
    }

    /// Refuses with an HTTP status and a short reason.
    #[must_use]
    pub fn refuse(refusal: Refusal) -> Self {
        Self(Decision::Refuse(refusal))
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

    /// Adds a header to the response.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Decision::Accept(terms) = &mut self.0 {
            terms.headers.push((name.to_owned(), value.to_owned()));
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
