//! The relay: what one client of a topic sends, all others receive.

use std::collections::HashMap;
use std::rc::Rc;

use hioload::{App, Close, CloseCode, Conn, Message, PublishOutcome, Refusal};
use percent_encoding::percent_decode_str;

/// Bytes of a topic's name, decoded.
const MAX_TOPIC: usize = 255;

/// Relays messages between the subscribers of a topic, on all shards.
#[derive(Debug, Default)]
pub(crate) struct Broadcast {
    /// Those with open connections on this shard, and how many.
    topics: HashMap<Box<str>, (Topic, usize)>,
}

/// A topic's name, in eight bytes of each of its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topic(Rc<Name>);

#[derive(Debug, Default)]
struct Name(Box<str>);

impl Broadcast {
    /// The topic of a path segment, percent-decoded.
    pub(crate) fn topic(&mut self, segment: &str) -> Result<Topic, Refusal> {
        let topic = percent_decode_str(segment)
            .decode_utf8()
            .map_err(|_| Refusal::BadRequest("the topic is not UTF-8"))?;
        if topic.is_empty() || topic.len() > MAX_TOPIC {
            return Err(Refusal::BadRequest("a topic has 1 to 255 bytes"));
        }
        Ok(match self.topics.get(&*topic) {
            Some((known, _)) => known.clone(),
            None => Topic(Rc::new(Name(topic.into()))),
        })
    }
}

impl App for Broadcast {
    type State = Topic;

    fn open(&mut self, conn: &mut Conn<'_>, topic: &mut Topic) {
        let name = &topic.0.0;
        conn.subscribe(name);
        if let Some((known, open)) = self.topics.get_mut(name) {
            *open += 1;
            // Of those that came at once, each had made a name of its own.
            *topic = known.clone();
        } else {
            self.topics.insert(name.clone(), (topic.clone(), 1));
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, topic: &mut Topic, message: Message<'_>) {
        // The relay promises delivery, so a publisher whose message finds no
        // room must know.
        if conn.publish(&topic.0.0, message) == PublishOutcome::Full {
            conn.close(CloseCode::TRY_AGAIN, "too many messages are on their way");
        }
    }

    fn close(&mut self, _conn: &mut Conn<'_>, topic: &mut Topic, _close: &Close<'_>) {
        let name = &topic.0.0;
        if let Some((_, open)) = self.topics.get_mut(name) {
            *open -= 1;
            if *open == 0 {
                self.topics.remove(name);
            }
        }
    }
}
