//! Closures of the app that a shard keeps for later, without the app's types.
//!
//! [`Context`] is not generic, so that a [`Conn`] is not; what it keeps finds
//! its way back to `Turn<S>` through [`Links`].

use std::any::Any;
use std::marker::PhantomData;

use hioload_platform::Token;

use super::context::{Context, Owner};
use super::link::Link;
use super::slab::Slab;
use crate::app::{Conn, Turn};
use crate::router::{Routed, own_turn};

/// The connections of a shard, whatever state the app keeps beside them.
pub(crate) trait Links: Any {
    /// The connection with exactly this token.
    fn link(&mut self, token: Token) -> Option<&mut Link>;
}

impl<S: 'static> Links for Slab<S> {
    fn link(&mut self, token: Token) -> Option<&mut Link> {
        self.get(token).map(|entry| &mut entry.link)
    }
}

/// What a shard is to do, once.
pub(crate) trait Deferred {
    fn run(self: Box<Self>, links: &mut dyn Links, cx: &mut Context);
}

impl Deferred for Box<dyn Deferred> {
    fn run(self: Box<Self>, links: &mut dyn Links, cx: &mut Context) {
        (*self).run(links, cx);
    }
}

/// What a shard is to do again and again.
pub(crate) trait Recurring {
    fn run(&mut self, links: &mut dyn Links, cx: &mut Context);
}

/// Sees the turn of the shard, as the app that left it does.
pub(crate) struct WithTurn<F, S> {
    call: F,
    owner: Owner,
    state: PhantomData<fn(S)>,
}

/// Sees one connection; not called once that has ended.
pub(crate) struct WithConn<F> {
    pub(crate) call: F,
    pub(crate) token: Token,
}

impl<F, S> WithTurn<F, S> {
    pub(crate) fn new(call: F, owner: Owner) -> Self {
        Self {
            call,
            owner,
            state: PhantomData,
        }
    }
}

impl<F, S> Deferred for WithTurn<F, S>
where
    F: FnOnce(&mut Turn<'_, S>),
    S: 'static,
{
    fn run(self: Box<Self>, links: &mut dyn Links, cx: &mut Context) {
        with_turn(links, cx, self.owner, self.call);
    }
}

impl<F, S> Recurring for WithTurn<F, S>
where
    F: FnMut(&mut Turn<'_, S>),
    S: 'static,
{
    fn run(&mut self, links: &mut dyn Links, cx: &mut Context) {
        with_turn(links, cx, self.owner, &mut self.call);
    }
}

impl<F: FnOnce(&mut Conn<'_>)> Deferred for WithConn<F> {
    fn run(self: Box<Self>, links: &mut dyn Links, cx: &mut Context) {
        with_conn(links, cx, self.token, self.call);
    }
}

/// Calls with the turn of the shard these connections are of, as `owner` sees
/// it: the shard's app, or one that a router has mounted.
pub(crate) fn with_turn<S: 'static>(
    links: &mut dyn Links,
    cx: &mut Context,
    owner: Owner,
    call: impl FnOnce(&mut Turn<'_, S>),
) {
    let links: &mut dyn Any = links;
    if owner == Owner::default() {
        match links.downcast_mut::<Slab<S>>() {
            Some(slab) => call(&mut Turn { slab, cx }),
            None => debug_assert!(false, "a shard has one app, of one state"),
        }
    } else {
        match links.downcast_mut::<Slab<Routed>>() {
            Some(slab) => own_turn(&mut Turn { slab, cx }, owner, call),
            None => debug_assert!(false, "only a router has apps beside its own"),
        }
    }
}

/// Calls with a connection, if it is still open.
pub(crate) fn with_conn(
    links: &mut dyn Links,
    cx: &mut Context,
    token: Token,
    call: impl FnOnce(&mut Conn<'_>),
) {
    if let Some(link) = links.link(token)
        && link.is_reachable()
    {
        call(&mut Conn { link, cx });
    }
}
