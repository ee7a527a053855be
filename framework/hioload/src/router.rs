//! Services by path: methods, parameters, groups, middleware, files.
//!
//! A [`Router`] is an [`App`] made of others: WebSocket routes
//! mount apps with states of their own, plain routes are closures.
//!
//! ```
//! use hioload::router::{Recovery, on_message};
//! use hioload::testing::Simulation;
//! use hioload::{App, Conn, Message, Request, Response, Router};
//!
//! #[derive(Default)]
//! struct Chat;
//!
//! impl App for Chat {
//!     type State = u32;
//!
//!     fn open(&mut self, conn: &mut Conn<'_>, _said: &mut u32) {
//!         let room = conn.param("room").unwrap_or("lobby").to_owned();
//!         conn.subscribe(&room);
//!     }
//!
//!     fn message(&mut self, conn: &mut Conn<'_>, said: &mut u32, message: Message<'_>) {
//!         *said += 1;
//!         let room = conn.param("room").unwrap_or("lobby").to_owned();
//!         conn.publish(&room, message);
//!     }
//! }
//!
//! fn routes() -> Router {
//!     Router::new()
//!         .layer(Recovery::new())
//!         .get("/health", |_| Response::ok("text/plain", &b"ok\n"[..]))
//!         .ws("/chat/:room", Chat)
//!         .ws("/shout", on_message(|conn, message| {
//!             if let Some(text) = message.as_text() {
//!                 conn.send_text(&text.to_uppercase());
//!             }
//!         }))
//!         .group("/api", |api| {
//!             api.get("/users/:id", |request: &Request<'_>| {
//!                 let id = request.param("id").unwrap_or_default().to_owned();
//!                 Response::ok("text/plain; charset=utf-8", id.into_bytes())
//!             })
//!         })
//! }
//!
//! // `Server::bind("127.0.0.1:8000").run(|_shard| routes())` serves it.
//! let mut server = Simulation::new(7).start(|_shard| routes())?;
//! # let _ = &mut server;
//! # Ok::<(), hioload::Error>(())
//! ```
//!
//! # Paths
//!
//! A segment is literal, `:name` for one non-empty segment, or, as the last
//! one, `*name` for all that is left, at least one byte. Literal segments win
//! over parameters, whatever the order of registration. The path is matched as
//! it was sent: literal segments are compared byte by byte, and a `%2F` does
//! not end a segment. Parameters are percent-decoded afterwards, once; those
//! that are no UTF-8 then are answered with 400. A slash at the end counts.
//!
//! # Answers of the router itself
//!
//! 404 for a path nobody registered; 405 with `Allow` for a method nobody
//! registered there; 426 for a plain request to a WebSocket whose app has no
//! [answer](App::answer); 400 for an upgrade where none is. `HEAD` is answered by the handler of `GET`, unless
//! it has one of its own.
//!
//! # Middleware
//!
//! [`Router::layer`] adds a [`Middleware`] around the routes registered after
//! it in the same group and in the groups within; the first is the outermost.
//! Those of the router itself also see what no route takes.

mod chain;
mod closures;
mod dispatch;
mod error;
mod files;
mod layers;
mod method;
mod mounted;
mod pattern;
mod table;

pub use chain::{Event, Middleware, Next, Notice, Start};
pub use closures::{Closures, on_message};
pub use dispatch::Routed;
pub use error::RouteError;
pub use files::{Files, FilesError};
pub use layers::{ConnectionLimit, Excess, Logging, OriginCheck, Rate, RateLimit};
pub use layers::{Recovery, RouteMetrics};
pub use method::Method;
pub(crate) use mounted::own_turn;

use std::rc::Rc;

use crate::app::App;
use crate::http::{Request, Response};
use chain::Layers;
use mounted::{Mounted, Service};
use pattern::Pattern;
use table::{Handler, Socket, Table};

/// Serves each path with what was registered for it; one instance per shard.
///
/// Mistakes made while it is built are kept, the first of them, and end the
/// start of the server with [`Error::App`](crate::Error::App); see
/// [`fault`](Self::fault).
#[derive(Default)]
pub struct Router {
    table: Table,
    layers: Layers,
    /// The layers around what is registered now.
    chain: Rc<[usize]>,
    /// The layers around what no route takes.
    root: Rc<[usize]>,
    prefix: String,
    /// Something is registered in this group already.
    begun: bool,
    fault: Option<RouteError>,
}

impl Router {
    /// A router without routes: everything is 404.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is wrong with what was registered: the first mistake.
    #[must_use]
    pub fn fault(&self) -> Option<&RouteError> {
        self.fault.as_ref()
    }

    /// Puts a middleware around what this group registers from now on.
    /// It must come before the group's first route and group, for one that
    /// guards nothing is a mistake nobody sees.
    #[must_use]
    pub fn layer(mut self, layer: impl Middleware) -> Self {
        if self.begun {
            let group = self.prefix.clone();
            return self.failed(RouteError::LateLayer { group });
        }
        let index = self.layers.add(Box::new(layer));
        self.chain = self.chain.iter().copied().chain([index]).collect();
        if self.prefix.is_empty() {
            self.root = Rc::clone(&self.chain);
        }
        self
    }

