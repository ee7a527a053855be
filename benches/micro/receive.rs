//! A server's work for messages it only reads: parse, unmask, validate UTF-8,
//! hand out.
//!
//! As `echo.rs` without the answers: each iteration is one arrival of bytes,
//! which every side copies once from the wire to where it reads. soketto does
//! not validate text; its caller does, with the standard library.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use fastwebsockets::{FragmentCollector, OpCode, Role as FastRole};
use hioload_benches::{Stream, Transport, ascii, complete};
use hioload_protocol::{Connection, DeflateConfig, Event, Kind, Limits, MaskKeys, Resources, Role};
use soketto::connection::{Builder, Mode};
use tungstenite::protocol::{Role as PeerRole, WebSocket, WebSocketConfig};

/// Bytes per message; each arrives alone.
const LENGTHS: [usize; 3] = [20, 1 << 10, 64 << 10];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("receive");
    for len in LENGTHS {
        let wire = arrival(&ascii(len));
        group.throughput(Throughput::Bytes(len as u64));
        bench_hioload(&mut group, len, &wire);
        bench_tungstenite(&mut group, len, &wire);
        bench_fastwebsockets(&mut group, len, &wire);
        bench_soketto(&mut group, len, &wire);
    }
    group.finish();
    criterion.final_summary();
}

fn resources(seed: u64) -> Resources {
    let masks = MaskKeys::from_seed(seed);
    Resources::new(Limits::default(), masks, DeflateConfig::default())
}

/// What a client sends: one masked text frame.
fn arrival(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    Connection::new(Role::Client)
        .send(Kind::Text, text.as_bytes(), &mut resources(1), &mut wire)
        .expect("an open connection");
    wire
}

fn bench_hioload(group: &mut BenchmarkGroup<'_, WallTime>, len: usize, wire: &[u8]) {
    let mut server = Connection::new(Role::Server);
    let mut resources = resources(2);
    let (mut input, mut output) = (wire.to_vec(), Vec::new());
    group.bench_function(BenchmarkId::new("hioload", len), |bencher| {
        bencher.iter(|| {
            input.copy_from_slice(wire);
            let received = server.receive(&mut input, &mut resources, &mut output);
            let Some(Event::Message { payload, .. }) = received.event else {
                panic!("a message");
            };
            let read = black_box(payload.bytes(&input)).len();
            payload.recycle(&mut resources.pool);
            assert_eq!(read, len);
        });
    });
}

fn bench_tungstenite(group: &mut BenchmarkGroup<'_, WallTime>, len: usize, wire: &[u8]) {
    let config = WebSocketConfig::default().read_buffer_size(4 << 10);
    let transport = Transport::new(wire.to_vec());
    let mut server = WebSocket::from_raw_socket(transport, PeerRole::Server, Some(config));
    group.bench_function(BenchmarkId::new("tungstenite-4KiB", len), |bencher| {
        bencher.iter(|| {
            server.get_mut().rewind();
            loop {
                match server.read() {
                    Ok(message) => assert_eq!(black_box(message).len(), len),
                    Err(tungstenite::Error::Io(error))
                        if error.kind() == io::ErrorKind::WouldBlock =>
                    {
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
    });
}

fn bench_fastwebsockets(group: &mut BenchmarkGroup<'_, WallTime>, len: usize, wire: &[u8]) {
    let stream = Stream::new(wire.to_vec());
    let socket = fastwebsockets::WebSocket::after_handshake(stream.clone(), FastRole::Server);
    let mut server = FragmentCollector::new(socket);
    group.bench_function(BenchmarkId::new("fastwebsockets", len), |bencher| {
        bencher.iter(|| {
            stream.rewind();
            let frame = complete(server.read_frame()).expect("a message");
            assert_eq!(frame.opcode, OpCode::Text);
            assert_eq!(black_box(frame.payload).len(), len);
        });
    });
}

fn bench_soketto(group: &mut BenchmarkGroup<'_, WallTime>, len: usize, wire: &[u8]) {
    let stream = Stream::new(wire.to_vec());
    let (_sender, mut receiver) = Builder::new(stream.clone(), Mode::Server).finish();
    let mut message = Vec::new();
    group.bench_function(BenchmarkId::new("soketto", len), |bencher| {
        bencher.iter(|| {
            stream.rewind();
            message.clear();
            let data = complete(receiver.receive_data(&mut message)).expect("a message");
            assert!(data.is_text());
            let text = std::str::from_utf8(&message).expect("text");
            assert_eq!(black_box(text).len(), len);
        });
    });
}
