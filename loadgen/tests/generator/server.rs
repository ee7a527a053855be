//! A small WebSocket server, thread per connection, that can be told to
//! misbehave, and the generator as a child process.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hioload_protocol::handshake::{HandshakeLimits, Parsed, accept, parse_request, write_accept};
use hioload_protocol::{
    CloseCode, Connection, DeflateConfig, Event, Kind, Limits, MaskKeys, Resources, Role, frame,
};
use serde_json::Value;

/// What to do with message number `n` of a connection instead of sending it
/// once as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every `n`-th message is dropped.
    Lose(u64),
    /// Every `n`-th message is sent twice.
    Duplicate(u64),
    /// The last byte of every `n`-th message is changed.
    Corrupt(u64),
    /// The first byte of every `n`-th message is changed.
    CorruptStamp(u64),
    /// Every `n`-th message is cut by a byte.
    Cut(u64),
    /// Every `n`-th message becomes text.
    ChangeKind(u64),
    /// Every `n`-th message is sent after the one that follows it.
    Swap(u64),
    /// After `n` messages the connection is closed with 1013.
    Close(u64),
    /// After `n` messages the connection is cut.
    Hangup(u64),
    /// After `n` messages a frame with reserved bits is sent.
    BreakProtocol(u64),
    /// The Close frame is never answered.
    IgnoreClose,
    /// Messages are not read after the handshake.
    Stall,
    /// The publisher gets its own messages back.
    EchoToPublisher,
    /// The handshake is answered with this status line.
    Refuse(&'static str),
    /// The handshake is not answered.
    Silent,
    /// Every `n`-th connection of the server is refused with 503.
    RefuseEvery(u64),
    /// So many pings follow the handshake.
    Ping(u64),
    /// Pings are not answered.
    IgnorePing,
}

type Topics = Arc<Mutex<HashMap<String, Vec<(u64, TcpStream)>>>>;

/// A listening server; its threads end with the test process, or when it is
/// killed.
pub(crate) struct Server {
    addr: SocketAddr,
    accepted: Receiver<()>,
    life: Arc<Life>,
    listening: Option<thread::JoinHandle<()>>,
}

/// What a server and its threads share.
#[derive(Default)]
struct Life {
    killed: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
    messages: AtomicU64,
}

impl Server {
    pub(crate) fn start(fault: Fault) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), fault)
    }

    /// A server at an address, such as that of one that was killed.
    pub(crate) fn start_at(addr: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let topics = Topics::default();
        let (accept, accepted) = mpsc::channel();
        let life = Arc::new(Life::default());
        let shared = Arc::clone(&life);
        let listening = thread::spawn(move || {
            let life = shared;
            for (id, stream) in (0..).zip(listener.incoming().flatten()) {
                let mut streams = life.streams.lock().unwrap_or_else(PoisonError::into_inner);
                if life.killed.load(Ordering::Acquire) {
                    return;
                }
                streams.extend(stream.try_clone());
                drop(streams);
                let life = Arc::clone(&life);
                // Few tests wait for it.
                let _waiting = accept.send(());
                let topics = Arc::clone(&topics);
                thread::spawn(move || {
                    Peer {
                        id,
                        stream,
                        fault,
                        topics,
                        life,
                    }
                    .serve()
                });
            }
        });
        Self {
            addr,
            accepted,
            life,
            listening: Some(listening),
        }
    }

    /// Returns when a connection more than at the last call was accepted.
    pub(crate) fn wait_for_a_connection(&self) {
        self.accepted.recv().unwrap();
    }

    /// Waits until so many messages have come.
    pub(crate) fn await_messages(&self, number: u64) {
        while self.life.messages.load(Ordering::Acquire) < number {
            thread::yield_now();
        }
    }

    /// Ends as a process that is killed does: nobody listens any more and all
    /// connections are cut. Its address, for a successor.
    pub(crate) fn kill(mut self) -> SocketAddr {
        self.life.killed.store(true, Ordering::Release);
        drop(TcpStream::connect(self.addr));
        self.listening.take().unwrap().join().unwrap();
        let streams = self.life.streams.lock();
        for stream in streams.unwrap_or_else(PoisonError::into_inner).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        self.addr
    }

    pub(crate) fn echo_url(&self) -> String {
        format!("ws://{}/echo", self.addr)
    }

    pub(crate) fn broadcast_url(&self) -> String {
        format!("ws://{}/broadcast/{{topic}}", self.addr)
    }
}

