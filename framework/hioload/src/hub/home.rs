//! The ordered topics that a shard is home of.
//!
//! A topic's home is the only one to number its messages, so that all
//! subscribers see the same order; it keeps the history, and says at which
//! offset a subscription passes from history to live messages.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use hioload_platform::Nanos;
use hioload_platform::clock::nanos;

use super::encoded::Encoded;
use super::options::Hub;
use super::position::{Epoch, Place, Position, Start};
use super::restore::Restored;
use super::seed::HashSeed;

/// What a topic takes beside its name and messages: entries of the tables.
const TOPIC: usize = 256;

/// What a message takes beside its bytes: its entries, and what makes a frame
/// shared.
const MESSAGE: usize = 192;

/// Topics looked at for one that was not used lately, per message, and then
/// for any: so that a publish costs the same however many have subscribers and
/// must stay.
const LOOKS: usize = 16;

/// One hub's topics on their home shard.
#[derive(Debug)]
pub(crate) struct Home {
    size: usize,
    ttl: Nanos,
    retain: bool,
    /// Bytes that this shard may take.
    memory: usize,
    bytes: usize,
    topics: HashMap<Arc<str>, Topic, HashSeed>,
    /// Every message kept, and some that were given up by size, in the order
    /// of time.
    log: VecDeque<Record>,
    /// Messages kept.
    kept: usize,
    /// Every topic once: the next to be looked at when memory is short.
    clock: VecDeque<Arc<str>>,
    seed: HashSeed,
    epochs: u64,
}

#[derive(Debug)]
struct Topic {
    epoch: Epoch,
    /// That of the last message.
    offset: u64,
    /// The last one given to a message that is not there yet, or `offset`.
    reserved: u64,
    /// The latest messages; the last one has `offset`.
    history: VecDeque<Encoded>,
    last: Option<Encoded>,
    /// Used since the clock passed.
    used: bool,
}

#[derive(Debug)]
struct Record {
    topic: Arc<str>,
    place: Place,
    /// When it is too old.
    until: Nanos,
}

impl Topic {
    /// The offset of the oldest message kept, or of the next one.
    fn first(&self) -> u64 {
        self.offset + 1 - self.history.len() as u64
    }

    fn place(&self) -> Place {
        Place {
            epoch: self.epoch,
            offset: self.offset,
        }
    }

    /// The messages after `offset`, as far as they are kept.
    fn after(&self, offset: u64) -> impl Iterator<Item = (u64, &Encoded)> {
        let skipped = (offset + 1).saturating_sub(self.first());
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        (self.first()..).zip(&self.history).skip(skipped)
    }
}

/// A subscription's beginning: where, and what it is given first.
pub(crate) type Beginning = (Start, Vec<(u64, Encoded)>);

impl Home {
    /// One of `shards` homes of a hub. `number` makes its epochs differ from
    /// those of other homes.
    pub(crate) fn new(hub: &Hub, shards: usize, number: u64, seed: HashSeed) -> Self {
        Self {
            size: hub.history.size,
            ttl: nanos(hub.history.ttl),
            retain: hub.retain,
            memory: hub.history.memory / shards.max(1),
            bytes: 0,
            topics: HashMap::with_hasher(seed.clone()),
            log: VecDeque::new(),
            kept: 0,
            clock: VecDeque::new(),
            seed,
            epochs: number << 40,
        }
    }

    /// Numbers a message and keeps it. `subscribed` tells which topics must
    /// not be forgotten. `None`: numbers are [reserved](Self::reserve).
    pub(crate) fn publish(
        &mut self,
        name: &Arc<str>,
        message: &Encoded,
        now: Nanos,
        subscribed: impl Fn(&str) -> bool,
    ) -> Option<Place> {
        self.expire(now);
        let topic = self.topic(name);
        if topic.reserved > topic.offset {
            return None;
        }
        topic.reserved += 1;
        Some(self.keep(name, message, now, subscribed))
    }

