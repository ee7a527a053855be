//! `fastwebsockets` and `soketto`, polled by hand.

use std::fmt;

use fastwebsockets::{FragmentCollector, Frame, OpCode, Role};
use hioload_protocol::Kind;
use soketto::connection::{Builder, Mode, Receiver, Sender};

use super::{Arrival, Echo};
use crate::{Stream, complete};

/// fastwebsockets with its collector of fragments, for whole messages as the
/// others give.
pub struct Fastwebsockets {
    stream: Stream,
    server: FragmentCollector<Stream>,
    messages: usize,
    opcode: OpCode,
}

impl Fastwebsockets {
    /// A connection on which these bytes arrive.
    #[must_use]
    pub fn new(arrival: &Arrival) -> Self {
        let stream = Stream::new(arrival.wire().to_vec());
        let socket = fastwebsockets::WebSocket::after_handshake(stream.clone(), Role::Server);
        Self {
            stream,
            server: FragmentCollector::new(socket),
            messages: arrival.messages(),
            opcode: match arrival.kind() {
                Kind::Text => OpCode::Text,
                Kind::Binary => OpCode::Binary,
            },
        }
    }
}

impl Echo for Fastwebsockets {
    fn echo(&mut self) {
        let Self {
            stream,
            server,
            messages,
            opcode,
        } = self;
        stream.rewind();
        complete(async {
            for _ in 0..*messages {
                let frame = server.read_frame().await.expect("a message");
                assert_eq!(frame.opcode, *opcode);
                let answer = Frame::new(true, *opcode, None, frame.payload);
                server.write_frame(answer).await.expect("memory");
            }
        });
    }

    fn answered(&self) -> usize {
        self.stream.written_len()
    }
}

impl fmt::Debug for Fastwebsockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fastwebsockets").finish_non_exhaustive()
    }
}

/// soketto.
#[derive(Debug)]
pub struct Soketto {
    stream: Stream,
    sender: Sender<Stream>,
    receiver: Receiver<Stream>,
    messages: usize,
    kind: Kind,
    message: Vec<u8>,
}

impl Soketto {
    /// A connection on which these bytes arrive.
    #[must_use]
    pub fn new(arrival: &Arrival) -> Self {
        let stream = Stream::new(arrival.wire().to_vec());
        let (sender, receiver) = Builder::new(stream.clone(), Mode::Server).finish();
        Self {
            stream,
            sender,
            receiver,
            messages: arrival.messages(),
            kind: arrival.kind(),
            message: Vec::new(),
        }
    }
}

impl Echo for Soketto {
    fn echo(&mut self) {
        let Self {
            stream,
            sender,
            receiver,
            messages,
            kind,
            message,
        } = self;
        stream.rewind();
        complete(async {
            for _ in 0..*messages {
                message.clear();
                let data = receiver.receive_data(message).await.expect("a message");
                assert_eq!(data.is_text(), *kind == Kind::Text);
                if data.is_text() {
                    let text = std::str::from_utf8(message).expect("text");
                    sender.send_text(text).await.expect("memory");
                } else {
                    sender.send_binary(&message).await.expect("memory");
                }
            }
            sender.flush().await.expect("memory");
        });
    }

    fn answered(&self) -> usize {
        self.stream.written_len()
    }
}
