//! The subscriptions of one shard.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use hioload_platform::Token;

use super::counts::Count;
use super::interest::{Interest, TopicHash};
use super::options::HubId;
use super::seed::HashSeed;
use super::shared::Hubs;
use super::subscriptions::{Subscription, Subscriptions};
use super::trie::Trie;

/// Index of a topic or filter in this shard's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TopicId(u32);

impl TopicId {
    pub(super) const fn new(index: u32) -> Self {
        Self(index)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// One topic.
    Plain,
    /// All topics that match.
    Filter,
}

/// A subscriber of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub(crate) token: Token,
    /// Where the topic stands in the connection's subscriptions, and [`WAITS`].
    place: u32,
}

/// Of a place: it waits for the topic's home to say where it begins.
const WAITS: u32 = 1 << 31;

// An idle connection costs this.
const _: () = assert!(size_of::<Subscriber>() == 12);

impl Subscriber {
    pub(crate) fn waits(&self) -> bool {
        self.place & WAITS != 0
    }

    fn index(self) -> u32 {
        self.place & !WAITS
    }

    fn set_index(&mut self, index: u32) {
        self.place = self.place & WAITS | index;
    }
}

/// The topics and filters of one shard that have subscribers, and the
/// subscriptions of its connections.
pub(crate) struct Topics {
    shard: usize,
    hubs: Hubs,
    here: Box<[Here]>,
    table: Vec<Topic>,
    free: Vec<TopicId>,
    subscriptions: Subscriptions,
    /// The last ticket given; see `waiting`.
    tickets: u32,
    /// The tickets of the subscribers that wait.
    waiting: HashMap<(TopicId, Token), u32>,
    /// By slot: the last publication given to the connection, among those that
    /// match several subscriptions.
    visits: Vec<u32>,
    visit: u32,
}

/// This shard's part of a hub.
struct Here {
    by_name: HashMap<Arc<str>, TopicId, HashSeed>,
    filters: Trie,
    /// Topics of this shard in each bucket of the shared table.
    in_bucket: Box<[u32]>,
}

struct Topic {
    hub: HubId,
    kind: Kind,
    name: Arc<str>,
    hash: TopicHash,
    bucket: usize,
    subscribers: Vec<Subscriber>,
    /// Of all shards; filters are not counted.
    count: Option<Arc<Count>>,
}

impl Topics {
    pub(crate) fn new(shard: usize, hubs: Hubs) -> Self {
        let here = |seed: &HashSeed| Here {
            by_name: HashMap::with_hasher(seed.clone()),
            filters: Trie::new(seed.clone()),
            in_bucket: vec![0; Interest::buckets()].into(),
        };
        Self {
            shard,
            here: hubs.iter().map(|hub| here(hub.interest.seed())).collect(),
            hubs,
            table: Vec::new(),
            free: Vec::new(),
            subscriptions: Subscriptions::default(),
            tickets: 0,
            waiting: HashMap::new(),
            visits: Vec::new(),
            visit: 0,
        }
    }

    pub(crate) fn hubs(&self) -> &Hubs {
        &self.hubs
    }

    /// Topics and filters with subscribers.
    pub(crate) fn len(&self) -> usize {
        self.table.len() - self.free.len()
    }

