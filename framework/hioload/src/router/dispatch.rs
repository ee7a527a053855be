//! The router as an app: finds who is meant, and goes there through the
//! middleware.

use std::any::Any;

use hioload_protocol::CloseCode;

use super::Router;
use super::chain::{Answerer, End, Event, Nothing, Notice, Receiver, Start};
use super::method::Method;
use super::mounted::{Mounted, Service};
use super::table::{Found, Handler, Node};
use crate::app::upgrade::Decision;
use crate::app::{App, Close, Conn, Message, STOPPING, Turn, Upgrade};
use crate::client::{Accepted, DialError};
use crate::http::{BodyPart, Request, Response, Upload};
use crate::hub::{Change, Delivery};
use crate::shard::Owner;
use crate::source::SourceEvent;

/// What a [`Router`] keeps per connection: which app it belongs to, and that
/// app's state.
#[derive(Default)]
pub struct Routed {
    owner: Owner,
    state: Option<Box<dyn Any>>,
}

// Every connection of the shard has one.
const _: () = assert!(size_of::<Routed>() <= 24);

impl Routed {
    fn new(node: usize, service: &dyn Mounted) -> Self {
        Self {
            owner: owner(node),
            state: Some(service.fresh()),
        }
    }

    /// The state, if the connection is this owner's.
    pub(super) fn state_of(&mut self, owner: Owner) -> Option<&mut dyn Any> {
        (self.owner == owner)
            .then_some(self.state.as_deref_mut())
            .flatten()
    }
}

impl std::fmt::Debug for Routed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routed")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// The owner that stands for the app of a node; 0 is nobody's.
pub(super) fn owner(node: usize) -> Owner {
    Owner(u32::try_from(node + 1).unwrap_or(0))
}

fn node(owner: Owner) -> Option<usize> {
    usize::try_from(owner.0).ok()?.checked_sub(1)
}

impl Router {
    /// Calls the mounted app of this type, the first if there are several,
    /// with its own view of the turn: how a task of
    /// [`Handle::post`](crate::Handle::post) reaches it. `None` when none is
    /// mounted.
    pub fn with<A: App, R>(
        &mut self,
        turn: &mut Turn<'_, Routed>,
        call: impl FnOnce(&mut A, &mut Turn<'_, A::State>) -> R,
    ) -> Option<R> {
        let mut services = sockets(&mut self.table.nodes);
        let service = services.find_map(|service| service.as_any().downcast_mut::<Service<A>>())?;
        Some(service.within(turn, call))
    }

    fn event(&mut self, conn: &mut Conn<'_>, routed: &mut Routed, event: Event<'_>) {
        let Some((number, socket, state)) = find(&mut self.table.nodes, routed) else {
            // Dialled through the handle, for no app in particular.
            return conn.close(CloseCode::INTERNAL, "no app here dialled this");
        };
        let route = (number, &*self.table.patterns[number]);
        let end = End::Socket(&mut *socket.service, state);
        conn.cx.owner = owner(number);
        self.layers
            .enter(&socket.chain, Some(route), end)
            .event(conn, event);
        conn.cx.owner = Owner::default();
    }

    fn notice(&mut self, turn: &mut Turn<'_, Routed>, notice: Notice<'_>) {
        let number = node(turn.cx.owner);
        let node = number.and_then(|number| Some((number, self.table.nodes.get_mut(number)?)));
        let Some((number, node)) = node else { return };
        let Some(socket) = &mut node.socket else {
            return;
        };
        let route = (number, &*self.table.patterns[number]);
        let end = End::Service(&mut *socket.service);
        self.layers
            .enter(&socket.chain, Some(route), end)
            .notice(turn, notice);
    }
}

/// The service of a connection.
fn find<'r>(
    nodes: &'r mut [Node],
    routed: &'r mut Routed,
) -> Option<(usize, &'r mut super::table::Socket, &'r mut dyn Any)> {
    let number = node(routed.owner)?;
    let socket = nodes.get_mut(number)?.socket.as_mut()?;
    Some((number, socket, routed.state.as_deref_mut()?))
}

