//! Against tungstenite, an independent implementation.

use std::io::{self, Read, Write};

use hioload_protocol::{Connection, Kind, ProtocolError, Role};
use tungstenite::protocol::{Role as TheirRole, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

use super::{Choices, LIMITS, Seen, receive};

/// The same bytes, in the same reads, to both as servers or both as clients.
///
/// Where ours is stricter it may fail earlier: a length not in its shortest
/// form, also that of a control frame, more fragments than the limit, a close
/// code that must not be sent.
/// Otherwise both see the same messages and both end, or neither does.
pub fn differential(data: &[u8]) {
    let Some(choices) = Choices::of(data) else {
        return;
    };
    let (role, their_role) = if choices.has(0) {
        (Role::Client, TheirRole::Client)
    } else {
        (Role::Server, TheirRole::Server)
    };
    let pieces = choices.pieces();
    let (mut ours, _) = receive(Connection::new(role), &pieces);
    let (theirs, they_ended) = receive_theirs(their_role, &pieces);
    let end = match ours.last() {
        Some(Seen::Closed(_) | Seen::Failed(_)) => ours.pop(),
        _ => None,
    };
    match end {
        Some(Seen::Failed(
            ProtocolError::NonMinimalLength
            | ProtocolError::ControlTooLong
            | ProtocolError::LengthHighBit
            | ProtocolError::TooManyFragments { .. }
            | ProtocolError::FrameTooLarge { .. }
            | ProtocolError::MessageTooLarge { .. }
            | ProtocolError::InvalidUtf8,
        )) => {
            // Theirs waits for the whole frame, or looks at limits later.
            assert!(theirs.starts_with(&ours), "{ours:?} and {theirs:?}");
        }
        end => {
            assert_eq!(ours, theirs, "ended by {end:?}");
            // Theirs sees a bad header only once all of it is there.
            assert!(end.is_some() || !they_ended, "only theirs ended");
        }
    }
}

/// What tungstenite sees before the end, and whether it ended.
fn receive_theirs(role: TheirRole, pieces: &[&[u8]]) -> (Vec<Seen>, bool) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMITS.max_message))
        .max_frame_size(Some(LIMITS.max_message));
    let mut socket = WebSocket::from_raw_socket(Wire::default(), role, Some(config));
    let mut seen = Vec::new();
    for piece in pieces {
        socket.get_mut().incoming.extend_from_slice(piece);
        loop {
            let event = match socket.read() {
                Ok(Message::Text(text)) => Seen::Message(Kind::Text, text.as_bytes().to_vec()),
                Ok(Message::Binary(bytes)) => Seen::Message(Kind::Binary, bytes.to_vec()),
                Ok(Message::Ping(bytes)) => Seen::Ping(bytes.to_vec()),
                Ok(Message::Pong(bytes)) => Seen::Pong(bytes.to_vec()),
                Ok(Message::Close(_) | Message::Frame(_)) => return (seen, true),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return (seen, true),
            };
            seen.push(event);
        }
    }
    (seen, false)
}

/// A stream that reads from a buffer and swallows what is written.
#[derive(Default)]
struct Wire {
    incoming: Vec<u8>,
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
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
