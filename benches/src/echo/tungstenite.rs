//! `tungstenite`.

use std::io;

use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

use super::{Arrival, Echo};
use crate::Transport;

/// tungstenite on a stream in memory. It tries one more read than there is
/// data, as on a non-blocking socket.
#[derive(Debug)]
pub struct Tungstenite(WebSocket<Transport>);

impl Tungstenite {
    /// A connection on which these bytes arrive.
    #[must_use]
    pub fn new(arrival: &Arrival, config: WebSocketConfig) -> Self {
        let transport = Transport::new(arrival.wire().to_vec());
        Self(WebSocket::from_raw_socket(
            transport,
            Role::Server,
            Some(config),
        ))
    }

    /// A read buffer of 4 KiB: that of the default configuration, 128 KiB, is
    /// cleared for each read.
    #[must_use]
    pub fn small() -> WebSocketConfig {
        WebSocketConfig::default().read_buffer_size(4 << 10)
    }
}

impl Echo for Tungstenite {
    fn echo(&mut self) {
        let server = &mut self.0;
        server.get_mut().rewind();
        loop {
            match server.read() {
                Ok(message) => server.write(message).expect("memory"),
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        server.flush().expect("memory");
    }

    fn answered(&self) -> usize {
        self.0.get_ref().written().len()
    }
}