/// Why a method has no handler here.
fn otherwise(node: &Node) -> Nothing {
    match node.handlers.is_empty() {
        true => Nothing::OnlySocket,
        false => Nothing::NoMethod(node.allow()),
    }
}

fn sockets(nodes: &mut [Node]) -> impl Iterator<Item = &mut Box<dyn Mounted>> {
    let sockets = nodes.iter_mut().filter_map(|node| node.socket.as_mut());
    sockets.map(|socket| &mut socket.service)
}

impl App for Router {
    type State = Routed;

    fn check(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match &self.fault {
            None => Ok(()),
            Some(fault) => Err(fault.clone().into()),
        }
    }

    fn upgrade(&mut self, request: &Request<'_>, routed: &mut Routed) -> Upgrade {
        let table = &mut self.table;
        let (number, params) = match table.paths.find(request.path()) {
            Found::Node(number, params) => (number, params),
            Found::NotText => {
                let end = End::Nothing(Nothing::NotText);
                return self.layers.enter(&self.root, None, end).upgrade(request);
            }
            Found::Nowhere => {
                let end = End::Nothing(Nothing::NoRoute);
                return self.layers.enter(&self.root, None, end).upgrade(request);
            }
        };
        let route = Some((number, &*table.patterns[number]));
        let request = request.with_params(&params);
        let Some(socket) = &mut table.nodes[number].socket else {
            let end = End::Nothing(Nothing::NoSocket);
            return self.layers.enter(&self.root, route, end).upgrade(&request);
        };
        *routed = Routed::new(number, &*socket.service);
        let Some(state) = routed.state.as_deref_mut() else {
            return Nothing::NoSocket.upgrade();
        };
        let end = End::Socket(&mut *socket.service, state);
        let next = self.layers.enter(&socket.chain, route, end);
        let mut upgrade = next.upgrade(&request);
        if matches!(upgrade.0, Decision::Accept(_)) {
            for (name, value) in &params {
                upgrade = upgrade.param(name, value);
            }
        }
        upgrade
    }

    fn http(&mut self, request: &Request<'_>) -> Response {
        self.answer(request, &mut Routed::default())
    }

    /// Where there is no handler for the method, the app mounted there may have
    /// an answer.
    fn answer(&mut self, request: &Request<'_>, routed: &mut Routed) -> Response {
        let table = &mut self.table;
        let (number, params) = match table.paths.find(request.path()) {
            Found::Node(number, params) => (number, params),
            Found::NotText => {
                let end = End::Nothing(Nothing::NotText);
                return self.layers.enter(&self.root, None, end).http(request);
            }
            Found::Nowhere => {
                let end = End::Nothing(Nothing::NoRoute);
                return self.layers.enter(&self.root, None, end).http(request);
            }
        };
        let route = Some((number, &*table.patterns[number]));
        let request = request.with_params(&params);
        let node = &mut table.nodes[number];
        let Some(handler) = node.position(Method::of(request.method())) else {
            let otherwise = otherwise(node);
            let Some(socket) = &mut node.socket else {
                let end = End::Nothing(otherwise);
                return self.layers.enter(&self.root, route, end).http(&request);
            };
            *routed = Routed::new(number, &*socket.service);
            let end = match routed.state.as_deref_mut() {
                None => End::Nothing(otherwise),
                Some(state) => End::Answer(Answerer {
                    service: &mut *socket.service,
                    state,
                    otherwise,
                }),
            };
            return self.layers.enter(&socket.chain, route, end).http(&request);
        };
        let Handler { chain, answer } = &mut node.handlers[handler].1;
        let end = End::Handler(&mut **answer);
        self.layers.enter(chain, route, end).http(&request)
    }

