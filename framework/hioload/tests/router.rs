//! Each path is served by what was registered for it, each mounted app with
//! its own state, timers and dials, and mistakes end the start by name.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hioload::client::{Accepted, Dial, DialError};
use hioload::router::{Event, Middleware, Next, RouteError, Routed, on_message};
use hioload::source::{Queue, SourceEvent, queue};
use hioload::{
    App, Close, CloseCode, Config, Conn, ConnId, Echo, Error, Message, Refusal, Request, Response,
    Router, Server, Turn, Upgrade,
};
use support::client::{Client, Seen};
use support::http::{exchange, get, upgrade};
use support::{Serving, config};

fn one_shard() -> Config {
    Config {
        shards: 1,
        ..config()
    }
}

fn text(body: String) -> Response {
    Response::ok("text/plain; charset=utf-8", body.into_bytes())
}

fn param(request: &Request<'_>, name: &str) -> Response {
    text(format!(
        "{name}={}",
        request.param(name).unwrap_or("(none)")
    ))
}

fn pages() -> Router {
    Router::new()
        .get("/", |_| text("root".into()))
        .get("/users/me", |_| text("me".into()))
        .get("/users/:id", |request| param(request, "id"))
        .get("/files/*path", |request| param(request, "path"))
        .get("/both", |_| text("page".into()))
        .head("/own-head", |_| Response::text(204, ""))
        .get("/own-head", |_| text("body".into()))
        .post("/post", |_| text("posted".into()))
        .ws("/both", Echo)
        .ws("/socket", Echo)
}

#[test]
fn paths_lead_to_their_handlers_and_parameters_are_decoded() {
    let server = Serving::start(config(), |_| pages());
    for (path, expected) in [
        ("/", "root"),
        ("/users/me", "me"),
        ("/users/me2", "id=me2"),
        ("/users/a%20b%2Fc", "id=a b/c"),
        ("/users/%C3%A4", "id=\u{e4}"),
        ("/users/%2520", "id=%20"),
        ("/users/%zz", "id=%zz"),
        ("/files/a/b%20c?x=1", "path=a/b c"),
        ("/both", "page"),
    ] {
        let answer = get(server.addr(), path);
        assert_eq!((answer.status, answer.text()), (200, expected), "{path}");
    }
    for path in ["/users", "/users/", "/users/a/b", "/files/", "/nowhere"] {
        assert_eq!(get(server.addr(), path).status, 404, "{path}");
    }
    assert_eq!(get(server.addr(), "/users/%ff").status, 400);
    server.stop();
}

#[test]
fn head_is_answered_by_get_and_what_a_path_lacks_is_said() {
    let server = Serving::start(config(), |_| pages());
    let head = |path: &str| {
        let request =
            format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut stream = support::client::dial(server.addr());
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("sent");
        let head = support::http::Answer::read_head(&mut stream);
        support::http::expect_eof(&mut stream);
        head
    };
    let by_get = head("/users/7");
    assert_eq!(
        (by_get.status, by_get.header("content-length")),
        (200, Some("4"))
    );
    assert_eq!(head("/own-head").status, 204);

    let post_only = get(server.addr(), "/post");
    assert_eq!(
        (post_only.status, post_only.header("allow")),
        (405, Some("POST"))
    );
    let socket_only = get(server.addr(), "/socket");
    assert_eq!(
        (socket_only.status, socket_only.header("upgrade")),
        (426, Some("websocket"))
    );
    assert_eq!(
        exchange(server.addr(), upgrade("/users/me").as_bytes()).status,
        400
    );
    assert_eq!(
        exchange(server.addr(), upgrade("/nowhere").as_bytes()).status,
        404
    );
    Client::connect(server.addr(), "/both").check_echo("both");
    server.cut();
}

/// Counts per connection, in a state of its own type, and greets by path.
struct Counting;

#[derive(Default)]
struct Count {
    room: String,
    messages: u32,
}

impl App for Counting {
    type State = Count;

    fn upgrade(&mut self, request: &Request<'_>, state: &mut Count) -> Upgrade {
        state.room = request.param("room").unwrap_or_default().to_owned();
        if state.room == "closed" {
            return Refusal::Forbidden.into();
        }
        Upgrade::accept()
    }