    /// Numbers a message that comes later, by [`place`](Self::place). Until
    /// then the topic is not forgotten.
    pub(crate) fn reserve(&mut self, name: &Arc<str>) -> Place {
        let topic = self.topic(name);
        topic.reserved += 1;
        Place {
            epoch: topic.epoch,
            offset: topic.reserved,
        }
    }

    /// Gives up the number reserved last.
    pub(crate) fn release(&mut self, name: &str) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.reserved = topic.offset.max(topic.reserved.saturating_sub(1));
        }
    }

    /// Keeps the message with the number reserved first; `false`: it is not this
    /// one.
    pub(crate) fn place(
        &mut self,
        name: &Arc<str>,
        message: &Encoded,
        place: Place,
        now: Nanos,
        subscribed: impl Fn(&str) -> bool,
    ) -> bool {
        self.expire(now);
        let topic = self.topic(name);
        let next = Place {
            epoch: topic.epoch,
            offset: topic.offset + 1,
        };
        let is_next = topic.reserved > topic.offset && place == next;
        if is_next {
            self.keep(name, message, now, subscribed);
        }
        is_next
    }

    /// Keeps the next message of a topic.
    fn keep(
        &mut self,
        name: &Arc<str>,
        message: &Encoded,
        now: Nanos,
        subscribed: impl Fn(&str) -> bool,
    ) -> Place {
        let (size, retain) = (self.size, self.retain);
        let until = now.saturating_add(self.ttl);
        let topic = self.topic(name);
        topic.offset += 1;
        let place = topic.place();
        let mut bytes = 0;
        if retain {
            let before = topic.last.replace(message.clone());
            bytes += cost(message);
            self.bytes -= before.as_ref().map_or(0, cost);
        }
        if size > 0 {
            let topic = self.topic(name);
            topic.history.push_back(message.clone());
            let gone = if topic.history.len() > size {
                topic.history.pop_front()
            } else {
                None
            };
            bytes += cost(message);
            self.kept += usize::from(gone.is_none());
            self.bytes -= gone.as_ref().map_or(0, cost);
            self.log.push_back(Record {
                topic: Arc::clone(name),
                place,
                until,
            });
            self.compact();
        }
        self.bytes += bytes;
        self.make_room(subscribed);
        place
    }

    /// Where a subscription begins, and what it is given first: at most so
    /// many bytes.
    pub(crate) fn join(
        &mut self,
        name: &Arc<str>,
        position: Position,
        now: Nanos,
        most: usize,
        subscribed: impl Fn(&str) -> bool,
    ) -> Beginning {
        self.expire(now);
        let topic = self.topic(name);
        let place = topic.place();
        let mut recovered = false;
        let mut replay = Vec::new();
        match position {
            Position::Now => {}
            Position::After(known) => {
                let complete = known.epoch == topic.epoch
                    && (topic.first() - 1..=topic.offset).contains(&known.offset);
                if complete {
                    let bytes: usize = topic.after(known.offset).map(|(_, m)| m.len()).sum();
                    recovered = bytes <= most;
                }
                if recovered {
                    replay.extend(topic.after(known.offset).map(owned));
                }
            }
            Position::Latest(count) => {
                let mut room = most;
                let newest_first = topic.history.iter().rev().take(count);
                let latest = newest_first
                    .zip(0..)
                    .map(|(m, age)| (topic.offset - age, m));
                let fits = latest.take_while(|(_, message)| {
                    let fits = message.len() <= room;
                    room = room.saturating_sub(message.len());
                    fits
                });
                replay.extend(fits.map(owned));
                replay.reverse();
            }
        }
        if !recovered
            && replay.is_empty()
            && let Some(last) = &topic.last
        {
            replay.push((topic.offset, last.clone()));
        }
        let start = Start {
            place,
            recovered,
            replayed: replay.len(),
        };
        self.make_room(subscribed);
        (start, replay)
    }

    /// The messages after an offset, so many at most, and the last place.
    /// `None`: the topic is not known.
    pub(crate) fn past(
        &mut self,
        name: &str,
        after: u64,
        limit: usize,
        now: Nanos,
    ) -> Option<(Place, Vec<(u64, Encoded)>)> {
        self.expire(now);
        let topic = self.topics.get(name)?;
        let messages = topic.after(after).take(limit).map(owned).collect();
        Some((topic.place(), messages))
    }

    /// Forgets the messages kept of a topic; its offsets go on.
    pub(crate) fn forget(&mut self, name: &str) {
        if let Some(topic) = self.topics.get_mut(name) {
            let gone = topic.history.drain(..);
            self.kept -= gone.len();
            self.bytes -= gone.map(|message| cost(&message)).sum::<usize>();
        }
    }

    /// Forgets the last message of a topic.
    pub(crate) fn clear(&mut self, name: &str) {
        if let Some(topic) = self.topics.get_mut(name) {
            self.bytes -= topic.last.take().as_ref().map_or(0, cost);
        }
    }

    /// A topic as it was before the start. Those that come are in any order;
    /// [`restored`](Self::restored) follows the last.
    pub(crate) fn restore(&mut self, known: &Restored<'_>, now: Nanos) {
        let name: Arc<str> = known.topic.into();
        let Place { epoch, offset } = known.place;
        let (size, retain) = (self.size, self.retain);
        let topic = self.topic(&name);
        *topic = Topic {
            epoch,
            offset,
            reserved: offset,
            history: VecDeque::new(),
            last: None,
            used: true,
        };
        let skipped = known.messages.len().saturating_sub(size);
        let mut bytes = 0;
        if retain && let Some((_, last)) = known.messages.last() {
            bytes += cost(&last.0);
            topic.last = Some(last.0.clone());
        }
        let messages = &known.messages[skipped..];
        topic
            .history
            .extend(messages.iter().map(|(_, message)| message.0.clone()));
        let first = topic.first();
        bytes += topic.history.iter().map(cost).sum::<usize>();
        self.bytes += bytes;
        self.kept += messages.len();
        let records = (first..).zip(messages).map(|(offset, (left, _))| Record {
            topic: Arc::clone(&name),
            place: Place { epoch, offset },
            until: now.saturating_add(nanos(*left)),
        });
        self.log.extend(records);
        if self.bytes > self.memory {
            self.restored();
        }
    }

    /// Puts what was restored in the order of time, and gives up the oldest of
    /// it if it is too much.
    pub(crate) fn restored(&mut self) {
        let order = |record: &Record| (record.until, record.place.offset);
        self.log.make_contiguous().sort_by_key(order);
        self.make_room(|_| false);
    }

    /// Gives up what is too old.
    pub(crate) fn expire(&mut self, now: Nanos) {
        while self.log.front().is_some_and(|oldest| oldest.until <= now) {
            self.drop_oldest();
        }
    }

    fn topic(&mut self, name: &Arc<str>) -> &mut Topic {
        let Self {
            topics,
            clock,
            bytes,
            epochs,
            seed,
            ..
        } = self;
        let topic = topics.entry(Arc::clone(name)).or_insert_with(|| {
            clock.push_back(Arc::clone(name));
            *bytes += TOPIC + name.len();
            *epochs += 1;
            Topic {
                epoch: Epoch(seed.hash_one(*epochs)),
                offset: 0,
                reserved: 0,
                history: VecDeque::new(),
                last: None,
                used: false,
            }
        });
        topic.used = true;
        topic
    }

    /// Gives up the oldest message; `false` when there is none.
    fn drop_oldest(&mut self) -> bool {
        let Some(Record { topic, place, .. }) = self.log.pop_front() else {
            return false;
        };
        if let Some(topic) = self.topics.get_mut(&topic)
            && topic.epoch == place.epoch
            && topic.first() == place.offset
            && let Some(message) = topic.history.pop_front()
        {
            self.kept -= 1;
            self.bytes -= cost(&message);
        }
        true
    }

    /// Drops records of messages that were given up by size once they are
    /// most of the log.
    fn compact(&mut self) {
        if self.log.len() < 64 + 2 * self.kept {
            return;
        }
        let topics = &self.topics;
        self.log.retain(|record| {
            topics.get(&record.topic).is_some_and(|topic| {
                topic.epoch == record.place.epoch && topic.first() <= record.place.offset
            })
        });
    }

    /// Gives up the oldest messages, then topics not used for longest, until
    /// the memory suffices.
    fn make_room(&mut self, subscribed: impl Fn(&str) -> bool) {
        let mut looks = 0;
        while self.bytes > self.memory {
            if self.drop_oldest() {
                continue;
            }
            if looks == 2 * LOOKS {
                return;
            }
            looks += 1;
            let Some(name) = self.clock.pop_front() else {
                return;
            };
            let Some(topic) = self.topics.get_mut(&name) else {
                continue;
            };
            if std::mem::take(&mut topic.used) && looks <= LOOKS {
                self.clock.push_back(name);
                continue;
            }
            self.bytes -= topic.last.take().as_ref().map_or(0, cost);
            if subscribed(&name) || topic.reserved > topic.offset {
                // Bounded by the subscriptions there may be, and by what whoever
                // reserves may have on the way.
                self.clock.push_back(name);
            } else {
                self.bytes -= TOPIC + name.len();
                self.topics.remove(&name);
            }
        }
    }
}

