//! What is kept of each client, by its address.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::address::ClientAddress;

/// Stripes of a shared table, so that shards seldom wait for each other.
const STRIPES: usize = 64;

/// Something per client, shared by all shards, bounded.
///
/// Each stripe has two generations. What is used is in the young one or moves
/// there; when that is half of what may be kept, it becomes the old one, and
/// what was old and unused since is forgotten. So at least the half used last
/// is always there, and forgetting costs nothing per entry.
#[derive(Debug)]
pub(super) struct Table<V> {
    stripes: Box<[Mutex<Generations<V>>]>,
    /// Of each generation of a stripe.
    room: usize,
    hasher: RandomState,
}

#[derive(Debug)]
struct Generations<V> {
    young: HashMap<ClientAddress, V>,
    old: HashMap<ClientAddress, V>,
}

impl<V> Table<V> {
    /// A table that keeps at most about `most` clients, at least 128.
    pub(super) fn new(most: usize) -> Self {
        let stripe = || {
            Mutex::new(Generations {
                young: HashMap::default(),
                old: HashMap::default(),
            })
        };
        Self {
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            room: (most / STRIPES / 2).max(1),
            hasher: RandomState::new(),
        }
    }

    /// Gives a client's entry, made by `fresh` if there is none, to `act`.
    pub(super) fn with<R>(
        &self,
        client: ClientAddress,
        fresh: impl FnOnce() -> V,
        act: impl FnOnce(&mut V) -> R,
    ) -> R {
        // Clients choose their addresses, so the stripe must not be theirs to choose.
        let hash = self.hasher.hash_one(client);
        let stripe = &self.stripes[usize::try_from(hash % STRIPES as u64).unwrap_or(0)];
        // Whoever panicked in `act` left a value that is whole.
        let mut guard = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        let Generations { young, old } = &mut *guard;
        if young.len() >= self.room && !young.contains_key(&client) {
            *old = std::mem::take(young);
        }
        let entry = young.entry(client);
        act(entry.or_insert_with(|| old.remove(&client).unwrap_or_else(fresh)))
    }

    /// Entries now.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let stripes = self.stripes.iter();
        let kept = stripes.map(|stripe| {
            let guard = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            guard.young.len() + guard.old.len()
        });
        kept.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded_and_keeps_who_is_active() {
        let table = Table::new(1024);
        let active = ClientAddress::V6(1);
        for n in 0..100_000_u32 {
            table.with(ClientAddress::V4(n), || 0, |seen| *seen += 1);
            table.with(active, || 0, |seen| *seen += 1);
        }
        assert!(table.len() <= 1024, "{}", table.len());
        assert_eq!(table.with(active, || 0, |seen| *seen), 100_000);
    }
}
