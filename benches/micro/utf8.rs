//! Validating a text message that arrived whole.
//!
//! tungstenite uses the standard library for this, and so does who calls soketto,
//! which leaves it to its caller. fastwebsockets uses `simdutf8`.

#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use fastwebsockets::{Frame, Payload};
use hioload_benches::{ascii, multilingual};
use hioload_protocol::utf8::Utf8;

type Text = fn(usize) -> String;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, text) in [
        ("ascii", ascii as Text),
        ("multilingual", multilingual as Text),
    ] {
        let mut group = criterion.benchmark_group(format!("utf8/{name}"));
        for len in [20, 1 << 10, 64 << 10] {
            let text = text(len).into_bytes();
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::new("hioload", len), |bencher| {
                bencher.iter(|| is_text(black_box(&text)));
            });
            group.bench_function(BenchmarkId::new("std", len), |bencher| {
                bencher.iter(|| std::str::from_utf8(black_box(&text)).is_ok());
            });
            let frame = Frame::text(Payload::Borrowed(&text));
            group.bench_function(BenchmarkId::new("fastwebsockets", len), |bencher| {
                bencher.iter(|| black_box(&frame).is_utf8());
            });
        }
        group.finish();
    }
    criterion.final_summary();
}

fn is_text(text: &[u8]) -> bool {
    let mut utf8 = Utf8::new();
    utf8.feed(text).and_then(|()| utf8.finish()).is_ok()
}
