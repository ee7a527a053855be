//! How the server calls the clients of users, as all threads see it: a
//! publication names its publisher, and that is to be the one whose stamp it
//! has.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// The names of all users' clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    list: Box<[Names]>,
}

/// Hashes of a user's client and of the one before, of which publications may
/// still be under way.
#[derive(Debug, Default)]
struct Names {
    now: AtomicU64,
    before: AtomicU64,
}

impl Clients {
    /// Of so many users, none of which has a client.
    pub(crate) fn new(users: usize) -> Self {
        Self {
            list: (0..users).map(|_| Names::default()).collect(),
        }
    }

    /// The server has let in a user and calls its client so.
    pub(super) fn called(&self, user: u32, client: &str) {
        if let Some(names) = self.list.get(user as usize) {
            let before = names.now.load(Ordering::Acquire);
            names.before.store(before, Ordering::Release);
            names.now.store(hash(client), Ordering::Release);
        }
    }

    /// Whether that is what a user's client is called.
    pub(super) fn is_called(&self, user: u32, client: &str) -> bool {
        let hash = hash(client);
        self.list.get(user as usize).is_some_and(|names| {
            [&names.now, &names.before]
                .iter()
                .any(|name| name.load(Ordering::Acquire) == hash)
        })
    }
}

/// Never 0, which is nobody.
fn hash(client: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    hasher.finish() | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_and_the_one_before_it_are_known() {
        let clients = Clients::new(2);
        assert!(!clients.is_called(0, "a"));
        for client in ["a", "b", "c"] {
            clients.called(0, client);
        }
        assert!(clients.is_called(0, "c") && clients.is_called(0, "b"));
        assert!(!clients.is_called(0, "a") && !clients.is_called(1, "c"));
        assert!(!clients.is_called(2, "c"));
    }
}