    fn message(&mut self, conn: &mut Conn<'_>, state: &mut Count, _message: Message<'_>) {
        state.messages += 1;
        let param = conn.param("room").unwrap_or_default().to_owned();
        conn.send_text(&format!("{} {param} {}", state.room, state.messages));
    }
}

/// Remembers connections by name, and tells all of them of each timer.
#[derive(Default)]
struct Ticking {
    name: &'static str,
    known: Vec<ConnId>,
}

impl App for Ticking {
    type State = Vec<u64>;

    fn message(&mut self, conn: &mut Conn<'_>, _seen: &mut Vec<u64>, _message: Message<'_>) {
        self.known.push(conn.id());
        conn.schedule(0, 7).expect("room");
    }

    fn timer(&mut self, turn: &mut Turn<'_, Vec<u64>>, key: u64) {
        for id in &self.known {
            let Some((mut conn, seen)) = turn.conn(*id) else {
                continue;
            };
            seen.push(key);
            conn.send_text(&format!("{} {seen:?}", self.name));
        }
        if turn.now() > 0 && key == 7 {
            turn.schedule(0, 8).expect("room");
        }
        let known = self.known.clone();
        let say = move |turn: &mut Turn<'_, Vec<u64>>, what: &str| {
            for id in &known {
                if let Some((mut conn, seen)) = turn.conn(*id) {
                    conn.send_text(&format!("{what} {seen:?}"));
                }
            }
        };
        if key == 8 {
            // Closures see the turn as this app does.
            let after = say.clone();
            turn.after(Duration::ZERO, move |turn| {
                after(turn, "after");
                let done = move |turn: &mut Turn<'_, Vec<u64>>, result: Result<u64, _>| {
                    assert_eq!(result, Ok(42));
                    say(turn, "worked");
                };
                turn.offload(|_| 42_u64, done).expect("room");
            })
            .expect("room");
        }
    }
}

#[test]
fn mounted_apps_keep_their_states_and_timers_apart() {
    let server = Serving::start(one_shard(), |_| {
        let ticking = |name| Ticking {
            name,
            ..Ticking::default()
        };
        Router::new()
            .ws("/rooms/:room", Counting)
            .ws("/tick", ticking("tick"))
            .ws("/tock", ticking("tock"))
    });
    let addr = server.addr();
    let mut rooms = Client::connect(addr, "/rooms/a%20b");
    let mut others = Client::connect(addr, "/rooms/c");
    for n in 1..3 {
        rooms.text("x");
        assert_eq!(rooms.expect_text(), format!("a b a b {n}"));
    }
    others.text("x");
    assert_eq!(others.expect_text(), "c c 1");
    assert_eq!(
        exchange(addr, upgrade("/rooms/closed").as_bytes()).status,
        403
    );

    let mut tick = Client::connect(addr, "/tick");
    let mut tock = Client::connect(addr, "/tock");
    tick.text("x");
    assert_eq!(tick.expect_text(), "tick [7]");
    assert_eq!(tick.expect_text(), "tick [7, 8]");
    assert_eq!(tick.expect_text(), "after [7, 8]");
    assert_eq!(tick.expect_text(), "worked [7, 8]");
    tock.text("x");
    assert_eq!(tock.expect_text(), "tock [7]");
    assert_eq!(tock.expect_text(), "tock [7, 8]");
    assert_eq!(tock.expect_text(), "after [7, 8]");
    assert_eq!(tock.expect_text(), "worked [7, 8]");
    server.cut();
}

/// Writes down what it hears.
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("no test panicked").push(what.into());
    }
}

impl App for Heard {
    type State = ();