    /// Each topic and filter of this shard with the number of its subscribers.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (HubId, &str, usize)> {
        let used = self
            .table
            .iter()
            .filter(|topic| !topic.subscribers.is_empty());
        used.map(|topic| (topic.hub, &*topic.name, topic.subscribers.len()))
    }

    /// The topic's shared name, if this shard has subscribers of it.
    pub(crate) fn name(&self, hub: HubId, topic: &str) -> Option<(Arc<str>, TopicHash)> {
        let id = self.find(hub, Kind::Plain, topic)?;
        let topic = &self.table[id.index()];
        Some((Arc::clone(&topic.name), topic.hash))
    }

    pub(crate) fn find(&self, hub: HubId, kind: Kind, name: &str) -> Option<TopicId> {
        let here = &self.here[hub.index()];
        match kind {
            Kind::Plain => here.by_name.get(name).copied(),
            Kind::Filter => here.filters.find(name),
        }
    }

    /// Whether there are filters here.
    pub(crate) fn has_filters(&self, hub: HubId) -> bool {
        !self.here[hub.index()].filters.is_empty()
    }

    /// The lists of subscribers that match a topic, as [`take`](Self::take)
    /// knows them.
    pub(crate) fn matching(&self, hub: HubId, topic: &str, found: &mut Vec<TopicId>) {
        let here = &self.here[hub.index()];
        found.extend(here.by_name.get(topic));
        here.filters.matching(topic, found);
    }

    /// Subscribers of a topic on this shard.
    pub(crate) fn subscribers(&self, hub: HubId, topic: &str) -> usize {
        self.find(hub, Kind::Plain, topic)
            .map_or(0, |id| self.table[id.index()].subscribers.len())
    }

    /// Subscriptions of a connection.
    pub(crate) fn subscriptions(&self, token: Token) -> usize {
        self.subscriptions.len(token.index())
    }

    /// Whether the connection is subscribed to exactly this.
    pub(crate) fn is_subscribed(&self, hub: HubId, kind: Kind, name: &str, token: Token) -> bool {
        self.position(hub, kind, name, token).is_some()
    }

    /// Whether it is subscribed to this topic and waits for nothing.
    pub(crate) fn is_live(&self, hub: HubId, name: &str, token: Token) -> bool {
        let Some(index) = self.position(hub, Kind::Plain, name, token) else {
            return false;
        };
        let found = self.subscriptions.get(token.index(), index);
        found.is_some_and(|found| {
            let subscribers = &self.table[found.topic.index()].subscribers;
            !subscribers[found.position as usize].waits()
        })
    }

    /// Subscribes a connection that is not subscribed. `name` is valid.
    pub(crate) fn subscribe(&mut self, hub: HubId, kind: Kind, name: &str, token: Token) {
        self.add(hub, kind, name, token, None);
    }

    /// As [`subscribe`](Self::subscribe), and nothing is given to the
    /// subscriber before [`begin`](Self::begin). Returns its ticket.
    pub(crate) fn subscribe_later(&mut self, hub: HubId, name: &str, token: Token) -> u32 {
        self.tickets = self.tickets.checked_add(1).unwrap_or(1);
        self.add(hub, Kind::Plain, name, token, Some(self.tickets));
        self.tickets
    }

    /// The subscription with this ticket begins; `false` when it has ended.
    pub(crate) fn begin(&mut self, hub: HubId, name: &str, token: Token, ticket: u32) -> bool {
        let Some(index) = self.position(hub, Kind::Plain, name, token) else {
            return false;
        };
        let Some(found) = self.subscriptions.get(token.index(), index) else {
            return false;
        };
        let Entry::Occupied(waiting) = self.waiting.entry((found.topic, token)) else {
            return false;
        };
        let begins = *waiting.get() == ticket;
        if begins {
            waiting.remove();
            let topic = &mut self.table[found.topic.index()];
            topic.subscribers[found.position as usize].place &= !WAITS;
        }
        begins
    }

    fn add(&mut self, hub: HubId, kind: Kind, name: &str, token: Token, ticket: Option<u32>) {
        let id = self.find(hub, kind, name);
        let id = id.unwrap_or_else(|| self.insert(hub, kind, name));
        let topic = &mut self.table[id.index()];
        let position = to_u32(topic.subscribers.len());
        let new = Subscription {
            topic: id,
            position,
        };
        let mut place = to_u32(self.subscriptions.push(token.index(), new));
        debug_assert!(place < WAITS);
        if let Some(ticket) = ticket {
            self.waiting.insert((id, token), ticket);
            place |= WAITS;
        }
        topic.subscribers.push(Subscriber { token, place });
        if let Some(count) = &topic.count {
            count.add();
        }
    }

    /// Unsubscribes; `false` when it was not subscribed.
    pub(crate) fn unsubscribe(&mut self, hub: HubId, kind: Kind, name: &str, token: Token) -> bool {
        let Some(index) = self.position(hub, kind, name, token) else {
            return false;
        };
        self.leave(index, token);
        true
    }

    /// Ends the last subscription of a connection; what it was.
    pub(crate) fn leave_last(&mut self, token: Token) -> Option<(HubId, Kind, Arc<str>)> {
        let last = self.subscriptions(token).checked_sub(1)?;
        let topic = self.subscriptions.get(token.index(), last)?.topic;
        let topic = &self.table[topic.index()];
        let left = (topic.hub, topic.kind, Arc::clone(&topic.name));
        self.leave(last, token);
        Some(left)
    }

    /// Ends all subscriptions of a connection.
    pub(crate) fn leave_all(&mut self, token: Token) {
        while let count = self.subscriptions(token)
            && count > 0
        {
            self.leave(count - 1, token);
        }
    }

    fn position(&self, hub: HubId, kind: Kind, name: &str, token: Token) -> Option<usize> {
        let id = self.find(hub, kind, name)?;
        self.subscriptions.find(token.index(), id)
    }

    /// Leaves the topic at `index` of the connection's subscriptions. In both
    /// lists the last element takes the place of the one that leaves, and the
    /// other list's note of its place follows.
    fn leave(&mut self, index: usize, token: Token) {
        let slot = token.index();
        let Some(left) = self.subscriptions.swap_remove(slot, index) else {
            return;
        };
        if let Some(other) = self.subscriptions.get(slot, index) {
            let subscribers = &mut self.table[other.topic.index()].subscribers;
            subscribers[other.position as usize].set_index(to_u32(index));
        }
        let Subscription {
            topic: id,
            position,
        } = left;
        let topic = &mut self.table[id.index()];
        if let Some(count) = &topic.count {
            count.sub();
        }
        if topic.subscribers.swap_remove(position as usize).waits() {
            self.waiting.remove(&(id, token));
        }
        if let Some(last) = topic.subscribers.get(position as usize) {
            let (slot, index) = (last.token.index(), last.index() as usize);
            self.subscriptions.moved(slot, index, position);
        }
        if topic.subscribers.is_empty() {
            self.remove(id);
        }
    }

    /// Takes the subscribers out, to walk them while connections change; put
    /// them back with [`put_back`](Self::put_back), before any changes its
    /// subscriptions.
    pub(crate) fn take(&mut self, id: TopicId) -> Vec<Subscriber> {
        std::mem::take(&mut self.table[id.index()].subscribers)
    }

    pub(crate) fn put_back(&mut self, id: TopicId, subscribers: Vec<Subscriber>) {
        self.table[id.index()].subscribers = subscribers;
    }

    /// Adds those who are to be given a publication, while subscriptions may
    /// change.
    pub(crate) fn copy(&self, id: TopicId, into: &mut Vec<Token>) {
        let subscribers = self.table[id.index()].subscribers.iter();
        into.extend(subscribers.filter(|one| !one.waits()).map(|one| one.token));
    }

    /// A publication that matches several lists begins its way through them.
    pub(crate) fn begin_visits(&mut self) {
        self.visit = self.visit.wrapping_add(1);
        if self.visit == 0 {
            // Once in 2^32 publications the numbers begin again.
            self.visits.fill(0);
            self.visit = 1;
        }
        if self.visits.len() < self.subscriptions.slots() {
            self.visits.resize(self.subscriptions.slots(), 0);
        }
    }

    /// Whether the connection is met for the first time on that way.
    pub(crate) fn visits_first(&mut self, token: Token) -> bool {
        let last = &mut self.visits[token.index()];
        std::mem::replace(last, self.visit) != self.visit
    }

    fn insert(&mut self, hub: HubId, kind: Kind, name: &str) -> TopicId {
        let name: Arc<str> = name.into();
        let shared = self.hubs.get(hub);
        let hash = shared.interest.hash(&name);
        let (bucket, count) = match kind {
            Kind::Plain => (hash.bucket(), Some(shared.counts.join(&name, hash))),
            Kind::Filter => (shared.interest.filter_bucket(&name), None),
        };
        let topic = Topic {
            hub,
            kind,
            name: Arc::clone(&name),
            hash,
            bucket,
            subscribers: Vec::new(),
            count,
        };
        let id = if let Some(id) = self.free.pop() {
            self.table[id.index()] = topic;
            id
        } else {
            self.table.push(topic);
            TopicId(to_u32(self.table.len() - 1))
        };
        let here = &mut self.here[hub.index()];
        match kind {
            Kind::Plain => drop(here.by_name.insert(name, id)),
            Kind::Filter => here.filters.insert(&name, id),
        }
        let in_bucket = &mut here.in_bucket[bucket];
        *in_bucket += 1;
        if *in_bucket == 1 {
            self.hubs.get(hub).interest.set(bucket, self.shard);
        }
        id
    }

    fn remove(&mut self, id: TopicId) {
        let topic = &mut self.table[id.index()];
        topic.subscribers = Vec::new();
        let shared = self.hubs.get(topic.hub);
        let here = &mut self.here[topic.hub.index()];
        match topic.kind {
            Kind::Plain => {
                here.by_name.remove(&topic.name);
                topic.count = None;
                shared.counts.leave(&topic.name, topic.hash);
            }
            Kind::Filter => here.filters.remove(&topic.name),
        }
        self.free.push(id);
        let in_bucket = &mut here.in_bucket[topic.bucket];
        *in_bucket -= 1;
        if *in_bucket == 0 {
            shared.interest.clear(topic.bucket, self.shard);
        }
    }
}

