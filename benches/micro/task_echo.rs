//! CPU time of a shard per echo, of an async handler beside the callback app:
//! nanoseconds that the kernel counts for the shard's thread, in interleaved
//! rounds, and the median of the rounds' ratios. Linux only; needs no criterion,
//! which measures elapsed time.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the result")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use hioload::task::{self, WebSocket};
use hioload::{Echo, Running, Server};

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 15;
const MESSAGES: usize = 4000;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

async fn echo(mut ws: WebSocket) -> task::Result {
    while let Some(message) = ws.recv().await {
        ws.send(message).await?;
    }
    Ok(())
}

struct Serving {
    running: Running,
    threads: Vec<String>,
    clients: Vec<TcpStream>,
}

fn threads() -> BTreeSet<String> {
    let list = fs::read_dir("/proc/self/task").unwrap();
    list.map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn serve(start: impl FnOnce() -> Running) -> Serving {
    let before = threads();
    let running = start();
    let addr = running.addrs()[0];
    let clients = (0..CONNECTIONS).map(|_| connect(addr)).collect();
    let threads = threads().difference(&before).cloned().collect();
    Serving {
        running,
        threads,
        clients,
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(REQUEST).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream
}

impl Serving {
    fn cpu(&self) -> u64 {
        self.threads
            .iter()
            .map(|tid| {
                let stat = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).unwrap();
                stat.split(' ').next().unwrap().parse::<u64>().unwrap()
            })
            .sum()
    }

    /// Nanoseconds of the shard per echo; `row` messages are on the way at once.
    fn round(&mut self, payload: usize, row: usize) -> f64 {
        let (frame, reply) = frame(payload);
        let frames = frame.repeat(row);
        let mut echoes = vec![0; reply * row];
        let before = self.cpu();
        let times = MESSAGES / row;
        for _ in 0..times {
            for client in &mut self.clients {
                client.write_all(&frames).unwrap();
            }
            for client in &mut self.clients {
                client.read_exact(&mut echoes).unwrap();
            }
        }
        f64::from(u32::try_from(self.cpu() - before).unwrap()) / echoes_in_all(times * row)
    }
}

fn echoes_in_all(each: usize) -> f64 {
    f64::from(u32::try_from(each * CONNECTIONS).unwrap())
}

fn frame(payload: usize) -> (Vec<u8>, usize) {
    let mut frame = vec![0x82];
    let header = if payload < 126 {
        frame.push(0x80 | u8::try_from(payload).unwrap());
        2
    } else {
        frame.push(0x80 | 126);
        frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
        4
    };
    frame.extend([0; 4]);
    frame.resize(frame.len() + payload, 7);
    (frame, header + payload)
}

fn main() {
    let server = || Server::bind("127.0.0.1:0").shards(1);
    let mut callbacks = serve(|| server().start(|_| Echo).unwrap());
    let mut tasks = serve(|| server().start(|_| task::service(echo)).unwrap());
    for (payload, row) in [(64, 1), (1024, 1), (16384, 1), (64, 16)] {
        callbacks.round(payload, row);
        tasks.round(payload, row);
        let mut ratios: Vec<(f64, f64, f64)> = (0..ROUNDS)
            .map(|_| {
                let (a, b) = (callbacks.round(payload, row), tasks.round(payload, row));
                (b / a, a, b)
            })
            .collect();
        ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ratio, a, b) = ratios[ROUNDS / 2];
        println!(
            "{payload} bytes, {row} in a row: callback {a:.0} ns, task {b:.0} ns, median ratio {ratio:.3} ({:.3} to {:.3})",
            ratios[2].0,
            ratios[ROUNDS - 3].0
        );
    }
    for serving in [callbacks, tasks] {
        serving.running.handle().stop_now();
        drop(serving.clients);
    }
}
