//! Which filters of a shard match a topic.

use std::collections::HashMap;
use std::sync::Arc;

use super::filter::{REST, SINGLE, is_reserved, levels};
use super::seed::HashSeed;
use super::topics::TopicId;

/// The filters of one hub on one shard, a node per level. A topic visits the
/// nodes that its levels and `+` lead to, each once: at a depth at most as many
/// as there are ways to replace up to [`MAX_SINGLES`]
/// (super::filter::MAX_SINGLES) of them, and never more than the filters have.
#[derive(Debug)]
pub(super) struct Trie {
    root: Node,
    seed: HashSeed,
    filters: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// Filters that end here, and those that have `#` after it.
    exact: Option<TopicId>,
    rest: Option<TopicId>,
    single: Option<Box<Node>>,
    /// By name; none is allocated for the last level.
    children: Option<HashMap<Arc<str>, Node, HashSeed>>,
}

impl Trie {
    pub(super) fn new(seed: HashSeed) -> Self {
        Self {
            root: Node::default(),
            seed,
            filters: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filters == 0
    }

    /// The filter itself, if it is there.
    pub(super) fn find(&self, filter: &str) -> Option<TopicId> {
        let mut node = &self.root;
        for level in levels(filter) {
            node = match level {
                REST => return node.rest,
                SINGLE => node.single.as_deref()?,
                name => node.children.as_ref()?.get(name)?,
            };
        }
        node.exact
    }

    /// Adds a valid filter that is not there.
    pub(super) fn insert(&mut self, filter: &str, id: TopicId) {
        self.filters += 1;
        let mut node = &mut self.root;
        for level in levels(filter) {
            node = match level {
                REST => {
                    node.rest = Some(id);
                    return;
                }
                SINGLE => node.single.get_or_insert_default(),
                name => {
                    let children = node
                        .children
                        .get_or_insert_with(|| HashMap::with_hasher(self.seed.clone()));
                    children.entry(name.into()).or_default()
                }
            };
        }
        node.exact = Some(id);
    }

    /// Removes a filter, and the nodes only it needed.
    pub(super) fn remove(&mut self, filter: &str) {
        let before = self.find(filter).is_some();
        self.root.remove(levels(filter));
        self.filters -= usize::from(before);
    }

    /// Adds the filters that match a topic to `found`.
    pub(super) fn matching(&self, topic: &str, found: &mut Vec<TopicId>) {
        if self.is_empty() {
            return;
        }
        if is_reserved(topic) {
            // Wildcards of the first level pass over it.
            let mut levels = levels(topic);
            let first = levels.next().and_then(|name| self.root.child(name));
            if let Some(node) = first {
                node.matching(levels, found);
            }
            return;
        }
        self.root.matching(levels(topic), found);
    }
}

impl Node {
    fn child(&self, name: &str) -> Option<&Self> {
        self.children.as_ref()?.get(name)
    }

    /// Depth is bounded by [`MAX_LEVELS`](super::filter::MAX_LEVELS).
    fn matching<'t>(
        &self,
        mut levels: impl Iterator<Item = &'t str> + Clone,
        found: &mut Vec<TopicId>,
    ) {
        found.extend(self.rest);
        let Some(name) = levels.next() else {
            found.extend(self.exact);
            return;
        };
        if let Some(node) = self.child(name) {
            node.matching(levels.clone(), found);
        }
        if let Some(node) = &self.single {
            node.matching(levels, found);
        }
    }

    /// Whether nothing is left of it.
    fn remove<'t>(&mut self, mut levels: impl Iterator<Item = &'t str>) -> bool {
        match levels.next() {
            None => self.exact = None,
            Some(REST) => self.rest = None,
            Some(SINGLE) => {
                if self.single.as_mut().is_some_and(|node| node.remove(levels)) {
                    self.single = None;
                }
            }
            Some(name) => {
                if let Some(children) = &mut self.children {
                    if children
                        .get_mut(name)
                        .is_some_and(|node| node.remove(levels))
                    {
                        children.remove(name);
                    }
                    if children.is_empty() {
                        self.children = None;
                    }
                }
            }
        }
        let Self {
            exact,
            rest,
            single,
            children,
        } = self;
        exact.is_none() && rest.is_none() && single.is_none() && children.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, topic: &str) -> bool {
        let mut trie = Trie::new(HashSeed::Given(1));
        let id = TopicId::new(7);
        trie.insert(filter, id);
        assert_eq!(trie.find(filter), Some(id));
        let mut found = Vec::new();
        trie.matching(topic, &mut found);
        trie.remove(filter);
        assert!(trie.is_empty() && trie.find(filter).is_none());
        assert!(trie.root.children.is_none() && trie.root.single.is_none());
        assert!(found.len() < 2, "once at most");
        found == [id]
    }

    /// The examples of MQTT 5.0 section 4.7.1 and 4.7.2.
    #[test]
    fn matches_as_mqtt_says() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
            ),
            ("sport/#", "sport"),
            ("#", "sport/tennis"),
            ("#", "/"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("+/tennis/#", "sport/tennis"),
            ("$SYS/#", "$SYS/monitor/Clients"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
            // A plain topic may hold them.
            ("a/+", "a/+"),
            ("a/+", "a/#"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/monitor"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("a", "a/"),
            ("A", "a"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn one_of_many_goes_and_the_others_stay() {
        let filters = ["a/b", "a/+", "a/#", "+/b", "#", "a/b/#", "a/+/c"];
        let mut trie = Trie::new(HashSeed::Given(1));
        for (id, filter) in (0..).zip(filters) {
            trie.insert(filter, TopicId::new(id));
        }
        for (gone, filter) in (0..).zip(filters) {
            trie.remove(filter);
            let mut found = Vec::new();
            trie.matching("a/b", &mut found);
            found.sort_unstable();
            let expected: Vec<_> = (gone + 1..6).map(TopicId::new).collect();
            assert_eq!(found, expected);
        }
        assert!(trie.is_empty());
    }
}