    fn started(&mut self, turn: &mut Turn<'_, ()>) {
        self.note(format!("started {}", turn.shard()));
    }

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.note("open");
        conn.ping(b"are you there");
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        self.note(format!("message {:?}", message.as_text()));
        conn.send(message);
    }

    fn ping(&mut self, _conn: &mut Conn<'_>, (): &mut (), payload: &[u8]) {
        self.note(format!("ping {payload:?}"));
    }

    fn pong(&mut self, conn: &mut Conn<'_>, (): &mut (), payload: &[u8]) {
        self.note(format!("pong {}", payload.len()));
        conn.send_text("ponged");
    }

    fn close(&mut self, _conn: &mut Conn<'_>, (): &mut (), close: &Close<'_>) {
        self.note(format!("close {} {}", close.code.0, close.reason));
    }

    fn stopping(&mut self, (): &mut ()) -> (CloseCode, &'static str) {
        (CloseCode(4000), "so long")
    }
}

#[test]
fn every_event_reaches_the_mounted_app() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notes);
    let server = Serving::start(one_shard(), move |_| {
        Router::new()
            .ws("/other", Echo)
            .ws("/heard", Heard(Arc::clone(&heard)))
    });
    let mut client = Client::connect(server.addr(), "/heard");
    assert_eq!(client.message(), Seen::Text("ponged".into()));
    client.ping(b"p");
    client.check_echo("hello");
    client.close(1000, "done");
    assert_eq!(client.expect_close(), 1000);
    drop(client);
    server.wait_until_idle();

    let mut last = Client::connect(server.addr(), "/other");
    last.check_echo("open");
    let mut heard = Client::connect(server.addr(), "/heard");
    assert_eq!(heard.message(), Seen::Text("ponged".into()));
    let stopping = std::thread::spawn(move || server.stop());
    let farewell = |code, reason: &str| Seen::Closed(code, reason.into());
    assert_eq!(last.message(), farewell(1001, "the server is stopping"));
    assert_eq!(heard.message(), farewell(4000, "so long"));
    drop((last, heard));
    stopping.join().expect("it stops");
    let notes = notes.lock().expect("no panic");
    assert_eq!(
        notes[..8],
        [
            "started 0",
            "open",
            "pong 13",
            "ping [112]",
            "message Some(\"hello\")",
            "close 1000 done",
            "open",
            "pong 13",
        ]
    );
    assert!(notes[8].starts_with("close 4000"), "{notes:?}");
    assert_eq!(notes.len(), 9, "{notes:?}");
}

/// Owns a queue, and tells its connection what comes through it.
struct Fed {
    queue: Option<Queue<String>>,
    fed: Option<Queue<String>>,
    listener: Option<ConnId>,
}

impl App for Fed {
    type State = u8;

    fn started(&mut self, turn: &mut Turn<'_, u8>) {
        if let Some(queue) = &self.queue {
            turn.register(queue).expect("room");
        }
        self.fed = self.queue.take();
    }

    fn open(&mut self, conn: &mut Conn<'_>, _: &mut u8) {
        self.listener = Some(conn.id());
        conn.subscribe("news");
        conn.send_text("listening");
    }

    fn message(&mut self, _: &mut Conn<'_>, _: &mut u8, _: Message<'_>) {}

    fn events(&mut self, turn: &mut Turn<'_, u8>, events: &[SourceEvent]) {
        assert_eq!(events.len(), 1, "only its own: {events:?}");
        let Some(text) = self.fed.as_mut().and_then(Queue::pop) else {
            return;
        };
        if let Some((mut conn, count)) = self.listener.and_then(|id| turn.conn(id)) {
            *count += 1;
            conn.send_text(&format!("{text} {count}"));
        }
    }
}

#[test]
fn sources_and_topics_of_mounted_apps_are_their_own() {
    let mut senders = Vec::new();
    let mut queues = Vec::new();
    for _ in 0..2 {
        let (sender, queue) = queue(8);
        senders.push(sender);
        queues.push(queue);
    }
    let queues = Mutex::new(queues);
    let server = Serving::start(one_shard(), move |_| {
        let fed = || Fed {
            queue: queues.lock().expect("no panic").pop(),
            fed: None,
            listener: None,
        };
        Router::new().ws("/one", fed()).ws("/two", fed())
    });
    let mut one = Client::connect(server.addr(), "/one");
    let mut two = Client::connect(server.addr(), "/two");
    assert_eq!(one.expect_text(), "listening");
    assert_eq!(two.expect_text(), "listening");
    // The queues were taken from the end.
    senders[1].push("first".to_owned()).expect("room");
    senders[0].push("second".to_owned()).expect("room");
    assert_eq!(one.expect_text(), "first 1");
    assert_eq!(two.expect_text(), "second 1");
    senders[1].push("third".to_owned()).expect("room");
    assert_eq!(one.expect_text(), "third 2");
    server.handle().publish("news", "to all").expect("room");
    assert_eq!(one.expect_text(), "to all");
    assert_eq!(two.expect_text(), "to all");
    server.cut();
}

