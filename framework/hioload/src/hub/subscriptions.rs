//! What the connections of one shard are subscribed to.

use super::topics::TopicId;

/// A topic and the connection's position among its subscribers, so that leaving
/// costs the same whatever the topic's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) topic: TopicId,
    pub(super) position: u32,
}

/// The subscriptions of connections, by the slot of their tokens.
///
/// A connection costs eight bytes, which hold its subscription while it has no
/// more than one.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    slots: Vec<Slot>,
    /// Of connections with several: not empty but for those in `free`.
    lists: Vec<Vec<Subscription>>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// A topic, or [`NONE`], or [`SEVERAL`].
    topic: TopicId,
    /// The position in the topic, or the index of a list.
    at: u32,
}

const NONE: TopicId = TopicId::new(u32::MAX);
const SEVERAL: TopicId = TopicId::new(u32::MAX - 1);
const EMPTY: Slot = Slot { topic: NONE, at: 0 };

// An idle connection costs this.
const _: () = assert!(size_of::<Slot>() == 8);

impl Subscriptions {
    /// Slots that there is room for.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// How many a connection has.
    pub(super) fn len(&self, slot: usize) -> usize {
        match self.slots.get(slot) {
            None | Some(Slot { topic: NONE, .. }) => 0,
            Some(Slot {
                topic: SEVERAL, at, ..
            }) => self.lists[*at as usize].len(),
            Some(_) => 1,
        }
    }

    pub(super) fn get(&self, slot: usize, index: usize) -> Option<Subscription> {
        match *self.slots.get(slot)? {
            Slot { topic: NONE, .. } => None,
            Slot { topic: SEVERAL, at } => self.lists[at as usize].get(index).copied(),
            Slot { topic, at } => {
                let position = at;
                (index == 0).then_some(Subscription { topic, position })
            }
        }
    }

    /// The index of a connection's subscription of a topic.
    pub(super) fn find(&self, slot: usize, topic: TopicId) -> Option<usize> {
        match *self.slots.get(slot)? {
            Slot { topic: NONE, .. } => None,
            Slot { topic: SEVERAL, at } => {
                let list = &self.lists[at as usize];
                list.iter().position(|one| one.topic == topic)
            }
            Slot { topic: known, .. } => (known == topic).then_some(0),
        }
    }

    /// Adds one; its index.
    pub(super) fn push(&mut self, slot: usize, new: Subscription) -> usize {
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, EMPTY);
        }
        let place = &mut self.slots[slot];
        match *place {
            Slot { topic: NONE, .. } => {
                *place = Slot {
                    topic: new.topic,
                    at: new.position,
                };
                0
            }
            Slot { topic: SEVERAL, at } => {
                let list = &mut self.lists[at as usize];
                list.push(new);
                list.len() - 1
            }
            Slot { topic, at } => {
                let position = at;
                let list = vec![Subscription { topic, position }, new];
                place.topic = SEVERAL;
                place.at = match self.free.pop() {
                    Some(free) => {
                        self.lists[free as usize] = list;
                        free
                    }
                    None => {
                        self.lists.push(list);
                        super::topics::to_u32(self.lists.len() - 1)
                    }
                };
                1
            }
        }
    }

    /// Removes one; the last one takes its index.
    pub(super) fn swap_remove(&mut self, slot: usize, index: usize) -> Option<Subscription> {
        let removed = self.get(slot, index)?;
        let place = &mut self.slots[slot];
        let Slot { topic: SEVERAL, at } = *place else {
            *place = EMPTY;
            return Some(removed);
        };
        let list = &mut self.lists[at as usize];
        list.swap_remove(index);
        if let [Subscription { topic, position }] = **list {
            *place = Slot {
                topic,
                at: position,
            };
            *list = Vec::new();
            self.free.push(at);
        }
        Some(removed)
    }

    /// Notes that the connection is elsewhere among the topic's subscribers.
    pub(super) fn moved(&mut self, slot: usize, index: usize, position: u32) {
        match &mut self.slots[slot] {
            Slot { topic: SEVERAL, at } => {
                self.lists[*at as usize][index].position = position;
            }
            Slot { at, .. } => *at = position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(topic: u32, position: u32) -> Subscription {
        Subscription {
            topic: TopicId::new(topic),
            position,
        }
    }

    fn all(of: &Subscriptions, slot: usize) -> Vec<Subscription> {
        (0..of.len(slot))
            .map(|index| of.get(slot, index).unwrap())
            .collect()
    }

    #[test]
    fn a_list_is_there_while_there_are_several() {
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.len(7), 0);
        assert_eq!(subscriptions.push(7, subscription(1, 10)), 0);
        assert_eq!(subscriptions.lists.len(), 0);
        assert_eq!(subscriptions.push(7, subscription(2, 20)), 1);
        assert_eq!(subscriptions.push(7, subscription(3, 30)), 2);
        subscriptions.moved(7, 1, 21);
        assert_eq!(subscriptions.find(7, TopicId::new(3)), Some(2));
        assert_eq!(subscriptions.find(7, TopicId::new(4)), None);
        assert_eq!(subscriptions.swap_remove(7, 0), Some(subscription(1, 10)));
        assert_eq!(
            all(&subscriptions, 7),
            [subscription(3, 30), subscription(2, 21)]
        );
        assert_eq!(subscriptions.swap_remove(7, 1), Some(subscription(2, 21)));
        assert_eq!(all(&subscriptions, 7), [subscription(3, 30)]);
        assert_eq!(subscriptions.free.len(), 1);
        subscriptions.moved(7, 0, 31);
        assert_eq!(subscriptions.get(7, 0), Some(subscription(3, 31)));
        assert_eq!(subscriptions.get(7, 1), None);
        for slot in [7, 8] {
            subscriptions.push(slot, subscription(5, 1));
            subscriptions.push(slot, subscription(6, 1));
        }
        assert_eq!(subscriptions.lists.len(), 2, "the free list was used again");
        assert_eq!(subscriptions.swap_remove(7, 3), None);
        assert_eq!(subscriptions.len(7), 3);
    }
}
