//! Chats in Centrifugo's protocol: on hioload-server, and on a small server
//! that can be told to misbehave.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hioload_protocol::handshake::{HandshakeLimits, Parsed, accept, parse_request, write_accept};
use hioload_protocol::{
    CloseCode, Connection, DeflateConfig, Event, Kind, Limits, MaskKeys, Resources, Role, frame,
};
use serde_json::{Value, json};

use crate::server::{Ran, command, outcome};

/// What to do with publication, or command, number `n` of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every `n`-th publication reaches nobody.
    Lose(u64),
    /// Every `n`-th publication is sent twice.
    Duplicate(u64),
    /// As with [`Lose`](Self::Lose), and the offsets do not tell.
    LoseSilently(u64),
    /// A letter of every `n`-th publication is another.
    Corrupt(u64),
    /// Every `n`-th publication names another client.
    Misattribute(u64),
    /// Every `n`-th publish command is refused with 111.
    Refuse(u64),
    /// Histories lack their latest publication.
    Forget,
    /// Presences lack the one who asks.
    Overlook,
    /// Nobody may subscribe.
    Forbid,
    /// Questions about the history are not answered.
    Ignore,
    /// Subscribers are put out after `n` publications of their own.
    PutOut(u64),
    /// Connections are closed with 3008 after so many publications.
    Close(u64),
}

/// What all connections share.
struct State {
    fault: Fault,
    published: u64,
    pongs: u64,
    channels: HashMap<String, Channel>,
}

#[derive(Default)]
struct Channel {
    offset: u64,
    history: Vec<Value>,
    members: BTreeMap<u64, TcpStream>,
}

/// A listening server; its threads end with the test process.
pub(crate) struct Small {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Small {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            fault,
            published: 0,
            pongs: 0,
            channels: HashMap::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for (id, stream) in (1..).zip(listener.incoming().flatten()) {
                let state = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut peer = Peer {
                        id,
                        stream,
                        state,
                        own: 0,
                    };
                    let served = peer.serve();
                    peer.leave();
                    served
                });
            }
        });
        Self { addr, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/connection/websocket", self.addr)
    }

    fn pongs(&self) -> u64 {
        self.state.lock().unwrap().pongs
    }
}

/// One connection.
struct Peer {
    id: u64,
    stream: TcpStream,
    state: Arc<Mutex<State>>,
    /// Publications it made.
    own: u64,
}

impl Peer {
    fn serve(&mut self) -> Option<()> {
        self.stream.set_nodelay(true).ok()?;
        let mut rest = self.shake()?;
        let mut connection = Connection::new(Role::Server);
        let masks = MaskKeys::from_seed(0);
        let mut resources = Resources::new(Limits::default(), masks, DeflateConfig::default());
        let mut buffer = vec![0; 64 << 10];
        loop {
            let mut at = 0;
            let mut out = Vec::new();
            while at < rest.len() {
                let input = &mut rest[at..];
                let got = connection.receive(input, &mut resources, &mut out);
                at += got.consumed;
                match got.event {
                    Some(Event::Message { payload, .. }) => {
                        let text = String::from_utf8(payload.bytes(input).to_vec()).ok()?;
                        payload.recycle(&mut resources.pool);
                        let goes_on = text.lines().all(|line| self.command(line).is_some());
                        if !goes_on {
                            connection.close(CloseCode(3008), "slow", &mut resources, &mut out);
                        }
                    }
                    Some(Event::Closed { .. }) => {
                        self.stream.write_all(&out).ok()?;
                        return self.stream.shutdown(std::net::Shutdown::Both).ok();
                    }
                    _ => {}
                }
            }
            self.stream.write_all(&out).ok()?;
            let read = self.stream.read(&mut buffer).ok().filter(|&n| n > 0)?;
            rest = buffer[..read].to_vec();
        }
    }

