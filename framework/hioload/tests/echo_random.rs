//! Whatever is sent comes back as it was: any size, any fragmentation, any
//! cut of the byte stream, on a thousand connections over two shards.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use hioload::{Echo, Kind};
use support::client::{Client, Seen, dial};
use support::random::Random;
use support::wait::PATIENCE;
use support::{Serving, config};

const CONNECTIONS: usize = 1000;
const THREADS: usize = 4;
/// Connections of a thread whose pieces are interleaved.
const INTERLEAVED: usize = 25;
const ROUNDS: usize = 2;
const MAX: usize = 1 << 20;
/// Where lengths change their encoding, and the ends.
const EXTREMES: [usize; 9] = [0, 1, 125, 126, 127, 65_535, 65_536, MAX - 1, MAX];

/// What payloads are cut from.
struct Material {
    text: String,
    binary: Vec<u8>,
}

/// A message on its way, and where its bytes are in the material.
struct Sent {
    kind: Kind,
    range: Range<usize>,
    ping: Option<Vec<u8>>,
}

impl Material {
    fn new(random: &mut Random) -> Self {
        Self {
            text: random.text(2 * MAX),
            binary: random.bytes(2 * MAX),
        }
    }

    fn bytes(&self, sent: &Sent) -> &[u8] {
        match sent.kind {
            Kind::Text => &self.text.as_bytes()[sent.range.clone()],
            Kind::Binary => &self.binary[sent.range.clone()],
        }
    }

    /// A range of at most `len` bytes; of text, between characters.
    fn range(&self, kind: Kind, len: usize, random: &mut Random) -> Range<usize> {
        let start = random.below(MAX);
        match kind {
            Kind::Binary => start..start + len,
            Kind::Text => {
                let start = self.text.floor_char_boundary(start);
                start..self.text.floor_char_boundary(start + len)
            }
        }
    }

    /// One big message, or some that are small together: a server that holds
    /// half of its backpressure limit stops reading, and this client does not
    /// read before it has written.
    fn batch(&self, client: &mut Client, random: &mut Random) -> (Vec<u8>, Vec<Sent>) {
        let first = if random.one_in(20) {
            *random.pick(&EXTREMES)
        } else {
            random.magnitude(20)
        };
        let mut lens = vec![first];
        while lens.iter().sum::<usize>() < MAX / 8 && !random.one_in(3) {
            lens.push(random.magnitude(16));
        }
        let mut wire = Vec::new();
        let mut batch = Vec::new();
        for len in lens {
            let kind = *random.pick(&[Kind::Text, Kind::Binary]);
            let range = self.range(kind, len, random);
            let mut cuts: Vec<usize> = (0..random.magnitude(5) / 2)
                .map(|_| random.below(range.len() + 1))
                .collect();
            cuts.sort_unstable();
            let ping = (!cuts.is_empty() && random.one_in(4)).then(|| {
                let len = random.below(126);
                random.bytes(len)
            });
            let sent = Sent { kind, range, ping };
            client.encode(
                kind,
                self.bytes(&sent),
                &cuts,
                sent.ping.as_deref(),
                &mut wire,
            );
            batch.push(sent);
        }
        (wire, batch)
    }

    fn check(&self, client: &mut Client, sent: &Sent) {
        if let Some(ping) = &sent.ping {
            assert_eq!(
                client.next(),
                Seen::Pong(ping.clone()),
                "the pong comes first"
            );
        }
        let (kind, bytes) = match client.next() {
            Seen::Text(text) => (Kind::Text, text.into_bytes()),
            Seen::Binary(bytes) => (Kind::Binary, bytes),
            seen => panic!("{seen:?} instead of an echo"),
        };
        let expected = self.bytes(sent);
        assert_eq!((kind, bytes.len()), (sent.kind, expected.len()));
        let wrong = bytes
            .iter()
            .zip(expected)
            .position(|(echoed, sent)| echoed != sent);
        assert_eq!(wrong, None, "the first wrong byte of {}", bytes.len());
    }
}

