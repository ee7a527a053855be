//! The request an app decides on.

use std::borrow::Cow;
use std::net::SocketAddr;

use hioload_platform::Nanos;
use hioload_protocol::handshake;

/// An HTTP request head: of an upgrade or of a plain request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'b> {
    head: &'b handshake::Request<'b>,
    peer: Option<SocketAddr>,
    direct: Option<SocketAddr>,
    now: Nanos,
    params: &'b [(&'b str, Cow<'b, str>)],
    body: &'b [u8],
}

impl<'b> Request<'b> {
    pub(crate) fn new(
        head: &'b handshake::Request<'b>,
        peer: Option<SocketAddr>,
        direct: Option<SocketAddr>,
        now: Nanos,
    ) -> Self {
        Self {
            head,
            peer,
            direct,
            now,
            params: &[],
            body: &[],
        }
    }

    /// The same request, with its body.
    pub(crate) fn with_body(self, body: &'b [u8]) -> Self {
        Self { body, ..self }
    }

    /// The same request, with what a router found in its path.
    pub(crate) fn with_params<'c>(&self, params: &'c [(&'c str, Cow<'c, str>)]) -> Request<'c>
    where
        'b: 'c,
    {
        Request { params, ..*self }
    }

    /// The method, as sent: `GET`, `HEAD`, ...
    #[must_use]
    pub fn method(&self) -> &'b str {
        self.head.method()
    }

    /// The path without the query, still percent-encoded.
    #[must_use]
    pub fn path(&self) -> &'b str {
        self.head.path()
    }

    /// A parameter of the route this request took (see
    /// [`Router`](crate::Router)), percent-decoded; `None` without a router.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut params = self.params.iter();
        let (_, value) = params.find(|(known, _)| *known == name)?;
        Some(value)
    }

    /// The query without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&'b str> {
        self.head.query()
    }

    /// The first header of that name (case does not matter), if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'b str> {
        self.head.header(name)
    }

    /// The subprotocols offered, in the client's order of preference.
    pub fn protocols(&self) -> impl Iterator<Item = &'b str> + use<'b, '_> {
        self.head.protocols()
    }

    /// The whole body, decoded; empty in [`App::upgrade`](crate::App::upgrade)
    /// and [`App::upload`](crate::App::upload), which come before it.
    #[must_use]
    pub fn body(&self) -> &'b [u8] {
        self.body
    }

    /// The client's address: what [trusted
    /// proxies](crate::Config::trusted_proxies) say it is, else that of the
    /// connection. `None` when it is gone already. One that X-Forwarded-For
    /// names without a port has port 0.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The address of the connection itself, which may be a proxy's.
    #[must_use]
    pub fn direct_peer(&self) -> Option<SocketAddr> {
        self.direct
    }

    /// The time of this turn: nanoseconds of the server's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.now
    }
}