    fn shake(&mut self) -> Option<Vec<u8>> {
        let mut head = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer).ok().filter(|&n| n > 0)?;
            head.extend_from_slice(&buffer[..read]);
            let parsed = parse_request(&head, &HandshakeLimits::default()).ok()?;
            if let Parsed::Complete { head_len, value } = parsed {
                let mut out = Vec::new();
                write_accept(&mut out, &accept(&value).ok()?, None, None, &[]).ok()?;
                self.stream.write_all(&out).ok()?;
                return Some(head.split_off(head_len));
            }
        }
    }

    fn leave(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for channel in state.channels.values_mut() {
            channel.members.remove(&self.id);
        }
    }

    /// Does what a line asks for; `None` closes the connection.
    fn command(&mut self, line: &str) -> Option<()> {
        let asked: Value = serde_json::from_str(line).expect("a client writes JSON");
        let shared = Arc::clone(&self.state);
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let Some(id) = asked["id"].as_u64() else {
            assert_eq!(asked, json!({}), "only pongs have no id");
            state.pongs += 1;
            return Some(());
        };
        let client = format!("client-{}", self.id);
        let (name, wish) = asked.as_object()?.iter().find(|(key, _)| *key != "id")?;
        let channel = wish["channel"].as_str().unwrap_or_default().to_owned();
        let hub = state.channels.entry(channel.clone()).or_default();
        let offset = hub.offset;
        let result = match name.as_str() {
            "connect" => json!({"client": client, "version": "0", "ping": 25, "pong": true}),
            "subscribe" if state.fault == Fault::Forbid => {
                return self.refuse(id, 103, "permission denied");
            }
            "subscribe" => {
                hub.members.insert(self.id, self.stream.try_clone().ok()?);
                match wish["positioned"].as_bool() {
                    Some(true) => json!({"positioned": true, "offset": offset, "epoch": "e"}),
                    _ => json!({}),
                }
            }
            "unsubscribe" => {
                hub.members.remove(&self.id);
                json!({})
            }
            "history" if state.fault == Fault::Ignore => return Some(()),
            "history" => {
                let forgotten = usize::from(state.fault == Fault::Forget);
                let limit = usize::try_from(wish["limit"].as_u64()?).ok()?;
                let past = hub.history.iter().rev().skip(forgotten).take(limit);
                let past: Vec<&Value> = past.collect();
                json!({"publications": past, "offset": offset, "epoch": "e"})
            }
            "presence" => {
                let all = hub.members.keys().map(|id| format!("client-{id}"));
                let shown = all.filter(|name| state.fault != Fault::Overlook || *name != client);
                let shown: HashMap<String, Value> = shown.map(|name| (name, json!({}))).collect();
                json!({"presence": shown})
            }
            "publish" => {
                let goes_on = self.publish(state, &channel, &client, &wish["data"], id)?;
                return goes_on.then_some(());
            }
            other => panic!("nobody asks for {other}"),
        };
        self.say(&json!({"id": id, name: result}))?;
        // Whoever is let in is pinged.
        if name == "connect" {
            self.say(&json!({}))?;
        }
        Some(())
    }

    fn publish(
        &mut self,
        state: &mut State,
        channel: &str,
        client: &str,
        data: &Value,
        id: u64,
    ) -> Option<bool> {
        state.published += 1;
        self.own += 1;
        let number = state.published;
        let hit = |n: u64| number.is_multiple_of(n);
        let hub = state.channels.get_mut(channel)?;
        let mut text = data.as_str().expect("publications are strings").to_owned();
        let mut named = client;
        let (mut copies, mut offset) = (1, hub.offset + 1);
        match state.fault {
            Fault::Refuse(n) if hit(n) => {
                self.refuse(id, 111, "too many requests")?;
                return Some(true);
            }
            Fault::Lose(n) if hit(n) => copies = 0,
            Fault::LoseSilently(n) if hit(n) => (copies, offset) = (0, hub.offset),
            Fault::Duplicate(n) if hit(n) => copies = 2,
            Fault::Corrupt(n) if hit(n) => {
                let last = text.pop();
                text.push(if last == Some('a') { 'b' } else { 'a' });
            }
            Fault::Misattribute(n) if hit(n) => named = "somebody else",
            _ => {}
        }
        hub.offset = offset;
        let publication = json!({"data": text, "offset": offset, "info": {"client": named}});
        let push = json!({"push": {"channel": channel, "pub": &publication}});
        hub.history.push(publication);
        let frame = frame::encode_message(Kind::Text, push.to_string().as_bytes());
        for member in hub.members.values_mut() {
            for _ in 0..copies {
                // One that is gone is not what these tests look at.
                drop(member.write_all(&frame));
            }
        }
        self.say(&json!({"id": id, "publish": {}}))?;
        match state.fault {
            Fault::PutOut(n) if self.own.is_multiple_of(n) => {
                hub.members.remove(&self.id);
                let ended = json!({"code": 2500, "reason": "insufficient state"});
                self.say(&json!({"push": {"channel": channel, "unsubscribe": ended}}))?;
                Some(true)
            }
            Fault::Close(n) => Some(self.own != n),
            _ => Some(true),
        }
    }

    fn refuse(&mut self, id: u64, code: u32, message: &str) -> Option<()> {
        self.say(&json!({"id": id, "error": {"code": code, "message": message}}))
    }

    fn say(&mut self, what: &Value) -> Option<()> {
        let frame = frame::encode_message(Kind::Text, what.to_string().as_bytes());
        self.stream.write_all(&frame).ok()
    }
}

