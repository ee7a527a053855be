//! Clients that cannot upgrade: they hear over an HTTP answer that goes on, and
//! post what they say to `/emulation`, with the secret they were told.

use std::borrow::Cow;

use hioload::http::{Framing, Upload};
use hioload::{Backpressure, CloseCode, Conn, ConnId, PostError, Request, Response, Turn};
use hioload_centrifugo::{
    Disconnect, Emulated, Encoding, Frame, Push, Replies, commands, protobuf_commands,
};
use percent_encoding::percent_decode;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::client::{Client, Streamed};
use super::{Chat, MAX_FRAME, disconnect, found};
use crate::config::Settings;
use crate::proxy::Headers;
use crate::site::{Service, Site};

/// Bytes of a posted body at most: a frame is a string in it, in which each of
/// its quotes takes two, and the names of the session and the server.
const MAX_POSTED: u64 = 2 * MAX_FRAME as u64 + 1024;

/// Bytes of frames on their way from a shard to others at most: what a shard
/// that stands still may cost, as whoever posted them may have gone.
const MAX_SPEAKING: usize = 64 << 20;

/// What a stream says at its end where a WebSocket would have no code of the
/// chat: a connection that was closed, after which clients come back.
const CLOSED: u16 = 3000;

/// The least code that the protocol knows.
const LEAST_CODE: u16 = 3000;

/// The type of bodies in Protobuf.
const BINARY: &str = "application/octet-stream";

/// Where the first frame is in the query of [`Fallback::Events`].
const CONNECT: &str = "cf_connect";

/// What a client does that cannot upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Hears server-sent events.
    Events,
    /// Hears lines of JSON, or Protobuf.
    Stream,
    /// Says something.
    Emulation,
}

impl Fallback {
    /// Those that are switched on.
    pub(crate) fn all(settings: &Settings) -> impl Iterator<Item = Self> {
        [
            (Self::Events, settings.sse),
            (Self::Stream, settings.http_stream),
            (Self::Emulation, settings.sse || settings.http_stream),
        ]
        .into_iter()
        .filter_map(|(one, is_on)| is_on.then_some(one))
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Events => "/connection/sse",
            Self::Stream => "/connection/http_stream",
            Self::Emulation => "/emulation",
        }
    }

    /// The methods it takes, as `Allow` lists them.
    fn methods(self) -> &'static str {
        match self {
            Self::Events => "GET, POST, OPTIONS",
            Self::Stream | Self::Emulation => "POST, OPTIONS",
        }
    }

    fn takes(self, method: &str) -> bool {
        method == "POST" || (method == "GET" && self == Self::Events)
    }

    fn framing(self, encoding: Encoding) -> Framing {
        match (self, encoding) {
            (Self::Events, _) => Framing::Events,
            (_, Encoding::Json) => Framing::Lines,
            // Each message comes after its length.
            (_, Encoding::Protobuf) => Framing::Bare,
        }
    }
}

/// A request that speaks for a client, until it is answered.
#[derive(Debug)]
pub(crate) struct Posted {
    encoding: Encoding,
    /// The page's that sent it.
    origin: Option<Box<str>>,
    body: Vec<u8>,
}

impl Posted {
    /// More of the body, which its server bounds.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }

    fn answer(&self, conn: &mut Conn<'_>, spoken: Result<(), Refused>) {
        let answer = match spoken {
            Ok(()) => Response::text(204, ""),
            Err(refused) => refused.response(),
        };
        conn.answer(shared(answer, self.origin.as_deref()));
    }
}

/// Why nobody is spoken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Malformed,
    TooLarge,
    /// Nobody is there with this session, on this server. Clients connect anew.
    Unknown,
    /// Too much is asked of a shard.
    Busy,
}

impl Refused {
    fn response(self) -> Response {
        match self {
            Self::Malformed => Response::text(400, "session, node and data are missing\n"),
            Self::TooLarge => Response::text(413, "a frame has at most 64 KiB\n"),
            Self::Unknown => Response::text(404, "there is no such session\n"),
            Self::Busy => Response::text(503, "the server is behind\n"),
        }
    }
}

impl From<PostError> for Refused {
    fn from(error: PostError) -> Self {
        match error {
            PostError::NoShard(_) => Self::Unknown,
            _ => Self::Busy,
        }
    }
}

/// Where a session's client is: its shard and its key there, and the whole.
struct Address<'s> {
    shard: usize,
    key: u64,
    session: &'s str,
}

impl<'s> Address<'s> {
    fn write(shard: usize, key: u64) -> Box<str> {
        let secret = Uuid::new_v4();
        format!("{shard:x}.{key:x}.{}", secret.simple()).into()
    }

    fn read(session: &'s str) -> Option<Self> {
        let mut parts = session.splitn(3, '.');
        let shard = usize::from_str_radix(parts.next()?, 16).ok()?;
        let key = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some(Self {
            shard,
            key,
            session,
        })
    }
}

