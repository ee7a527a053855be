//! A publication on its way to the subscribers of a shard: written once for each
//! encoding that one of them speaks, and compressed once.

use hioload::hub::Delivery;
use hioload::{Kind, Message, Prepared};
use hioload_centrifugo::{Body, Encoding, Push, Replies};

use super::{ENCODINGS, message, place};

/// One publication, with what was written of it so far.
pub(super) struct Written {
    came: Prepared,
    channel: Box<str>,
    offset: Option<u64>,
    /// By the place of their encoding. `Some(None)`: it cannot be said in it.
    told: [Option<Option<Prepared>>; ENCODINGS.len()],
}

impl Written {
    pub(super) fn new(delivery: &Delivery<'_>, offset: Option<u64>) -> Self {
        Self {
            came: delivery.prepared(),
            channel: delivery.topic().into(),
            offset,
            told: Default::default(),
        }
    }

    pub(super) fn is_of(&self, delivery: &Delivery<'_>) -> bool {
        delivery.is_same(&self.came)
    }

    /// As clients of this encoding get it; `None` where it cannot be said.
    pub(super) fn told(&mut self, encoding: Encoding) -> Option<Prepared> {
        let Self {
            came,
            channel,
            offset,
            told,
        } = self;
        let told = told[place(encoding)].get_or_insert_with(|| {
            let (body, offset) = (body(came.message())?, *offset);
            let mut replies = Replies::new(encoding);
            replies.push(channel, Push::Pub { body, offset });
            let frame = replies.frame().ok().flatten()?;
            Some(Prepared::new(message(frame)))
        });
        told.clone()
    }
}

/// What a hub carries: text by those who speak JSON, bytes by the others.
pub(super) fn body(message: Message<'_>) -> Option<Body<'_>> {
    match message.kind() {
        Kind::Text => message.as_text().map(Body::Json),
        Kind::Binary => Some(Body::Protobuf(message.payload())),
    }
}