/// Lists are indexed by 32 bits: a shard has fewer than 2^32 connections, and
/// each is subscribed to a bounded number of topics.
pub(super) fn to_u32(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32 entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: HubId = HubId::DEFAULT;

    fn topics(shard: usize) -> Topics {
        Topics::new(shard, Hubs::new(&[], 8, &HashSeed::random()))
    }

    fn slots(topics: &mut Topics, kind: Kind, name: &str) -> Vec<u32> {
        let Some(id) = topics.find(HUB, kind, name) else {
            return Vec::new();
        };
        let list = topics.take(id);
        for (position, subscriber) in list.iter().enumerate() {
            let (slot, index) = (subscriber.token.index(), subscriber.index() as usize);
            let back = topics.subscriptions.get(slot, index);
            let position = to_u32(position);
            let wanted = Subscription {
                topic: id,
                position,
            };
            assert_eq!(back, Some(wanted), "both lists agree");
        }
        let mut found: Vec<_> = list.iter().map(|s| s.token.slot()).collect();
        topics.put_back(id, list);
        found.sort_unstable();
        found
    }

    #[test]
    fn leaving_keeps_both_lists_in_step() {
        let mut topics = topics(0);
        let tokens: Vec<_> = (0..4).map(|slot| Token::new(slot, 0)).collect();
        for &token in &tokens {
            for topic in ["a", "b"] {
                topics.subscribe(HUB, Kind::Plain, topic, token);
            }
            topics.subscribe(HUB, Kind::Filter, "a", token);
        }
        assert!(topics.is_subscribed(HUB, Kind::Plain, "a", tokens[0]));
        assert!(topics.unsubscribe(HUB, Kind::Plain, "a", tokens[0]));
        assert!(!topics.unsubscribe(HUB, Kind::Plain, "a", tokens[0]));
        assert_eq!(slots(&mut topics, Kind::Plain, "a"), [1, 2, 3]);
        assert_eq!(slots(&mut topics, Kind::Plain, "b"), [0, 1, 2, 3]);
        topics.leave_all(tokens[2]);
        assert_eq!(slots(&mut topics, Kind::Plain, "a"), [1, 3]);
        assert_eq!(slots(&mut topics, Kind::Plain, "b"), [0, 1, 3]);
        assert_eq!(slots(&mut topics, Kind::Filter, "a"), [0, 1, 3]);
        assert_eq!(topics.hubs.get(HUB).subscribers("b"), 3);
        topics.leave_all(tokens[2]);
        for &token in &tokens {
            topics.leave_all(token);
        }
        assert_eq!(topics.len(), 0);
        assert_eq!(topics.hubs.get(HUB).topics(), 0);
        assert!(topics.here[0].by_name.is_empty() && topics.here[0].filters.is_empty());
    }

    #[test]
    fn interest_follows_the_first_and_the_last_subscriber() {
        let mut topics = topics(5);
        let hubs = topics.hubs.clone();
        let interest = &hubs.get(HUB).interest;
        let hash = interest.hash("news");
        let (one, two) = (Token::new(1, 0), Token::new(2, 0));
        assert_eq!(interest.shards("news", hash), 0);
        topics.subscribe(HUB, Kind::Plain, "news", one);
        topics.subscribe(HUB, Kind::Plain, "news", two);
        assert_eq!(interest.shards("news", hash), 1 << 5);
        topics.leave_all(one);
        assert_eq!(interest.shards("news", hash), 1 << 5);
        topics.leave_all(two);
        assert_eq!(interest.shards("news", hash), 0);
        topics.subscribe(HUB, Kind::Filter, "news/#", one);
        assert_eq!(topics.table.len(), 1, "the free entry is used again");
        assert_eq!(interest.shards("news", hash), 1 << 5);
        topics.leave_all(one);
        assert_eq!(interest.marked(), 0);
    }

    #[test]
    fn two_shards_count_together() {
        let hubs = Hubs::new(&[], 2, &HashSeed::Given(1));
        let mut shards = [Topics::new(0, hubs.clone()), Topics::new(1, hubs.clone())];
        let token = Token::new(0, 0);
        let counts = || (hubs.get(HUB).subscribers("a"), hubs.get(HUB).topics());
        for topics in &mut shards {
            topics.subscribe(HUB, Kind::Plain, "a", token);
        }
        assert_eq!(counts(), (2, 1));
        assert_eq!(shards[0].subscribers(HUB, "a"), 1);
        shards[0].leave_all(token);
        assert_eq!(counts(), (1, 1));
        shards[1].leave_all(token);
        assert_eq!(counts(), (0, 0));
    }

    #[test]
    fn a_ticket_begins_its_own_subscription_only() {
        let mut topics = topics(0);
        let token = Token::new(3, 1);
        let first = topics.subscribe_later(HUB, "a", token);
        topics.unsubscribe(HUB, Kind::Plain, "a", token);
        assert!(!topics.begin(HUB, "a", token, first));
        assert!(topics.waiting.is_empty(), "it left");
        let second = topics.subscribe_later(HUB, "a", token);
        assert!(!topics.begin(HUB, "a", token, first));
        assert!(!topics.begin(HUB, "a", Token::new(3, 2), second));
        assert!(!topics.is_live(HUB, "a", token));
        assert!(topics.begin(HUB, "a", token, second));
        assert!(topics.is_live(HUB, "a", token) && topics.waiting.is_empty());
        assert!(!topics.begin(HUB, "a", token, second), "once");
    }
}
