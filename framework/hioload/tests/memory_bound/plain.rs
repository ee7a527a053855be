//! What a peer can do without TLS.

use hioload::{
    App, Backpressure, CloseCode, Config, Conn, DeflateConfig, DeflateMode, Kind, Message,
};
use hioload_protocol::frame::OpCode;
use hioload_protocol::{DeflatePool, encode_message_deflated};

use crate::crowd::{Crowd, Dialing, upgrade};
use crate::heap::{Growth, alone};
use crate::support::Serving;
use crate::support::client::frame;
use crate::support::wait::until_equal;
use crate::{Case, SHARED, config, received, taken};

/// Connections that do the same at once, where each takes little of the kernel.
const MANY: usize = 200;
/// Where the kernel's buffers of each are filled.
const SOME: usize = 20;

/// What a connection's own state takes, beside what it received or is sent.
const STATE: usize = 4 << 10;

/// The limit of what is held of those that are paused. Nothing near it is
/// needed to get there, and one more receive buffer pool may come on top.
const HELD: usize = 8 << 20;

/// Echoes, and has the connection's policy from the configuration.
struct Mirror;

impl App for Mirror {
    type State = ();

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.send(message);
    }
}

/// A server and those who come to it.
struct Scene<'a> {
    name: &'a str,
    config: Config,
    /// Tighter than what the configuration allows for all kinds of input.
    bound: Option<usize>,
    count: usize,
    shared: usize,
    /// They do not read.
    narrow: bool,
    offer: Option<DeflateConfig>,
}

impl<'a> Scene<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            config: Config {
                deflate: None,
                ..config()
            },
            bound: None,
            count: MANY,
            shared: SHARED,
            narrow: false,
            offer: None,
        }
    }

    fn deflating(name: &'a str, mode: DeflateMode) -> Self {
        let deflate = DeflateConfig {
            mode,
            // The limit in bytes is what is tried.
            max_ratio: u32::MAX,
            ..DeflateConfig::default()
        };
        let plain = Self::new(name);
        Self {
            config: Config {
                deflate: Some(deflate),
                ..plain.config
            },
            offer: Some(deflate),
            ..plain
        }
    }

    fn deaf(name: &'a str, policy: Backpressure) -> Self {
        let plain = Self::new(name);
        let held = match policy {
            Backpressure::PauseReading => 2 * HELD,
            Backpressure::Drop | Backpressure::Close(_) => 0,
        };
        Self {
            config: Config {
                backpressure: policy,
                send_memory: HELD,
                ..plain.config
            },
            count: SOME,
            shared: SHARED + held,
            narrow: true,
            ..plain
        }
    }

    /// WebSockets do `act`; its end is when the server holds the most.
    fn play(self, act: impl Fn(&Crowd, &Serving)) {
        let offer = self.offer;
        self.play_from(|dialing, serving| {
            let crowd = Crowd::open(dialing, offer.as_ref());
            act(&crowd, serving);
            crowd
        });
    }

    fn play_from(self, act: impl Fn(Dialing, &Serving) -> Crowd) {
        let growth = Growth::from_now();
        let serving = Serving::start(self.config.clone(), |_| Mirror);
        let dialing = Dialing {
            addr: serving.addr(),
            count: self.count,
            narrow: self.narrow,
        };
        let case = Case {
            name: self.name,
            count: self.count,
            bound: self
                .bound
                .unwrap_or_else(|| self.config.memory_per_connection(false)),
            shared: self.shared,
            pools_are_the_same: !self.narrow,
        };
        case.measure(&serving.metrics(), || act(dialing, &serving));
        serving.stop();
        growth.expect_none(self.name);
    }
}

/// Everyone sends `bytes`, and the server has them.
fn hold(crowd: &Crowd, serving: &Serving, bytes: &[u8], piece: usize) {
    let metrics = serving.metrics();
    let before = received(&metrics);
    crowd.send(bytes, piece);
    taken(&metrics, before + (bytes.len() * crowd.len()) as u64);
}

fn start(payload: &[u8]) -> Vec<u8> {
    frame(false, OpCode::Binary, payload)
}

fn more(payload: &[u8]) -> Vec<u8> {
    frame(false, OpCode::Continuation, payload)
}

/// The first frame of a compressed message.
fn compressed(fin: bool, deflated: &[u8]) -> Vec<u8> {
    let mut bytes = frame(fin, OpCode::Binary, deflated);
    bytes[0] |= 0x40;
    bytes
}

