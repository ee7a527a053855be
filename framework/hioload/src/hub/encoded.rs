//! A message encoded once for everybody it goes to.

use std::sync::{Arc, OnceLock};

use hioload_platform::Frame;
use hioload_protocol::frame::encode_message;
use hioload_protocol::{DeflatePool, Kind, encode_message_deflated};

use crate::app::Message;

/// A message as its frame, and as its compressed frame once somebody needs
/// that: both are made once, whatever the number of receivers and shards.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Encoded(Arc<Forms>);

#[derive(Debug)]
struct Forms {
    kind: Kind,
    /// Bytes of the plain frame before the payload.
    header: usize,
    plain: Frame,
    deflated: OnceLock<Frame>,
}

impl Encoded {
    pub(crate) fn new(message: Message<'_>) -> Self {
        let frame = encode_message(message.kind(), message.payload());
        Self(Arc::new(Forms {
            kind: message.kind(),
            header: frame.len() - message.payload().len(),
            plain: Frame::from(frame),
            deflated: OnceLock::new(),
        }))
    }

    /// The message itself, for peers that need an encoding of their own.
    pub(crate) fn message(&self) -> Message<'_> {
        Message::received(self.0.kind, &self.0.plain.bytes()[self.0.header..])
    }

    pub(crate) fn plain(&self) -> &Frame {
        &self.0.plain
    }

    /// The frame compressed without context. Two shards that need it at the
    /// same moment may both compress; neither waits, and one result is kept.
    pub(crate) fn deflated(&self, pool: &mut DeflatePool) -> &Frame {
        if self.0.deflated.get().is_none() {
            let message = self.message();
            let frame = encode_message_deflated(message.kind(), message.payload(), pool);
            // Lost the race: the other's bytes say the same.
            let _other = self.0.deflated.set(Frame::from(frame));
        }
        self.0.deflated.get().unwrap_or(&self.0.plain)
    }

    /// Bytes it holds, for the bounds of queues.
    pub(crate) fn len(&self) -> usize {
        self.0.plain.bytes().len()
    }
}
