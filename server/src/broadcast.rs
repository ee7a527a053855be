//! The relay: what one client of a topic sends, all others receive.

use hioload::{App, CloseCode, Conn, Message, PublishOutcome, Refusal};
use percent_encoding::percent_decode_str;

/// Bytes of a topic's name, decoded.
const MAX_TOPIC: usize = 255;

/// Relays messages between the subscribers of a topic, on all shards.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Broadcast;

impl Broadcast {
    /// The topic of a path segment, percent-decoded.
    pub(crate) fn topic(segment: &str) -> Result<Box<str>, Refusal> {
        let topic = percent_decode_str(segment)
            .decode_utf8()
            .map_err(|_| Refusal::BadRequest("the topic is not UTF-8"))?;
        if topic.is_empty() || topic.len() > MAX_TOPIC {
            return Err(Refusal::BadRequest("a topic has 1 to 255 bytes"));
        }
        Ok(topic.into())
    }
}

impl App for Broadcast {
    /// The topic.
    type State = Box<str>;

    fn open(&mut self, conn: &mut Conn<'_>, topic: &mut Box<str>) {
        conn.subscribe(topic);
    }

    fn message(&mut self, conn: &mut Conn<'_>, topic: &mut Box<str>, message: Message<'_>) {
        // The relay promises delivery, so a publisher whose message finds no
        // room must know.
        if conn.publish(topic, message) == PublishOutcome::Full {
            conn.close(CloseCode::TRY_AGAIN, "too many messages are on their way");
        }
    }
}
