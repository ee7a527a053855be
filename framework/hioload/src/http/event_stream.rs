//! An HTTP answer that goes on: server-sent events of hubs.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use hioload_protocol::event_stream;

use crate::config::Backpressure;
use crate::hub::{Epoch, HubId, Place, Position};

/// Topics of one stream at most: the id of each event names a place in all of
/// them.
pub const MAX_STREAM_TOPICS: usize = 16;

/// A stream of server-sent events (WHATWG HTML, section 9.2): what is published
/// to topics of hubs, for browsers' `EventSource` and whatever else reads lines.
/// It is answered with 200 and lasts until its client goes, reads too slowly,
/// or the server stops; an `EventSource` then connects again.
///
/// - A text message is an event with the same text; each of its line breaks
///   arrives as LF. A binary message arrives in base64.
/// - Hubs that go [through the app](crate::hub::Hub::through_app) give streams
///   what was published, and the app hears nothing of their subscriptions.
/// - In [ordered](crate::hub::Hub::ordered) hubs each event has an id. A client
///   that comes again with it (`Last-Event-ID`) is given what it missed, if the
///   hub [keeps](crate::hub::Hub::history) all of it; else it goes on with what
///   is published now. A stream whose topics are others than before, or in
///   another order, begins anew.
/// - After a [`ping_interval`](crate::Config::ping_interval) in which nothing
///   was sent, a comment is.
/// - It ends after [`max_lifetime`](crate::Config::max_lifetime), and when its
///   client takes nothing for [`send_timeout`](crate::Config::send_timeout).
/// - A slow reader is dealt with by the hub's
///   [`Slow`](crate::hub::Slow) or the connection's [`Backpressure`]; to be
///   closed is to end.
///
/// ```
/// use hioload::{App, Conn, Message, Request, Response};
///
/// struct News;
///
/// impl App for News {
///     type State = ();
///     fn http(&mut self, _: &Request<'_>) -> Response {
///         Response::sse().topic("news").into()
///     }
///     fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
///         conn.publish("news", message);
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventStream {
    pub(crate) topics: Vec<Followed>,
    pub(crate) event: Option<String>,
    pub(crate) retry: Option<Duration>,
    pub(crate) backpressure: Option<Backpressure>,
    pub(crate) places: Places,
}

/// A topic of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    pub(crate) hub: HubId,
    pub(crate) topic: Arc<str>,
    pub(crate) position: Position,
}

impl EventStream {
    /// Adds a topic of the default hub.
    #[must_use]
    pub fn topic(self, topic: &str) -> Self {
        self.topic_in(HubId::DEFAULT, topic)
    }

    /// Adds a topic of a hub. More than [`MAX_STREAM_TOPICS`], or than
    /// [`max_subscriptions`](crate::Config::max_subscriptions), are answered
    /// 500, as are one that is too long and a hub of another server.
    #[must_use]
    pub fn topic_in(self, hub: HubId, topic: &str) -> Self {
        self.topic_from(hub, topic, Position::Now)
    }

    /// As [`topic_in`](Self::topic_in), from a position on for clients that do
    /// not say what they had last.
    #[must_use]
    pub fn topic_from(mut self, hub: HubId, topic: &str, position: Position) -> Self {
        self.topics.push(Followed {
            hub,
            topic: topic.into(),
            position,
        });
        self
    }

    /// Names all events: listeners of that name get them, not those of
    /// `message`. A name with a line break is left out: it would forge events.
    #[must_use]
    pub fn event(mut self, name: &str) -> Self {
        if event_stream::is_value(name) {
            self.event = Some(name.to_owned());
        }
        self
    }

    /// Tells clients how long to wait before they connect again, in
    /// milliseconds.
    #[must_use]
    pub fn retry(mut self, time: Duration) -> Self {
        self.retry = Some(time);
        self
    }

    /// Overrides the server's backpressure policy for this stream.
    /// [`Backpressure::PauseReading`] closes above the limit: there is nothing
    /// to be read.
    #[must_use]
    pub fn backpressure(mut self, policy: Backpressure) -> Self {
        self.backpressure = Some(policy);
        self
    }

    /// The client says what it had last.
    pub(crate) fn resume(&mut self, last_event_id: &str) {
        self.places = Places::parse(last_event_id, self.topics.len());
    }

    /// What the stream begins with.
    pub(crate) fn preamble(&self, out: &mut Vec<u8>) {
        if let Some(retry) = self.retry {
            event_stream::field("retry", &retry.as_millis().to_string(), out);
            out.push(b'\n');
        }
    }
}

/// What a client has had of each topic, as far as topics have places: the id of
/// an event.
///
/// Its text has an entry per topic, separated by commas: epoch and offset in
/// hexadecimal, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places(pub(crate) Vec<Option<Place>>);

impl Places {
    /// Anything that is not from here is no place.
    fn parse(text: &str, topics: usize) -> Self {
        let entry = |entry: &str| {
            let (epoch, offset) = entry.split_once('-')?;
            Some(Place {
                epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?),
                offset: u64::from_str_radix(offset, 16).ok()?,
            })
        };
        let mut places: Vec<_> = text.split(',').take(topics + 1).map(entry).collect();
        if places.len() != topics {
            places.clear();
        }
        Self(places)
    }

    /// The id; `None` while there is no place.
    pub(crate) fn id(&self) -> Option<String> {
        self.0.iter().flatten().next()?;
        let mut id = String::new();
        for (index, place) in self.0.iter().enumerate() {
            if index > 0 {
                id.push(',');
            }
            if let Some(Place { epoch, offset }) = place {
                let _infallible = write!(id, "{:x}-{offset:x}", epoch.0);
            }
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_was_had_of_each_topic() {
        let place = |epoch, offset| {
            let epoch = Epoch(epoch);
            Some(Place { epoch, offset })
        };
        for places in [
            vec![place(1, 2)],
            vec![None, place(u64::MAX, 0), None],
            vec![place(7, 8), place(9, 10)],
        ] {
            let places = Places(places);
            let id = places.id().unwrap();
            assert_eq!(Places::parse(&id, places.0.len()), places, "{id}");
            assert_eq!(Places::parse(&id, places.0.len() + 1), Places::default());
        }
        assert_eq!(Places(vec![None, None]).id(), None);
        for foreign in ["", "1", "x-1", "1-", "-", "1-1-1", "1ffffffffffffffff-1"] {
            assert_eq!(Places::parse(foreign, 1).0, [None], "{foreign}");
        }
        assert_eq!(Places::parse(&",".repeat(1000), 1), Places::default());
    }

    #[test]
    fn a_name_cannot_forge_an_event() {
        assert_eq!(EventStream::default().event("a\ndata: b").event, None);
    }
}
