//! The server's routes: the page, the relay, the operator's endpoints.

use std::sync::Arc;

use hioload::{App, Close, Conn, Echo, Handle, Message, Refusal, Request, Response, Upgrade};

use crate::broadcast::Broadcast;
use crate::config::Settings;

const CHAT_PAGE: &[u8] = include_bytes!("page/chat.html");

/// The page needs its own inline script and style, and sockets to its host.
const PAGE_POLICY: &str = "default-src 'none'; connect-src 'self' ws: wss:; \
     style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is at which path.
#[derive(Clone)]
pub(crate) struct Routes(Arc<matchit::Router<Route>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Page { echo: bool },
    Echo,
    Broadcast,
    Health,
    Metrics,
}

impl Routes {
    pub(crate) fn new(settings: &Settings) -> Result<Self, matchit::InsertError> {
        let mut router = matchit::Router::new();
        router.insert(
            "/",
            Route::Page {
                echo: settings.echo_root,
            },
        )?;
        router.insert("/health", Route::Health)?;
        router.insert("/metrics", Route::Metrics)?;
        if settings.echo {
            router.insert("/echo", Route::Echo)?;
        }
        if settings.broadcast {
            router.insert("/broadcast/{topic}", Route::Broadcast)?;
        }
        Ok(Self(Arc::new(router)))
    }
}

/// The server's app: one instance per shard.
pub(crate) struct Site {
    routes: Routes,
    handle: Handle,
    echo: Echo,
    broadcast: Broadcast,
}

/// Which service a connection is for, with that service's state.
#[derive(Debug, Default)]
pub(crate) enum Service {
    #[default]
    Echo,
    Broadcast(Box<str>),
}

impl Site {
    pub(crate) fn new(routes: Routes, handle: Handle) -> Self {
        Self {
            routes,
            handle,
            echo: Echo,
            broadcast: Broadcast,
        }
    }
}

impl App for Site {
    type State = Service;

    fn upgrade(&mut self, request: &Request<'_>, service: &mut Service) -> Upgrade {
        let Ok(found) = self.routes.0.at(request.path()) else {
            return Refusal::NotFound.into();
        };
        match found.value {
            Route::Echo | Route::Page { echo: true } => self.echo.upgrade(request, &mut ()),
            Route::Broadcast => {
                match Broadcast::topic(found.params.get("topic").unwrap_or_default()) {
                    Ok(topic) => {
                        let mut topic = topic;
                        let answer = self.broadcast.upgrade(request, &mut topic);
                        *service = Service::Broadcast(topic);
                        answer
                    }
                    Err(refusal) => refusal.into(),
                }
            }
            Route::Page { echo: false } | Route::Health | Route::Metrics => {
                Refusal::BadRequest("no WebSocket here").into()
            }
        }
    }

    fn http(&mut self, request: &Request<'_>) -> Response {
        let Ok(found) = self.routes.0.at(request.path()) else {
            return Response::not_found();
        };
        match found.value {
            Route::Page { .. } => Response::ok("text/html; charset=utf-8", CHAT_PAGE)
                .header("Content-Security-Policy", PAGE_POLICY)
                .header("X-Content-Type-Options", "nosniff")
                .header("Cache-Control", "no-cache"),
            Route::Health => Response::ok("application/json", &b"{\"status\":\"ok\"}\n"[..])
                .header("Cache-Control", "no-store"),
            Route::Metrics => Response::ok(
                "text/plain; version=0.0.4; charset=utf-8",
                self.handle.metrics().render().into_bytes(),
            ),
            Route::Echo | Route::Broadcast => {
                Response::text(426, "this resource speaks WebSocket version 13\n")
                    .header("Upgrade", "websocket")
                    .header("Sec-WebSocket-Version", "13")
            }
        }
    }

    fn open(&mut self, conn: &mut Conn<'_>, service: &mut Service) {
        match service {
            Service::Echo => self.echo.open(conn, &mut ()),
            Service::Broadcast(topic) => self.broadcast.open(conn, topic),
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, service: &mut Service, message: Message<'_>) {
        match service {
            Service::Echo => self.echo.message(conn, &mut (), message),
            Service::Broadcast(topic) => self.broadcast.message(conn, topic, message),
        }
    }

    fn close(&mut self, conn: &mut Conn<'_>, service: &mut Service, close: &Close<'_>) {
        match service {
            Service::Echo => self.echo.close(conn, &mut (), close),
            Service::Broadcast(topic) => self.broadcast.close(conn, topic, close),
        }
    }
}
