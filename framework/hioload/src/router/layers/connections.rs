//! How many WebSockets there may be.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hioload_protocol::CloseCode;
use rustc_hash::FxHashMap;

use crate::address::ClientAddress;
use crate::app::{Conn, ConnId, Upgrade};
use crate::http::{Refusal, Request, Response};
use crate::router::chain::{Event, Middleware, Next};

/// Limits the open WebSockets behind it, in all and per address (an IPv4
/// address or an IPv6 /64). Above the first an upgrade is answered with 503,
/// above the second with 429. Where two shards accept the last one at once,
/// the later is closed with 1013 when it opens.
///
/// Clones share the counts: make one and clone it for each shard. The table
/// has an entry per address with open WebSockets; its lock is taken at each
/// upgrade, open and close, never by messages. A client whose address is not
/// known, as it was gone before it could be asked for, counts among all.
/// Connections dialled from here are not counted.
#[derive(Debug, Default)]
pub struct ConnectionLimit {
    most: Option<usize>,
    most_per_address: Option<usize>,
    shared: Arc<Mutex<Counts>>,
    /// Those of this shard that were counted, and for whom.
    counted: FxHashMap<ConnId, Option<ClientAddress>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_client: HashMap<ClientAddress, usize>,
}

/// The limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    InAll,
    ByAddress,
}

impl Clone for ConnectionLimit {
    /// The same limits and counts, for another shard.
    fn clone(&self) -> Self {
        Self {
            most: self.most,
            most_per_address: self.most_per_address,
            shared: Arc::clone(&self.shared),
            counted: FxHashMap::default(),
        }
    }
}

impl ConnectionLimit {
    /// Limits nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The most WebSockets at once.
    #[must_use]
    pub fn in_all(mut self, most: usize) -> Self {
        self.most = Some(most);
        self
    }

    /// The most WebSockets of an address at once.
    #[must_use]
    pub fn per_address(mut self, most: usize) -> Self {
        self.most_per_address = Some(most);
        self
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing that can panic is done under it.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more would be too many. A client without an address counts
    /// among all only.
    fn reached(&self, counts: &Counts, client: Option<ClientAddress>) -> Option<Reached> {
        if self.most.is_some_and(|most| counts.all >= most) {
            return Some(Reached::InAll);
        }
        let of_client = counts.by_client.get(&client?).copied().unwrap_or(0);
        let full = self.most_per_address.is_some_and(|most| of_client >= most);
        full.then_some(Reached::ByAddress)
    }

    /// Counts a WebSocket, unless it is one too many.
    fn enter(&self, client: Option<ClientAddress>) -> bool {
        let mut counts = self.counts();
        if self.reached(&counts, client).is_some() {
            return false;
        }
        counts.all += 1;
        if let Some(client) = client {
            *counts.by_client.entry(client).or_default() += 1;
        }
        true
    }

    /// A counted WebSocket has ended.
    fn leave(&self, client: Option<ClientAddress>) {
        let mut counts = self.counts();
        counts.all -= 1;
        if let Some(client) = client
            && let Entry::Occupied(mut count) = counts.by_client.entry(client)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Middleware for ConnectionLimit {
    fn upgrade(&mut self, request: &Request<'_>, next: Next<'_>) -> Upgrade {
        let client = request.peer().map(|peer| ClientAddress::of(peer.ip()));
        let reached = self.reached(&self.counts(), client);
        match reached {
            None => next.upgrade(request),
            Some(Reached::InAll) => Refusal::Unavailable.into(),
            Some(Reached::ByAddress) => Upgrade::answer(Response::text(
                429,
                "too many connections from this address\n",
            )),
        }
    }

    fn event(&mut self, conn: &mut Conn<'_>, event: Event<'_>, next: Next<'_>) {
        match event {
            Event::Open if !conn.link.is_dialled() => {
                let client = conn.peer_addr().map(|peer| ClientAddress::of(peer.ip()));
                if self.enter(client) {
                    self.counted.insert(conn.id(), client);
                } else {
                    conn.close(CloseCode::TRY_AGAIN, "too many connections");
                }
            }
            Event::Close(_) => {
                if let Some(client) = self.counted.remove(&conn.id()) {
                    self.leave(client);
                }
            }
            _ => {}
        }
        next.event(conn, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(limit: &ConnectionLimit, client: Option<ClientAddress>) -> Option<Reached> {
        limit.reached(&limit.counts(), client)
    }

    #[test]
    fn clients_without_an_address_count_among_all_and_for_no_address() {
        let limit = ConnectionLimit::new().in_all(3).per_address(1);
        assert!(limit.enter(None) && limit.enter(None));
        assert_eq!(reached(&limit, None), None);
        let known = Some(ClientAddress::V4(1));
        assert!(limit.enter(known));
        assert_eq!(reached(&limit, None), Some(Reached::InAll));
        assert!(!limit.enter(None));
        limit.leave(None);
        assert_eq!(reached(&limit, known), Some(Reached::ByAddress));
        assert!(limit.enter(None), "a place is free again");
    }

    #[test]
    fn the_table_has_only_clients_with_connections() {
        let limit = ConnectionLimit::new();
        let client = Some(ClientAddress::V6(1));
        assert!(limit.enter(client) && limit.enter(client));
        limit.leave(client);
        assert_eq!(limit.counts().by_client.len(), 1);
        limit.leave(client);
        assert_eq!(limit.counts().all, 0);
        assert!(limit.counts().by_client.is_empty());
    }
}
