//! One client, as the model knows it.

use std::collections::{BTreeMap, VecDeque};

use hioload::Nanos;
use hioload::testing::End;

use super::ordered::Follows;
use super::{ByTopic, Verdict};

/// Something a client is owed, in the order of what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Closed(u16),
    /// The end; of what comes before it, nothing need.
    End,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The client leaves, in whatever way.
    Leaves,
    /// The client starts the close handshake.
    Closes(u16),
    /// The client ends its sending direction.
    HalfCloses,
    /// The client asked the server to end it.
    Asks,
    /// The client broke the protocol.
    Garbage,
    /// The server closed it, for a reason.
    Closed,
}

#[derive(Debug, Default)]
pub(crate) struct Person {
    pub(crate) opened: bool,
    pub(crate) due: VecDeque<Due>,
    /// Timers set, and the earliest time of each.
    pub(crate) timers: BTreeMap<u32, Nanos>,
    pub(crate) publishes: ByTopic<Publishes>,
    subscriptions: BTreeMap<Wanted, Subscription>,
    pub(crate) follows: Follows,
    /// The number after the last heard, by topic and publisher.
    heard: BTreeMap<(String, usize), u32>,
    pub(crate) fate: Option<Fate>,
    /// It does not read, or did not for a while: the server may give it up.
    pub(crate) excused: bool,
    pub(crate) closed: bool,
    pub(crate) end: Option<End>,
    /// Numbers what it says.
    numbers: u32,
}

/// What a client published on a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Publishes {
    /// Said.
    pub(crate) sent: u32,
    /// Known to have been taken by the server.
    pub(crate) taken: u32,
}

/// A subscription, from its request to the acknowledgement of its end.
#[derive(Debug, Default)]
struct Subscription {
    acknowledged: bool,
    ending: bool,
    /// By topic and publisher: the number from which on all messages must
    /// come. Those of publishers that came later must come from 0 on.
    from: Numbers,
    /// By topic and publisher: the number that must come next.
    next: Numbers,
}

/// Numbers by topic and publisher.
pub(super) type Numbers = BTreeMap<(String, usize), u32>;

/// What a client subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    Topic(String),
    Filter(String),
}

impl Wanted {
    /// As the verb of the subscription says.
    pub(crate) fn of(verb: &str, name: &str) -> Self {
        match verb {
            "f" => Self::Filter(name.to_owned()),
            _ => Self::Topic(name.to_owned()),
        }
    }

    fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Topic(name) => name == topic,
            Self::Filter(filter) => {
                let (filter, topic): (Vec<_>, Vec<_>) =
                    (filter.split('/').collect(), topic.split('/').collect());
                let reserved = topic[0].starts_with('$') && ["+", "#"].contains(&filter[0]);
                !reserved && matches(&filter, &topic)
            }
        }
    }
}

/// MQTT's rules, level by level.
fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([], []) => true,
        ([one, filter @ ..], [level, topic @ ..]) => {
            (*one == "+" || one == level) && matches(filter, topic)
        }
        _ => false,
    }
}

impl Subscription {
    /// The number that must come next, or an earlier one.
    fn expects(&self, key: &(String, usize)) -> u32 {
        let first = self.from.get(key).copied().unwrap_or(0);
        let next = self.next.get(key).copied();
        next.unwrap_or(0).max(first)
    }
}

impl Person {
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// Whether it may say something: connected or connecting, and staying.
    pub(crate) fn is_talking(&self) -> bool {
        self.end.is_none() && !self.closed && self.fate.is_none()
    }

    /// A number for something it says.
    pub(crate) fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// What it has published on a topic.
    pub(crate) fn published(&self, topic: &str) -> Publishes {
        self.publishes.get(topic).copied().unwrap_or_default()
    }

    /// It publishes; the number.
    pub(crate) fn publish(&mut self, topic: &str) -> u32 {
        let publishes = self.publishes.entry(topic.to_owned()).or_default();
        publishes.sent += 1;
        publishes.sent - 1
    }

    pub(super) fn publish_taken(&mut self, topic: &str) {
        self.publishes.entry(topic.to_owned()).or_default().taken += 1;
    }

    /// It asks for a subscription; false when it has one.
    pub(crate) fn subscribe(&mut self, wanted: &Wanted) -> bool {
        let free = !self.subscriptions.contains_key(wanted);
        if free {
            self.subscriptions
                .insert(wanted.clone(), Subscription::default());
        }
        free
    }

    /// It ends a subscription; false when it has none to end.
    pub(crate) fn unsubscribe(&mut self, wanted: &Wanted) -> bool {
        let subscription = self.subscriptions.get_mut(wanted);
        subscription
            .is_some_and(|own| own.acknowledged && !std::mem::replace(&mut own.ending, true))
    }

    pub(super) fn subscribed(&mut self, wanted: &Wanted, from: Numbers) {
        if let Some(subscription) = self.subscriptions.get_mut(wanted) {
            subscription.acknowledged = true;
            subscription.from = from;
        }
    }

    pub(super) fn unsubscribed(&mut self, wanted: &Wanted) {
        self.subscriptions.remove(wanted);
    }

    /// How far it must have heard a publisher; `None` when it need not.
    pub(super) fn heard_until(&self, topic: &str, publisher: usize) -> Option<u32> {
        let key = (topic.to_owned(), publisher);
        let matching = self.subscriptions.iter().filter(|(wanted, subscription)| {
            wanted.matches(topic) && subscription.acknowledged && !subscription.ending
        });
        let heard = matching.map(|(_, subscription)| subscription.expects(&key));
        heard.min()
    }

    pub(super) fn delivered(&mut self, topic: &str, publisher: usize, number: u32) -> Verdict {
        let key = (topic.to_owned(), publisher);
        let heard = self.heard.entry(key).or_default();
        if number < *heard {
            return Err(format!("it had heard until {heard}"));
        }
        *heard = number + 1;
        let matching = self
            .subscriptions
            .iter_mut()
            .filter(|(wanted, own)| wanted.matches(topic) && own.acknowledged);
        let mut subscribed = false;
        for (wanted, subscription) in matching {
            subscribed = true;
            let key = (topic.to_owned(), publisher);
            let expected = subscription.expects(&key);
            subscription.next.insert(key, number + 1);
            // Of what was published before the subscription some may come, from
            // another shard's inbox, and some not: nobody was interested then.
            if number > expected {
                return Err(format!("{expected} is missing for {wanted:?}"));
            }
        }
        if !subscribed {
            return Err("it is not subscribed".to_owned());
        }
        Ok(())
    }

    pub(super) fn timer(&mut self, number: &str, now: Nanos) -> Verdict {
        let known = number
            .parse()
            .ok()
            .and_then(|number| self.timers.remove(&number));
        match known {
            None => Err("it set no such timer".to_owned()),
            Some(earliest) if now < earliest => Err(format!("it is due at {earliest}")),
            Some(_) => Ok(()),
        }
    }
}