/// One batch on each of some connections, written in interleaved pieces.
fn round(clients: &mut [Client], material: &Material, random: &mut Random) -> usize {
    let mut wires = Vec::new();
    let mut batches = Vec::new();
    for (index, client) in clients.iter_mut().enumerate() {
        let (wire, batch) = material.batch(client, random);
        wires.push((index, wire, 0));
        batches.push(batch);
    }
    let bytes = wires.iter().map(|(_, wire, _)| wire.len()).sum();
    while !wires.is_empty() {
        let chosen = random.below(wires.len());
        let (index, wire, at) = &mut wires[chosen];
        let left = wire.len() - *at;
        // Mostly large pieces, so that a megabyte is not a million writes.
        let bits = if random.one_in(4) { 4 } else { 20 };
        let piece = random.magnitude(bits).clamp(1, left.max(1)).min(left);
        clients[*index].raw(&wire[*at..*at + piece]);
        *at += piece;
        if *at == wire.len() {
            wires.swap_remove(chosen);
        }
    }
    for (client, batch) in clients.iter_mut().zip(&batches) {
        for sent in batch {
            material.check(client, sent);
        }
    }
    bytes
}

/// Opens connections, waits for `go`, echoes, closes; returns the bytes sent.
fn drive(
    addr: SocketAddr,
    material: &Material,
    mut random: Random,
    opened: Sender<()>,
    go: &Receiver<()>,
) -> usize {
    let mut clients: Vec<_> = (0..CONNECTIONS / THREADS)
        .map(|_| Client::connect(addr, "/"))
        .collect();
    opened.send(()).expect("the test listens");
    drop(opened);
    go.recv_timeout(PATIENCE).expect("all are open");
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        for group in clients.chunks_mut(INTERLEAVED) {
            bytes += round(group, material, &mut random);
        }
    }
    for client in clients {
        if random.one_in(2) {
            client.close_and_wait();
        }
    }
    bytes
}

#[test]
fn a_thousand_connections_get_back_what_they_sent() {
    let mut random = Random::from_environment();
    let material = Arc::new(Material::new(&mut random));
    let serving = Serving::start(config(), |_| Echo);
    let addr = serving.addr();
    let (opened, openings) = channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (go, wait) = channel();
            let random = Random::from_seed(random.next());
            let (material, opened) = (Arc::clone(&material), opened.clone());
            (
                go,
                std::thread::spawn(move || drive(addr, &material, random, opened, &wait)),
            )
        })
        .collect();
    for _ in 0..THREADS {
        openings
            .recv_timeout(PATIENCE)
            .expect("a thread has opened its connections");
    }
    let per_shard = serving.metrics().connections_per_shard();
    assert_eq!(per_shard.iter().sum::<u64>(), CONNECTIONS as u64);
    assert!(
        per_shard.iter().all(|&n| n > CONNECTIONS as u64 / 5),
        "{per_shard:?}"
    );
    let started = Instant::now();
    let mut bytes = 0;
    for (go, _) in &threads {
        go.send(()).expect("the thread waits");
    }
    for (_, thread) in threads {
        bytes += thread.join().expect("every byte is right");
    }
    eprintln!(
        "{bytes} bytes each way on {per_shard:?} in {:?}",
        started.elapsed()
    );
    serving.wait_until_idle();
    assert_eq!(serving.metrics().backpressure().get("closed"), None);
    serving.stop();
}

#[test]
fn an_independent_client_gets_its_echoes() {
    let mut random = Random::from_environment();
    let serving = Serving::start(config(), |_| Echo);
    let mut sockets: Vec<_> = (0..8)
        .map(|_| {
            let url = format!("ws://{}/", serving.addr());
            let (socket, _) = tungstenite::client(url, dial(serving.addr())).expect("a handshake");
            socket
        })
        .collect();
    for _ in 0..20 {
        for socket in &mut sockets {
            let len = random.magnitude(18);
            let message = if random.one_in(2) {
                tungstenite::Message::text(random.text(len))
            } else {
                tungstenite::Message::binary(random.bytes(len))
            };
            socket.send(message.clone()).expect("sent");
            assert_eq!(socket.read().expect("an echo"), message);
        }
    }
    for mut socket in sockets {
        socket.close(None).expect("a close");
        assert!(socket.read().expect("the answer to the close").is_close());
        let end = socket.read().expect_err("the end");
        assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    }
    serving.wait_until_idle();
    serving.stop();
}