fn owned((offset, message): (u64, &Encoded)) -> (u64, Encoded) {
    (offset, message.clone())
}

fn cost(message: &Encoded) -> usize {
    MESSAGE + message.len()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::options::History;
    use super::*;
    use crate::app::Message;

    const SECOND: Nanos = 1_000_000_000;
    const MOST: usize = 1 << 20;

    fn home(hub: &Hub) -> Home {
        Home::new(hub, 1, 1, HashSeed::Given(1))
    }

    fn keeps(size: usize) -> Hub {
        Hub::new("h").history(History::new(size, Duration::from_secs(10)))
    }

    fn message(number: u64) -> Encoded {
        Encoded::new(Message::binary(&number.to_be_bytes()))
    }

    fn publish(home: &mut Home, topic: &str, now: Nanos) -> Place {
        let next = home.topics.get(topic).map_or(1, |topic| topic.offset + 1);
        let place = home.publish(&topic.into(), &message(next), now, |_| false);
        let place = place.expect("nothing is reserved");
        assert_eq!(place.offset, next);
        place
    }

    /// What was replayed, as `offset`s; each message says its own.
    fn join(home: &mut Home, position: Position, now: Nanos) -> (Start, Vec<u64>) {
        let (start, replay) = home.join(&"t".into(), position, now, MOST, |_| false);
        assert_eq!(start.replayed, replay.len());
        for (offset, encoded) in &replay {
            assert_eq!(encoded.message().payload(), offset.to_be_bytes());
        }
        (
            start,
            replay.into_iter().map(|(offset, _)| offset).collect(),
        )
    }

    #[test]
    fn what_is_numbered_first_is_kept_later_in_its_order() {
        let mut home = home(&keeps(3));
        let name: Arc<str> = "t".into();
        publish(&mut home, "t", 0);
        let (second, third) = (home.reserve(&name), home.reserve(&name));
        assert_eq!((second.offset, third.offset), (2, 3));
        let other = home.publish(&name, &message(9), 0, |_| false);
        assert_eq!(other, None, "its number would be in between");
        let place = |home: &mut Home, place: Place| {
            home.place(&name, &message(place.offset), place, 0, |_| false)
        };
        assert!(!place(&mut home, third), "not before the second");
        let (start, _) = join(&mut home, Position::Now, 0);
        assert_eq!(start.place.offset, 1, "nobody sees what is on its way");
        assert!(place(&mut home, second));
        assert!(!place(&mut home, second), "once");
        home.release("t");
        assert!(!place(&mut home, third), "it was given up");
        assert_eq!(publish(&mut home, "t", 0).offset, 3);
        assert_eq!(join(&mut home, Position::Latest(9), 0).1, [1, 2, 3]);
    }

    #[test]
    fn a_topic_with_numbers_on_their_way_is_not_forgotten() {
        let mut hub = keeps(1);
        hub.history.memory = 4000;
        let mut home = home(&hub);
        let place = home.reserve(&"t".into());
        for n in 0..100 {
            home.publish(&format!("other {n}").into(), &message(0), 0, |_| false);
        }
        assert!(home.topics.len() < 20 && home.bytes <= 4000);
        assert!(home.place(&"t".into(), &message(1), place, 0, |_| false));
    }

    #[test]
    fn what_is_restored_goes_on_where_it_was() {
        let mut home = home(&keeps(3));
        let place = |offset| Place {
            epoch: Epoch(7),
            offset,
        };
        let stored = |topic, offsets: std::ops::RangeInclusive<u64>| Restored {
            topic,
            place: place(*offsets.end()),
            messages: offsets
                .map(|n| (Duration::from_secs(n), crate::Prepared(message(n))))
                .collect(),
        };
        home.restore(&stored("t", 2..=5), 1000 * SECOND);
        home.restore(&stored("u", 1..=1), 1000 * SECOND);
        home.restored();
        assert_eq!(home.kept, 4, "as many as the hub keeps");
        let (start, replayed) = join(&mut home, Position::After(place(3)), 1000 * SECOND);
        assert_eq!((start.recovered, start.place), (true, place(5)));
        assert_eq!(replayed, [4, 5]);
        let beyond = Position::After(place(6));
        assert!(!join(&mut home, beyond, 1000 * SECOND).0.recovered);
        // Each is kept for what was left of its time.
        home.expire(1001 * SECOND);
        assert_eq!(home.kept, 3);
        home.expire(1003 * SECOND);
        assert_eq!(home.kept, 2);
        assert_eq!(publish(&mut home, "t", 1003 * SECOND), place(6));
        assert_eq!(
            join(&mut home, Position::Latest(9), 1003 * SECOND).1,
            [4, 5, 6]
        );

        let mut hub = keeps(100);
        hub.history.memory = 6000;
        let mut small = self::home(&hub);
        for topic in ["a", "b", "c", "d"] {
            small.restore(&stored(topic, 1..=10), 0);
        }
        small.restored();
        assert!(small.bytes <= 6000 && small.kept > 10, "{}", small.kept);
        let kept = small.log.iter().map(|record| record.place.offset).min();
        assert!(kept >= Some(5), "the oldest go first: {kept:?}");
    }

    #[test]
    fn what_was_forgotten_is_not_replayed_and_offsets_go_on() {
        let mut home = home(&keeps(3));
        let place = publish(&mut home, "t", 0);
        publish(&mut home, "t", 0);
        publish(&mut home, "u", 0);
        home.forget("t");
        home.forget("unknown");
        assert_eq!(home.kept, 1);
        let (start, replayed) = join(&mut home, Position::After(place), 0);
        assert_eq!((start.recovered, replayed), (false, vec![]));
        assert_eq!(publish(&mut home, "t", 5).offset, 3);
        let (_, replayed) = join(&mut home, Position::Latest(9), 5);
        assert_eq!(replayed, [3]);
        // The records of what was forgotten are no longer about anything.
        home.expire(10 * SECOND);
        assert_eq!(home.kept, 1);
        home.expire(20 * SECOND);
        assert_eq!((home.kept, home.log.len()), (0, 0));
    }

    #[test]
    fn what_came_after_a_place_is_replayed_if_all_of_it_is_there() {
        let mut home = home(&keeps(3));
        let (start, _) = join(&mut home, Position::Now, 0);
        let at = |offset| {
            Position::After(Place {
                offset,
                ..start.place
            })
        };
        let (again, none) = join(&mut home, at(0), 0);
        assert_eq!(
            (again.recovered, none),
            (true, vec![]),
            "nothing was missed"
        );
        for _ in 0..5 {
            publish(&mut home, "t", 0);
        }
        for (offset, recovered, replay) in [
            (5, true, vec![]),
            (4, true, vec![5]),
            (2, true, vec![3, 4, 5]),
            (1, false, vec![]),
            (6, false, vec![]),
        ] {
            let (start, replayed) = join(&mut home, at(offset), 0);
            assert_eq!((start.recovered, replayed), (recovered, replay), "{offset}");
            assert_eq!(start.place.offset, 5);
        }
        let other = Position::After(Place {
            epoch: Epoch(1),
            offset: 4,
        });
        assert!(!join(&mut home, other, 0).0.recovered);
        assert_eq!(join(&mut home, Position::Latest(2), 0).1, [4, 5]);
        assert_eq!(join(&mut home, Position::Latest(9), 0).1, [3, 4, 5]);
        let (place, past) = home.past("t", 3, 1, 0).unwrap();
        assert_eq!((place.offset, past.len(), past[0].0), (5, 1, 4));
        let half = 2 * message(0).len();
        let (_, two) = home.join(&"t".into(), Position::Latest(9), 0, half, |_| false);
        assert_eq!(two.len(), 2, "as much as fits");
        let (start, none) = home.join(&"t".into(), at(2), 0, half, |_| false);
        assert!(!start.recovered && none.is_empty(), "all or nothing");
    }

    #[test]
    fn what_is_too_old_is_gone_and_the_offsets_stay() {
        let mut home = home(&keeps(10));
        for second in 0..5 {
            publish(&mut home, "t", second * SECOND);
        }
        assert_eq!(join(&mut home, Position::Latest(9), 12 * SECOND).1, [4, 5]);
        let (start, none) = join(&mut home, Position::Latest(9), 20 * SECOND);
        assert_eq!((start.place.offset, none), (5, vec![]));
        assert!(home.log.is_empty());
        assert_eq!(home.kept, 0);
        assert_eq!(home.bytes, TOPIC + 1);
        assert_eq!(
            publish(&mut home, "t", 20 * SECOND).epoch,
            start.place.epoch
        );
    }

    #[test]
    fn the_last_message_is_kept_until_it_is_cleared() {
        let mut home = home(&Hub::new("h").retain_last(true));
        publish(&mut home, "t", 0);
        publish(&mut home, "t", 0);
        assert_eq!(join(&mut home, Position::Now, 100 * SECOND).1, [2]);
        home.clear("t");
        let (start, none) = join(&mut home, Position::Now, 0);
        assert_eq!((start.place.offset, none), (2, vec![]));
        assert_eq!(home.bytes, TOPIC + 1);
    }

    #[test]
    fn memory_is_bounded_whatever_is_published() {
        let mut hub = keeps(100).retain_last(true);
        hub.history.memory = 100_000;
        let mut home = home(&hub);
        for round in 0..20_000 {
            let topic = format!("topic {}", (round * 7919) % 5000);
            home.publish(&topic.as_str().into(), &message(0), 0, |_| false);
            assert!(home.bytes <= 100_000, "{} in round {round}", home.bytes);
            assert!(home.log.len() <= 64 + 2 * home.kept + 1);
            assert_eq!(home.clock.len(), home.topics.len());
        }
        let histories = home.topics.values().map(|topic| topic.history.len());
        assert_eq!(histories.sum::<usize>(), home.kept);
        assert!(home.topics.len() > 50, "the memory is used");
    }

    #[test]
    fn a_topic_with_subscribers_keeps_its_epoch_and_a_forgotten_one_does_not() {
        let mut hub = keeps(100);
        hub.history.memory = 10_000;
        let mut home = home(&hub);
        let first = |home: &mut Home, name: &str| {
            let place = home.publish(&name.into(), &message(0), 0, |topic| topic == "t");
            place.expect("nothing is reserved")
        };
        let (kept, gone) = (first(&mut home, "t"), first(&mut home, "u"));
        for round in 0..1000 {
            first(&mut home, &round.to_string());
        }
        let (kept_now, gone_now) = (first(&mut home, "t"), first(&mut home, "u"));
        assert_eq!((kept_now.epoch, kept_now.offset), (kept.epoch, 2));
        assert_ne!(gone_now.epoch, gone.epoch);
        assert_eq!(gone_now.offset, 1);
    }

    #[test]
    fn records_of_what_went_by_size_do_not_pile_up() {
        let mut home = home(&keeps(1));
        for _ in 0..10_000 {
            publish(&mut home, "t", 0);
        }
        assert_eq!(home.kept, 1);
        assert!(home.log.len() <= 66, "{}", home.log.len());
        assert_eq!(home.bytes, TOPIC + 1 + cost(&message(0)));
    }
}
