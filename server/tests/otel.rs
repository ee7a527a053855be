//! With the feature `otel`, a collector gets the span of a sampled connection;
//! without it, an endpoint is refused.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::path::PathBuf;

/// A configuration that ends with its test.
struct File(PathBuf);

impl File {
    fn new(endpoint: &str) -> Self {
        let name = format!("hioload-otel-{}.toml", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        let text = format!("trace_sample = 1.0\notlp_endpoint = '{endpoint}'\n");
        std::fs::write(&file.0, text).expect("a file");
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A test that fails may have removed it.
        let _gone = std::fs::remove_file(&self.0);
    }
}

#[cfg(not(feature = "otel"))]
#[test]
fn an_endpoint_needs_the_feature() {
    let file = File::new("http://127.0.0.1:4318/v1/traces");
    let named = ["otlp_endpoint", "--features otel"];
    support::expect_refusal(&["--config", file.path()], &named);
}

#[cfg(feature = "otel")]
#[test]
fn a_collector_gets_the_span_of_a_connection() {
    use std::net::TcpListener;
    use std::sync::mpsc::channel;

    use support::Serving;
    use support::client::Client;

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    let (tell, posts) = channel();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            while let Some(post) = post(&mut stream) {
                if tell.send(post).is_err() {
                    return;
                }
            }
        }
    });
    let file = File::new(&format!("http://{addr}/v1/traces"));
    let serving = Serving::start(&["--config", file.path()]);
    let mut client = Client::connect(serving.addr, "/echo");
    client.check_echo("hello");
    client.close_and_wait();
    // What has not left by then leaves with the end.
    serving.stop();
    let (head, body) = posts
        .recv_timeout(support::wait::PATIENCE)
        .expect("a post to the collector");
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("application/x-protobuf"), "{head}");
    // Protocol buffers hold strings as they are.
    let text = String::from_utf8_lossy(&body);
    for part in [
        "hioload-server",
        "connection",
        "/echo",
        "close_code",
        "open",
    ] {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
}

/// A request's head and body, answered with 200; nothing at the end.
#[cfg(feature = "otel")]
fn post(stream: &mut std::net::TcpStream) -> Option<(String, Vec<u8>)> {
    use std::io::{Read, Write};

    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).expect("text");
    let lower = head.to_ascii_lowercase();
    let (_, rest) = lower.split_once("content-length: ").expect("a length");
    let (length, _) = rest.split_once("\r\n").expect("a line");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).ok()?;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(answer).ok()?;
    Some((head, body))
}
