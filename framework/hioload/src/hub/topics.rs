//! The topics of one shard.

use std::collections::HashMap;
use std::sync::Arc;

use hioload_platform::Token;
use smallvec::SmallVec;

use super::interest::{Interest, TopicHash};
use super::seed::HashSeed;

/// Index of a topic in this shard's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicId(u32);

/// A subscriber of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub(crate) token: Token,
    /// Where the topic stands in the connection's subscriptions.
    index: u32,
}

/// What one connection is subscribed to: topic and position among its
/// subscribers, so that leaving costs the same whatever the topic's size. One
/// is kept inline.
type Subscriptions = SmallVec<[(TopicId, u32); 1]>;

/// The topics of one shard that have subscribers, and the subscriptions of its
/// connections.
pub(crate) struct Topics {
    shard: usize,
    interest: Interest,
    by_name: HashMap<Arc<str>, TopicId, HashSeed>,
    table: Vec<Topic>,
    free: Vec<TopicId>,
    /// By slot of the connection's token.
    subscriptions: Vec<Subscriptions>,
    /// Topics of this shard in each bucket of the shared table.
    in_bucket: Box<[u32]>,
}

struct Topic {
    name: Arc<str>,
    hash: TopicHash,
    subscribers: Vec<Subscriber>,
}

impl Topics {
    pub(crate) fn new(shard: usize, interest: Interest) -> Self {
        Self {
            shard,
            by_name: HashMap::with_hasher(interest.seed().clone()),
            interest,
            table: Vec::new(),
            free: Vec::new(),
            subscriptions: Vec::new(),
            in_bucket: vec![0; Interest::buckets()].into(),
        }
    }

    /// Topics with subscribers.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn interest(&self) -> &Interest {
        &self.interest
    }

    /// The topic's shared name, if this shard has subscribers of it.
    pub(crate) fn name(&self, topic: &str) -> Option<(Arc<str>, TopicHash)> {
        let id = self.by_name.get(topic)?;
        let topic = &self.table[id.0 as usize];
        Some((Arc::clone(&topic.name), topic.hash))
    }

    pub(crate) fn find(&self, topic: &str) -> Option<TopicId> {
        self.by_name.get(topic).copied()
    }

    /// Subscribes; `false` when it is subscribed already.
    pub(crate) fn subscribe(&mut self, topic: &str, token: Token) -> bool {
        if self.subscriptions.len() <= token.index() {
            self.subscriptions
                .resize_with(token.index() + 1, Subscriptions::new);
        }
        if self.position(topic, token).is_some() {
            return false;
        }
        let id = self.find(topic).unwrap_or_else(|| self.insert(topic));
        let subscriptions = &mut self.subscriptions[token.index()];
        let subscribers = &mut self.table[id.0 as usize].subscribers;
        let index = to_u32(subscriptions.len());
        subscriptions.push((id, to_u32(subscribers.len())));
        subscribers.push(Subscriber { token, index });
        true
    }

    /// Unsubscribes; `false` when it was not subscribed.
    pub(crate) fn unsubscribe(&mut self, topic: &str, token: Token) -> bool {
        let Some(index) = self.position(topic, token) else {
            return false;
        };
        self.leave(index, token);
        true
    }

    /// Ends all subscriptions of a connection.
    pub(crate) fn leave_all(&mut self, token: Token) {
        while let Some(count) = self.subscriptions.get(token.index()).map(SmallVec::len)
            && count > 0
        {
            self.leave(count - 1, token);
        }
    }

    fn position(&self, topic: &str, token: Token) -> Option<usize> {
        let id = self.find(topic)?;
        self.subscriptions
            .get(token.index())?
            .iter()
            .position(|&(known, _)| known == id)
    }

    /// Leaves the topic at `index` of the connection's subscriptions. In both
    /// lists the last element takes the place of the one that leaves, and the
    /// other list's note of its place follows.
    fn leave(&mut self, index: usize, token: Token) {
        let subscriptions = &mut self.subscriptions[token.index()];
        let (id, position) = subscriptions.swap_remove(index);
        if let Some(&(other, other_position)) = subscriptions.get(index) {
            let subscriber = &mut self.table[other.0 as usize].subscribers[other_position as usize];
            subscriber.index = to_u32(index);
        }
        let subscribers = &mut self.table[id.0 as usize].subscribers;
        subscribers.swap_remove(position as usize);
        if let Some(last) = subscribers.get(position as usize) {
            self.subscriptions[last.token.index()][last.index as usize].1 = position;
        }
        if subscribers.is_empty() {
            self.remove(id);
        }
    }

    /// Takes the subscribers out, to walk them while connections change; put
    /// them back with [`put_back`](Self::put_back).
    pub(crate) fn take(&mut self, id: TopicId) -> Vec<Subscriber> {
        std::mem::take(&mut self.table[id.0 as usize].subscribers)
    }

    pub(crate) fn put_back(&mut self, id: TopicId, subscribers: Vec<Subscriber>) {
        self.table[id.0 as usize].subscribers = subscribers;
    }

    fn insert(&mut self, name: &str) -> TopicId {
        let name: Arc<str> = name.into();
        let hash = self.interest.hash(&name);
        let topic = Topic {
            name: Arc::clone(&name),
            hash,
            subscribers: Vec::new(),
        };
        let id = if let Some(id) = self.free.pop() {
            self.table[id.0 as usize] = topic;
            id
        } else {
            self.table.push(topic);
            TopicId(to_u32(self.table.len() - 1))
        };
        self.by_name.insert(name, id);
        let count = &mut self.in_bucket[hash.bucket()];
        *count += 1;
        if *count == 1 {
            self.interest.set(hash.bucket(), self.shard);
        }
        id
    }

    fn remove(&mut self, id: TopicId) {
        let topic = &mut self.table[id.0 as usize];
        topic.subscribers = Vec::new();
        self.by_name.remove(&topic.name);
        let bucket = topic.hash.bucket();
        self.free.push(id);
        let count = &mut self.in_bucket[bucket];
        *count -= 1;
        if *count == 0 {
            self.interest.clear(bucket, self.shard);
        }
    }
}

