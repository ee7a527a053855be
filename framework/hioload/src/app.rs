//! What a service is made of: the [`App`] trait and what its callbacks see.

mod conn;
mod echo;
mod prepared;
mod reference;
mod tracked;
mod turn;
pub(crate) mod upgrade;

pub use conn::{Conn, PublishOutcome, SendOutcome};
pub use echo::Echo;
pub use prepared::Prepared;
pub use reference::{ConnRef, SendError};
pub(crate) use tracked::Completion;
pub use tracked::{SendFailed, Tracked};
pub use turn::{ConnId, Turn};
pub use upgrade::Upgrade;

use std::fmt;

use hioload_protocol::{CloseCode, Content, Kind};

use crate::client::{Accepted, DialError};
use crate::http::{BodyPart, Request, Response, Upload};
use crate::hub::{Change, Delivery};
use crate::source::SourceEvent;

/// What connections are closed with when the server stops and the app says
/// nothing else.
pub(crate) const STOPPING: (CloseCode, &str) = (CloseCode::GOING_AWAY, "the server is stopping");

/// A service: one instance per shard, called only on that shard's thread, so
/// it needs no locks.
///
/// Callbacks never block and never perform I/O: what they send is queued and
/// leaves, coalesced, at the end of the turn. All have defaults but
/// [`message`](App::message).
///
/// State per connection is the associated type, handed to each callback beside
/// the connection, so that one app can delegate to another with a state of its
/// own.
pub trait App: Sized + 'static {
    /// What the app keeps per connection; made with `Default` at the upgrade.
    type State: Default + 'static;

    /// Whether this instance can serve; asked once, before anything else. An
    /// error ends the start with [`Error::App`](crate::Error::App).
    ///
    /// # Errors
    /// What is wrong with it: routes that conflict, a table that could not be
    /// read.
    fn check(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }

    /// Decides a WebSocket upgrade whose handshake is valid, and may fill
    /// `state` from the request. Accepts by default, on every path.
    fn upgrade(&mut self, request: &Request<'_>, state: &mut Self::State) -> Upgrade {
        let _ = (request, state);
        Upgrade::accept()
    }

    /// Answers a plain HTTP request of any method, with its whole
    /// [`body`](Request::body). 404 by default.
    fn http(&mut self, request: &Request<'_>) -> Response {
        let _ = request;
        Response::not_found()
    }

    /// As [`http`](Self::http), which answers by default, for an app that turns
    /// requests into [connections of its own](crate::http::MessageStream) and
    /// may fill their `state` here. With any other answer it is dropped. Behind
    /// a [`Router`](crate::Router) an app is asked about requests without a body
    /// whose method has no handler at its path; where it says 404, the router
    /// answers as if it had not been asked.
    fn answer(&mut self, request: &Request<'_>, state: &mut Self::State) -> Response {
        let _ = state;
        self.http(request)
    }

    /// Decides how the body of a plain request is taken, before any of it is
    /// read; asked when the head announces one, which may be empty. `state` may
    /// be filled for [`body`](App::body). By default it is collected, and
    /// [`http`](App::http) answers.
    fn upload(&mut self, request: &Request<'_>, state: &mut Self::State) -> Upload {
        let _ = (request, state);
        Upload::collect()
    }

    /// Something happened to a body that [`upload`](App::upload) wants in parts.
    /// [`Conn::pause`] keeps further parts away until [`Conn::resume`], the end
    /// included, so that a sender waits for who stores what it sends;
    /// [`Conn::answer`] ends it. `state` is dropped after the answer, or after
    /// [`BodyPart::Aborted`].
    fn body(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, part: BodyPart<'_>) {
        let _ = (conn, state, part);
    }

    /// The shard runs; called once, before anything else.
    fn started(&mut self, turn: &mut Turn<'_, Self::State>) {
        let _ = turn;
    }

    /// A server granted a connection dialled from here, and `state` may be
    /// filled; [`open`](Self::open) follows.
    fn connected(&mut self, accepted: &Accepted<'_>, state: &mut Self::State) {
        let _ = (accepted, state);
    }

    /// A connection dialled from here did not open. Dial again after a while
    /// ([`Turn::schedule`]), not at once.
    fn dial_failed(&mut self, turn: &mut Turn<'_, Self::State>, key: u64, error: &DialError) {
        let _ = (turn, key, error);
    }

    /// A timer of [`Turn::schedule`] or [`Conn::schedule`] is due.
    fn timer(&mut self, turn: &mut Turn<'_, Self::State>, key: u64) {
        let _ = (turn, key);
    }

    /// Sources registered with [`Turn::register`] have something; all of this
    /// turn together.
    fn events(&mut self, turn: &mut Turn<'_, Self::State>, events: &[SourceEvent]) {
        let _ = (turn, events);
    }

    /// The WebSocket is open, accepted or dialled: what is sent now follows the
    /// handshake. Or a [stream of messages](crate::http::MessageStream) has
    /// begun, which is a connection like it from here on.
    fn open(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// A complete message arrived, of at most
    /// [`Config::max_message`](crate::Config::max_message) bytes; text is valid
    /// UTF-8. The payload lies in a receive buffer and is gone after the call:
    /// copy what is to be kept.
    fn message(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, message: Message<'_>);

    /// A ping arrived; its pong is queued already.
    fn ping(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, payload: &[u8]) {
        let _ = (conn, state, payload);
    }

    /// A pong arrived: the answer to a ping of [`Conn::ping`] or of the
    /// server's own, whose payload is empty, or one that nobody asked for.
    fn pong(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, payload: &[u8]) {
        let _ = (conn, state, payload);
    }

    /// What waits to be sent fell below a quarter of the backpressure limit
    /// after it had been above half of it.
    fn drain(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// A message of a hub that was declared
    /// [`through_app`](crate::hub::Hub::through_app), for this connection:
    /// sent as it is by default.
    fn deliver(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, delivery: &Delivery<'_>) {
        let _ = state;
        conn.send_prepared(&delivery.prepared());
    }

    /// A subscription of this connection has changed. Of ordered topics every
    /// beginning is told, of hubs that [report](crate::hub::Hub::report) every
    /// change: after the callback that made it, and at the end of the
    /// connection before [`close`](App::close), when what is sent is dropped.
    fn subscription(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, change: &Change<'_>) {
        let _ = (conn, state, change);
    }

    /// The WebSocket ended, for whatever reason; called exactly once after
    /// [`open`](App::open). What is sent now is dropped.
    fn close(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, close: &Close<'_>) {
        let _ = (conn, state, close);
    }

    /// The server is stopping: the code and reason that this open WebSocket is
    /// closed with, asked when its turn comes. 1001 by default.
    fn stopping(&mut self, state: &mut Self::State) -> (CloseCode, &'static str) {
        let _ = state;
        STOPPING
    }
}

/// A complete message, as received or to be sent.
#[derive(Clone, Copy)]
pub struct Message<'a>(Carried<'a>);

#[derive(Clone, Copy)]
enum Carried<'a> {
    Text(&'a str),
    /// Text that was validated piece by piece.
    Pieces(&'a [u8]),
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// A text message.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self(Carried::Text(text))
    }

    /// A binary message.
    #[must_use]
    pub fn binary(payload: &'a [u8]) -> Self {
        Self(Carried::Binary(payload))
    }

    /// A text's payload is valid UTF-8.
    pub(crate) fn received(kind: Kind, payload: &'a [u8]) -> Self {
        Self(match kind {
            Kind::Text => Carried::Pieces(payload),
            Kind::Binary => Carried::Binary(payload),
        })
    }

    pub(crate) fn whole(content: Content<'a>) -> Self {
        match content {
            Content::Text(text) => Self::text(text),
            Content::Binary(bytes) => Self::binary(bytes),
        }
    }

    /// Text or binary.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.0 {
            Carried::Text(_) | Carried::Pieces(_) => Kind::Text,
            Carried::Binary(_) => Kind::Binary,
        }
    }

    /// The payload of either kind. A text message's is valid UTF-8.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        match self.0 {
            Carried::Text(text) => text.as_bytes(),
            Carried::Pieces(payload) | Carried::Binary(payload) => payload,
        }
    }

    /// The text of a text message. One that did not arrive whole (in fragments,
    /// compressed, or over the end of a receive buffer) is checked once more,
    /// since this crate holds no unsafe code; use [`payload`](Self::payload)
    /// where bytes will do.
    #[must_use]
    pub fn as_text(&self) -> Option<&'a str> {
        match self.0 {
            Carried::Text(text) => Some(text),
            Carried::Pieces(payload) => std::str::from_utf8(payload).ok(),
            Carried::Binary(_) => None,
        }
    }
}

impl PartialEq for Message<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.payload() == other.payload()
    }
}

impl Eq for Message<'_> {}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind())
            .field("payload", &self.payload())
            .finish()
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::text(text)
    }
}

/// Text: of `&format!(..)`.
impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        Self::text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(payload: &'a [u8]) -> Self {
        Self::binary(payload)
    }
}

/// How a WebSocket ended: what [`App::close`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// The status code: the peer's if it sent a Close frame, else ours if we
    /// closed, else 1006 (the connection was lost without a Close frame).
    pub code: CloseCode,
    /// The reason that came with the code.
    pub reason: &'a str,
    /// Whether the peer's Close frame arrived.
    pub clean: bool,
}