/// Dials where it is told to, and tells what came of it.
struct Dialler {
    dial: Arc<Dial>,
    nowhere: Arc<Dial>,
    results: mpsc::Sender<String>,
}

impl App for Dialler {
    type State = Option<u64>;

    fn started(&mut self, turn: &mut Turn<'_, Option<u64>>) {
        turn.connect(&self.dial, 5).expect("room");
        turn.connect(&self.nowhere, 6).expect("room");
    }

    fn connected(&mut self, accepted: &Accepted<'_>, state: &mut Option<u64>) {
        *state = Some(accepted.key());
    }

    fn dial_failed(&mut self, _: &mut Turn<'_, Option<u64>>, key: u64, _error: &DialError) {
        self.results.send(format!("failed {key}")).expect("heard");
    }

    fn open(&mut self, conn: &mut Conn<'_>, state: &mut Option<u64>) {
        if state.is_some() {
            conn.send_text("hello");
        }
    }

    fn message(&mut self, _: &mut Conn<'_>, state: &mut Option<u64>, message: Message<'_>) {
        let text = message.as_text().unwrap_or_default();
        self.results
            .send(format!("{state:?} {text}"))
            .expect("heard");
    }
}

#[test]
fn a_mounted_app_dials_and_tasks_reach_it() {
    let echo = Serving::start(one_shard(), |_| Router::new().ws("/echo", Echo));
    let dial = Arc::new(Dial::new(&format!("ws://{}/echo", echo.addr())).expect("a URL"));
    let nowhere = Arc::new(Dial::new(&format!("ws://{}/none", echo.addr())).expect("a URL"));
    let (results, heard) = mpsc::channel();
    let server = Serving::start(one_shard(), move |_| {
        Router::new().ws("/other", Echo).ws(
            "/dialler",
            Dialler {
                dial: Arc::clone(&dial),
                nowhere: Arc::clone(&nowhere),
                results: results.clone(),
            },
        )
    });
    let next = || heard.recv_timeout(support::wait::PATIENCE).expect("heard");
    let mut both = [next(), next()];
    both.sort_unstable();
    assert_eq!(both, ["Some(5) hello", "failed 6"]);

    let task = |router: &mut Router, turn: &mut Turn<'_, Routed>| {
        let dialled = router.with(turn, |app: &mut Dialler, turn| {
            turn.connect(&app.dial, 9).is_ok()
        });
        assert_eq!(dialled, Some(true));
        assert_eq!(router.with(turn, |_: &mut Counting, _| ()), None);
    };
    server.handle().post(0, task).expect("room");
    assert_eq!(next(), "Some(9) hello");
    server.cut();
    echo.cut();
}

