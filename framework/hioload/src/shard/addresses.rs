//! How many connections each address has, on all shards together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::address::ClientAddress;
use crate::hub::HashSeed;

/// Tables, each with a lock of its own: held for one look at a map, at a
/// connection's beginning and end.
const TABLES: usize = 64;

/// Connections by address. An entry exists while connections of its address
/// do, so there are no more than connections.
#[derive(Debug)]
pub(crate) struct Addresses {
    tables: Box<[Mutex<HashMap<ClientAddress, usize, HashSeed>>]>,
    seed: HashSeed,
}

impl Addresses {
    pub(crate) fn new(seed: &HashSeed) -> Self {
        let table = |_| Mutex::new(HashMap::with_hasher(seed.clone()));
        Self {
            tables: (0..TABLES).map(table).collect(),
            seed: seed.clone(),
        }
    }

    /// Counts a connection, if its address has fewer than `most`; whether it
    /// did.
    pub(crate) fn enter(&self, ip: IpAddr, most: usize) -> bool {
        let key = ClientAddress::of(ip);
        self.with(key, |table| match table.entry(key) {
            Entry::Occupied(count) if *count.get() >= most => false,
            Entry::Occupied(mut count) => {
                *count.get_mut() += 1;
                true
            }
            Entry::Vacant(place) => {
                place.insert(1);
                true
            }
        })
    }

    /// A counted connection has ended.
    pub(crate) fn leave(&self, ip: IpAddr) {
        let key = ClientAddress::of(ip);
        self.with(key, |table| {
            let Entry::Occupied(mut count) = table.entry(key) else {
                debug_assert!(false, "{ip} was not counted");
                return;
            };
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
            // What a crowd has left is given back.
            if table.len() < table.capacity() / 8 {
                table.shrink_to(2 * table.len());
            }
        });
    }

    /// Connections counted.
    pub(crate) fn counted(&self) -> usize {
        let tables = self.tables.iter();
        let lock = |table: &Mutex<HashMap<_, usize, _>>| {
            let table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.values().sum::<usize>()
        };
        tables.map(lock).sum()
    }

    fn with<T>(
        &self,
        key: ClientAddress,
        act: impl FnOnce(&mut HashMap<ClientAddress, usize, HashSeed>) -> T,
    ) -> T {
        // The low bits choose a place in the table.
        let table = (self.seed.hash_one(key) >> 32) as usize % TABLES;
        // No panic leaves a count half changed.
        let lock = self.tables[table].lock();
        act(&mut lock.unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count_and_a_network_of_ipv6_one() {
        let addresses = Addresses::new(&HashSeed::Given(1));
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(addresses.enter(ip("192.0.2.1"), 2));
        assert!(addresses.enter(ip("::ffff:192.0.2.1"), 2));
        assert!(!addresses.enter(ip("192.0.2.1"), 2));
        assert!(addresses.enter(ip("192.0.2.2"), 2));
        assert!(addresses.enter(ip("2001:db8::1"), 1));
        assert!(!addresses.enter(ip("2001:db8::ffff:0:0:1"), 1));
        assert!(addresses.enter(ip("2001:db8:0:1::1"), 1));
        assert_eq!(addresses.counted(), 5);
        for left in ["192.0.2.1", "192.0.2.1", "192.0.2.2"] {
            addresses.leave(ip(left));
        }
        addresses.leave(ip("2001:db8::abcd"));
        assert!(addresses.enter(ip("2001:db8::1"), 1));
        addresses.leave(ip("2001:db8::1"));
        addresses.leave(ip("2001:db8:0:1::"));
        assert_eq!(addresses.counted(), 0);
    }

    #[test]
    fn entries_and_memory_go_with_the_connections() {
        let addresses = Addresses::new(&HashSeed::Given(1));
        let ips = || (0..100_000u32).map(|bits| IpAddr::V4(bits.into()));
        assert!(ips().all(|ip| addresses.enter(ip, 1)));
        assert_eq!(addresses.counted(), 100_000);
        ips().for_each(|ip| addresses.leave(ip));
        for table in &addresses.tables {
            let table = table.lock().unwrap();
            assert!(table.is_empty() && table.capacity() < 64);
        }
    }
}
