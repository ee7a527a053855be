//! A server's work for an echo without its sockets: parse, unmask, validate,
//! hand out, encode.
//!
//! Each iteration is one arrival of bytes and one batch of answers in memory;
//! `hioload_benches::echo` says what each side does. tungstenite runs with its
//! default configuration and, as its read buffer of 128 KiB is cleared for each
//! read, also with one of 4 KiB.

#![forbid(unsafe_code)]

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use hioload_benches::ascii;
use hioload_benches::echo::{Arrival, Echo, Fastwebsockets, Ours, Soketto, Tungstenite};
use hioload_protocol::Kind;
use tungstenite::protocol::WebSocketConfig;

/// Bytes per message and messages per arrival.
const SHAPES: [(usize, usize); 4] = [(20, 1), (20, 100), (1 << 10, 1), (64 << 10, 1)];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("echo");
    for (len, messages) in SHAPES {
        let shape = format!("{len}x{messages}");
        let arrival = Arrival::new(Kind::Text, ascii(len).as_bytes(), messages);
        group.throughput(Throughput::Elements(messages as u64));
        let mut ours = Ours::new(&arrival);
        ours.echo();
        let answers = ours.answered();
        // Unmasked, so four bytes less per frame.
        assert_eq!(answers, arrival.wire().len() - 4 * messages);
        bench(&mut group, "hioload", &shape, ours, answers);
        let default = Tungstenite::new(&arrival, WebSocketConfig::default());
        bench(&mut group, "tungstenite", &shape, default, answers);
        let small = Tungstenite::new(&arrival, Tungstenite::small());
        bench(&mut group, "tungstenite-4KiB", &shape, small, answers);
        let fast = Fastwebsockets::new(&arrival);
        bench(&mut group, "fastwebsockets", &shape, fast, answers);
        let soketto = Soketto::new(&arrival);
        bench(&mut group, "soketto", &shape, soketto, answers);
    }
    group.finish();
    criterion.final_summary();
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    shape: &str,
    mut side: impl Echo,
    answers: usize,
) {
    side.echo();
    assert_eq!(side.answered(), answers, "every message is answered");
    group.bench_function(BenchmarkId::new(name, shape), |bencher| {
        bencher.iter(|| side.echo());
    });
}
