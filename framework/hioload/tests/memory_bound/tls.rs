//! What a peer can do over TLS.

use std::io::{Read, Write};
use std::net::TcpStream;

use hioload::{App, Backpressure, CloseCode, Config, Conn, Message};
use hioload_protocol::frame::OpCode;
use rustls::ClientConnection;

use crate::crowd::{Crowd, Dialing, upgrade};
use crate::heap::{Growth, alone};
use crate::support::Serving;
use crate::support::authority::Authority;
use crate::support::client::{Client, Dial, frame};
use crate::{Case, SHARED, config, received, taken};

const COUNT: usize = 50;

/// The most plaintext of a record (RFC 8446 section 5.1).
const RECORD: usize = 16 << 10;

/// Everyone hears what the others say.
struct Room;

impl App for Room {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.subscribe("room");
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.publish("room", message);
    }
}

/// What a client has to send.
fn flushed(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("memory");
    }
    bytes
}

/// A WebSocket over TLS.
fn open(dialing: Dialing, authority: &Authority) -> (TcpStream, ClientConnection) {
    let dial = Dial {
        receive_buffer: dialing.narrow.then_some(4096),
        ..Dial::default()
    };
    let mut stream = dial.tcp(dialing.addr).expect("the server accepts");
    let mut client = authority.session();
    while client.is_handshaking() {
        client.complete_io(&mut stream).expect("a handshake");
    }
    let mut secure = rustls::Stream::new(&mut client, &mut stream);
    secure.write_all(&upgrade("/", None)).expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        secure.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    (stream, client)
}

/// Peers that leave their session open after what `last` gives them to seal,
/// and forget their side of it.
fn sealed(dialing: Dialing, authority: &Authority, last: &[u8], withheld: usize) -> Crowd {
    let leave = |_| {
        let (mut stream, mut client) = open(dialing, authority);
        client.set_buffer_limit(None);
        client.writer().write_all(last).expect("it is buffered");
        let bytes = flushed(&mut client);
        let cut = bytes.len().saturating_sub(withheld);
        stream.write_all(&bytes[..cut]).expect("the server reads");
        stream
    };
    (0..dialing.count).map(leave).collect()
}

fn play(
    name: &str,
    config: &Config,
    authority: &Authority,
    narrow: bool,
    act: impl Fn(Dialing, &Serving) -> Crowd,
) {
    let growth = Growth::from_now();
    let serving = Serving::start_tls(config.clone(), &authority.tls, |_| Room);
    let dialing = Dialing {
        addr: serving.addr(),
        count: COUNT,
        narrow,
    };
    let case = Case {
        name,
        count: COUNT,
        bound: config.memory_per_connection(true),
        shared: SHARED,
        pools_are_the_same: !narrow,
    };
    case.measure(&serving.metrics(), || act(dialing, &serving));
    serving.stop();
    growth.expect_none(name);
}

fn plain_config() -> Config {
    Config {
        deflate: None,
        ..config()
    }
}

/// Everyone sends these bytes, in pieces, before any handshake is complete.
fn unfinished(name: &str, authority: &Authority, bytes: &[u8], piece: usize) {
    let config = Config {
        // Only the session may count.
        max_message: 1024,
        backpressure_limit: 1024,
        ..plain_config()
    };
    play(name, &config, authority, false, |dialing, serving| {
        let crowd = Crowd::dial(dialing);
        let metrics = serving.metrics();
        let before = received(&metrics);
        crowd.send(bytes, piece);
        taken(&metrics, before + (bytes.len() * crowd.len()) as u64);
        crowd
    });
}

#[test]
fn handshakes_that_are_never_finished() {
    let _alone = alone();
    let authority = Authority::new("memory");
    let hello = flushed(&mut authority.session());
    let almost = &hello[..hello.len() - 1];
    unfinished("a hello but for its last byte", &authority, almost, 11);

    // It misses its last byte.
    let mut record = vec![23, 3, 3, 0x40, 0xFF];
    record.resize(5 + 0x40FF - 1, 7);
    let trickle = [&hello[..], &record].concat();
    unfinished("a hello and a record in pieces", &authority, &trickle, 997);

    // One message of the largest length that its header can say, RFC 8446
    // section 4; rustls and the server have smaller limits.
    let mut message = vec![1, 0xFF, 0xFF, 0xFF];
    message.resize(8 * RECORD, 0);
    let records: Vec<u8> = message
        .chunks(RECORD)
        .flat_map(|part| [&[22, 3, 1, 0x40, 0][..], part].concat())
        .collect();
    unfinished("a huge hello", &authority, &records, 5000);
    unfinished("a huge hello at once", &authority, &records, usize::MAX);
}

#[test]
fn a_record_and_a_message_that_are_never_finished() {
    let _alone = alone();
    let authority = Authority::new("memory");
    let config = plain_config();
    // All but the last record are opened, which is what they are assembled of.
    let message = vec![5; config.max_message];
    let bytes = frame(false, OpCode::Binary, &message);
    play(
        "a message and a record of it",
        &config,
        &authority,
        false,
        |dialing, serving| {
            let metrics = serving.metrics();
            let before = received(&metrics);
            let crowd = sealed(dialing, &authority, &bytes, 1);
            taken(&metrics, before + (bytes.len() * crowd.len()) as u64);
            crowd
        },
    );
}

#[test]
fn subscribers_that_never_read() {
    let _alone = alone();
    let authority = Authority::new("memory");
    // Copied for each; shared until they are sealed; and in turns, which makes
    // the most pieces of the fewest bytes.
    for (name, sizes, policy) in [
        ("publishes of 500 bytes, close", &[500][..], "closed"),
        ("publishes of 5000 bytes, drop", &[5000], "dropped"),
        ("publishes of 1 and 1025 bytes, drop", &[1, 1025], "dropped"),
    ] {
        let config = Config {
            backpressure: match policy {
                "closed" => Backpressure::Close(CloseCode::TRY_AGAIN),
                _ => Backpressure::Drop,
            },
            ..plain_config()
        };
        let messages: Vec<_> = sizes.iter().map(|&size| vec![b'm'; size]).collect();
        play(name, &config, &authority, true, |dialing, serving| {
            let crowd = sealed(dialing, &authority, &[], 0);
            publish(serving, &messages, policy);
            crowd
        });
    }
}

/// Publishes until every other connection met its policy.
fn publish(serving: &Serving, messages: &[Vec<u8>], policy: &str) {
    let mut publisher = Client::connect(serving.addrs()[1], "/");
    let metrics = serving.metrics();
    let count = || metrics.backpressure().get(policy).copied().unwrap_or(0);
    let before = count();
    let times = if policy == "closed" { 1 } else { 20 };
    while count() - before < (times * COUNT) as u64 {
        for message in messages.iter().cycle().take(16) {
            publisher.binary(message);
        }
        // What was published is delivered before this is answered.
        publisher.ping(b"");
        publisher.next();
    }
    publisher.close_and_wait();
}
