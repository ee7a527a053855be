//! One user of a chat, and where it is.

use hioload_platform::Nanos;

use crate::heard::Heard;
use crate::tally::Window;

/// One user through its visits.
#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) stage: Stage,
    pub(super) room: u32,
    /// Number of this visit, or of the one before if it is in none.
    pub(super) visit: u32,
    /// Messages said in this visit.
    pub(super) said: u32,
    /// When it speaks next, planned from the last time, and when it leaves.
    pub(super) speaks: Nanos,
    pub(super) leaves: Nanos,
    /// When it acts next, as the agenda has it.
    pub(super) due: Option<Nanos>,
    /// Whether it has something to say that the server does not take.
    pub(super) blocked: bool,
    /// While it is surely a member.
    pub(super) sure: Option<Window>,
    /// Demanded receipts of this visit that took place.
    pub(super) arrived: u64,
    /// How many it waits for, when it would have left but for them.
    pub(super) awaits: Option<u64>,
    /// Receipts demanded for what it said since, and in the grace before.
    pub(super) recent: Recent,
    pub(super) heard: Heard,
}

/// Receipts demanded for recent messages: if the publisher's connection breaks,
/// these may never have reached the server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    since: Nanos,
    now: u64,
    before: u64,
}

/// Where a user is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// In no room.
    #[default]
    Away,
    /// Its connection opens, or its subscription is asked for.
    Joining,
    /// In a room.
    In,
    /// Its close handshake is under way, or the end of its subscription.
    Leaving,
    /// Its connection failed and is not released yet.
    Cut,
}

impl Recent {
    pub(super) fn add(&mut self, receipts: u64, at: Nanos, grace: Nanos) {
        if at.saturating_sub(self.since) > grace {
            self.before = if at.saturating_sub(self.since) > 2 * grace {
                0
            } else {
                self.now
            };
            self.now = 0;
            self.since = at;
        }
        self.now += receipts;
    }

    /// What was demanded in the grace before `at`, or a little more.
    pub(super) fn at(mut self, at: Nanos, grace: Nanos) -> u64 {
        self.add(0, at, grace);
        self.now + self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_recently_is_in_doubt() {
        let mut recent = Recent::default();
        recent.add(5, 1_000, 100);
        recent.add(1, 1_090, 100);
        assert_eq!((recent.now, recent.before), (6, 0));
        recent.add(2, 1_150, 100);
        assert_eq!((recent.now, recent.before), (2, 6));
        recent.add(3, 9_000, 100);
        assert_eq!((recent.now, recent.before), (3, 0));
        assert_eq!(recent.at(9_150, 100), 3);
        assert_eq!(recent.at(10_000, 100), 0);
    }
}
