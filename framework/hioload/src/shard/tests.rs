//! The shard on virtual time, without a kernel: bytes in, orders out.

mod closing;
mod messages;
mod pausing;
mod publishing;
mod streams;
mod tls;
mod waves;

use hioload_platform::{Nanos, RecvEnd, Token};
use hioload_protocol::handshake::{ClientRequest, HandshakeLimits, Parsed, parse_response};
use hioload_protocol::{
    CloseCode, Connection, DeflateConfig, DeflateMode, Event, Kind, Limits, MaskKeys, Resources,
    Role,
};

use super::chain::Transport;
use super::inbox::Inbox;
use super::{ContextParts, ShardCore};
use crate::app::{App, Close, Conn, Message, Upgrade};
use crate::config::{Backpressure, Config, Rules};
use crate::control::{Control, Terms};
use crate::http::{Framing, Request, Response};
use crate::hub::HashSeed;
use crate::metrics::Metrics;
use crate::server::Handle;

const MS: Nanos = 1_000_000;
const SECOND: Nanos = 1000 * MS;

/// Echoes on `/echo`, relays everywhere else, and counts its callbacks.
#[derive(Default)]
struct Probe {
    opened: usize,
    closed: Vec<(u16, bool)>,
    drained: usize,
}

impl App for Probe {
    type State = String;

    fn upgrade(&mut self, request: &Request<'_>, path: &mut String) -> Upgrade {
        *path = request.path().to_owned();
        Upgrade::accept()
    }

    fn http(&mut self, request: &Request<'_>) -> Response {
        match request.path() {
            "/news" => Response::sse().topic("/news").into(),
            _ => Response::not_found(),
        }
    }

    fn answer(&mut self, request: &Request<'_>, topic: &mut String) -> Response {
        let framing = match request.path() {
            "/lines" => Framing::Lines,
            "/bare" => Framing::Bare,
            "/events" => Framing::Events,
            _ => return self.http(request),
        };
        "/news".clone_into(topic);
        Response::messages(framing)
            .farewell(|code, reason| format!("{}: {reason}", code.0).into_bytes())
            .into()
    }

    fn open(&mut self, conn: &mut Conn<'_>, path: &mut String) {
        self.opened += 1;
        conn.subscribe(path);
    }

    fn message(&mut self, conn: &mut Conn<'_>, path: &mut String, message: Message<'_>) {
        match path.as_str() {
            "/echo" => drop(conn.send(message)),
            topic => drop(conn.publish(topic, message)),
        }
    }

    fn drain(&mut self, _conn: &mut Conn<'_>, _path: &mut String) {
        self.drained += 1;
    }

    fn close(&mut self, conn: &mut Conn<'_>, _path: &mut String, close: &Close<'_>) {
        conn.send("too late");
        self.closed.push((close.code.0, close.clean));
    }
}

/// What the driver would know of a connection.
#[derive(Debug, Default)]
struct Wire {
    bytes: Vec<u8>,
    receiving: bool,
    shut: bool,
    closed: bool,
    /// Whether the peer takes what is sent.
    stuck: bool,
    in_flight: usize,
    /// Sends the driver was given.
    sends: usize,
}

struct Shard {
    core: ShardCore<Probe>,
    now: Nanos,
    wires: Vec<Wire>,
    metrics: Metrics,
}

impl Shard {
    fn new(config: &Config) -> Self {
        let control = Control::new(config, 1, Terms::default());
        let handle = Handle::new(1, &[], &HashSeed::Given(1), Inbox::ROOM, control);
        let metrics = handle.metrics();
        let parts = ContextParts {
            shard: 0,
            now: 0,
            rules: Rules::from(config),
            mask_seed: 1,
            handle,
        };
        let core = ShardCore::new(Probe::default(), parts);
        Self {
            core,
            now: 0,
            wires: Vec::new(),
            metrics,
        }
    }

