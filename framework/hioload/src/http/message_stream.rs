//! An HTTP answer that goes on: a connection of the app that only sends.

use hioload_protocol::CloseCode;

use crate::config::Backpressure;

/// What is written last, from the code and the reason of a close.
pub(crate) type Farewell = fn(CloseCode, &str) -> Vec<u8>;

/// How the receiver of a [`MessageStream`] tells its messages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// A line feed after each message, which holds none itself: such as JSON,
    /// one value a line.
    Lines,
    /// Nothing: messages say themselves where they end.
    Bare,
    /// Server-sent events: the lines of a text are `data`, a binary message is
    /// in base64.
    Events,
}

impl Framing {
    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Bare => "application/octet-stream",
            Self::Events => "text/event-stream",
        }
    }
}

/// The answer to a plain request that becomes a connection of the app, for
/// clients that cannot upgrade: it gets the callbacks of a WebSocket, and what
/// is sent to it is the body of the answer, one message after the other. What
/// such a client has to say comes with other requests; nothing of it is read
/// after the first.
///
/// [`App::answer`](crate::App::answer) gives it, as its `state` is that of the
/// connection: [`open`](crate::App::open) is called next, then what hubs
/// [deliver](crate::App::deliver), [`drain`](crate::App::drain) and at the end
/// [`close`](crate::App::close); timers, references and
/// [`Turn::conn`](crate::Turn::conn) reach it like any other. Given anywhere else
/// it ends at once.
///
/// - [`Conn::close`](crate::Conn::close) sends what was queued, then the
///   [farewell](Self::farewell), since there is no Close frame, and ends the
///   answer. So do the server's own reasons to close, and
///   [`App::stopping`](crate::App::stopping).
/// - A slow reader is dealt with as one of a WebSocket is, but for
///   [`Backpressure::PauseReading`], which closes above the limit: there is
///   nothing to be read.
/// - It ends after [`max_lifetime`](crate::Config::max_lifetime), and when its
///   client takes nothing for [`send_timeout`](crate::Config::send_timeout).
///   Silence of the client ends nothing. Where that is possible, with
///   [`Framing::Events`], a comment is sent after a
///   [`ping_interval`](crate::Config::ping_interval) without a message.
/// - To HTTP/1.1 the body is sent in chunks, to HTTP/1.0 up to the end of the
///   connection, which follows either. Nothing is compressed.
///
/// ```
/// use hioload::http::Framing;
/// use hioload::{App, Conn, Message, Request, Response};
///
/// /// Hears the topic that it was asked for, one message a line.
/// struct Lines;
///
/// impl App for Lines {
///     type State = String;
///
///     fn answer(&mut self, request: &Request<'_>, topic: &mut String) -> Response {
///         *topic = request.path().to_owned();
///         Response::messages(Framing::Lines)
///             .farewell(|code, reason| format!("end {} {reason}", code.0).into_bytes())
///             .into()
///     }
///     fn open(&mut self, conn: &mut Conn<'_>, topic: &mut String) {
///         conn.subscribe(topic);
///     }
///     fn message(&mut self, conn: &mut Conn<'_>, topic: &mut String, message: Message<'_>) {
///         conn.publish(topic, message);
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct MessageStream {
    pub(crate) framing: Framing,
    pub(crate) content_type: &'static str,
    pub(crate) backpressure: Option<Backpressure>,
    pub(crate) farewell: Option<Farewell>,
}

impl MessageStream {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            content_type: framing.content_type(),
            backpressure: None,
            farewell: None,
        }
    }

    /// Says another type than the framing's own: `application/x-ndjson`,
    /// `application/octet-stream`, `text/event-stream`.
    #[must_use]
    pub fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// Overrides the server's backpressure policy for this connection.
    #[must_use]
    pub fn backpressure(mut self, policy: Backpressure) -> Self {
        self.backpressure = Some(policy);
        self
    }

    /// The message that is sent last, framed like the others, when the
    /// connection is closed from here. Not when it is lost, or
    /// [terminated](crate::Conn::terminate).
    #[must_use]
    pub fn farewell(mut self, farewell: fn(CloseCode, &str) -> Vec<u8>) -> Self {
        self.farewell = Some(farewell);
        self
    }
}