impl Chat {
    /// Whether and how the body of such a request is taken.
    pub(crate) fn take_body(
        &mut self,
        request: &Request<'_>,
        fallback: Fallback,
        service: &mut Service,
    ) -> Upload {
        if request.method() != "POST" || !self.admits_page(request) {
            return Upload::answer(self.fall_back(request, fallback, service));
        }
        let announced = request.header("Content-Length").map(str::parse::<u64>);
        let most = match fallback {
            Fallback::Events | Fallback::Stream => MAX_FRAME as u64,
            Fallback::Emulation => MAX_POSTED,
        };
        if announced.is_some_and(|length| length.is_ok_and(|length| length > most)) {
            let refused = Refused::TooLarge.response();
            return Upload::answer(shared(refused, request.header("Origin")));
        }
        if fallback != Fallback::Emulation {
            return Upload::collect();
        }
        *service = Service::Posted(Box::new(Posted {
            encoding: encoding(request),
            origin: request.header("Origin").map(Into::into),
            body: Vec::new(),
        }));
        Upload::stream(MAX_POSTED)
    }

    /// Answers a request that is whole: with a stream, or why there is none.
    pub(crate) fn fall_back(
        &mut self,
        request: &Request<'_>,
        fallback: Fallback,
        service: &mut Service,
    ) -> Response {
        if !self.admits_page(request) {
            return Response::text(403, "not allowed from this origin\n");
        }
        let answer = if request.method() == "OPTIONS" {
            preflight(fallback)
        } else if !fallback.takes(request.method()) {
            let methods = fallback.methods();
            Response::text(405, "method not allowed here\n").header("Allow", methods)
        } else if fallback == Fallback::Emulation {
            // One with a body went another way.
            Refused::Malformed.response()
        } else {
            match first_frame(request) {
                Ok(first) => stream(
                    request,
                    fallback,
                    &first,
                    self.proxies.headers(request),
                    service,
                ),
                Err(refused) => refused,
            }
        };
        shared(answer, request.header("Origin"))
    }

    fn admits_page(&mut self, request: &Request<'_>) -> bool {
        self.rules.follow();
        self.rules.admit(request)
    }

    /// A stream is open: its client has a session now, and its first frame is
    /// read.
    pub(super) fn begin_stream(&mut self, conn: &mut Conn<'_>, client: &mut Client) {
        self.counters.streams.add(1);
        let (shard, key) = (conn.shard(), client.key);
        let Some(stream) = &mut client.stream else {
            return;
        };
        stream.session = Address::write(shard, key);
        let first = std::mem::take(&mut stream.first);
        self.frame(conn, client, &first);
    }

    /// Does what the commands of a frame ask for that came without a WebSocket.
    fn frame(&mut self, conn: &mut Conn<'_>, client: &mut Client, frame: &[u8]) {
        match client.encoding {
            Encoding::Json => match std::str::from_utf8(frame) {
                Ok(text) => {
                    self.commands(conn, client, (frame, 0), commands(text));
                }
                Err(_) => disconnect(conn, Disconnect::BadRequest),
            },
            Encoding::Protobuf => {
                self.commands(conn, client, (frame, 0), protobuf_commands(frame));
            }
        }
    }

    /// A posted body is whole: has the client that it is about say it. It is
    /// answered when that was done, so that one that waits for the answer is
    /// heard in order.
    pub(crate) fn speak(&mut self, conn: &mut Conn<'_>, posted: &mut Posted) {
        let body = std::mem::take(&mut posted.body);
        if let Err(refused) = self.hand_over(conn, &body, posted.encoding) {
            posted.answer(conn, Err(refused));
        }
    }

    fn hand_over(
        &mut self,
        conn: &Conn<'_>,
        body: &[u8],
        encoding: Encoding,
    ) -> Result<(), Refused> {
        let Emulated {
            session,
            node,
            data,
        } = Emulated::parse(body, encoding).map_err(|_malformed| Refused::Malformed)?;
        if session.is_empty() {
            return Err(Refused::Malformed);
        }
        if data.len() > MAX_FRAME {
            return Err(Refused::TooLarge);
        }
        let address = Address::read(&session).ok_or(Refused::Unknown)?;
        if *node != *self.rules.server().uid {
            return Err(Refused::Unknown);
        }
        if self.speaking + data.len() > MAX_SPEAKING {
            return Err(Refused::Busy);
        }
        let (shard, key, session) = (address.shard, address.key, address.session.to_owned());
        let (asker, data) = (conn.id(), data.into_owned());
        let len = data.len();
        let back = self.handle.reserve(conn.shard())?;
        let speak = move |site: &mut Site, turn: &mut Turn<'_, Service>| {
            let spoken = site.chat().spoken(turn, key, &session, &data);
            let tell = move |site: &mut Site, turn: &mut Turn<'_, Service>| {
                site.chat().speaking -= len;
                told(turn, asker, spoken);
            };
            if let Err(stopped) = back.post(tell) {
                tracing::debug!(%stopped, "an answer has nobody to go to");
            }
        };
        self.handle.post(shard, speak)?;
        self.speaking += len;
        Ok(())
    }

    /// Does what was posted for a client of this shard.
    fn spoken(
        &mut self,
        turn: &mut Turn<'_, Service>,
        key: u64,
        session: &str,
        frame: &[u8],
    ) -> Result<(), Refused> {
        self.rules.follow();
        let id = *self.timers.get(&key).ok_or(Refused::Unknown)?;
        let (mut conn, client) = found(turn, id).ok_or(Refused::Unknown)?;
        let own = client.stream.as_ref().ok_or(Refused::Unknown)?;
        let is_it: bool = own.session.as_bytes().ct_eq(session.as_bytes()).into();
        if !is_it {
            return Err(Refused::Unknown);
        }
        self.counters.emulated.add(1);
        // What ends it is on its way, and says more than an answer here.
        if !conn.is_closing() {
            self.frame(&mut conn, client, frame);
        }
        Ok(())
    }
}