    fn accept(&mut self) -> Token {
        self.accept_over(Transport::PLAIN)
    }

    fn accept_over(&mut self, transport: Transport) -> Token {
        let token = Token::new(u32::try_from(self.wires.len()).unwrap(), 7);
        self.wires.push(Wire::default());
        self.core.accepted(token, None, transport);
        self.turn();
        token
    }

    fn feed(&mut self, token: Token, bytes: &[u8]) {
        self.core.received(token, &mut bytes.to_vec());
        self.turn();
    }

    /// The rest of a turn after its events, with sends that the kernel takes
    /// at once unless the peer is stuck.
    fn turn(&mut self) {
        self.core.fire_timers();
        self.core.exchange();
        while let Some(token) = self.core.next_touched() {
            let Some((link, cx)) = self.core.link(token) else {
                continue;
            };
            let wire = &mut self.wires[token.index()];
            if wire.in_flight == 0 {
                link.seal(cx);
            }
            let orders = link.orders();
            let mut sent = 0;
            if let Some(queue) = link.queue()
                && wire.in_flight == 0
            {
                for segment in queue.drain(..) {
                    sent += segment.bytes().len();
                    wire.bytes.extend_from_slice(segment.bytes());
                }
                wire.in_flight = sent;
                wire.sends += 1;
            }
            wire.receiving = orders.receive.unwrap_or(wire.receiving);
            wire.shut |= orders.shutdown;
            if orders.close {
                wire.closed = true;
                self.core.closed(token);
            } else if sent > 0 && !wire.stuck {
                wire.in_flight = 0;
                self.core.sent(token, &Ok(sent));
            }
        }
    }

    fn unstick(&mut self, token: Token) {
        let wire = &mut self.wires[token.index()];
        wire.stuck = false;
        let sent = std::mem::take(&mut wire.in_flight);
        self.core.sent(token, &Ok(sent));
        self.turn();
    }

    fn advance(&mut self, by: Nanos) {
        let end = self.now + by;
        while let Some(deadline) = self
            .core
            .next_deadline()
            .filter(|&deadline| deadline <= end)
        {
            self.now = deadline.max(self.now + 1);
            self.core.begin(self.now);
            self.turn();
        }
        self.now = end;
        self.core.begin(end);
        self.turn();
    }

    fn app(&self) -> &Probe {
        &self.core.app
    }

    fn wire(&self, token: Token) -> &Wire {
        &self.wires[token.index()]
    }
}

/// A client: the protocol's other role.
struct Client {
    token: Token,
    protocol: Connection,
    resources: Resources,
}

impl Client {
    fn open(shard: &mut Shard, path: &str) -> Self {
        Self::open_with(shard, path, None)
    }

    fn open_with(shard: &mut Shard, path: &str, deflate: Option<&DeflateConfig>) -> Self {
        let token = shard.accept();
        let request = ClientRequest {
            host: "h",
            target: path,
            protocols: &[],
            headers: &[],
            origin: None,
            deflate,
        };
        let mut head = Vec::new();
        let expected = request.write([3; 16], &mut head);
        let (first, second) = head.split_at(head.len() / 2);
        shard.feed(token, first);
        shard.feed(token, second);
        let wire = &mut shard.wires[token.index()];
        let parsed = parse_response(&wire.bytes, &expected, &HandshakeLimits::default());
        let Ok(Parsed::Complete { head_len, value }) = parsed else {
            panic!("{:?}", String::from_utf8_lossy(&wire.bytes))
        };
        wire.bytes.drain(..head_len);
        assert_eq!(value.deflate.is_some(), deflate.is_some());
        let protocol = match value.deflate {
            Some(agreed) => Connection::with_deflate(Role::Client, agreed),
            None => Connection::new(Role::Client),
        };
        Self {
            token,
            protocol,
            resources: resources(),
        }
    }