    /// Handlers get bodies whole. Where there is none for the method, the app
    /// mounted there may want it in parts; what nobody wants is not read.
    fn upload(&mut self, request: &Request<'_>, routed: &mut Routed) -> Upload {
        let table = &mut self.table;
        let Found::Node(number, params) = table.paths.find(request.path()) else {
            return Upload::answer(self.http(request));
        };
        let node = &mut table.nodes[number];
        if node.position(Method::of(request.method())).is_some() {
            return Upload::collect();
        }
        let instead = otherwise(node);
        let route = Some((number, &*table.patterns[number]));
        let request = request.with_params(&params);
        let Some(socket) = &mut node.socket else {
            let next = self.layers.enter(&self.root, route, End::Nothing(instead));
            return Upload::answer(next.http(&request));
        };
        *routed = Routed::new(number, &*socket.service);
        let mut taken = None;
        let end = match routed.state.as_deref_mut() {
            None => End::Nothing(instead),
            Some(state) => End::Upload(Receiver {
                service: &mut *socket.service,
                state,
                taken: &mut taken,
                otherwise: instead,
            }),
        };
        let next = self.layers.enter(&socket.chain, route, end);
        let answer = next.http(&request);
        match taken {
            Some(upload) if answer.status() == 202 => upload,
            _ => Upload::answer(answer),
        }
    }

    fn body(&mut self, conn: &mut Conn<'_>, routed: &mut Routed, part: BodyPart<'_>) {
        self.event(conn, routed, Event::Body(part));
    }

    fn started(&mut self, turn: &mut Turn<'_, Routed>) {
        self.layers.started(&Start {
            metrics: turn.cx.handle.metrics(),
            shard: turn.cx.shard,
            routes: &self.table.patterns,
        });
        sockets(&mut self.table.nodes).for_each(|service| service.started(turn));
    }

    fn connected(&mut self, accepted: &Accepted<'_>, routed: &mut Routed) {
        let Some(number) = node(accepted.owner) else {
            return;
        };
        let node = self.table.nodes.get_mut(number);
        let Some(socket) = node.and_then(|node| node.socket.as_mut()) else {
            return;
        };
        *routed = Routed::new(number, &*socket.service);
        if let Some(state) = routed.state.as_deref_mut() {
            socket.service.connected(accepted, state);
        }
    }

    fn dial_failed(&mut self, turn: &mut Turn<'_, Routed>, key: u64, error: &DialError) {
        self.notice(turn, Notice::DialFailed(key, error));
    }

    fn timer(&mut self, turn: &mut Turn<'_, Routed>, key: u64) {
        self.notice(turn, Notice::Timer(key));
    }

    fn events(&mut self, turn: &mut Turn<'_, Routed>, events: &[SourceEvent]) {
        for of_one in events.chunk_by(|a, b| a.owner() == b.owner()) {
            turn.cx.owner = of_one[0].owner();
            self.notice(turn, Notice::Sources(of_one));
        }
        turn.cx.owner = Owner::default();
    }

    fn open(&mut self, conn: &mut Conn<'_>, routed: &mut Routed) {
        self.event(conn, routed, Event::Open);
    }

    fn message(&mut self, conn: &mut Conn<'_>, routed: &mut Routed, message: Message<'_>) {
        self.event(conn, routed, Event::Message(message));
    }

    fn ping(&mut self, conn: &mut Conn<'_>, routed: &mut Routed, payload: &[u8]) {
        self.event(conn, routed, Event::Ping(payload));
    }

    fn pong(&mut self, conn: &mut Conn<'_>, routed: &mut Routed, payload: &[u8]) {
        self.event(conn, routed, Event::Pong(payload));
    }

    fn drain(&mut self, conn: &mut Conn<'_>, routed: &mut Routed) {
        self.event(conn, routed, Event::Drain);
    }

    fn deliver(&mut self, conn: &mut Conn<'_>, routed: &mut Routed, delivery: &Delivery<'_>) {
        self.event(conn, routed, Event::Deliver(*delivery));
    }

    fn subscription(&mut self, conn: &mut Conn<'_>, routed: &mut Routed, change: &Change<'_>) {
        self.event(conn, routed, Event::Subscription(*change));
    }

    fn close(&mut self, conn: &mut Conn<'_>, routed: &mut Routed, close: &Close<'_>) {
        self.event(conn, routed, Event::Close(*close));
    }

    /// The app that the connection belongs to says.
    fn stopping(&mut self, routed: &mut Routed) -> (CloseCode, &'static str) {
        find(&mut self.table.nodes, routed).map_or(STOPPING, |(_, socket, state)| {
            socket.service.stopping(state)
        })
    }
}
