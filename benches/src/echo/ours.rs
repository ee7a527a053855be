//! `hioload-protocol`.

use hioload_protocol::{Connection, Event, Resources, Role};

use super::Echo;
use super::arrival::{Arrival, resources};

/// Our protocol core. It has no stream: the bytes are copied to its buffer.
#[derive(Debug)]
pub struct Ours {
    wire: Vec<u8>,
    connection: Connection,
    input: Vec<u8>,
    output: Vec<u8>,
    resources: Resources,
}

impl Ours {
    /// A connection on which these bytes arrive.
    #[must_use]
    pub fn new(arrival: &Arrival) -> Self {
        Self {
            wire: arrival.wire().to_vec(),
            connection: arrival.endpoint(Role::Server),
            input: arrival.wire().to_vec(),
            output: Vec::new(),
            resources: resources(2),
        }
    }
}

impl Echo for Ours {
    fn echo(&mut self) {
        let Self {
            wire,
            connection,
            input,
            output,
            resources,
        } = self;
        input.copy_from_slice(wire);
        output.clear();
        let mut rest = &mut input[..];
        while !rest.is_empty() {
            let received = connection.receive(rest, resources, output);
            if let Some(Event::Message { kind, payload }) = received.event {
                connection
                    .send(kind, payload.bytes(rest), resources, output)
                    .expect("open");
                payload.recycle(&mut resources.pool);
            }
            rest = &mut rest[received.consumed..];
        }
    }

    fn answered(&self) -> usize {
        self.output.len()
    }
}
