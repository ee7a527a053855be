//! The server's routes: the pages, the relay, the operator's endpoints.

use std::sync::Arc;

use hioload::control::DebugEndpoint;
use hioload::http::{BodyPart, Upload};
use hioload::hub::{Change, Delivery};
use hioload::{
    App, Close, CloseCode, Conn, Echo, Handle, Message, Refusal, Request, Response, Shard, Turn,
    Upgrade,
};
use hioload_store::Store;

use crate::admin::{self, Admin};
use crate::broadcast::{Broadcast, Topic};
use crate::chat::{
    self, Call, Chat, ChatMetrics, Client, Fallback, Identity, Journal, Method, Posted, Rules,
};
use crate::config::Settings;
use crate::notify::Notices;
use crate::page::{self, Asset};
use crate::proxy::Proxies;

/// Bytes of the body of a call at most.
const MAX_CALL: u64 = 1 << 20;

/// What is at which path.
#[derive(Clone)]
pub(crate) struct Routes(Arc<matchit::Router<Route>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Page { echo: bool },
    Asset(&'static Asset),
    Identity(Identity),
    AdminOff,
    AdminState,
    AdminCall,
    Echo,
    Broadcast,
    Chat,
    Fallback(Fallback),
    Api,
    Health,
    Ready,
    Metrics,
    DebugState,
}

impl Routes {
    pub(crate) fn new(
        settings: &Settings,
        rules: &Rules,
        has_admin: bool,
    ) -> Result<Self, matchit::InsertError> {
        let mut router = matchit::Router::new();
        router.insert(
            "/",
            Route::Page {
                echo: settings.echo_root,
            },
        )?;
        for asset in &page::ASSETS {
            router.insert(asset.path, Route::Asset(asset))?;
        }
        let identity = match rules.identity() {
            // Who comes without a token may be known by a cookie.
            Identity::Token | Identity::Nobody if settings.asks_who_connects() => {
                Identity::Optional
            }
            identity => identity,
        };
        router.insert(page::IDENTITY, Route::Identity(identity))?;
        if has_admin {
            router.insert(page::ADMIN.path, Route::Asset(&page::ADMIN))?;
            router.insert(admin::STATE, Route::AdminState)?;
            router.insert(admin::CALL, Route::AdminCall)?;
        } else {
            router.insert(page::ADMIN.path, Route::AdminOff)?;
        }
        router.insert("/health", Route::Health)?;
        router.insert("/ready", Route::Ready)?;
        router.insert("/metrics", Route::Metrics)?;
        router.insert("/debug/state", Route::DebugState)?;
        router.insert(chat::PATH, Route::Chat)?;
        for fallback in Fallback::all(settings) {
            router.insert(fallback.path(), Route::Fallback(fallback))?;
        }
        if settings.chat.api_key.bytes().is_some() {
            router.insert("/api/{method}", Route::Api)?;
        }
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
    debug: DebugEndpoint,
    admin: Admin,
    echo: Echo,
    broadcast: Broadcast,
    chat: Chat,
    beside: Beside,
    chat_metrics: ChatMetrics,
}

/// What the server speaks to beside its clients.
#[derive(Clone)]
pub(crate) struct Beside {
    pub(crate) store: Option<Store>,
    pub(crate) notices: Notices,
    pub(crate) proxies: Proxies,
}

/// Which service a connection is for, with that service's state.
#[derive(Debug, Default)]
pub(crate) enum Service {
    #[default]
    Echo,
    Broadcast(Topic),
    Chat(Box<Client>),
    Api(Box<Call>),
    Posted(Box<Posted>),
}

// Every connection has this.
const _: () = assert!(size_of::<Service>() <= 16);

impl Site {
    pub(crate) fn new(
        routes: Routes,
        rules: Rules,
        chat_metrics: ChatMetrics,
        beside: Beside,
        shard: &Shard,
        debug: DebugEndpoint,
        admin: Admin,
    ) -> Self {
        let handle = shard.handle();
        let journal = Journal::new(beside.store.clone(), rules.settings(), shard.index());
        let notices = beside.notices.clone();
        let mut chat = Chat::new(rules, &chat_metrics, handle.clone(), journal, notices);
        chat.ask_about_clients(beside.proxies.clone());
        Self {
            routes,
            chat,
            chat_metrics,
            beside,
            handle,
            debug,
            admin,
            echo: Echo,
            broadcast: Broadcast::default(),
        }
    }

    /// Whether and how the body of a call is taken. Without the key or the
    /// admin's token nothing is told, not even which methods there are.
    fn call(
        &mut self,
        request: &Request<'_>,
        route: Route,
        method: &str,
        service: &mut Service,
    ) -> Upload {
        if request.method() != "POST" {
            return Upload::answer(only_post());
        }
        if route == Route::AdminCall {
            if let Err(refused) = self.admin.admit(request) {
                return Upload::answer(refused);
            }
        } else if !self.chat.admits(request.header("X-API-Key")) {
            return Upload::answer(
                Response::text(401, "the API key is missing or wrong\n")
                    .header("Cache-Control", "no-store"),
            );
        }
        let Some(method) = Method::named(method) else {
            return Upload::answer(Response::not_found());
        };
        *service = Service::Api(Box::new(Call::new(method)));
        Upload::stream(MAX_CALL)
    }

    fn metrics(&self) -> String {
        let mut all = self.handle.metrics().render() + &self.chat_metrics.render();
        all.extend(self.beside.store.as_ref().map(Store::metrics));
        all.extend(self.beside.notices.metrics());
        all += &self.beside.proxies.render();
        all
    }

    /// The chat on this shard, for what other shards ask of it.
    pub(crate) fn chat(&mut self) -> &mut Chat {
        &mut self.chat
    }
}

/// Whether it asks for no change: there is nothing here to change.
fn reads(request: &Request<'_>) -> bool {
    matches!(request.method(), "GET" | "HEAD")
}

fn only_post() -> Response {
    Response::text(405, "calls are posted\n").header("Allow", "POST")
}

fn not_allowed() -> Response {
    Response::text(405, "method not allowed here\n").header("Allow", "GET, HEAD")
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
                match self
                    .broadcast
                    .topic(found.params.get("topic").unwrap_or_default())
                {
                    Ok(topic) => {
                        let mut topic = topic;
                        let answer = self.broadcast.upgrade(request, &mut topic);
                        *service = Service::Broadcast(topic);
                        answer
                    }
                    Err(refusal) => refusal.into(),
                }
            }
            Route::Chat => self.chat.upgrade(request, service),
            Route::Page { echo: false }
            | Route::Asset(_)
            | Route::Identity(_)
            | Route::AdminOff
            | Route::AdminState
            | Route::AdminCall
            | Route::Fallback(_)
            | Route::Api
            | Route::Health
            | Route::Ready
            | Route::Metrics
            | Route::DebugState => Refusal::BadRequest("no WebSocket here").into(),
        }
    }

    fn upload(&mut self, request: &Request<'_>, service: &mut Service) -> Upload {
        match self.routes.0.at(request.path()) {
            Ok(found) if matches!(found.value, Route::Api | Route::AdminCall) => {
                let method = found.params.get("method").unwrap_or_default();
                return self.call(request, *found.value, method, service);
            }
            Ok(found) => {
                if let Route::Fallback(fallback) = *found.value {
                    return self.chat.take_body(request, fallback, service);
                }
            }
            Err(_) => {}
        }
        if reads(request) {
            Upload::collect()
        } else {
            Upload::answer(not_allowed())
        }
    }

    fn body(&mut self, conn: &mut Conn<'_>, service: &mut Service, part: BodyPart<'_>) {
        match (service, part) {
            (Service::Api(call), BodyPart::Bytes(bytes)) => call.append(bytes),
            (Service::Api(call), BodyPart::End) => self.chat.call(conn, call),
            (Service::Posted(posted), BodyPart::Bytes(bytes)) => posted.append(bytes),
            (Service::Posted(posted), BodyPart::End) => self.chat.speak(conn, posted),
            _ => {}
        }
    }

    fn answer(&mut self, request: &Request<'_>, service: &mut Service) -> Response {
        match self.routes.0.at(request.path()).map(|found| *found.value) {
            Ok(Route::Fallback(fallback)) => self.chat.fall_back(request, fallback, service),
            _ => self.http(request),
        }
    }

    fn http(&mut self, request: &Request<'_>) -> Response {
        let found = self.routes.0.at(request.path());
        if let Ok(found) = &found
            && matches!(found.value, Route::Api | Route::AdminCall)
        {
            return if request.method() == "POST" {
                Response::text(400, "a call has a body, {} at least\n")
            } else {
                only_post()
            };
        }
        if !reads(request) {
            return not_allowed();
        }
        let Ok(found) = found else {
            return Response::not_found();
        };
        match found.value {
            Route::Page { .. } => page::CHAT.answer(),
            Route::Asset(asset) => asset.answer(),
            Route::Identity(identity) => page::identity(*identity),
            Route::AdminOff => admin::off(),
            Route::AdminState => self.admin.state(request),
            Route::Health => Response::ok("application/json", &b"{\"status\":\"ok\"}\n"[..])
                .header("Cache-Control", "no-store"),
            // A server without room for one more refuses all requests with 503,
            // and one that stops does not listen: an answer is a yes.
            Route::Ready => Response::ok("application/json", &b"{\"status\":\"ready\"}\n"[..])
                .header("Cache-Control", "no-store"),
            Route::Metrics => Response::ok(
                "text/plain; version=0.0.4; charset=utf-8",
                self.metrics().into_bytes(),
            ),
            Route::DebugState => self.debug.answer(request),
            Route::Api | Route::AdminCall | Route::Fallback(_) => Response::not_found(),
            Route::Echo | Route::Broadcast | Route::Chat => {
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
            Service::Chat(client) => self.chat.open(conn, client),
            Service::Api(_) | Service::Posted(_) => {}
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, service: &mut Service, message: Message<'_>) {
        match service {
            Service::Echo => self.echo.message(conn, &mut (), message),
            Service::Broadcast(topic) => self.broadcast.message(conn, topic, message),
            Service::Chat(client) => self.chat.message(conn, client, message),
            Service::Api(_) | Service::Posted(_) => {}
        }
    }

    fn close(&mut self, conn: &mut Conn<'_>, service: &mut Service, close: &Close<'_>) {
        match service {
            Service::Echo => self.echo.close(conn, &mut (), close),
            Service::Broadcast(topic) => self.broadcast.close(conn, topic, close),
            Service::Chat(client) => self.chat.close(conn, client),
            Service::Api(_) | Service::Posted(_) => {}
        }
    }

    fn subscription(&mut self, conn: &mut Conn<'_>, service: &mut Service, change: &Change<'_>) {
        if let Service::Chat(client) = service {
            self.chat.subscription(conn, client, change);
        }
    }

    fn deliver(&mut self, conn: &mut Conn<'_>, service: &mut Service, delivery: &Delivery<'_>) {
        if let Service::Chat(client) = service {
            self.chat.deliver(conn, client, delivery);
        }
    }

    fn timer(&mut self, turn: &mut Turn<'_, Service>, key: u64) {
        self.chat.timer(turn, key);
    }

    fn stopping(&mut self, service: &mut Service) -> (CloseCode, &'static str) {
        match service {
            Service::Echo => self.echo.stopping(&mut ()),
            Service::Broadcast(topic) => self.broadcast.stopping(topic),
            Service::Chat(_) | Service::Api(_) | Service::Posted(_) => chat::SHUTDOWN,
        }
    }
}
