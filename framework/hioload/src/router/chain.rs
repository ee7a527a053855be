//! Middleware, one around the other, with a route inside.

use std::any::Any;
use std::rc::Rc;

use super::dispatch::Routed;
use super::mounted::Mounted;
use crate::app::{Close, Conn, Message, Turn, Upgrade};
use crate::client::DialError;
use crate::http::{BodyPart, Refusal, Request, Response, Taking, Upload};
use crate::hub::{Change, Delivery};
use crate::metrics::{Metrics, ShardMetrics};
use crate::source::SourceEvent;

/// Stands around routes: sees what comes to them, and may answer itself,
/// refuse, or look at what they answer.
///
/// Each callback gets the [`Next`] one and decides whether and when to call
/// it; the default of each passes everything on. One instance per shard,
/// called on its thread. State per connection is for the middleware to keep,
/// by [`Conn::id`], from [`Event::Open`] to [`Event::Close`].
pub trait Middleware: 'static {
    /// The shard runs; called once, before anything else.
    fn started(&mut self, start: &Start<'_>) {
        let _ = start;
    }

    /// A WebSocket upgrade whose handshake is valid.
    fn upgrade(&mut self, request: &Request<'_>, next: Next<'_>) -> Upgrade {
        next.upgrade(request)
    }

    /// A plain request; of one whose body the mounted app is to stream, the
    /// head. What is answered then, instead of 202, refuses it.
    fn http(&mut self, request: &Request<'_>, next: Next<'_>) -> Response {
        next.http(request)
    }

    /// Something happened on a WebSocket, or on a
    /// [stream of messages](crate::http::MessageStream). [`Event::Open`] and
    /// [`Event::Close`] must be passed on: others keep their tables by them.
    fn event(&mut self, conn: &mut Conn<'_>, event: Event<'_>, next: Next<'_>) {
        next.event(conn, event);
    }

    /// Something happened to the mounted app that is about no open connection.
    fn notice(&mut self, turn: &mut Turn<'_, Routed>, notice: Notice<'_>, next: Next<'_>) {
        next.notice(turn, notice);
    }
}

/// What happens on a WebSocket; see the callbacks of [`App`](crate::App).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// It is open.
    Open,
    /// A complete message arrived.
    Message(Message<'e>),
    /// A ping arrived.
    Ping(&'e [u8]),
    /// A pong arrived.
    Pong(&'e [u8]),
    /// What waits to be sent fell below a quarter of the limit.
    Drain,
    /// A message of a hub, to be sent.
    Deliver(Delivery<'e>),
    /// A subscription has changed.
    Subscription(Change<'e>),
    /// It ended. Comes once for every [`Event::Open`], and also where a panic
    /// of an outer middleware kept that one away.
    Close(Close<'e>),
    /// Of no WebSocket: a part of a body that the app streams. There was no
    /// [`Event::Open`], and there will be no [`Event::Close`].
    Body(BodyPart<'e>),
}

/// What happens to a mounted app; see the callbacks of [`App`](crate::App).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Notice<'e> {
    /// A timer with this key is due.
    Timer(u64),
    /// A dial with this key came to nothing.
    DialFailed(u64, &'e DialError),
    /// Sources it has registered have something.
    Sources(&'e [SourceEvent]),
}

/// Where a middleware runs.
#[derive(Debug)]
pub struct Start<'s> {
    pub(super) metrics: Metrics,
    pub(super) shard: usize,
    pub(super) routes: &'s [Rc<str>],
}

impl Start<'_> {
    /// The shard, from 0.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The counters of the server.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Every route of the router, in the order of [`Next::route`]'s numbers.
    pub fn routes(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| &**route)
    }
}

/// A shard's counters, from [`Start`] on.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters(Option<(Metrics, usize)>);

impl Counters {
    pub(super) fn of(start: &Start<'_>) -> Self {
        Self(Some((start.metrics.clone(), start.shard)))
    }

    pub(super) fn get(&self) -> Option<&ShardMetrics> {
        let (metrics, shard) = self.0.as_ref()?;
        Some(metrics.shard(*shard))
    }
}

/// All middleware of a router, in the order of registration. A route's own are
/// named by ascending indices, so that the rest of a chain always lies behind.
#[derive(Default)]
pub(super) struct Layers(Vec<Box<dyn Middleware>>);

impl Layers {
    pub(super) fn add(&mut self, layer: Box<dyn Middleware>) -> usize {
        self.0.push(layer);
        self.0.len() - 1
    }

    pub(super) fn started(&mut self, start: &Start<'_>) {
        self.0.iter_mut().for_each(|layer| layer.started(start));
    }

    /// The outermost of a chain.
    pub(super) fn enter<'n>(
        &'n mut self,
        chain: &'n [usize],
        route: Option<(usize, &'n str)>,
        end: End<'n>,
    ) -> Next<'n> {
        Next {
            layers: &mut self.0,
            passed: 0,
            chain,
            route,
            end,
        }
    }
}

/// What a chain leads to.
pub(super) enum End<'n> {
    Handler(&'n mut dyn FnMut(&Request<'_>) -> Response),
    Socket(&'n mut dyn Mounted, &'n mut dyn Any),
    Service(&'n mut dyn Mounted),
    Answer(Answerer<'n>),
    Upload(Receiver<'n>),
    Nothing(Nothing),
}

/// An app that is asked for an answer.
pub(super) struct Answerer<'n> {
    pub(super) service: &'n mut dyn Mounted,
    pub(super) state: &'n mut dyn Any,
    /// If it has none.
    pub(super) otherwise: Nothing,
}

impl Answerer<'_> {
    fn ask(self, request: &Request<'_>) -> Response {
        let answer = self.service.answer(request, self.state);
        match answer.status() {
            404 => self.otherwise.response(),
            _ => answer,
        }
    }
}

/// An app that is asked whether it takes a body.
pub(super) struct Receiver<'n> {
    pub(super) service: &'n mut dyn Mounted,
    pub(super) state: &'n mut dyn Any,
    /// What it says, if it does.
    pub(super) taken: &'n mut Option<Upload>,
    /// If it does not.
    pub(super) otherwise: Nothing,
}

impl Receiver<'_> {
    fn ask(self, request: &Request<'_>) -> Response {
        let upload = self.service.upload(request, self.state);
        match upload.0 {
            Taking::Collect => self.otherwise.response(),
            Taking::Answer(answer) => answer,
            Taking::Stream(_) => {
                *self.taken = Some(upload);
                Response::text(202, "")
            }
        }
    }
}

