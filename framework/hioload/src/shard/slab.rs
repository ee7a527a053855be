//! The connections of a shard, by slot.

use hioload_platform::Token;

use super::link::Link;

/// Entries per page: growing never moves a connection and never copies the
/// table, and a page is small enough to waste little.
const PAGE: usize = 256;

/// A connection: what the shard knows, and the app's state.
pub(crate) struct Entry<S> {
    pub(crate) link: Link,
    pub(crate) state: S,
}

/// A shard's connections as an app sees them, with its own state. An app that
/// delegates to others shows each of them its own connections.
pub(crate) trait Connections<S> {
    /// The connection with exactly this token, if it is the app's.
    fn find(&mut self, token: Token) -> Option<(&mut Link, &mut S)>;
}

impl<S> Connections<S> for Slab<S> {
    fn find(&mut self, token: Token) -> Option<(&mut Link, &mut S)> {
        let Entry { link, state } = self.get(token)?;
        Some((link, state))
    }
}

/// Connections by the slot of their token, which the driver keeps dense.
pub(crate) struct Slab<S> {
    pages: Vec<Box<[Option<Entry<S>>]>>,
    len: usize,
}

impl<S> Slab<S> {
    pub(crate) fn new() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts a connection at its token's slot, which is free: the driver reuses
    /// a slot only after its `Closed`.
    pub(crate) fn insert(&mut self, entry: Entry<S>) {
        let index = entry.link.token().index();
        while self.pages.len() <= index / PAGE {
            self.pages.push((0..PAGE).map(|_| None).collect());
        }
        let place = &mut self.pages[index / PAGE][index % PAGE];
        debug_assert!(place.is_none(), "slot {index} is taken");
        *place = Some(entry);
        self.len += 1;
    }

    /// The connection with exactly this token.
    pub(crate) fn get(&mut self, token: Token) -> Option<&mut Entry<S>> {
        let index = token.index();
        let entry = self.pages.get_mut(index / PAGE)?[index % PAGE].as_mut()?;
        (entry.link.token() == token).then_some(entry)
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<Entry<S>> {
        self.get(token)?;
        self.len -= 1;
        let index = token.index();
        self.pages[index / PAGE][index % PAGE].take()
    }

    /// The connection in a slot; `None` behind the last slot.
    pub(crate) fn at(&self, slot: usize) -> Option<Option<&Entry<S>>> {
        let page = self.pages.get(slot / PAGE)?;
        Some(page[slot % PAGE].as_ref())
    }

    /// All connections.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        let entries = self.pages.iter().flat_map(|page| page.iter().flatten());
        entries.map(|entry| &entry.link)
    }

    /// The tokens of all connections.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        let entries = self.pages.iter().flat_map(|page| page.iter().flatten());
        entries.map(|entry| entry.link.token()).collect()
    }
}
