//! A server's work for an echo without its sockets: parse, unmask, validate,
//! hand out, encode.
//!
//! Each iteration is one arrival of bytes, which both sides copy once from the
//! wire to where they read, and one batch of answers in memory. tungstenite runs
//! with its default configuration and, as its read buffer of 128 KiB is cleared
//! for each read, also with one of 4 KiB. fastwebsockets and soketto are
//! asynchronous: the stream in memory is always ready, so a future is polled once
//! by hand, without a runtime. soketto does not validate text; its caller does,
//! with the standard library, as its API for sending text demands.

#![forbid(unsafe_code)]

use std::io;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use fastwebsockets::{FragmentCollector, Frame, OpCode, Role as FastRole};
use hioload_benches::{Stream, Transport, ascii, complete};
use hioload_protocol::{Connection, DeflateConfig, Event, Kind, Limits, MaskKeys, Resources, Role};
use soketto::connection::{Builder, Mode};
use tungstenite::protocol::{Role as PeerRole, WebSocket, WebSocketConfig};

/// Bytes per message and messages per arrival.
const SHAPES: [(usize, usize); 4] = [(20, 1), (20, 100), (1 << 10, 1), (64 << 10, 1)];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("echo");
    for (len, messages) in SHAPES {
        let shape = format!("{len}x{messages}");
        let wire = arrival(&ascii(len), messages);
        group.throughput(Throughput::Elements(messages as u64));
        bench_hioload(&mut group, &shape, &wire);
        let default = WebSocketConfig::default();
        bench_tungstenite(&mut group, "tungstenite", &shape, &wire, default);
        let small = default.read_buffer_size(4 << 10);
        bench_tungstenite(&mut group, "tungstenite-4KiB", &shape, &wire, small);
        bench_fastwebsockets(&mut group, &shape, &wire, messages);
        bench_soketto(&mut group, &shape, &wire, messages);
    }
    group.finish();
    criterion.final_summary();
}

fn resources(seed: u64) -> Resources {
    let masks = MaskKeys::from_seed(seed);
    Resources::new(Limits::default(), masks, DeflateConfig::default())
}

/// What a client sends: masked text frames, each with its own key.
fn arrival(text: &str, messages: usize) -> Vec<u8> {
    let mut client = Connection::new(Role::Client);
    let mut resources = resources(1);
    let mut wire = Vec::new();
    for _ in 0..messages {
        client
            .send(Kind::Text, text.as_bytes(), &mut resources, &mut wire)
            .expect("an open connection");
    }
    wire
}

fn bench_hioload(group: &mut BenchmarkGroup<'_, WallTime>, shape: &str, wire: &[u8]) {
    let mut server = Server::new(wire.len());
    server.echo(wire);
    assert_eq!(
        server.output.len(),
        answer_len(wire),
        "every message is answered"
    );
    group.bench_function(BenchmarkId::new("hioload", shape), |bencher| {
        bencher.iter(|| server.echo(wire));
    });
}

/// Unmasked, so four bytes less per frame.
fn answer_len(wire: &[u8]) -> usize {
    let mut server =
        WebSocket::from_raw_socket(Transport::new(wire.to_vec()), PeerRole::Server, None);
    echo(&mut server);
    server.get_ref().written().len()
}

struct Server {
    connection: Connection,
    input: Vec<u8>,
    output: Vec<u8>,
    resources: Resources,
}

impl Server {
    fn new(buffer: usize) -> Self {
        Self {
            connection: Connection::new(Role::Server),
            input: vec![0; buffer],
            output: Vec::new(),
            resources: resources(2),
        }
    }

    fn echo(&mut self, wire: &[u8]) {
        self.input.copy_from_slice(wire);
        self.output.clear();
        let mut rest = &mut self.input[..];
        while !rest.is_empty() {
            let Self {
                connection,
                resources,
                output,
                ..
            } = self;
            let received = connection.receive(rest, resources, output);
            if let Some(Event::Message { kind, payload }) = received.event {
                connection
                    .send(kind, payload.bytes(rest), resources, output)
                    .expect("open");
                payload.recycle(&mut resources.pool);
            }
            rest = &mut rest[received.consumed..];
        }
    }
}

fn bench_tungstenite(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    shape: &str,
    wire: &[u8],
    config: WebSocketConfig,
) {
    let transport = Transport::new(wire.to_vec());
    let mut server = WebSocket::from_raw_socket(transport, PeerRole::Server, Some(config));
    group.bench_function(BenchmarkId::new(name, shape), |bencher| {
        bencher.iter(|| echo(&mut server));
    });
}

fn echo(server: &mut WebSocket<Transport>) {
    server.get_mut().rewind();
    loop {
        match server.read() {
            Ok(message) => server.write(message).expect("memory"),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    server.flush().expect("memory");
}

/// With the collector of fragments, for whole messages as the others give.
fn bench_fastwebsockets(
    group: &mut BenchmarkGroup<'_, WallTime>,
    shape: &str,
    wire: &[u8],
    messages: usize,
) {
    let stream = Stream::new(wire.to_vec());
    let socket = fastwebsockets::WebSocket::after_handshake(stream.clone(), FastRole::Server);
    let mut server = FragmentCollector::new(socket);
    let mut echo = || {
        stream.rewind();
        complete(async {
            for _ in 0..messages {
                let frame = server.read_frame().await.expect("a message");
                assert_eq!(frame.opcode, OpCode::Text);
                let answer = Frame::text(frame.payload);
                server.write_frame(answer).await.expect("memory");
            }
        });
    };
    echo();
    assert_eq!(stream.written_len(), answer_len(wire), "all is answered");
    group.bench_function(BenchmarkId::new("fastwebsockets", shape), |bencher| {
        bencher.iter(&mut echo);
    });
}

fn bench_soketto(
    group: &mut BenchmarkGroup<'_, WallTime>,
    shape: &str,
    wire: &[u8],
    messages: usize,
) {
    let stream = Stream::new(wire.to_vec());
    let (mut sender, mut receiver) = Builder::new(stream.clone(), Mode::Server).finish();
    let mut message = Vec::new();
    let mut echo = || {
        stream.rewind();
        complete(async {
            for _ in 0..messages {
                message.clear();
                let data = receiver.receive_data(&mut message).await;
                assert!(data.expect("a message").is_text());
                let text = std::str::from_utf8(&message).expect("text");
                sender.send_text(text).await.expect("memory");
            }
            sender.flush().await.expect("memory");
        });
    };
    echo();
    assert_eq!(stream.written_len(), answer_len(wire), "all is answered");
    group.bench_function(BenchmarkId::new("soketto", shape), |bencher| {
        bencher.iter(&mut echo);
    });
}