    fn send(&mut self, shard: &mut Shard, payload: &[u8]) {
        let mut bytes = Vec::new();
        self.protocol
            .send(Kind::Binary, payload, &mut self.resources, &mut bytes)
            .unwrap();
        shard.feed(self.token, &bytes);
    }

    /// Everything that arrived, and the answers that are due to it.
    fn receive(&mut self, shard: &mut Shard) -> Vec<Event> {
        let mut input = std::mem::take(&mut shard.wires[self.token.index()].bytes);
        let (mut at, mut events, mut answers) = (0, Vec::new(), Vec::new());
        while at < input.len() {
            let rest = &mut input[at..];
            let received = self
                .protocol
                .receive(rest, &mut self.resources, &mut answers);
            at += received.consumed;
            events.extend(received.event);
        }
        if !answers.is_empty() {
            shard.feed(self.token, &answers);
        }
        events
    }

    fn messages(&mut self, shard: &mut Shard) -> usize {
        let events = self.receive(shard);
        events
            .iter()
            .filter(|event| matches!(event, Event::Message { .. }))
            .count()
    }

    fn close_code(&mut self, shard: &mut Shard) -> Option<u16> {
        self.receive(shard).iter().find_map(|event| match event {
            Event::Closed { code, .. } => Some(code.0),
            _ => None,
        })
    }
}

fn resources() -> Resources {
    Resources::new(
        Limits::default(),
        MaskKeys::from_seed(2),
        DeflateConfig::default(),
    )
}

fn silent() -> Config {
    Config {
        idle_timeout: None,
        ping_interval: None,
        ..Config::default()
    }
}

#[test]
fn the_idle_deadline_moves_with_activity_and_is_late_by_a_tick_at_most() {
    let idle_timeout = Some(std::time::Duration::from_secs(1));
    let mut shard = Shard::new(&Config {
        idle_timeout,
        ..silent()
    });
    let mut client = Client::open(&mut shard, "/echo");
    shard.advance(900 * MS);
    client.send(&mut shard, b"alive");
    assert_eq!(client.messages(&mut shard), 1);
    shard.advance(999 * MS);
    assert_eq!(client.close_code(&mut shard), None);
    shard.advance(18 * MS);
    assert_eq!(client.close_code(&mut shard), Some(1001));
    assert_eq!(shard.app().closed, [(1001, true)]);
    assert!(shard.wire(client.token).shut);
    shard.core.receive_ended(client.token, &RecvEnd::Eof);
    shard.turn();
    assert!(shard.wire(client.token).closed);
    assert_eq!(shard.metrics.sockets(), 0);
}

#[test]
fn a_peer_that_answers_pings_stays_and_one_that_does_not_is_ended() {
    let second = std::time::Duration::from_secs(1);
    let config = Config {
        ping_interval: Some(second),
        pong_timeout: second,
        idle_timeout: Some(4 * second),
        ..Config::default()
    };
    let mut shard = Shard::new(&config);
    let mut answers = Client::open(&mut shard, "/echo");
    let silent = Client::open(&mut shard, "/echo");
    for _ in 0..100 {
        shard.advance(SECOND / 2);
        answers.receive(&mut shard);
    }
    assert!(!shard.wire(answers.token).closed);
    assert!(shard.wire(silent.token).closed);
    assert_eq!(shard.app().closed, [(1006, false)]);
    assert_eq!(shard.metrics.connections(), 1);
}

#[test]
fn a_peer_that_never_answers_our_close_is_cut_at_the_deadline() {
    let mut shard = Shard::new(&silent());
    let client = Client::open(&mut shard, "/echo");
    shard.core.with(client.token, |link, cx| {
        link.close(CloseCode(4000), "bye", cx);
    });
    shard.advance(4999 * MS);
    assert!(!shard.wire(client.token).closed);
    shard.advance(2 * MS);
    assert!(shard.wire(client.token).closed);
    assert_eq!(shard.app().closed, [(4000, false)]);
}

