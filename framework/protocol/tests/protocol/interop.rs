//! Against an independent implementation, in memory.

use std::io::{self, Read, Write};

use hioload_protocol::Kind;
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket};

use crate::endpoint::{Endpoint, Seen};

/// A stream that reads from one buffer and writes to another.
#[derive(Default)]
struct Wire {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = buffer.len().min(self.incoming.len());
        buffer[..len].copy_from_slice(&self.incoming[..len]);
        self.incoming.drain(..len);
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn echo_through(ours: &mut Endpoint, theirs: Role) {
    let mut peer = WebSocket::from_raw_socket(Wire::default(), theirs, None);
    for len in [0, 1, 125, 126, 1000, 65_535, 65_536, 100_000] {
        let bytes = vec![0xC3; len];
        peer.send(Message::binary(bytes.clone())).unwrap();
        let seen = ours.read_in_pieces(&std::mem::take(&mut peer.get_mut().outgoing), &[999]);
        assert_eq!(seen, [Seen::Binary(bytes.clone())]);

        ours.connection
            .send(Kind::Binary, &bytes, &mut ours.resources, &mut ours.out)
            .unwrap();
        peer.get_mut().incoming = ours.take_out();
        assert_eq!(peer.read().unwrap().into_data(), bytes);
    }
    ours.connection
        .ping(b"ping", &mut ours.resources, &mut ours.out)
        .unwrap();
    peer.get_mut().incoming = ours.take_out();
    assert!(peer.read().unwrap().is_ping());
    peer.flush().unwrap();
    let seen = ours.read(&std::mem::take(&mut peer.get_mut().outgoing));
    assert_eq!(seen, [Seen::Pong(b"ping".to_vec())]);
}

#[test]
fn our_server_talks_with_their_client() {
    echo_through(&mut Endpoint::server(), Role::Client);
}

#[test]
fn our_client_talks_with_their_server() {
    echo_through(&mut Endpoint::client(), Role::Server);
}