struct Peer {
    id: u64,
    stream: TcpStream,
    fault: Fault,
    topics: Topics,
    life: Arc<Life>,
}

impl Peer {
    fn serve(mut self) -> Option<()> {
        self.stream.set_nodelay(true).ok()?;
        let (target, mut rest) = self.shake()?;
        let topic = target.strip_prefix("/broadcast/");
        if let Some(topic) = topic {
            let writer = self.stream.try_clone().ok()?;
            let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
            topics
                .entry(topic.to_owned())
                .or_default()
                .push((self.id, writer));
        }
        if self.fault == Fault::Stall {
            loop {
                thread::park();
            }
        }
        let mut connection = Connection::new(Role::Server);
        let limits = Limits {
            max_message: 8 << 20,
            ..Limits::default()
        };
        let masks = MaskKeys::from_seed(0);
        let mut resources = Resources::new(limits, masks, DeflateConfig::default());
        self.greet(&mut connection, &mut resources)?;
        let (mut number, mut kept) = (0, None);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let mut at = 0;
            let mut out = Vec::new();
            while at < rest.len() {
                let input = &mut rest[at..];
                let got = connection.receive(input, &mut resources, &mut out);
                at += got.consumed;
                match got.event {
                    Some(Event::Message { kind, payload }) => {
                        number += 1;
                        self.life.messages.fetch_add(1, Ordering::Release);
                        let bytes = payload.bytes(input).to_vec();
                        payload.recycle(&mut resources.pool);
                        let frames = self.answer(number, kind, bytes, &mut kept);
                        match topic {
                            None => out.extend(frames),
                            Some(topic) => self.publish(topic, &frames),
                        }
                        self.end(number, &mut connection, &mut resources, &mut out)?;
                    }
                    Some(Event::Closed { .. }) => {
                        if self.fault == Fault::IgnoreClose {
                            thread::park();
                        }
                        self.stream.write_all(&out).ok()?;
                        return self.stream.shutdown(Shutdown::Both).ok();
                    }
                    Some(Event::Ping(_)) if self.fault == Fault::IgnorePing => out.clear(),
                    _ => {}
                }
            }
            self.stream.write_all(&out).ok()?;
            let read = self
                .stream
                .read(&mut buffer)
                .ok()
                .filter(|&read| read > 0)?;
            rest = buffer[..read].to_vec();
        }
    }

    /// Sends the pings of [`Fault::Ping`].
    fn greet(&mut self, connection: &mut Connection, resources: &mut Resources) -> Option<()> {
        let mut out = Vec::new();
        if let Fault::Ping(pings) = self.fault {
            for _ in 0..pings {
                connection.ping(b"alive?", resources, &mut out).ok()?;
            }
        }
        self.stream.write_all(&out).ok()
    }

    fn shake(&mut self) -> Option<(String, Vec<u8>)> {
        let mut head = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let read = self
                .stream
                .read(&mut buffer)
                .ok()
                .filter(|&read| read > 0)?;
            head.extend_from_slice(&buffer[..read]);
            match self.fault {
                Fault::Silent => continue,
                Fault::RefuseEvery(n) if self.id.is_multiple_of(n) => {
                    let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
                    self.stream.write_all(answer.as_bytes()).ok()?;
                    return None;
                }
                Fault::Refuse(status) => {
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    self.stream.write_all(answer.as_bytes()).ok()?;
                    return None;
                }
                _ => {}
            }
            let parsed = parse_request(&head, &HandshakeLimits::default()).ok()?;
            if let Parsed::Complete { head_len, value } = parsed {
                let mut out = Vec::new();
                write_accept(&mut out, &accept(&value).ok()?, None, None, &[]).ok()?;
                self.stream.write_all(&out).ok()?;
                let target = head.split(|&byte| byte == b' ').nth(1)?.to_vec();
                return Some((String::from_utf8(target).ok()?, head.split_off(head_len)));
            }
        }
    }

    /// The frames that go out for one message.
    fn answer(
        &self,
        number: u64,
        kind: Kind,
        mut bytes: Vec<u8>,
        kept: &mut Option<Vec<u8>>,
    ) -> Vec<u8> {
        let hit = |n| number.is_multiple_of(n);
        let mut kind = kind;
        match self.fault {
            Fault::Corrupt(n) if hit(n) => *bytes.last_mut().unwrap() ^= 1,
            Fault::CorruptStamp(n) if hit(n) => bytes[0] ^= 1,
            Fault::Cut(n) if hit(n) => drop(bytes.pop()),
            Fault::ChangeKind(n) if hit(n) => {
                bytes.fill(b'x');
                kind = Kind::Text;
            }
            _ => {}
        }
        let mut out = frame::encode_message(kind, &bytes);
        match self.fault {
            Fault::Lose(n) if hit(n) => out.clear(),
            Fault::Duplicate(n) if hit(n) => out.extend_from_within(..),
            Fault::Swap(n) if hit(n) => *kept = Some(std::mem::take(&mut out)),
            _ => out.extend(kept.take().unwrap_or_default()),
        }
        out
    }

    /// Ends the connection when the fault says so.
    fn end(
        &mut self,
        number: u64,
        connection: &mut Connection,
        resources: &mut Resources,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        match self.fault {
            Fault::Close(n) if number == n => {
                connection.close(CloseCode::TRY_AGAIN, "overloaded", resources, out);
            }
            Fault::Hangup(n) if number == n => {
                self.stream.write_all(out).ok()?;
                self.stream.shutdown(Shutdown::Both).ok()?;
                return None;
            }
            Fault::BreakProtocol(n) if number == n => out.extend([0xf2, 0]),
            _ => {}
        }
        Some(())
    }

    fn publish(&self, topic: &str, frames: &[u8]) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, writer) in topics.get_mut(topic).into_iter().flatten() {
            if *id != self.id || self.fault == Fault::EchoToPublisher {
                // A subscriber that is gone is not what these tests look at.
                drop(writer.write_all(frames));
            }
        }
    }
}

/// What a run of the generator came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn error(&self, cause: &str) -> u64 {
        self.json["errors"][cause]
            .as_u64()
            .unwrap_or_else(|| panic!("no {cause} in {self:?}"))
    }

    /// Nothing went wrong. The machine may have been too busy for the numbers
    /// to be valid, which is not the server's fault.
    pub(crate) fn assert_clean(&self) {
        assert!([0, 4].contains(&self.code), "{self:#?}");
        assert_eq!(self.error("total"), 0, "{self:#?}");
        let messages = &self.json["messages"];
        assert!(messages["sent_total"].as_u64().unwrap() > 0, "{self:#?}");
        assert_eq!(
            messages["arrived_total"], messages["expected_total"],
            "{self:#?}"
        );
    }
}

/// The generator with some arguments, to be started.
pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hioload-loadgen"));
    command.args(arguments.split_whitespace());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a finished generator with `--json -` said.
pub(crate) fn outcome(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs the generator for a fraction of a second.
pub(crate) fn run(arguments: &str) -> Ran {
    let short = "--warmup 50ms --duration 300ms --drain-timeout 500ms --quiet --json -";
    outcome(&command(&format!("{arguments} {short}")).output().unwrap())
}
