//! Who was written to not long ago.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Pairs of recipients and channels that are remembered at once; while there
/// are so many, nobody else is written to.
const MAX_REMEMBERED: usize = 1 << 16;

/// Lets one message for a recipient about a channel through in each interval.
#[derive(Debug)]
pub(super) struct Flood {
    interval: Duration,
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By the hash of the pair, which the hasher's key makes hard to guess.
    latest: HashMap<u64, Instant>,
    /// Oldest first; one that was forgiven is of no other time in `latest`.
    order: VecDeque<(u64, Instant)>,
}

impl Flood {
    /// Zero: nobody is held back.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            hasher: RandomState::new(),
            seen: Mutex::default(),
        }
    }

    /// Whether a message may go now; then the next one may not.
    pub(super) fn admit(&self, recipient: &str, channel: &str, now: Instant) -> bool {
        if self.interval.is_zero() {
            return true;
        }
        let key = self.key(recipient, channel);
        let mut seen = self.seen();
        let is_over = |at: Instant| now.saturating_duration_since(at) >= self.interval;
        while let Some((old, at)) = seen.order.pop_front_if(|(_, at)| is_over(*at)) {
            if seen.latest.get(&old) == Some(&at) {
                seen.latest.remove(&old);
            }
        }
        if seen.latest.contains_key(&key) || seen.order.len() >= MAX_REMEMBERED {
            return false;
        }
        seen.latest.insert(key, now);
        seen.order.push_back((key, now));
        true
    }

    /// A message did not get through: the next one may.
    pub(super) fn forgive(&self, recipient: &str, channel: &str) {
        let key = self.key(recipient, channel);
        self.seen().latest.remove(&key);
    }

    fn key(&self, recipient: &str, channel: &str) -> u64 {
        self.hasher.hash_one((recipient, channel))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // What a panic left behind holds somebody back for an interval.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_recipient_gets_one_message_about_a_channel_in_an_interval() {
        let flood = Flood::new(MINUTE);
        let now = Instant::now();
        assert!(flood.admit("a", "room", now));
        assert!(!flood.admit("a", "room", now + MINUTE / 2));
        assert!(flood.admit("a", "other", now) && flood.admit("b", "room", now));
        assert!(flood.admit("a", "room", now + MINUTE));
        assert!(!flood.admit("a", "room", now + MINUTE), "it begins anew");
        flood.forgive("a", "room");
        assert!(flood.admit("a", "room", now + MINUTE));
        let none = Flood::new(Duration::ZERO);
        assert!(none.admit("a", "room", now) && none.admit("a", "room", now));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let flood = Flood::new(MINUTE);
        let now = Instant::now();
        for n in 0..MAX_REMEMBERED {
            assert!(flood.admit(&n.to_string(), "room", now));
        }
        assert!(!flood.admit("one more", "room", now));
        flood.forgive("0", "room");
        assert!(flood.admit("one more", "room", now + MINUTE));
        assert_eq!(flood.seen().latest.len(), 1);
        assert_eq!(flood.seen().order.len(), 1);
    }
}