/// Two seconds in which users come and go; a grace that a busy machine keeps.
fn chat(url: &str, options: &str) -> Ran {
    let line = format!(
        "chat --protocol centrifugo --url {url} --users 12 --rooms 2 --think 20ms..100ms \
         --stay 1100ms..1500ms --warmup 200ms --duration 2s --quiet --json - {options}"
    );
    outcome(&command(&line).output().unwrap())
}

fn count(ran: &Ran, name: &str) -> u64 {
    let number = ran.json["centrifugo"][name].as_u64();
    number.unwrap_or_else(|| panic!("no {name} in {ran:#?}"))
}

fn protocol_errors(ran: &Ran) -> Vec<String> {
    let causes = ran.json["errors"]["protocol"].as_object();
    let causes = causes.unwrap_or_else(|| panic!("{ran:#?}"));
    causes.keys().cloned().collect()
}

#[test]
fn users_subscribe_talk_ask_and_go_and_nothing_is_lost() {
    let server = Small::start(Fault::None);
    let ran = chat(
        &server.url(),
        "--threads 2 --positioned --history-every 3 --presence-every 3 --history-limit 5",
    );
    ran.assert_clean();
    assert_eq!(count(&ran, "connects"), 12, "connections stay: {ran:#?}");
    let (visits, messages) = (&ran.json["chat"], &ran.json["messages"]);
    assert!(visits["leaves"].as_u64().unwrap() >= 12, "{ran:#?}");
    assert_eq!(visits["leaves"], count(&ran, "unsubscribes"), "{ran:#?}");
    assert_eq!(messages["sent_total"], count(&ran, "publishes"), "{ran:#?}");
    for asked in ["histories", "presences", "history_publications"] {
        assert!(count(&ran, asked) > 0, "{ran:#?}");
    }
    assert!(
        count(&ran, "presence_clients") >= count(&ran, "presences"),
        "{ran:#?}"
    );
    assert_eq!(count(&ran, "server_pings"), 12, "{ran:#?}");
    assert_eq!(server.pongs(), 12, "every ping is answered");
    assert_eq!(ran.json["config"]["protocol"], "centrifugo");
    assert_eq!(ran.json["config"]["kind"], "text");
}

#[test]
fn lost_and_doubled_publications_fail_the_run() {
    for (fault, cause) in [
        (Fault::Lose(5), "lost"),
        (Fault::LoseSilently(5), "lost"),
        (Fault::Duplicate(5), "duplicated"),
        (Fault::Corrupt(5), "corrupted"),
        (Fault::Refuse(5), "lost"),
    ] {
        let server = Small::start(fault);
        let ran = chat(&server.url(), "--positioned --drain-timeout 1s");
        assert_eq!(ran.code, 2, "{fault:?} {ran:#?}");
        assert!(ran.error(cause) > 0, "{fault:?} {ran:#?}");
        if cause == "lost" {
            assert_eq!(ran.json["valid"], false, "{fault:?} {ran:#?}");
        }
    }
}

#[test]
fn what_is_not_as_the_protocol_has_it_is_counted_by_cause() {
    for (fault, cause) in [
        (Fault::Lose(5), "publications skipped, by their offsets"),
        (
            Fault::Misattribute(5),
            "publications that do not name their publisher",
        ),
        (Fault::Refuse(5), "publish: error 111, too many requests"),
        (Fault::Forget, "history: offsets not in a row"),
        (Fault::Overlook, "presence: it lacks the one who asks"),
        (Fault::Forbid, "subscribe: error 103, permission denied"),
        (Fault::Ignore, "history: not answered"),
        (
            Fault::PutOut(3),
            "unsubscribed by the server, 2500: insufficient state",
        ),
    ] {
        let server = Small::start(fault);
        let options = "--positioned --history-every 2 --presence-every 2 --drain-timeout 1s";
        let ran = chat(&server.url(), options);
        assert_eq!(ran.code, 2, "{fault:?} {ran:#?}");
        let causes = protocol_errors(&ran);
        assert!(causes.iter().any(|it| it == cause), "{fault:?} {ran:#?}");
    }
}

