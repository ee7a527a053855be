//! Encoding one unmasked text frame into memory that is reused.
//!
//! soketto encodes the header only and hands both to the socket; its payload is
//! copied here behind the header, as the others do. tungstenite's payload is
//! reference-counted, and each frame takes a reference.

#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use fastwebsockets::Payload;
use hioload_benches::ascii;
use hioload_protocol::{Connection, DeflateConfig, Kind, Limits, MaskKeys, Resources, Role};
use soketto::base::{Codec, Header, OpCode};
use tungstenite::Bytes;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode as PeerOpCode};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("encode");
    for len in [20, 1 << 10, 64 << 10] {
        let text = ascii(len).into_bytes();
        group.throughput(Throughput::Bytes(len as u64));
        bench_hioload(&mut group, &text);
        bench_tungstenite(&mut group, &text);
        bench_fastwebsockets(&mut group, &text);
        bench_soketto(&mut group, &text);
    }
    group.finish();
    criterion.final_summary();
}

fn bench_hioload(group: &mut BenchmarkGroup<'_, WallTime>, text: &[u8]) {
    let mut connection = Connection::new(Role::Server);
    let masks = MaskKeys::from_seed(1);
    let mut resources = Resources::new(Limits::default(), masks, DeflateConfig::default());
    let mut out = Vec::new();
    group.bench_function(BenchmarkId::new("hioload", text.len()), |bencher| {
        bencher.iter(|| {
            out.clear();
            connection
                .send(Kind::Text, black_box(text), &mut resources, &mut out)
                .expect("open");
            black_box(out.len())
        });
    });
}

fn bench_tungstenite(group: &mut BenchmarkGroup<'_, WallTime>, text: &[u8]) {
    let payload = Bytes::copy_from_slice(text);
    let mut out = Vec::new();
    group.bench_function(BenchmarkId::new("tungstenite", text.len()), |bencher| {
        bencher.iter(|| {
            out.clear();
            let opcode = PeerOpCode::Data(Data::Text);
            Frame::message(black_box(&payload).clone(), opcode, true)
                .format(&mut out)
                .expect("memory");
            black_box(out.len())
        });
    });
}

fn bench_fastwebsockets(group: &mut BenchmarkGroup<'_, WallTime>, text: &[u8]) {
    let mut out = Vec::new();
    group.bench_function(BenchmarkId::new("fastwebsockets", text.len()), |bencher| {
        bencher.iter(|| {
            let payload = Payload::Borrowed(black_box(text));
            let encoded = fastwebsockets::Frame::text(payload).write(&mut out).len();
            black_box(encoded)
        });
    });
}

fn bench_soketto(group: &mut BenchmarkGroup<'_, WallTime>, text: &[u8]) {
    let mut codec = Codec::new();
    let mut out = Vec::new();
    group.bench_function(BenchmarkId::new("soketto", text.len()), |bencher| {
        bencher.iter(|| {
            out.clear();
            let text = black_box(text);
            let mut header = Header::new(OpCode::Text);
            header.set_payload_len(text.len());
            out.extend_from_slice(codec.encode_header(&header));
            out.extend_from_slice(text);
            black_box(out.len())
        });
    });
}