/// What a message of `len` equal bytes is compressed to.
fn bomb(len: usize) -> Vec<u8> {
    let mut pool = DeflatePool::new(DeflateConfig {
        level: 9,
        ..DeflateConfig::default()
    });
    let frame = encode_message_deflated(Kind::Binary, &vec![0; len], &mut pool);
    let header = match frame[1] {
        ..126 => 2,
        126 => 4,
        _ => 10,
    };
    frame[header..].to_vec()
}

/// Everyone sends `bytes`, and is closed as too big for it.
fn too_big(crowd: &Crowd, serving: &Serving, bytes: &[u8], piece: usize) {
    let metrics = serving.metrics();
    let count = || metrics.closes().get("1009").copied().unwrap_or(0);
    let before = count();
    hold(crowd, serving, bytes, piece);
    until_equal("all are closed", &(crowd.len() as u64), || count() - before);
}

#[test]
fn thousands_of_tiny_and_empty_fragments() {
    let _alone = alone();
    let mut bytes = start(b"x");
    for _ in 0..4000 {
        bytes.extend(more(b"y"));
        bytes.extend(more(b""));
    }
    Scene::new("tiny fragments").play(|crowd, serving| hold(crowd, serving, &bytes, 16 << 10));
}

#[test]
fn a_message_of_exactly_the_limit_and_one_beyond_it() {
    let _alone = alone();
    let limit = config().max_message;
    let half = vec![7; limit / 2];
    let mut almost = [start(&half), frame(true, OpCode::Continuation, &half)].concat();
    let last = almost.pop().expect("not empty");
    let echo = limit + 10;
    Scene::new("a message of the limit").play(|crowd, serving| {
        hold(crowd, serving, &almost, 10_000);
        hold(crowd, serving, &[last], 1);
        crowd.read(echo);
    });
    let beyond = [start(&half), more(&half), more(b"z")].concat();
    Scene::new("a message beyond the limit")
        .play(|crowd, serving| too_big(crowd, serving, &beyond, 10_000));
}

#[test]
fn an_announced_length_costs_nothing() {
    let _alone = alone();
    let limit = config().max_message;
    let mut head = frame(true, OpCode::Binary, &vec![1; limit]);
    head.truncate(14 + 100);
    Scene {
        // What arrived, not what was announced.
        bound: Some(STATE + 2 * 100),
        ..Scene::new("an announced frame of the limit")
    }
    .play(|crowd, serving| hold(crowd, serving, &head, 1));

    let mut huge = vec![0x82, 0xFF];
    huge.extend_from_slice(&(1u64 << 62).to_be_bytes());
    huge.extend_from_slice(&[1; 2000]);
    Scene::new("an announced frame of 2^62 bytes")
        .play(|crowd, serving| too_big(crowd, serving, &huge, 7));
}

#[test]
fn deflate_bombs() {
    let _alone = alone();
    let limit = config().max_message;
    let shared = DeflateMode::Shared;
    let whole = compressed(true, &bomb(16 << 20));
    Scene::deflating("a bomb in one frame", shared)
        .play(|crowd, serving| too_big(crowd, serving, &whole, 4096));
    let packed = bomb(limit);
    let (first, rest) = packed.split_at(packed.len() / 2);
    let held = [compressed(false, first), more(rest)].concat();
    // The tail that a message's end leaves out (RFC 7692 section 7.2.1).
    let cause = more(&[&[0, 0, 0xFF, 0xFF][..], &bomb(16 << 20)].concat());
    Scene::deflating("a bomb in fragments", shared).play(|crowd, serving| {
        hold(crowd, serving, &held, 20);
        too_big(crowd, serving, &cause, 4096);
    });
}

#[test]
fn context_takeover_in_both_directions() {
    let _alone = alone();
    let limit = config().max_message;
    let message = compressed(true, &bomb(1000));
    let held = compressed(false, &bomb(limit));
    let scene = Scene::deflating("context takeover", DeflateMode::Dedicated);
    let scene = Scene {
        count: SOME,
        ..scene
    };
    scene.play(|crowd, serving| {
        hold(crowd, serving, &message, 4096);
        crowd.read(3);
        hold(crowd, serving, &held, 4096);
    });
}

