//! A browser's opening handshake: from the bytes of the request to the bytes of
//! the 101 response, with the accept key.
//!
//! tungstenite and soketto run their own server handshakes over a stream in
//! memory, with the buffers that they allocate; tungstenite makes a connection
//! too. fastwebsockets' needs an HTTP server (hyper) around it and is not
//! here. Nobody agrees on an extension.

#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use hioload_benches::{Stream, Transport, complete};
use hioload_protocol::handshake::{HandshakeLimits, Parsed, accept, parse_request, write_accept};
use soketto::handshake::Server;
use soketto::handshake::server::Response;
use tungstenite::protocol::WebSocketConfig;

const REQUEST: &[u8] = b"GET /chat?room=7 HTTP/1.1\r\n\
    Host: chat.example.com\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/140.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://chat.example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("handshake");
    bench_hioload(&mut group);
    bench_tungstenite(&mut group);
    bench_soketto(&mut group);
    group.finish();
    criterion.final_summary();
}

fn bench_hioload(group: &mut BenchmarkGroup<'_, WallTime>) {
    let limits = HandshakeLimits::default();
    let mut out = Vec::new();
    group.bench_function("hioload", |bencher| {
        bencher.iter(|| {
            out.clear();
            let parsed = parse_request(black_box(REQUEST), &limits).expect("valid");
            let Parsed::Complete { value, .. } = parsed else {
                panic!("a whole request");
            };
            let accepted = accept(&value).expect("an upgrade");
            write_accept(&mut out, &accepted, None, None, &[]).expect("no headers");
            black_box(out.len())
        });
    });
}

fn bench_tungstenite(group: &mut BenchmarkGroup<'_, WallTime>) {
    let mut transport = Transport::new(REQUEST.to_vec());
    let config = WebSocketConfig::default().read_buffer_size(4 << 10);
    group.bench_function("tungstenite", |bencher| {
        bencher.iter(|| {
            transport.rewind();
            tungstenite::accept_with_config(&mut transport, Some(config)).expect("an upgrade");
            black_box(transport.written().len())
        });
    });
}

fn bench_soketto(group: &mut BenchmarkGroup<'_, WallTime>) {
    let stream = Stream::new(REQUEST.to_vec());
    group.bench_function("soketto", |bencher| {
        bencher.iter(|| {
            stream.rewind();
            let mut server = Server::new(stream.clone());
            complete(async {
                let key = server.receive_request().await.expect("an upgrade").key();
                let response = Response::Accept {
                    key,
                    protocol: None,
                };
                server.send_response(&response).await.expect("memory");
            });
            black_box(stream.written_len())
        });
    });
}
