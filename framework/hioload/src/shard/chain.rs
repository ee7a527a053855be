//! The byte stages of a connection: a transport, then what speaks over it.
//!
//! Received bytes go through the transport to the stage; what a stage sends
//! waits in the outbox and goes through the transport to the driver. A stage
//! knows nothing of its transport.

use std::net::SocketAddr;

use hioload_protocol::Connection;

use super::body::Body;
use super::dial::DialStage;
use super::messages::MessageStage;
use super::proxied::Proxied;
use super::stream::StreamStage;
use super::tls::Session;

/// What carries the bytes: a layer over TCP, or TCP as it is, where received
/// bytes are the stage's in place and shared frames pass by reference.
#[derive(Debug, Default)]
pub(crate) struct Transport(Option<Box<Layer>>);

/// What lies between TCP and the stage.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "always in a box, and the small one for a moment"
)]
pub(crate) enum Layer {
    /// TLS over TCP.
    Tls(Session),
    /// A PROXY header comes first.
    Proxied(Proxied),
}

impl Transport {
    pub(crate) const PLAIN: Self = Self(None);

    pub(crate) fn tls(session: Session) -> Self {
        Self(Some(Box::new(Layer::Tls(session))))
    }

    pub(super) fn proxied(proxied: Proxied) -> Self {
        Self(Some(Box::new(Layer::Proxied(proxied))))
    }

    #[inline]
    pub(super) fn layer(&self) -> Option<&Layer> {
        self.0.as_deref()
    }

    #[inline]
    pub(super) fn layer_mut(&mut self) -> Option<&mut Layer> {
        self.0.as_deref_mut()
    }

    pub(super) fn session(&self) -> Option<&Session> {
        match self.layer()? {
            Layer::Tls(session) => Some(session),
            Layer::Proxied(_) => None,
        }
    }

    #[inline]
    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match self.layer_mut()? {
            Layer::Tls(session) => Some(session),
            Layer::Proxied(_) => None,
        }
    }
}

/// What speaks over the transport.
#[derive(Debug)]
pub(crate) enum Stage {
    /// HTTP/1.1: before an upgrade, or plain requests.
    Http(Box<HttpStage>),
    /// A connection dialled from here, until the server has answered.
    Dialling(Box<DialStage>),
    /// A WebSocket, until both sides are done.
    WebSocket(Connection),
    /// An event stream, which an HTTP request has become: only sends.
    Stream(Box<StreamStage>),
    /// An HTTP answer that is a connection of the app: only sends.
    Messages(Box<MessageStage>),
    /// Nothing more is understood: input is read and dropped until it ends, so
    /// that what was sent last reaches the peer instead of a reset.
    Draining,
}

/// An HTTP connection between two complete request heads.
#[derive(Debug, Default)]
pub(crate) struct HttpStage {
    /// The part of a head that has arrived; bounded by `max_head`.
    pub(crate) partial: Vec<u8>,
    /// Where the socket comes from: a proxy, or the client itself.
    pub(crate) peer: Option<SocketAddr>,
    /// It has had an answer: its client knows that this server was there.
    pub(crate) answered: bool,
    /// The body of a request, from its head to its end, or to the answer of an
    /// app that streams it.
    pub(crate) body: Option<Box<Body>>,
}