/// Lists are indexed by 32 bits: a shard has fewer than 2^32 connections, and
/// each is subscribed to a bounded number of topics.
fn to_u32(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32 entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(topics: &mut Topics, topic: &str) -> Vec<u32> {
        let Some(id) = topics.find(topic) else {
            return Vec::new();
        };
        let list = topics.take(id);
        for (position, subscriber) in list.iter().enumerate() {
            let back = topics.subscriptions[subscriber.token.index()][subscriber.index as usize];
            assert_eq!(back, (id, to_u32(position)), "both lists agree");
        }
        let mut found: Vec<_> = list.iter().map(|s| s.token.slot()).collect();
        topics.put_back(id, list);
        found.sort_unstable();
        found
    }

    #[test]
    fn leaving_keeps_both_lists_in_step() {
        let mut topics = Topics::new(0, Interest::new(HashSeed::random()));
        let tokens: Vec<_> = (0..4).map(|slot| Token::new(slot, 0)).collect();
        for &token in &tokens {
            for topic in ["a", "b", "c"] {
                assert!(topics.subscribe(topic, token));
            }
            assert!(!topics.subscribe("a", token));
        }
        assert!(topics.unsubscribe("a", tokens[0]));
        assert!(!topics.unsubscribe("a", tokens[0]));
        assert_eq!(slots(&mut topics, "a"), [1, 2, 3]);
        assert_eq!(slots(&mut topics, "b"), [0, 1, 2, 3]);
        topics.leave_all(tokens[2]);
        assert_eq!(slots(&mut topics, "a"), [1, 3]);
        assert_eq!(slots(&mut topics, "b"), [0, 1, 3]);
        assert_eq!(slots(&mut topics, "c"), [0, 1, 3]);
        topics.leave_all(tokens[2]);
        for &token in &tokens {
            topics.leave_all(token);
        }
        assert!(topics.by_name.is_empty());
    }

    #[test]
    fn interest_follows_the_first_and_the_last_subscriber() {
        let interest = Interest::new(HashSeed::random());
        let mut topics = Topics::new(5, interest.clone());
        let hash = interest.hash("news");
        let (one, two) = (Token::new(1, 0), Token::new(2, 0));
        assert_eq!(interest.shards(hash), 0);
        topics.subscribe("news", one);
        topics.subscribe("news", two);
        assert_eq!(interest.shards(hash), 1 << 5);
        topics.leave_all(one);
        assert_eq!(interest.shards(hash), 1 << 5);
        topics.leave_all(two);
        assert_eq!(interest.shards(hash), 0);
        topics.subscribe("other", one);
        assert_eq!(topics.table.len(), 1, "the free entry is used again");
    }
}
