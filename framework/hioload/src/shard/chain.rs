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

/// What carries the bytes.
#[derive(Debug)]
pub(crate) enum Transport {
    /// TCP as it is: received bytes are the stage's in place, shared frames
    /// pass by reference.
    Plain,
    /// TLS over TCP.
    Tls(Box<Session>),
    /// One of them, after a PROXY header.
    Proxied(Box<Proxied>),
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
