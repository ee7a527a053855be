//! Unmasking a payload in place.
//!
//! tungstenite does not export its masking. "words" does the same, an XOR of
//! 32-bit words, which the compiler vectorises for the baseline CPU (SSE2 on
//! x86-64). fastwebsockets and soketto export theirs.

#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use hioload_protocol::mask;
use soketto::base::{Codec, Header, OpCode};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("mask");
    for len in [20, 1 << 10, 4 << 10, 64 << 10] {
        let mut data = vec![0x5A_u8; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("hioload", len), |bencher| {
            bencher.iter(|| mask::apply(black_box(&mut data), black_box(KEY), 0));
        });
        group.bench_function(BenchmarkId::new("words", len), |bencher| {
            bencher.iter(|| each_word(black_box(&mut data), black_box(KEY)));
        });
        group.bench_function(BenchmarkId::new("fastwebsockets", len), |bencher| {
            bencher.iter(|| fastwebsockets::unmask(black_box(&mut data), black_box(KEY)));
        });
        let mut header = Header::new(OpCode::Text);
        header.set_masked(true).set_mask(u32::from_be_bytes(KEY));
        group.bench_function(BenchmarkId::new("soketto", len), |bencher| {
            bencher.iter(|| Codec::apply_mask(black_box(&header), black_box(&mut data)));
        });
    }
    group.finish();
    criterion.final_summary();
}

fn each_word(data: &mut [u8], key: [u8; 4]) {
    let mut words = data.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, key) in word.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}
