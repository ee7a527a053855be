//! Many connections that do the same at once, without memory of their own: a
//! socket each, and bytes they all share.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hioload_protocol::DeflateConfig;
use hioload_protocol::handshake::ClientRequest;

use crate::support::client::Dial;
use crate::support::wait::PATIENCE;

/// When no socket takes a byte for so long, the server reads none of them: a
/// turn takes microseconds.
const QUIET: Duration = Duration::from_millis(400);

/// How a crowd dials.
#[derive(Clone, Copy)]
pub(crate) struct Dialing {
    pub(crate) addr: SocketAddr,
    pub(crate) count: usize,
    /// The kernel takes little for them while they do not read.
    pub(crate) narrow: bool,
}

pub(crate) struct Crowd(Vec<TcpStream>);

impl Crowd {
    /// Connections that have sent nothing.
    pub(crate) fn dial(dialing: Dialing) -> Self {
        let dial = Dial {
            receive_buffer: dialing.narrow.then_some(4096),
            ..Dial::default()
        };
        let socket = |_| dial.tcp(dialing.addr).expect("the server accepts");
        Self((0..dialing.count).map(socket).collect())
    }

    /// WebSockets of a path.
    pub(crate) fn open(dialing: Dialing, deflate: Option<&DeflateConfig>) -> Self {
        let crowd = Self::dial(dialing);
        let head = upgrade("/", deflate);
        for mut stream in &crowd.0 {
            stream.write_all(&head).expect("the server reads");
        }
        crowd.0.iter().for_each(read_head);
        crowd
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Everyone sends all of `bytes`, `piece` by piece and in turns.
    pub(crate) fn send(&self, bytes: &[u8], piece: usize) {
        for part in bytes.chunks(piece) {
            for mut stream in &self.0 {
                stream.write_all(part).expect("the server reads");
            }
        }
    }

    /// Everyone sends `bytes` again and again until the server takes no more
    /// of anyone, or `most` bytes of each were sent.
    pub(crate) fn flood(&self, bytes: &[u8], most: usize) {
        let mut sent = vec![0; self.len()];
        let mut cut = vec![false; self.len()];
        self.0.iter().for_each(|stream| blocking(stream, false));
        let deadline = Instant::now() + 2 * PATIENCE;
        let mut moved = Instant::now();
        while moved.elapsed() < QUIET {
            assert!(Instant::now() < deadline, "it is read for ever");
            let mut idle = true;
            for (index, mut stream) in self.0.iter().enumerate() {
                if cut[index] || sent[index] >= most {
                    continue;
                }
                match stream.write(&bytes[sent[index] % bytes.len()..]) {
                    Ok(written) => {
                        sent[index] += written;
                        idle = false;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => cut[index] = true,
                }
            }
            if idle {
                std::thread::park_timeout(Duration::from_millis(2));
            } else {
                moved = Instant::now();
            }
        }
        self.0.iter().for_each(|stream| blocking(stream, true));
    }

    /// Everyone reads `bytes` bytes.
    pub(crate) fn read(&self, mut bytes: usize) {
        let mut scratch = [0; 16 << 10];
        while bytes > 0 {
            let part = bytes.min(scratch.len());
            for mut stream in &self.0 {
                stream
                    .read_exact(&mut scratch[..part])
                    .expect("the server answers");
            }
            bytes -= part;
        }
    }
}

impl FromIterator<TcpStream> for Crowd {
    fn from_iter<I: IntoIterator<Item = TcpStream>>(streams: I) -> Self {
        Self(streams.into_iter().collect())
    }
}

fn blocking(stream: &TcpStream, blocking: bool) {
    stream.set_nonblocking(!blocking).expect("a descriptor");
}

/// The request of a WebSocket.
pub(crate) fn upgrade(target: &str, deflate: Option<&DeflateConfig>) -> Vec<u8> {
    let request = ClientRequest {
        host: "localhost",
        target,
        protocols: &[],
        headers: &[],
        origin: None,
        deflate,
    };
    let mut head = Vec::new();
    request.write([7; 16], &mut head);
    head
}

fn read_head(mut stream: &TcpStream) {
    let (mut head, mut filled) = ([0; 1024], 0);
    while !head[..filled].ends_with(b"\r\n\r\n") {
        // Nothing follows it before the first message.
        let read = stream.read(&mut head[filled..]).expect("an answer");
        assert_ne!(read, 0, "closed in the handshake");
        filled += read;
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "the upgrade is accepted"
    );
}
