//! A message encoded once for everybody it goes to.

use std::sync::{Arc, OnceLock};

use hioload_platform::Frame;
use hioload_protocol::frame::{append_message, encode_message};
use hioload_protocol::{DeflatePool, Kind, encode_message_deflated, event_stream};

use crate::app::Message;

/// A message as its frame, and as its compressed frame and as the data of an
/// event once somebody needs those: each is made once, whatever the number of receivers and shards.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Encoded(Arc<Forms>);

#[derive(Debug)]
struct Forms {
    kind: Kind,
    /// Bytes of the plain frame before the payload.
    header: usize,
    plain: Frame,
    /// With the window, in bits, that it was made for.
    deflated: OnceLock<(u8, Frame)>,
    event: OnceLock<Frame>,
}

impl Encoded {
    pub(crate) fn new(message: Message<'_>) -> Self {
        let frame = encode_message(message.kind(), message.payload());
        Self(Arc::new(Forms {
            kind: message.kind(),
            header: frame.len() - message.payload().len(),
            plain: Frame::from(frame),
            deflated: OnceLock::new(),
            event: OnceLock::new(),
        }))
    }

    /// Becomes `message`, in the same memory, unless somebody else has what it
    /// is now: whether it did.
    pub(crate) fn renew(&mut self, message: Message<'_>) -> bool {
        let Some(forms) = Arc::get_mut(&mut self.0) else {
            return false;
        };
        let Some(frame) = forms.plain.memory() else {
            return false;
        };
        frame.clear();
        append_message(message.kind(), message.payload(), frame);
        forms.header = frame.len() - message.payload().len();
        forms.kind = message.kind();
        forms.deflated = OnceLock::new();
        forms.event = OnceLock::new();
        true
    }

    /// The message itself, for peers that need an encoding of their own.
    pub(crate) fn message(&self) -> Message<'_> {
        Message::received(self.0.kind, &self.0.plain.bytes()[self.0.header..])
    }

    pub(crate) fn plain(&self) -> &Frame {
        &self.0.plain
    }

    /// The plain frame, and how many of its bytes come before the payload.
    pub(crate) fn payload(&self) -> (&Frame, usize) {
        (&self.0.plain, self.0.header)
    }

    /// The frame compressed without context. Two shards that need it at the
    /// same moment may both compress; neither waits, and one result is kept.
    ///
    /// `None`: a shard whose pool has a larger window has made it, which
    /// happens while a reload reaches one shard after the other.
    pub(crate) fn deflated(&self, pool: &mut DeflatePool) -> Option<&Frame> {
        let window = pool.config().window_bits;
        if self.0.deflated.get().is_none() {
            let message = self.message();
            let frame = encode_message_deflated(message.kind(), message.payload(), pool);
            // Lost the race: the other's is used.
            let _other = self.0.deflated.set((window, Frame::from(frame)));
        }
        let (made_for, frame) = self.0.deflated.get()?;
        (*made_for <= window).then_some(frame)
    }

    /// The data lines of an event and its end, for event streams.
    pub(crate) fn event(&self) -> &Frame {
        self.0.event.get_or_init(|| {
            let message = self.message();
            Frame::from(event_stream::data(message.kind(), message.payload()))
        })
    }

    /// Whether both are of one publication.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Bytes it holds, for the bounds of queues.
    pub(crate) fn len(&self) -> usize {
        self.0.plain.bytes().len()
    }
}

#[cfg(test)]
mod tests {
    use hioload_protocol::DeflateConfig;

    use super::*;

    #[test]
    fn an_event_is_encoded_once_for_all() {
        let encoded = Encoded::new(Message::text("a\nb"));
        let other_shard = encoded.clone();
        let event = encoded.event().bytes();
        assert_eq!(event, b"data: a\ndata: b\n\n");
        assert!(std::ptr::eq(event, other_shard.event().bytes()));
    }

    #[test]
    fn what_nobody_else_has_becomes_the_next_message() {
        let mut encoded = Encoded::new(Message::text("first"));
        let kept = encoded.clone();
        assert!(!encoded.renew(Message::binary(b"no")));
        drop(kept);
        let queued = encoded.plain().clone();
        assert!(!encoded.renew(Message::binary(b"no")));
        assert_eq!(encoded.message(), Message::text("first"));
        drop(queued);
        assert_eq!(encoded.event().bytes(), b"data: first\n\n");
        let long = "2nd ".repeat(100);
        assert!(encoded.renew(Message::text(&long)));
        assert_eq!(encoded.message(), Message::text(&long));
        let event = encoded.event().bytes();
        assert!(event.starts_with(b"data: 2nd 2nd"));
    }

    #[test]
    fn a_frame_is_not_given_to_those_with_a_smaller_window() {
        let pool = |window_bits| {
            DeflatePool::new(DeflateConfig {
                window_bits,
                ..DeflateConfig::default()
            })
        };
        let encoded = Encoded::new(Message::text(&"far back ".repeat(100)));
        assert!(encoded.deflated(&mut pool(12)).is_some());
        assert!(encoded.deflated(&mut pool(15)).is_some());
        assert!(encoded.deflated(&mut pool(11)).is_none());
    }
}
