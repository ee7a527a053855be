//! The request an app decides on.

use std::net::SocketAddr;

use hioload_protocol::handshake;

/// An HTTP request head: of an upgrade or of a plain request.
#[derive(Debug)]
pub struct Request<'b> {
    head: &'b handshake::Request<'b>,
    peer: Option<SocketAddr>,
}

impl<'b> Request<'b> {
    pub(crate) fn new(head: &'b handshake::Request<'b>, peer: Option<SocketAddr>) -> Self {
        Self { head, peer }
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

    /// The address of the other side; `None` when it is gone already.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}
