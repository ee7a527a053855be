//! The service under test: it echoes, relays, and keeps time.
//!
//! | a client says | and hears |
//! |---|---|
//! | `e ...`, or anything binary | the same |
//! | `s T`, `u T` (subscribe, unsubscribe) | the same |
//! | `f F`, `g F` (subscribe to a filter, unsubscribe) | the same |
//! | `p T N pad` | `p T N`; all other subscribers of T: `m T name N pad` |
//! | `os T now`, `os T latest N`, `os T after EPOCH OFFSET` (subscribe to an ordered topic) | the same, then `+ T EPOCH OFFSET RECOVERED REPLAYED` |
//! | `ou T` (unsubscribe from it) | the same |
//! | `op T N pad` | `op T N`; all subscribers of T: `o T EPOCH OFFSET name N pad` |
//! | `t MS N` | `t N`, after so long |
//! | `d` | nothing; the shard dials the server, echoes something there, and closes |
//! | `c CODE` | a Close frame |
//! | `x` | the end |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hioload::client::{Accepted, Dial, DialError};

use hioload::hub::{
    Change, Changed, Delivery, Epoch, HubId, Place, Position, Start, SubscribeOutcome,
};
use hioload::{
    App, Close, CloseCode, Conn, ConnId, Kind, Message, Nanos, PublishOutcome, Request, Turn,
    Upgrade,
};

/// What a timer may be late by: the turns before its own, each of which may
/// be stalled.
const LATE: Nanos = 200_000_000;

/// The name of the near end of a connection dialled from here.
const NEAR: &str = "near";

/// What the near end says, to be echoed by the far one.
const GREETING: &str = "e there?";

pub(crate) struct Service {
    dial: Arc<Dial>,
    timers: BTreeMap<u64, Alarm>,
    set: u64,
    opened: usize,
    closed: usize,
    dials: Dials,
    /// The hub of ordered topics.
    ordered: HubId,
}

/// The name of the hub of ordered topics.
pub(crate) const ORDERED: &str = "ordered";

/// What became of dials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dials {
    pub(crate) begun: usize,
    pub(crate) granted: usize,
    pub(crate) failed: usize,
}

struct Alarm {
    whose: ConnId,
    number: String,
    due: Nanos,
}

impl Service {
    pub(crate) fn new(dial: &Arc<Dial>, ordered: HubId) -> Self {
        Self {
            dial: Arc::clone(dial),
            timers: BTreeMap::new(),
            set: 0,
            opened: 0,
            closed: 0,
            dials: Dials::default(),
            ordered,
        }
    }

    pub(crate) fn dials(&self) -> Dials {
        self.dials
    }

    /// WebSockets that were opened and not closed.
    pub(crate) fn open(&self) -> usize {
        self.opened - self.closed
    }

    fn publish(&self, conn: &mut Conn<'_>, name: &str, verb: &str, rest: &str) {
        let mut words = rest.splitn(3, ' ');
        let (Some(topic), Some(number), Some(pad)) = (words.next(), words.next(), words.next())
        else {
            panic!("{rest:?} is no publish");
        };
        let outcome = if verb == "op" {
            let message = format!("{name} {number} {pad}");
            let mut hub = conn.hub(self.ordered);
            hub.publish_all(topic, message.as_str())
        } else {
            let message = format!("m {topic} {name} {number} {pad}");
            conn.publish(topic, message.as_str())
        };
        match outcome {
            PublishOutcome::Published | PublishOutcome::Congested => {
                conn.send(format!("{verb} {topic} {number}").as_str());
            }
            PublishOutcome::Full => panic!("tens of thousands wait"),
        }
    }

    fn follow(&self, conn: &mut Conn<'_>, rest: &str) {
        let (topic, position) = rest.split_once(' ').expect("a topic and a position");
        let words: Vec<&str> = position.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let position = match words[..] {
            ["now"] => Position::Now,
            ["latest", count] => Position::Latest(count.parse().expect("a number")),
            ["after", epoch, offset] => Position::After(Place {
                epoch: Epoch(number(epoch)),
                offset: number(offset),
            }),
            _ => panic!("{position:?} is no position"),
        };
        let outcome = conn.hub(self.ordered).subscribe_from(topic, position);
        assert_eq!(outcome, SubscribeOutcome::Asked, "few wait");
    }