    /// Registers routes below a prefix, such as `/api`, with middleware of
    /// their own. Groups nest.
    #[must_use]
    pub fn group(mut self, prefix: &str, routes: impl FnOnce(Self) -> Self) -> Self {
        if !prefix.starts_with('/') || prefix.ends_with('/') {
            return self.failed(RouteError::Prefix {
                prefix: prefix.to_owned(),
            });
        }
        let outer = self.prefix.len();
        let chain = Rc::clone(&self.chain);
        self.prefix.push_str(prefix);
        self.begun = false;
        let mut after = routes(self);
        after.prefix.truncate(outer);
        after.chain = chain;
        after.begun = true;
        after
    }

    /// Answers `GET`, and `HEAD` where nothing else does.
    #[must_use]
    pub fn get(self, path: &str, handler: impl FnMut(&Request<'_>) -> Response + 'static) -> Self {
        self.on(Method::Get, path, handler)
    }

    /// Answers `HEAD`.
    #[must_use]
    pub fn head(self, path: &str, handler: impl FnMut(&Request<'_>) -> Response + 'static) -> Self {
        self.on(Method::Head, path, handler)
    }

    /// Answers `POST`.
    #[must_use]
    pub fn post(self, path: &str, handler: impl FnMut(&Request<'_>) -> Response + 'static) -> Self {
        self.on(Method::Post, path, handler)
    }

    /// Answers `PUT`.
    #[must_use]
    pub fn put(self, path: &str, handler: impl FnMut(&Request<'_>) -> Response + 'static) -> Self {
        self.on(Method::Put, path, handler)
    }

    /// Answers `DELETE`.
    #[must_use]
    pub fn delete(
        self,
        path: &str,
        handler: impl FnMut(&Request<'_>) -> Response + 'static,
    ) -> Self {
        self.on(Method::Delete, path, handler)
    }

    /// Answers `PATCH`.
    #[must_use]
    pub fn patch(
        self,
        path: &str,
        handler: impl FnMut(&Request<'_>) -> Response + 'static,
    ) -> Self {
        self.on(Method::Patch, path, handler)
    }

    /// Answers `OPTIONS`.
    #[must_use]
    pub fn options(
        self,
        path: &str,
        handler: impl FnMut(&Request<'_>) -> Response + 'static,
    ) -> Self {
        self.on(Method::Options, path, handler)
    }

    /// Answers every method that has no handler of its own, also unknown ones.
    #[must_use]
    pub fn any(self, path: &str, handler: impl FnMut(&Request<'_>) -> Response + 'static) -> Self {
        self.on(Method::Any, path, handler)
    }

    /// Answers a method.
    #[must_use]
    pub fn on(
        self,
        method: Method,
        path: &str,
        handler: impl FnMut(&Request<'_>) -> Response + 'static,
    ) -> Self {
        let chain = Rc::clone(&self.chain);
        let handler = Handler {
            chain,
            answer: Box::new(handler),
        };
        self.register(path, |table, pattern| {
            table.handler(pattern, method, handler)
        })
    }

    /// Mounts an app on the WebSockets of a path. The app has its own state
    /// per connection, timers and dials; a state of size zero costs nothing.
    ///
    /// Its [`App::answer`], and so its [`App::http`], is asked about plain
    /// requests without a body for whose method there is no handler here, and
    /// may make [streams of messages](crate::http::MessageStream) of them; 404
    /// from it is the router's own 405 or 426. Bodies go to handlers, or to its
    /// [`App::upload`] in parts.
    #[must_use]
    pub fn ws<A: App>(self, path: &str, app: A) -> Self {
        if let Err(error) = app.check() {
            let route = format!("{}{path}", self.prefix);
            return self.failed(RouteError::App {
                route,
                reason: error.to_string(),
            });
        }
        let chain = Rc::clone(&self.chain);
        self.register(path, |table, pattern| {
            if std::any::TypeId::of::<A>() == std::any::TypeId::of::<Self>() {
                let route = pattern.written().to_owned();
                return Err(RouteError::Nested { route });
            }
            table.socket(pattern, |node| Socket {
                chain,
                service: Box::new(Service::new(app, node)) as Box<dyn Mounted>,
            })
        })
    }

    fn register(
        mut self,
        path: &str,
        add: impl FnOnce(&mut Table, &Pattern) -> Result<(), RouteError>,
    ) -> Self {
        self.begun = true;
        let pattern = Pattern::parse(&self.prefix, path);
        match pattern.and_then(|pattern| add(&mut self.table, &pattern)) {
            Ok(()) => self,
            Err(error) => self.failed(error),
        }
    }

    fn failed(mut self, error: RouteError) -> Self {
        self.fault.get_or_insert(error);
        self
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("routes", &self.table.patterns)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