#[test]
fn control_frames_between_fragments() {
    let _alone = alone();
    let limit = config().max_message;
    let mut bytes = start(&vec![1; limit / 2]);
    for _ in 0..100 {
        bytes.extend(frame(true, OpCode::Pong, &[2; 125]));
        bytes.extend(more(b"x"));
        bytes.extend(frame(true, OpCode::Ping, b""));
    }
    let mut cut = frame(true, OpCode::Ping, &[3; 125]);
    cut.truncate(60);
    bytes.extend(cut);
    Scene::new("control frames between fragments")
        .play(|crowd, serving| hold(crowd, serving, &bytes, 5000));
}

#[test]
fn a_head_that_trickles_to_its_limit() {
    let _alone = alone();
    let mut head = upgrade("/", None);
    head.truncate(head.len() - 2);
    while head.len() < config().max_head - 200 {
        head.extend_from_slice(b"X-More: ");
        head.extend_from_slice(&[b'm'; 190]);
        head.extend_from_slice(b"\r\n");
    }
    let scene = Scene {
        bound: Some(STATE + 2 * config().max_head),
        ..Scene::new("a request head")
    };
    scene.play_from(|dialing, serving| {
        let crowd = Crowd::dial(dialing);
        hold(&crowd, serving, &head, 301);
        crowd
    });
}

#[test]
fn bodies_that_end_one_byte_before_their_end() {
    let _alone = alone();
    let most = config().max_body;
    let post = |line| format!("POST / HTTP/1.1\r\nHost: localhost\r\n{line}\r\n").into_bytes();
    let mut counted = post(format!("Content-Length: {most}\r\n"));
    counted.resize(counted.len() + most - 1, b'b');
    let mut chunked = post("Transfer-Encoding: chunked\r\n".into());
    chunked.extend(b"1;e\r\nb\r\n".repeat(most));
    for (name, bytes) in [("a counted body", counted), ("a chunked body", chunked)] {
        let scene = Scene {
            bound: Some(STATE + most + config().max_head),
            ..Scene::new(name)
        };
        scene.play_from(|dialing, serving| {
            let crowd = Crowd::dial(dialing);
            hold(&crowd, serving, &bytes, 3001);
            crowd
        });
    }
}

const POLICIES: [(&str, Backpressure); 3] = [
    ("close", Backpressure::Close(CloseCode::TRY_AGAIN)),
    ("drop", Backpressure::Drop),
    ("pause", Backpressure::PauseReading),
];

/// What a peer that does not read may send: more than the kernel's send buffer
/// (4 MiB, `net.ipv4.tcp_wmem`) and all limits together.
const FLOOD: usize = 6 << 20;

#[test]
fn pings_by_a_peer_that_never_reads() {
    let _alone = alone();
    let pings = frame(true, OpCode::Ping, &[b'p'; 125]).repeat(500);
    for (name, policy) in POLICIES {
        Scene::deaf(&format!("pings, {name}"), policy).play(|crowd, _| crowd.flood(&pings, FLOOD));
    }
}

#[test]
fn echoes_to_a_peer_that_never_reads() {
    let _alone = alone();
    for size in [20, 1100, config().max_message] {
        let count = (64 << 10) / (size + 8) + 1;
        let messages = frame(true, OpCode::Binary, &vec![b'm'; size]).repeat(count);
        for (name, policy) in POLICIES {
            Scene::deaf(&format!("echoes of {size} bytes, {name}"), policy)
                .play(|crowd, _| crowd.flood(&messages, FLOOD));
        }
    }
}

#[test]
fn pings_on_top_of_echoes_to_a_peer_that_never_reads() {
    let _alone = alone();
    let echo = frame(true, OpCode::Binary, &vec![b'm'; config().max_message]);
    let pings = frame(true, OpCode::Ping, &[b'p'; 125]).repeat(500);
    let bytes = [echo, pings].concat();
    for (name, policy) in POLICIES {
        Scene::deaf(&format!("echoes and pings, {name}"), policy)
            .play(|crowd, _| crowd.flood(&bytes, FLOOD));
    }
}

#[test]
fn what_comes_after_a_close() {
    let _alone = alone();
    let close = frame(true, OpCode::Close, &[]);
    let message = frame(true, OpCode::Binary, &vec![b'm'; 50_000]);
    Scene::new("messages after a close").play(|crowd, serving| {
        hold(crowd, serving, &close, 6);
        crowd.read(2);
        crowd.flood(&message, FLOOD / 20);
    });
    let wrong = [0xFF; 100];
    Scene::new("bytes after a violation").play(|crowd, serving| {
        hold(crowd, serving, &wrong, 100);
        crowd.flood(&message, FLOOD / 20);
    });
}