#[test]
fn a_slow_head_is_told_408_and_a_silent_socket_is_closed() {
    let mut shard = Shard::new(&silent());
    let (slow, mute) = (shard.accept(), shard.accept());
    shard.feed(slow, b"GET / HTTP/1.1\r\nHost: ");
    shard.advance(10 * SECOND);
    assert!(shard.wire(slow).bytes.starts_with(b"HTTP/1.1 408 "));
    assert!(shard.wire(slow).shut);
    assert!(shard.wire(mute).closed && shard.wire(mute).bytes.is_empty());
    shard.advance(5 * SECOND + MS);
    assert!(shard.wire(slow).closed, "the peer does not end, we do");
    assert_eq!(shard.metrics.refusals()["timeout"], 1);
}

#[test]
fn frames_behind_the_handshake_in_one_segment_are_not_lost() {
    let mut shard = Shard::new(&silent());
    let token = shard.accept();
    let request = ClientRequest {
        host: "h",
        target: "/echo",
        protocols: &[],
        headers: &[],
        origin: None,
        deflate: None,
    };
    let mut bytes = Vec::new();
    request.write([9; 16], &mut bytes);
    let mut protocol = Connection::new(Role::Client);
    let mut resources = resources();
    for _ in 0..3 {
        protocol
            .send(Kind::Text, b"early", &mut resources, &mut bytes)
            .unwrap();
    }
    shard.feed(token, &bytes);
    let sent = &shard.wire(token).bytes;
    assert_eq!(
        sent.windows(5).filter(|window| window == b"early").count(),
        3
    );
}

#[test]
fn a_publisher_is_not_its_own_subscriber_and_order_holds() {
    let mut shard = Shard::new(&silent());
    let mut publisher = Client::open(&mut shard, "/room");
    let mut others: Vec<_> = (0..3).map(|_| Client::open(&mut shard, "/room")).collect();
    let mut elsewhere = Client::open(&mut shard, "/other");
    for n in 0..10u8 {
        publisher.send(&mut shard, &[n]);
    }
    assert_eq!(publisher.messages(&mut shard), 0);
    assert_eq!(elsewhere.messages(&mut shard), 0);
    for other in &mut others {
        let wire = &shard.wire(other.token).bytes;
        let numbers: Vec<u8> = wire.chunks(3).map(|frame| frame[2]).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        assert_eq!(other.messages(&mut shard), 10);
    }
}

#[test]
fn pause_reading_keeps_what_arrives_and_goes_on_where_it_stopped() {
    let config = Config {
        backpressure_limit: 10_000,
        backpressure: Backpressure::PauseReading,
        ..silent()
    };
    let mut shard = Shard::new(&config);
    let mut client = Client::open(&mut shard, "/echo");
    shard.wires[client.token.index()].stuck = true;
    for _ in 0..20 {
        client.send(&mut shard, &[1; 1000]);
    }
    assert!(!shard.wire(client.token).receiving);
    let pending = shard.metrics.send_bytes_pending();
    assert!((5000..7000).contains(&pending), "{pending}");
    let mut echoed = 0;
    for _ in 0..20 {
        shard.unstick(client.token);
        echoed += client.messages(&mut shard);
    }
    assert_eq!(echoed, 20);
    assert!(shard.wire(client.token).receiving);
    assert!(shard.app().drained > 0);
    assert!(shard.metrics.backpressure()["paused"] > 1);
}

