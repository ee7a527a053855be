//! Compressing and framing messages of 1 KiB, and the way back, JSON as a chat sends it.
//!
//! The messages differ, and are more than a window in all, so that with context
//! takeover one refers to similar ones and not to itself. flate2, with the zlib
//! in C, has the same level, which is not the same algorithm in `zlib-rs`, and
//! its output is not framed. soketto's deflate is flate2 too, and not measured on
//! its own; tungstenite and fastwebsockets have none.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use hioload_benches::Random;
use hioload_protocol::{
    Connection, DeflateConfig, DeflateMode, DeflateParams, Event, Kind, Limits, MaskKeys,
    Resources, Role,
};

const LEN: usize = 1 << 10;
const MESSAGES: usize = 64;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("deflate");
    group.throughput(Throughput::Bytes(LEN as u64));
    let messages = messages();
    for mode in [DeflateMode::Shared, DeflateMode::Dedicated] {
        bench_hioload(&mut group, &messages, mode);
        bench_flate2(&mut group, &messages, mode);
    }
    group.finish();
    let mut group = criterion.benchmark_group("inflate");
    group.throughput(Throughput::Bytes(LEN as u64));
    for mode in [DeflateMode::Shared, DeflateMode::Dedicated] {
        inflate_hioload(&mut group, &messages, mode);
        inflate_flate2(&mut group, &messages, mode);
    }
    group.finish();
    criterion.final_summary();
}

fn messages() -> Vec<String> {
    const WORDS: [&str; 12] = [
        "deploy", "finished", "the", "broker", "again", "latency", "on", "shard", "looks", "fine",
        "after", "restart",
    ];
    let mut random = Random::new();
    let mut message = || {
        let mut text = String::new();
        while text.len() < LEN {
            let (id, user) = (random.below(1 << 30), random.below(1000));
            write!(
                text,
                r#"{{"type":"message","id":{id},"user":"user-{user}","text":""#
            )
            .expect("memory");
            for _ in 0..8 {
                text.push_str(WORDS[random.below(12) as usize]);
                text.push(' ');
            }
            text.push_str("\"}\n");
        }
        text.truncate(LEN);
        text
    };
    (0..MESSAGES).map(|_| message()).collect()
}

fn name(mode: DeflateMode) -> &'static str {
    match mode {
        DeflateMode::Shared => "shared",
        DeflateMode::Dedicated => "dedicated",
    }
}

fn endpoint(role: Role, mode: DeflateMode) -> (Connection, Resources) {
    let shared = mode == DeflateMode::Shared;
    let agreed = DeflateParams {
        server_no_context_takeover: shared,
        client_no_context_takeover: shared,
        ..DeflateParams::default()
    };
    let config = DeflateConfig {
        mode,
        ..DeflateConfig::default()
    };
    let resources = Resources::new(Limits::default(), MaskKeys::from_seed(1), config);
    (Connection::with_deflate(role, agreed), resources)
}

fn bench_hioload(group: &mut BenchmarkGroup<'_, WallTime>, messages: &[String], mode: DeflateMode) {
    let (mut connection, mut resources) = endpoint(Role::Server, mode);
    let mut out = Vec::new();
    let mut texts = messages.iter().cycle();
    let mut send = || {
        let text = texts.next().expect("endless").as_bytes();
        out.clear();
        connection
            .send(Kind::Text, text, &mut resources, &mut out)
            .expect("open");
        out.len()
    };
    assert!(send() < LEN, "compressed");
    group.bench_function(format!("hioload/{}", name(mode)), |bencher| {
        bencher.iter(&mut send);
    });
}

fn bench_flate2(group: &mut BenchmarkGroup<'_, WallTime>, messages: &[String], mode: DeflateMode) {
    let level = DeflateConfig::default().level;
    let mut compressor = Compress::new(Compression::new(level.into()), false);
    let mut out = Vec::with_capacity(2 * LEN);
    let mut texts = messages.iter().cycle();
    let mut compress = || {
        let text = texts.next().expect("endless").as_bytes();
        out.clear();
        if mode == DeflateMode::Shared {
            compressor.reset();
        }
        compressor
            .compress_vec(text, &mut out, FlushCompress::Sync)
            .expect("valid state");
        out.len()
    };
    assert!(compress() < LEN, "compressed");
    group.bench_function(format!("flate2/{}", name(mode)), |bencher| {
        bencher.iter(&mut compress);
    });
}

/// The first message refers to nothing before it, so the list can be received
/// again and again with takeover, too.
fn inflate_hioload(
    group: &mut BenchmarkGroup<'_, WallTime>,
    messages: &[String],
    mode: DeflateMode,
) {
    let (mut server, mut resources) = endpoint(Role::Server, mode);
    let compress = |text: &String| {
        let mut wire = Vec::new();
        server
            .send(Kind::Text, text.as_bytes(), &mut resources, &mut wire)
            .expect("open");
        wire
    };
    let wires: Vec<Vec<u8>> = messages.iter().map(compress).collect();
    let (mut client, mut resources) = endpoint(Role::Client, mode);
    let mut wires = wires.iter().cycle();
    let (mut input, mut answers) = (Vec::new(), Vec::new());
    let mut receive = || {
        input.clear();
        input.extend_from_slice(wires.next().expect("endless"));
        let received = client.receive(&mut input, &mut resources, &mut answers);
        let Some(Event::Message { payload, .. }) = received.event else {
            panic!("a message");
        };
        let len = payload.bytes(&input).len();
        payload.recycle(&mut resources.pool);
        assert_eq!(len, LEN);
    };
    for _ in 0..MESSAGES {
        receive();
    }
    group.bench_function(format!("hioload/{}", name(mode)), |bencher| {
        bencher.iter(&mut receive);
    });
}

fn inflate_flate2(
    group: &mut BenchmarkGroup<'_, WallTime>,
    messages: &[String],
    mode: DeflateMode,
) {
    let level = DeflateConfig::default().level;
    let mut compressor = Compress::new(Compression::new(level.into()), false);
    let compress = |text: &String| {
        let mut out = Vec::with_capacity(2 * LEN);
        if mode == DeflateMode::Shared {
            compressor.reset();
        }
        compressor
            .compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync)
            .expect("valid state");
        out
    };
    let wires: Vec<Vec<u8>> = messages.iter().map(compress).collect();
    let mut inflater = Decompress::new(false);
    let mut wires = wires.iter().cycle();
    let mut out = Vec::with_capacity(2 * LEN);
    let mut inflate = || {
        out.clear();
        if mode == DeflateMode::Shared {
            inflater.reset(false);
        }
        let wire = wires.next().expect("endless");
        inflater
            .decompress_vec(wire, &mut out, FlushDecompress::Sync)
            .expect("valid");
        std::str::from_utf8(&out).expect("text");
        assert_eq!(out.len(), LEN);
    };
    for _ in 0..MESSAGES {
        inflate();
    }
    group.bench_function(format!("flate2/{}", name(mode)), |bencher| {
        bencher.iter(&mut inflate);
    });
}
