//! A publication on its way to the subscribers of a shard: written once for each
//! encoding that one of them speaks, and compressed once.

use hioload::hub::Delivery;
use hioload::{Kind, Message, Prepared};
use hioload_centrifugo::{Body, Encoding, Form, Push, Replies};

use super::chains::{Chains, Known, Link};
use super::{ENCODINGS, message, place};

/// By the place of their encoding. `Some(None)`: it cannot be said in it.
type ByEncoding = [Option<Option<Prepared>>; ENCODINGS.len()];

/// One publication, with what was written of it so far.
pub(super) struct Written {
    came: Prepared,
    channel: Box<str>,
    offset: Option<u64>,
    told: ByEncoding,
    /// For those who are told deltas.
    after: Option<Box<After>>,
}

/// The same for clients that are told deltas.
struct After {
    link: Link,
    whole: ByEncoding,
    /// `Some(None)`: it would not be shorter.
    deltas: ByEncoding,
}

impl Written {
    pub(super) fn new(came: Prepared, channel: &str, offset: Option<u64>) -> Self {
        Self {
            came,
            channel: channel.into(),
            offset,
            told: Default::default(),
            after: None,
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
            ..
        } = self;
        let told = told[place(encoding)]
            .get_or_insert_with(|| write(came, (channel, *offset), encoding, Form::Plain));
        told.clone()
    }

    /// As clients get it that are told deltas, and whether it is one; `known` is
    /// what the client was told before.
    pub(super) fn told_after(
        &mut self,
        encoding: Encoding,
        known: &mut Known,
        chains: &mut Chains,
    ) -> (Option<Prepared>, bool) {
        let Self {
            came,
            channel,
            offset,
            after,
            ..
        } = self;
        let after = after.get_or_insert_with(|| {
            Box::new(After {
                link: chains.add(channel, came),
                whole: Default::default(),
                deltas: Default::default(),
            })
        });
        let before = after.link.before(*known);
        *known = after.link.known();
        let to = (&**channel, *offset);
        if let Some(before) = before {
            let delta = after.deltas[place(encoding)].get_or_insert_with(|| {
                let (before, now) = (body(before.message())?, body(came.message())?);
                let delta = now.delta(before, encoding)?;
                write(came, to, encoding, Form::Delta(&delta))
            });
            if delta.is_some() {
                return (delta.clone(), true);
            }
        }
        let whole = after.whole[place(encoding)]
            .get_or_insert_with(|| write(came, to, encoding, Form::Whole));
        (whole.clone(), false)
    }
}

fn write(
    came: &Prepared,
    (channel, offset): (&str, Option<u64>),
    encoding: Encoding,
    form: Form<'_>,
) -> Option<Prepared> {
    let body = body(came.message())?;
    let mut replies = Replies::new(encoding);
    replies.push(channel, Push::Pub { body, offset, form });
    let frame = replies.frame().ok().flatten()?;
    Some(Prepared::new(message(frame)))
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
    fn who_was_told_the_one_before_gets_a_delta_and_others_all_of_it() {
        let came = |n| {
            let data = format!("{{\"text\":\"the same each time\",\"n\":{n}}}");
            Prepared::new(&json_body(&data, None, None, 0))
        };
        let (first, second) = (came(1), came(2));
        let mut chains = Chains::default();
        chains.join("room");
        let [mut one, mut other] = [Known::default(); 2];
        let mut written = Written::new(first, "room", None);
        for encoding in ENCODINGS {
            let (frame, is_delta) = written.told_after(encoding, &mut one, &mut chains);
            assert!(frame.is_some() && !is_delta);
        }
        let mut written = Written::new(second, "room", None);
        for encoding in ENCODINGS {
            let (mut had, mut new) = (one, other);
            let (delta, is_delta) = written.told_after(encoding, &mut had, &mut chains);
            assert!(is_delta);
            let (whole, is_delta) = written.told_after(encoding, &mut new, &mut chains);
            assert!(!is_delta);
            assert_eq!(had, new);
            let length =
                |frame: Option<Prepared>| frame.map_or(0, |one| one.message().payload().len());
            assert!(length(delta) < length(whole));
        }
        // Both of them get the next one as a delta; who missed one does not.
        let missed = one;
        for known in [&mut one, &mut other] {
            written.told_after(Encoding::Json, known, &mut chains);
        }
        let mut written = Written::new(came(3), "room", None);
        for (mut known, expected) in [(one, true), (other, true), (missed, false)] {
            let (_, is_delta) = written.told_after(Encoding::Json, &mut known, &mut chains);
            assert_eq!(is_delta, expected);
        }
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