#[test]
fn the_close_policy_lets_what_is_queued_go_first_and_nothing_after() {
    let config = Config {
        backpressure_limit: 5000,
        backpressure: Backpressure::Close(CloseCode::POLICY),
        ..silent()
    };
    let mut shard = Shard::new(&config);
    let mut publisher = Client::open(&mut shard, "/room");
    let mut slow = Client::open(&mut shard, "/room");
    let mut quick = Client::open(&mut shard, "/room");
    shard.wires[slow.token.index()].stuck = true;
    for _ in 0..20 {
        publisher.send(&mut shard, &[2; 1000]);
    }
    assert_eq!(quick.messages(&mut shard), 20);
    shard.unstick(slow.token);
    shard.unstick(slow.token);
    let events = slow.receive(&mut shard);
    let messages = events
        .iter()
        .filter(|event| matches!(event, Event::Message { .. }))
        .count();
    assert!((5..8).contains(&messages), "{messages}");
    assert!(matches!(
        events.last(),
        Some(Event::Closed {
            code: CloseCode::POLICY,
            ..
        })
    ));
    assert_eq!(shard.metrics.backpressure()["closed"], 1);
}

#[test]
fn a_shard_that_holds_too_much_is_paid_for_by_those_that_are_behind() {
    let config = Config {
        backpressure_limit: 1 << 20,
        backpressure: Backpressure::Drop,
        send_memory: 200_000,
        deflate: None,
        ..silent()
    };
    let mut shard = Shard::new(&config);
    let mut publisher = Client::open(&mut shard, "/room");
    let mut quick = Client::open(&mut shard, "/room");
    for _ in 0..8 {
        let slow = Client::open(&mut shard, "/room");
        shard.wires[slow.token.index()].stuck = true;
    }
    for _ in 0..500 {
        publisher.send(&mut shard, &[4; 1000]);
    }
    assert_eq!(quick.messages(&mut shard), 500);
    let pending = shard.metrics.send_bytes_pending();
    assert!((200_000..8 * 70_000).contains(&pending), "{pending}");
    assert!(shard.metrics.backpressure()["dropped"] > 8 * 400);
    assert!(shard.wire(publisher.token).receiving);
}

#[test]
fn a_shard_that_holds_too_much_of_paused_peers_closes_who_adds_to_it() {
    let config = Config {
        backpressure_limit: 10_000,
        backpressure: Backpressure::PauseReading,
        send_memory: 300_000,
        deflate: None,
        ..silent()
    };
    let mut shard = Shard::new(&config);
    let mut peers: Vec<_> = (0..8).map(|_| Client::open(&mut shard, "/echo")).collect();
    for peer in &mut peers {
        shard.wires[peer.token.index()].stuck = true;
        // They are paused after six, and all this is with the kernel by then.
        for _ in 0..100 {
            peer.send(&mut shard, &[5; 1000]);
            assert!(shard.core.cx.held < 300_000 + (64 << 10));
        }
    }
    assert_eq!(shard.metrics.backpressure()["closed"], 6);
    assert!(shard.core.cx.held > 150_000, "the first ones are held");
    for peer in &mut peers {
        shard.unstick(peer.token);
        shard.advance(MS);
    }
    for (index, peer) in peers.iter_mut().enumerate() {
        let events = peer.receive(&mut shard);
        match events.last() {
            Some(Event::Closed { code, .. }) => assert_eq!(*code, CloseCode::TRY_AGAIN),
            _ => assert_eq!((events.len(), index < 2), (100, true), "nothing is lost"),
        }
    }
    assert_eq!(shard.core.cx.held, 0);
}

#[test]
fn what_came_before_the_end_of_a_paused_stream_is_still_heard() {
    let config = Config {
        backpressure_limit: 2000,
        backpressure: Backpressure::PauseReading,
        ..silent()
    };
    let mut shard = Shard::new(&config);
    let mut client = Client::open(&mut shard, "/echo");
    shard.wires[client.token.index()].stuck = true;
    for _ in 0..5 {
        client.send(&mut shard, &[3; 1500]);
    }
    shard.core.receive_ended(client.token, &RecvEnd::Eof);
    shard.turn();
    assert_eq!(shard.app().closed, []);
    let mut echoed = 0;
    for _ in 0..10 {
        if !shard.wire(client.token).closed {
            shard.unstick(client.token);
        }
        echoed += client.messages(&mut shard);
    }
    assert_eq!(echoed, 5);
    assert_eq!(shard.app().closed, [(1006, false)]);
    assert!(shard.wire(client.token).closed);
}