/// What became of a posted frame reaches who posted it, if it is still there.
fn told(turn: &mut Turn<'_, Service>, asker: ConnId, spoken: Result<(), Refused>) {
    if let Some((mut conn, Service::Posted(posted))) = turn.conn(asker) {
        posted.answer(&mut conn, spoken);
    }
}

/// The encoding of a request's body.
fn encoding(request: &Request<'_>) -> Encoding {
    match request.header("Content-Type") {
        Some(BINARY) => Encoding::Protobuf,
        _ => Encoding::Json,
    }
}

/// What a client that cannot upgrade says first.
fn first_frame<'r>(request: &Request<'r>) -> Result<Cow<'r, [u8]>, Response> {
    let first = if request.method() == "POST" {
        Cow::Borrowed(request.body())
    } else {
        let query = request.query().unwrap_or_default();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.find(|(name, _)| *name == CONNECT);
        let spaced = value.map_or(String::new(), |(_, value)| value.replace('+', " "));
        Cow::Owned(percent_decode(spaced.as_bytes()).collect())
    };
    if first.is_empty() {
        return Err(Response::text(400, "the connect command is missing\n"));
    }
    if first.len() > MAX_FRAME {
        return Err(Refused::TooLarge.response());
    }
    Ok(first)
}

/// A request becomes a client.
fn stream(
    request: &Request<'_>,
    fallback: Fallback,
    first: &[u8],
    headers: Option<Headers>,
    service: &mut Service,
) -> Response {
    let (encoding, transport) = match fallback {
        Fallback::Events | Fallback::Emulation => (Encoding::Json, "sse"),
        Fallback::Stream => (encoding(request), "http_stream"),
    };
    let mut client = Client::new(encoding);
    client.headers = headers;
    client.stream = Some(Box::new(Streamed {
        transport,
        session: "".into(),
        first: first.into(),
    }));
    *service = Service::Chat(Box::new(client));
    let farewell = match encoding {
        Encoding::Json => |code, reason: &str| farewell(Encoding::Json, code, reason),
        Encoding::Protobuf => |code, reason: &str| farewell(Encoding::Protobuf, code, reason),
    };
    let slow = CloseCode(Disconnect::Slow.code());
    let stream = Response::messages(fallback.framing(encoding))
        .backpressure(Backpressure::Close(slow))
        .farewell(farewell);
    // nginx would keep what is sent until it has a buffer full of it.
    Response::from(stream).header("X-Accel-Buffering", "no")
}

/// What stands in for a Close frame.
fn farewell(encoding: Encoding, code: CloseCode, reason: &str) -> Vec<u8> {
    let code = if code.0 < LEAST_CODE { CLOSED } else { code.0 };
    let mut replies = Replies::new(encoding);
    replies.push("", Push::Disconnect { code, reason });
    match replies.frame() {
        Ok(Some(Frame::Text(text))) => text.as_bytes().to_vec(),
        Ok(Some(Frame::Binary(bytes))) => bytes.to_vec(),
        Ok(None) | Err(_) => Vec::new(),
    }
}

/// What a browser asks before a page of another origin may post.
fn preflight(fallback: Fallback) -> Response {
    Response::text(204, "")
        .header("Access-Control-Allow-Methods", fallback.methods())
        .header("Access-Control-Allow-Headers", "Content-Type")
        .header("Access-Control-Max-Age", "600")
}

/// Lets a page of an admitted origin read the answer. Nothing here goes by
/// cookies, so that none need be allowed.
fn shared(answer: Response, origin: Option<&str>) -> Response {
    match origin {
        Some(origin) => answer
            .header("Access-Control-Allow-Origin", origin.to_owned())
            .header("Vary", "Origin"),
        None => answer,
    }
}
