//! Apps on routes, without their types.

use std::any::Any;
use std::marker::PhantomData;

use hioload_platform::Token;
use hioload_protocol::CloseCode;

use super::chain::{Event, Notice};
use super::dispatch::{Routed, owner};
use crate::app::{App, Conn, STOPPING, Turn, Upgrade};
use crate::client::Accepted;
use crate::http::{Request, Response, Upload};
use crate::shard::{Connections, Link, Owner};

/// An app and the type of its state, erased.
pub(super) trait Mounted {
    /// A state for a new connection. Boxing one of size zero allocates nothing.
    fn fresh(&self) -> Box<dyn Any>;
    fn upgrade(&mut self, request: &Request<'_>, state: &mut dyn Any) -> Upgrade;
    fn answer(&mut self, request: &Request<'_>, state: &mut dyn Any) -> Response;
    fn upload(&mut self, request: &Request<'_>, state: &mut dyn Any) -> Upload;
    fn connected(&mut self, accepted: &Accepted<'_>, state: &mut dyn Any);
    fn event(&mut self, conn: &mut Conn<'_>, state: &mut dyn Any, event: Event<'_>);
    fn started(&mut self, turn: &mut Turn<'_, Routed>);
    fn notice(&mut self, turn: &mut Turn<'_, Routed>, notice: Notice<'_>);
    fn stopping(&mut self, state: &mut dyn Any) -> (CloseCode, &'static str);
    /// The [`Service`] itself.
    fn as_any(&mut self) -> &mut dyn Any;
}

/// An app on the WebSockets of a node.
pub(super) struct Service<A> {
    pub(super) app: A,
    owner: Owner,
}

impl<A: App> Service<A> {
    pub(super) fn new(app: A, node: usize) -> Self {
        Self {
            app,
            owner: owner(node),
        }
    }

    /// Calls the app with the turn as it sees it: its own connections, with
    /// its own state.
    pub(super) fn within<R>(
        &mut self,
        turn: &mut Turn<'_, Routed>,
        call: impl FnOnce(&mut A, &mut Turn<'_, A::State>) -> R,
    ) -> R {
        let app = &mut self.app;
        own_turn(turn, self.owner, |turn| call(app, turn))
    }
}

/// Calls with the turn as the app of this owner sees it.
pub(crate) fn own_turn<S: 'static, R>(
    turn: &mut Turn<'_, Routed>,
    owner: Owner,
    call: impl FnOnce(&mut Turn<'_, S>) -> R,
) -> R {
    let outer = std::mem::replace(&mut turn.cx.owner, owner);
    let mut own = Own {
        all: &mut *turn.slab,
        owner,
        state: PhantomData,
    };
    let result = call(&mut Turn {
        slab: &mut own,
        cx: &mut *turn.cx,
    });
    turn.cx.owner = outer;
    result
}

/// The state of a connection, which was made by this service.
fn own<S: 'static>(state: &mut dyn Any) -> Option<&mut S> {
    let state = state.downcast_mut();
    debug_assert!(state.is_some(), "a connection keeps its service");
    state
}

impl<A: App> Mounted for Service<A> {
    fn fresh(&self) -> Box<dyn Any> {
        Box::new(A::State::default())
    }

    fn upgrade(&mut self, request: &Request<'_>, state: &mut dyn Any) -> Upgrade {
        match own(state) {
            Some(state) => self.app.upgrade(request, state),
            None => crate::http::Refusal::Internal.into(),
        }
    }

    fn answer(&mut self, request: &Request<'_>, state: &mut dyn Any) -> Response {
        match own(state) {
            Some(state) => self.app.answer(request, state),
            None => Response::not_found(),
        }
    }

    fn upload(&mut self, request: &Request<'_>, state: &mut dyn Any) -> Upload {
        match own(state) {
            Some(state) => self.app.upload(request, state),
            None => Upload::collect(),
        }
    }

    fn connected(&mut self, accepted: &Accepted<'_>, state: &mut dyn Any) {
        if let Some(state) = own(state) {
            self.app.connected(accepted, state);
        }
    }

    fn event(&mut self, conn: &mut Conn<'_>, state: &mut dyn Any, event: Event<'_>) {
        let Some(state) = own(state) else { return };
        let app = &mut self.app;
        match event {
            Event::Open => app.open(conn, state),
            Event::Message(message) => app.message(conn, state, message),
            Event::Ping(payload) => app.ping(conn, state, payload),
            Event::Pong(payload) => app.pong(conn, state, payload),
            Event::Drain => app.drain(conn, state),
            Event::Deliver(delivery) => app.deliver(conn, state, &delivery),
            Event::Subscription(change) => app.subscription(conn, state, &change),
            Event::Close(close) => app.close(conn, state, &close),
            Event::Body(part) => app.body(conn, state, part),
        }
    }

    fn started(&mut self, turn: &mut Turn<'_, Routed>) {
        self.within(turn, A::started);
    }

    fn notice(&mut self, turn: &mut Turn<'_, Routed>, notice: Notice<'_>) {
        self.within(turn, |app, turn| match notice {
            Notice::Timer(key) => app.timer(turn, key),
            Notice::Sources(events) => app.events(turn, events),
            Notice::DialFailed(key, error) => app.dial_failed(turn, key, error),
        });
    }

    fn stopping(&mut self, state: &mut dyn Any) -> (CloseCode, &'static str) {
        own(state).map_or(STOPPING, |state| self.app.stopping(state))
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Those of a shard's connections that belong to one service.
struct Own<'a, S> {
    all: &'a mut dyn Connections<Routed>,
    owner: Owner,
    state: PhantomData<fn() -> S>,
}

impl<S: 'static> Connections<S> for Own<'_, S> {
    fn find(&mut self, token: Token) -> Option<(&mut Link, &mut S)> {
        let (link, routed) = self.all.find(token)?;
        let state = routed.state_of(self.owner)?;
        Some((link, own(state)?))
    }
}