#[test]
fn stopping_closes_with_1001_and_ends_everything_by_the_deadline() {
    let mut shard = Shard::new(&silent());
    let mut polite = Client::open(&mut shard, "/echo");
    let rude = Client::open(&mut shard, "/echo");
    let http = shard.accept();
    shard.core.stop(false, None);
    shard.turn();
    assert_eq!(polite.close_code(&mut shard), Some(1001));
    shard.core.receive_ended(polite.token, &RecvEnd::Eof);
    shard.core.receive_ended(http, &RecvEnd::Eof);
    shard.turn();
    assert!(shard.wire(polite.token).closed && shard.wire(http).closed);
    assert!(!shard.core.is_drained());
    shard.advance(10 * SECOND);
    assert!(shard.wire(rude.token).closed && shard.core.is_drained());
    assert_eq!(shard.app().opened, shard.app().closed.len());
}

#[test]
fn a_broadcast_is_compressed_once_for_peers_without_context() {
    let mut shard = Shard::new(&silent());
    let offer = DeflateConfig::default();
    let mut publisher = Client::open(&mut shard, "/room");
    let mut plain = Client::open(&mut shard, "/room");
    let mut deflating: Vec<_> = (0..3)
        .map(|_| Client::open_with(&mut shard, "/room", Some(&offer)))
        .collect();
    let text = b"the same words again and again, ".repeat(40);
    for _ in 0..2 {
        publisher.send(&mut shard, &text);
    }
    let first = shard.wire(deflating[0].token).bytes.clone();
    assert!(first.len() < text.len() / 4, "{} bytes", first.len());
    for client in &mut deflating {
        assert_eq!(shard.wire(client.token).bytes, first);
        assert_eq!(client.messages(&mut shard), 2);
    }
    assert!(shard.wire(plain.token).bytes.len() > 2 * text.len());
    assert_eq!(plain.messages(&mut shard), 2);
}

#[test]
fn a_peer_with_context_takeover_never_sees_a_foreign_window() {
    let dedicated = DeflateConfig {
        mode: DeflateMode::Dedicated,
        ..DeflateConfig::default()
    };
    let config = Config {
        deflate: Some(dedicated),
        ..silent()
    };
    let mut shard = Shard::new(&config);
    let mut publisher = Client::open_with(&mut shard, "/room", Some(&dedicated));
    let mut early = Client::open_with(&mut shard, "/room", Some(&dedicated));
    let text: Vec<u8> = (0..2000u32)
        .flat_map(|n| (n * n % 1009).to_le_bytes())
        .collect();
    publisher.send(&mut shard, &text);
    assert_eq!(early.messages(&mut shard), 1);
    let mut late = Client::open_with(&mut shard, "/room", Some(&dedicated));
    let mut sizes = Vec::new();
    for _ in 0..3 {
        publisher.send(&mut shard, &text);
        sizes.push((
            shard.wire(early.token).bytes.len(),
            shard.wire(late.token).bytes.len(),
        ));
        assert_eq!(early.messages(&mut shard), 1);
        assert_eq!(late.messages(&mut shard), 1);
    }
    assert!(
        sizes[0].0 < sizes[0].1 / 4,
        "the early one's window knows it: {sizes:?}"
    );
    assert!(
        sizes[1].1 < sizes[0].1 / 4,
        "now the late one's does too: {sizes:?}"
    );
}

#[test]
fn a_compressed_echo_comes_back_compressed() {
    let mut shard = Shard::new(&silent());
    let mut client = Client::open_with(&mut shard, "/echo", Some(&DeflateConfig::default()));
    client.send(&mut shard, &[7; 10_000]);
    assert!(shard.wire(client.token).bytes.len() < 200);
    assert_eq!(client.messages(&mut shard), 1);
}