    fn set_timer(&mut self, conn: &mut Conn<'_>, rest: &str) {
        let (ms, number) = rest.split_once(' ').expect("a delay and a number");
        let ms: u64 = ms.parse().expect("milliseconds");
        let delay = hioload_platform::clock::nanos(Duration::from_millis(ms));
        self.set += 1;
        conn.schedule(delay, self.set).expect("there is room");
        let alarm = Alarm {
            whose: conn.id(),
            number: number.to_owned(),
            due: conn.now() + delay,
        };
        self.timers.insert(self.set, alarm);
    }
}

impl App for Service {
    type State = String;

    fn upgrade(&mut self, request: &Request<'_>, name: &mut String) -> Upgrade {
        request.path().trim_start_matches('/').clone_into(name);
        Upgrade::accept()
    }

    fn open(&mut self, conn: &mut Conn<'_>, name: &mut String) {
        self.opened += 1;
        if name == NEAR {
            conn.send(GREETING);
        }
    }

    fn connected(&mut self, _accepted: &Accepted<'_>, name: &mut String) {
        self.dials.granted += 1;
        NEAR.clone_into(name);
    }

    fn dial_failed(&mut self, _turn: &mut Turn<'_, String>, _key: u64, _error: &DialError) {
        self.dials.failed += 1;
    }

    fn message(&mut self, conn: &mut Conn<'_>, name: &mut String, message: Message<'_>) {
        if message.kind() == Kind::Binary {
            conn.send(message);
            return;
        }
        let text = message.as_text().expect("a text message holds text");
        if name == NEAR {
            assert_eq!(text, GREETING, "the far end echoes");
            return conn.close(CloseCode::NORMAL, "");
        }
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "e" => drop(conn.send(message)),
            "s" => {
                conn.subscribe(rest);
                conn.send(message);
            }
            "u" => {
                conn.unsubscribe(rest);
                conn.send(message);
            }
            "f" => {
                assert_eq!(conn.subscribe_filter(rest), SubscribeOutcome::Subscribed);
                conn.send(message);
            }
            "g" => {
                conn.unsubscribe_filter(rest);
                conn.send(message);
            }
            "os" => {
                self.follow(conn, rest);
                conn.send(message);
            }
            "ou" => {
                conn.hub(self.ordered).unsubscribe(rest);
                conn.send(message);
            }
            "p" | "op" => self.publish(conn, name, verb, rest),
            "t" => self.set_timer(conn, rest),
            "d" => {
                self.dials.begun += 1;
                conn.connect(&self.dial, 0).expect("few dials wait");
            }
            "c" => conn.close(CloseCode(rest.parse().expect("a code")), "asked for"),
            "x" => conn.terminate(),
            verb => panic!("{verb:?} is no verb"),
        }
    }

    fn deliver(&mut self, conn: &mut Conn<'_>, _name: &mut String, delivery: &Delivery<'_>) {
        let place = delivery.place().expect("the hub is ordered");
        let message = delivery.message().as_text().expect("it was text");
        let (topic, epoch, offset) = (delivery.topic(), place.epoch.0, place.offset);
        conn.send(format!("o {topic} {epoch} {offset} {message}").as_str());
    }

    fn subscription(&mut self, conn: &mut Conn<'_>, _name: &mut String, change: &Change<'_>) {
        let Changed::Subscribed(Some(start)) = change.what else {
            panic!("{change:?} was not asked for");
        };
        let Start {
            place,
            recovered,
            replayed,
        } = start;
        let (topic, epoch, offset) = (change.topic, place.epoch.0, place.offset);
        conn.send(format!("+ {topic} {epoch} {offset} {recovered} {replayed}").as_str());
    }

    fn timer(&mut self, turn: &mut Turn<'_, String>, key: u64) {
        let alarm = self.timers.remove(&key).expect("each fires once");
        let now = turn.now();
        assert!(alarm.due <= now, "{} is early: {now}", alarm.due);
        assert!(now < alarm.due + LATE, "{} is late: {now}", alarm.due);
        if let Some((mut conn, _)) = turn.conn(alarm.whose) {
            conn.send(format!("t {}", alarm.number).as_str());
        }
    }

    fn close(&mut self, _conn: &mut Conn<'_>, _name: &mut String, _close: &Close<'_>) {
        self.closed += 1;
    }
}
