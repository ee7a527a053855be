//! An app made of one asynchronous function.

use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use super::local::Body;
use super::port::{Closed, Port};
use super::websocket::WebSocket;
use crate::app::{self, App, Close, Conn, Upgrade};
use crate::http::{Request, Response};

/// What a handler returns. An error closes the connection with 1011 and is
/// logged, unless the connection has ended already.
pub type Result = std::result::Result<(), Box<dyn std::error::Error>>;

/// Serves each WebSocket with a task of its own, on its shard.
///
/// When the handler returns `Ok`, the connection is closed with 1000; when it
/// returns an error or panics, with 1011. When the connection ends first,
/// [`recv`](WebSocket::recv) gives what had arrived and then `None`; a task
/// that has not returned when the last of the connection is gone (at most
/// [`Config::close_timeout`](crate::Config::close_timeout) later) is dropped
/// where it waits.
///
/// All upgrades are accepted, or as [`Service::upgrade`] says.
pub fn service<H, F>(handler: H) -> Service<H>
where
    H: Fn(WebSocket) -> F + 'static,
    F: Future<Output = Result> + 'static,
{
    Service {
        handler,
        upgrade: None,
        http: None,
    }
}

type OnUpgrade = Box<dyn FnMut(&Request<'_>) -> Upgrade>;
type OnHttp = Box<dyn FnMut(&Request<'_>) -> Response>;

/// The [`App`] that [`service`] makes.
pub struct Service<H> {
    handler: H,
    upgrade: Option<OnUpgrade>,
    http: Option<OnHttp>,
}

impl<H> Service<H> {
    /// Decides on upgrades, as [`App::upgrade`].
    #[must_use]
    pub fn upgrade(mut self, decide: impl FnMut(&Request<'_>) -> Upgrade + 'static) -> Self {
        self.upgrade = Some(Box::new(decide));
        self
    }

    /// Answers plain requests, as [`App::http`].
    #[must_use]
    pub fn http(mut self, answer: impl FnMut(&Request<'_>) -> Response + 'static) -> Self {
        self.http = Some(Box::new(answer));
        self
    }
}

/// A connection's task; dropped when nothing is left of the connection.
#[derive(Default)]
pub struct Attached(Option<Rc<Port>>);

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(port) = &self.0 {
            port.cancel();
        }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").finish_non_exhaustive()
    }
}

impl<H, F> App for Service<H>
where
    H: Fn(WebSocket) -> F + 'static,
    F: Future<Output = Result> + 'static,
{
    type State = Attached;

    fn upgrade(&mut self, request: &Request<'_>, _: &mut Attached) -> Upgrade {
        match &mut self.upgrade {
            Some(decide) => decide(request),
            None => Upgrade::accept(),
        }
    }

    fn http(&mut self, request: &Request<'_>) -> Response {
        match &mut self.http {
            Some(answer) => answer(request),
            None => Response::not_found(),
        }
    }

    fn open(&mut self, conn: &mut Conn<'_>, attached: &mut Attached) {
        let local = conn.cx.tasks.local();
        let port = Port::new(Rc::clone(local), conn.id().0);
        let future = Box::pin((self.handler)(WebSocket::new(&port)));
        local.add(|task, waker| {
            port.set_task(task, Arc::clone(waker).into());
            Body::Handler {
                future,
                port: Rc::clone(&port),
            }
        });
        attached.0 = Some(port);
    }

    fn message(&mut self, conn: &mut Conn<'_>, attached: &mut Attached, message: app::Message<'_>) {
        if let Some(port) = &attached.0
            && port.push(message)
        {
            conn.pause();
        }
    }

    fn drain(&mut self, _: &mut Conn<'_>, attached: &mut Attached) {
        if let Some(port) = &attached.0 {
            port.drained();
        }
    }

    fn close(&mut self, _: &mut Conn<'_>, attached: &mut Attached, close: &Close<'_>) {
        if let Some(port) = &attached.0 {
            port.end(Closed {
                code: close.code,
                reason: close.reason.into(),
            });
        }
    }
}

impl<H> fmt::Debug for Service<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}