/// Why there is nothing to lead to.
pub(super) enum Nothing {
    NoRoute,
    /// A parameter is no text.
    NotText,
    /// With the methods there are.
    NoMethod(String),
    /// There are only plain handlers, or only WebSockets.
    NoSocket,
    OnlySocket,
}

impl Nothing {
    fn response(&self) -> Response {
        match self {
            Self::NoRoute => Response::not_found(),
            Self::NotText => Response::text(400, NOT_TEXT),
            Self::NoMethod(allow) => {
                Response::text(405, "method not allowed here\n").header("Allow", allow.clone())
            }
            Self::NoSocket => Response::text(400, "no WebSocket here\n"),
            Self::OnlySocket => only_socket(),
        }
    }

    pub(super) fn upgrade(&self) -> Upgrade {
        match self {
            Self::NoRoute => Refusal::NotFound.into(),
            Self::NotText => Refusal::BadRequest("a parameter of the path is not UTF-8").into(),
            _ => Refusal::BadRequest("no WebSocket here").into(),
        }
    }
}

const NOT_TEXT: &str = "a parameter of the path is not UTF-8\n";

fn only_socket() -> Response {
    Response::text(426, "this resource speaks WebSocket version 13\n")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
}

/// The rest of a chain: the middleware within, and the route.
pub struct Next<'n> {
    /// Those from index `passed` on.
    layers: &'n mut [Box<dyn Middleware>],
    passed: usize,
    chain: &'n [usize],
    route: Option<(usize, &'n str)>,
    end: End<'n>,
}

impl<'n> Next<'n> {
    /// The route taken, as it was registered, such as `/chat/:room`; `None`
    /// where there is none.
    #[must_use]
    pub fn route(&self) -> Option<&'n str> {
        self.route.map(|(_, pattern)| pattern)
    }

    /// The number of the route in [`Start::routes`].
    #[must_use]
    pub fn route_number(&self) -> Option<usize> {
        self.route.map(|(number, _)| number)
    }

    /// Goes on with an upgrade.
    #[must_use]
    pub fn upgrade(self, request: &Request<'_>) -> Upgrade {
        match self.step() {
            Step::Layer(layer, next) => layer.upgrade(request, next),
            Step::End(End::Socket(service, state)) => service.upgrade(request, state),
            Step::End(End::Nothing(nothing)) => nothing.upgrade(),
            Step::End(End::Handler(_) | End::Service(_) | End::Answer(_) | End::Upload(_)) => {
                Nothing::NoSocket.upgrade()
            }
        }
    }

    /// Goes on with a plain request.
    #[must_use]
    pub fn http(self, request: &Request<'_>) -> Response {
        match self.step() {
            Step::Layer(layer, next) => layer.http(request, next),
            Step::End(End::Handler(handler)) => handler(request),
            Step::End(End::Answer(answerer)) => answerer.ask(request),
            Step::End(End::Upload(receiver)) => receiver.ask(request),
            Step::End(End::Nothing(nothing)) => nothing.response(),
            Step::End(End::Socket(..) | End::Service(_)) => only_socket(),
        }
    }

    /// Goes on with what happened on a WebSocket.
    pub fn event(self, conn: &mut Conn<'_>, event: Event<'_>) {
        match self.step() {
            Step::Layer(layer, next) => layer.event(conn, event, next),
            Step::End(End::Socket(service, state)) => service.event(conn, state, event),
            Step::End(_) => {}
        }
    }

    /// Goes on with what happened to the app.
    pub fn notice(self, turn: &mut Turn<'_, Routed>, notice: Notice<'_>) {
        match self.step() {
            Step::Layer(layer, next) => layer.notice(turn, notice, next),
            Step::End(End::Service(service)) => service.notice(turn, notice),
            Step::End(_) => {}
        }
    }

    fn step(self) -> Step<'n> {
        let Some((&index, chain)) = self.chain.split_first() else {
            return Step::End(self.end);
        };
        let Some((layer, layers)) = self.layers[index - self.passed..].split_first_mut() else {
            return Step::End(self.end);
        };
        let next = Next {
            layers,
            passed: index + 1,
            chain,
            ..self
        };
        Step::Layer(&mut **layer, next)
    }
}

impl std::fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Next")
            .field("route", &self.route)
            .field("layers", &self.chain.len())
            .finish_non_exhaustive()
    }
}

enum Step<'n> {
    Layer(&'n mut dyn Middleware, Next<'n>),
    End(End<'n>),
}