/// Writes its name into every answer that passes.
struct Named(&'static str);

impl Middleware for Named {
    fn http(&mut self, request: &Request<'_>, next: Next<'_>) -> Response {
        let route = next.route().unwrap_or("(none)").to_owned();
        let inner = next.http(request);
        let body = String::from_utf8_lossy(inner.body()).into_owned();
        text(format!("{}({route} {})", self.0, body.trim()))
    }

    fn event(&mut self, conn: &mut Conn<'_>, event: Event<'_>, next: Next<'_>) {
        if let Event::Message(message) = event
            && message.as_text() == Some(self.0)
        {
            conn.send_text(&format!("{} kept it", self.0));
            return;
        }
        next.event(conn, event);
    }
}

#[test]
fn groups_nest_and_their_middleware_stands_in_order() {
    let server = Serving::start(one_shard(), |_| {
        Router::new()
            .layer(Named("a"))
            .layer(Named("b"))
            .get("/plain", |_| text("plain".into()))
            .group("/api", |api| {
                api.layer(Named("c"))
                    .get("", |_| text("api".into()))
                    .ws("/echo", Echo)
                    .group("/v1", |v1| {
                        v1.layer(Named("d"))
                            .get("/x/:id", |request| param(request, "id"))
                    })
                    .get("/after", |_| text("after".into()))
            })
            .get("/last", |_| text("last".into()))
    });
    for (path, expected) in [
        ("/plain", "a(/plain b(/plain plain))"),
        ("/api", "a(/api b(/api c(/api api)))"),
        (
            "/api/v1/x/3",
            "a(/api/v1/x/:id b(/api/v1/x/:id c(/api/v1/x/:id d(/api/v1/x/:id id=3))))",
        ),
        (
            "/api/after",
            "a(/api/after b(/api/after c(/api/after after)))",
        ),
        ("/last", "a(/last b(/last last))"),
        ("/nowhere", "a((none) b((none) not found))"),
    ] {
        assert_eq!(get(server.addr(), path).text(), expected);
    }
    let mut client = Client::connect(server.addr(), "/api/echo");
    for (sent, heard) in [
        ("a", "a kept it"),
        ("c", "c kept it"),
        ("d", "d"),
        ("z", "z"),
    ] {
        client.text(sent);
        assert_eq!(client.expect_text(), heard);
    }
    server.cut();
}

#[test]
fn closures_are_a_service() {
    let (closed, ends) = mpsc::channel();
    let server = Serving::start(one_shard(), move |_| {
        let closed = closed.clone();
        let service = on_message(|conn, message| {
            let said = message.as_text().unwrap_or_default().to_uppercase();
            conn.send_text(&said);
        });
        let service = service
            .on_upgrade(|request| match request.query() {
                Some("no") => Refusal::Forbidden.into(),
                _ => Upgrade::accept(),
            })
            .on_open(|conn| {
                conn.send_text("welcome");
            })
            .on_close(move |_, close| closed.send(close.code.0).expect("heard"));
        Router::new().ws("/shout", service)
    });
    assert_eq!(
        exchange(server.addr(), upgrade("/shout?no").as_bytes()).status,
        403
    );
    let mut client = Client::connect(server.addr(), "/shout");
    assert_eq!(client.expect_text(), "welcome");
    client.text("hey");
    assert_eq!(client.expect_text(), "HEY");
    client.close(1000, "");
    assert_eq!(ends.recv_timeout(support::wait::PATIENCE), Ok(1000));
    server.cut();
}

fn fault(router: &Router) -> String {
    router.fault().expect("refused").to_string()
}

#[test]
fn mistakes_are_named_and_end_the_start() {
    let page = |_: &Request<'_>| Response::not_found();
    for (router, named) in [
        (
            Router::new().get("/a/:x", page).get("/a/:y", page),
            "\"/a/:y\" conflicts with \"/a/:x\"",
        ),
        (
            Router::new().get("/a", page).get("/a", page),
            "\"/a\" has GET already",
        ),
        (
            Router::new().ws("/a", Echo).ws("/a", Echo),
            "\"/a\" has WebSockets already",
        ),
        (Router::new().get("a", page), "\"a\""),
        (Router::new().get("/a/:", page), "\"/a/:\""),
        (Router::new().get("/*rest/b", page), "\"/*rest/b\""),
        (Router::new().group("/a/", |group| group), "\"/a/\""),
        (
            Router::new().ws("/a", Router::new()),
            "\"/a\": a router cannot be mounted",
        ),
        (
            Router::new().get("/a", page).layer(Named("late")),
            "registered before",
        ),
    ] {
        let said = fault(&router);
        assert!(said.contains(named), "{said}");
    }
    let started = Server::bind("127.0.0.1:0")
        .config(one_shard())
        .start(|_| Router::new().ws("/a", Echo).ws("/a", Echo));
    let error = started.expect_err("refused");
    let Error::App(cause) = &error else {
        panic!("{error}");
    };
    let cause = cause.downcast_ref().expect("what the router said");
    assert!(matches!(cause, RouteError::Twice { .. }), "{cause}");
    assert!(error.to_string().contains("\"/a\""), "{error}");
}
