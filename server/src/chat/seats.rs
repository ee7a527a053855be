//! How many connections each user has, on all shards together.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Users are spread over so many locks, each held for one look at a map, when a
/// connection comes or goes.
const STRIPES: usize = 64;

type Counts = HashMap<Arc<str>, u32>;

/// The counts. A user without connections is forgotten.
pub(super) struct Seats {
    stripes: [Mutex<Counts>; STRIPES],
    hasher: RandomState,
}

/// One of a user's connections, until it is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    user: Arc<str>,
}

impl Seats {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            stripes: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        })
    }

    /// A seat for one more connection. `None`: the user has `limit` of them; 0 is
    /// no limit.
    pub(super) fn take(self: &Arc<Self>, user: &str, limit: u32) -> Option<Seat> {
        let mut counts = self.counts(user);
        let (user, count) = match counts.get_key_value(user) {
            Some((user, &count)) => (user.clone(), count),
            None => (user.into(), 0),
        };
        if limit > 0 && count >= limit {
            return None;
        }
        counts.insert(user.clone(), count.saturating_add(1));
        Some(Seat {
            seats: self.clone(),
            user,
        })
    }

    /// Whether the user has a connection.
    pub(super) fn is_taken(&self, user: &str) -> bool {
        self.counts(user).contains_key(user)
    }

    fn counts(&self, user: &str) -> MutexGuard<'_, Counts> {
        let stripes = u64::try_from(STRIPES).unwrap_or(1);
        let index = usize::try_from(self.hasher.hash_one(user) % stripes).unwrap_or(0);
        let stripe = &self.stripes[index];
        // What a panic left behind is a count that is off by one.
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.seats.counts(&self.user);
        if let Some(count) = counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seat")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_as_many_seats_as_the_limit_and_gets_back_what_is_left() {
        let seats = Seats::new();
        let first = seats.take("a", 2).expect("a seat");
        let second = seats.take("a", 2).expect("a seat");
        assert!(seats.take("a", 2).is_none());
        assert!(seats.take("b", 2).is_some(), "another user's are others");
        assert!(seats.is_taken("a") && !seats.is_taken("b"));
        drop(first);
        let third = seats.take("a", 2).expect("the one that was left");
        assert!(seats.take("a", 2).is_none());
        let more = seats.take("a", 0).expect("there is no limit");
        drop((second, third, more));
        assert!(
            seats
                .stripes
                .iter()
                .all(|one| one.lock().unwrap().is_empty())
        );
    }
}
