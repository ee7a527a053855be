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
    pub(super) fn new(came: Prepared, channel: &str, offset: Option<u64>) -> Self {
        Self {
            came,
            channel: channel.into(),
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

#[cfg(test)]
mod tests {
    use hioload_centrifugo::{json_body, protobuf_body};

    use super::*;

    #[test]
    fn a_publication_is_written_once_for_each_encoding() {
        let came = Prepared::new(&json_body("[1]", None, None, 0));
        let mut written = Written::new(came, "room", Some(7));
        for encoding in ENCODINGS {
            let [first, second] = [(); 2].map(|()| written.told(encoding).expect("JSON is both"));
            assert_eq!(first.message(), second.message());
            let place = |told: &Prepared| told.message().payload().as_ptr();
            assert_eq!(place(&first), place(&second), "the same memory");
        }
        let json = written.told(Encoding::Json).expect("it is JSON");
        let expected = r#"{"push":{"channel":"room","pub":{"data":[1],"offset":7}}}"#;
        assert_eq!(json.message().as_text(), Some(expected));
        let protobuf = written.told(Encoding::Protobuf).expect("JSON is bytes");
        assert_eq!(protobuf.message().kind(), Kind::Binary);
    }

    #[test]
    fn bytes_that_are_not_json_are_for_one_encoding_alone() {
        let info = r#"{"client":"c"}"#;
        let body = protobuf_body(&[0, 255], info, 0).expect("a written info");
        let mut written = Written::new(Prepared::new(&body[..]), "room", None);
        for _twice in 0..2 {
            assert!(written.told(Encoding::Json).is_none());
            assert!(written.told(Encoding::Protobuf).is_some());
        }
    }
}