#[test]
fn clients_that_the_server_closes_are_counted_by_code_and_come_again() {
    let server = Small::start(Fault::Close(7));
    let ran = chat(&server.url(), "--tolerate all");
    assert!([0, 4].contains(&ran.code), "{ran:#?}");
    assert_eq!(ran.error("lost"), 0, "{ran:#?}");
    let closes = ran.json["errors"]["closes"].as_object().unwrap();
    let slow = closes.get("closed by the server, 3008: slow");
    assert!(slow.and_then(Value::as_u64) > Some(0), "{ran:#?}");
    assert!(count(&ran, "connects") > 12, "{ran:#?}");
}

/// hioload-server, as it was built beside the generator.
struct Real {
    child: Child,
    addr: SocketAddr,
    config: Option<PathBuf>,
}

impl Real {
    fn start(options: &[&str], config: Option<PathBuf>) -> Self {
        let mut child = Command::new(binary())
            .args(["--listen", "127.0.0.1:0", "--shards", "2"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = loop {
            let line = lines.next().expect("the server says where").unwrap();
            if let Some(addr) = line.strip_prefix("listening on http://") {
                break addr.parse().unwrap();
            }
        };
        thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            addr,
            config,
        }
    }

    fn configured(name: &str, text: &str) -> Self {
        let file = format!("hioload-loadgen-{name}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, text).unwrap();
        let shown = path.to_str().unwrap().to_owned();
        Self::start(&["--config", &shown], Some(path))
    }

    fn url(&self) -> String {
        format!("ws://{}/connection/websocket", self.addr)
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // It may have ended by itself, which its test has noticed.
        drop(self.child.kill());
        drop(self.child.wait());
        self.config.as_deref().map(std::fs::remove_file);
    }
}

/// The server's program, which is built when a test of this crate alone is run.
fn binary() -> PathBuf {
    let generator = Path::new(env!("CARGO_BIN_EXE_hioload-loadgen"));
    let folder = generator.parent().unwrap();
    let name = format!("hioload-server{}", std::env::consts::EXE_SUFFIX);
    let binary = folder.join(name);
    if !binary.exists() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        build.args(["build", "--package", "hioload-server", "--target-dir"]);
        build.arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the server is not built");
    }
    binary
}

#[test]
fn hioload_server_serves_a_chat_with_history_presence_joins_and_leaves() {
    let server = Real::start(&["--dev"], None);
    let ran = chat(
        &server.url(),
        "--threads 2 --recoverable --join-leave --history-every 3 --presence-every 3",
    );
    ran.assert_clean();
    assert_eq!(count(&ran, "connects"), 12, "{ran:#?}");
    for asked in ["histories", "presences", "joins", "leaves"] {
        assert!(count(&ran, asked) > 0, "{ran:#?}");
    }
}

#[test]
fn hioload_server_lets_in_users_with_tokens_and_nobody_else() {
    let server = Real::configured(
        "tokens",
        "[client]\ntoken_secret = \"a secret of some length\"\n\
         [[namespace]]\nname = \"chat\"\nallow_subscribe = \"user\"\n\
         allow_publish = \"subscriber\"\nallow_history = \"subscriber\"\n\
         allow_presence = \"nobody\"\n",
    );
    let line = format!(
        "chat --protocol centrifugo --url {} --users 4 --rooms 1 --namespace chat \
         --think 20ms..100ms --warmup 100ms --duration 1500ms --positioned --history-every 2 \
         --quiet --json - --token-secret",
        server.url()
    );
    let run = |line: &str, secret: &str| outcome(&command(line).arg(secret).output().unwrap());
    let right = run(&line, "a secret of some length");
    right.assert_clean();
    let words = right.json["command"].as_array().unwrap();
    assert_eq!(words.last().unwrap(), "...", "secrets are not passed on");
    let refused = run(
        &line.replace("--positioned", "--presence-every 1"),
        "a secret of some length",
    );
    assert_eq!(refused.code, 2, "{refused:#?}");
    let causes = protocol_errors(&refused);
    assert_eq!(causes, ["presence: error 103, permission denied"]);
    let wrong = run(&line, "another secret of some length");
    assert_eq!(wrong.code, 3, "{wrong:#?}");
    let failure = wrong.json["failure"].as_str().unwrap();
    assert!(failure.contains("3500"), "{wrong:#?}");
}
