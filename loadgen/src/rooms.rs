//! Who must receive what: the rooms as all threads see them.
//!
//! A member is demanded to receive a message when it was surely in the room
//! while the message was published, and not otherwise. Its *sure time* begins a
//! grace after its handshake and ends a grace before it begins to leave; a
//! message counts by its planned time. Publisher and receiver decide that with
//! the same numbers: the publisher finds the member's sure time here, the
//! receiver has its own copy, and so the sum of what is demanded and the sum of
//! what arrived can be compared.
//!
//! Three things keep the decision safe. The sure time is fixed under the lock,
//! and begins later than that moment, so that a publisher that comes to a
//! message of that time has seen the member. A message that leaves more than
//! half a grace after its planned time is marked and demanded of nobody, so that
//! nothing is demanded of a member any more when its stay ends. And a member
//! leaves only when it has what is demanded of it, or has waited for long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hioload_platform::Nanos;
use hioload_platform::clock::Clock;

use crate::tally::Window;

/// All rooms of a run.
#[derive(Debug)]
pub(crate) struct Rooms {
    rooms: Box<[Mutex<Vec<Member>>]>,
    grace: Nanos,
    clock: Clock,
    demanded: AtomicU64,
    accounted: AtomicU64,
}

/// Who must receive a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demanded {
    /// How many others.
    pub(crate) of_others: u64,
    /// Whether its publisher as well.
    pub(crate) of_itself: bool,
}

/// Someone in a room.
#[derive(Debug)]
struct Member {
    user: u32,
    sure: Window,
    demanded: u64,
}

impl Rooms {
    /// So many empty rooms.
    pub(crate) fn new(rooms: usize, grace: Nanos) -> Self {
        Self {
            rooms: (0..rooms).map(|_| Mutex::default()).collect(),
            grace,
            clock: Clock::new(),
            demanded: AtomicU64::new(0),
            accounted: AtomicU64::new(0),
        }
    }

    fn room(&self, room: usize) -> MutexGuard<'_, Vec<Member>> {
        let members = self.rooms[room].lock();
        members.unwrap_or_else(PoisonError::into_inner)
    }

    /// A user whose handshake is done is in a room, and will begin to leave at
    /// `leaves`. Returns its sure time.
    pub(crate) fn enter(&self, room: usize, user: u32, leaves: Nanos) -> Window {
        let mut members = self.room(room);
        let sure = Window {
            from: self.clock.now() + self.grace,
            to: leaves.saturating_sub(self.grace),
        };
        members.push(Member {
            user,
            sure,
            demanded: 0,
        });
        sure
    }

    /// A user is no longer in a room. Returns how many messages it was demanded
    /// to receive.
    pub(crate) fn leave(&self, room: usize, user: u32) -> u64 {
        let mut members = self.room(room);
        match members.iter().position(|member| member.user == user) {
            Some(at) => members.swap_remove(at).demanded,
            None => 0,
        }
    }

    /// How many messages a user was demanded to receive so far.
    pub(crate) fn demanded(&self, room: usize, user: u32) -> u64 {
        let members = self.room(room);
        let member = members.iter().find(|member| member.user == user);
        member.map_or(0, |member| member.demanded)
    }

    /// Whether a message that leaves at `now` leaves in time to be demanded.
    pub(crate) fn in_time(&self, planned: Nanos, now: Nanos) -> bool {
        now.saturating_sub(planned) <= self.grace / 2
    }

    /// A user publishes a message that was planned for `planned`, which comes
    /// back to itself as well or not. Returns who must receive it.
    pub(crate) fn publish(
        &self,
        room: usize,
        user: u32,
        planned: Nanos,
        to_itself: bool,
    ) -> Demanded {
        let mut demanded = Demanded::default();
        for member in self.room(room).iter_mut() {
            if !member.sure.contains(planned) {
                continue;
            }
            if member.user != user {
                demanded.of_others += 1;
            } else if to_itself {
                demanded.of_itself = true;
            } else {
                continue;
            }
            member.demanded += 1;
        }
        let receipts = demanded.of_others + u64::from(demanded.of_itself);
        self.demanded.fetch_add(receipts, Ordering::AcqRel);
        demanded
    }

    /// So many of the demanded receipts took place, or will not any more.
    pub(crate) fn account(&self, receipts: u64) {
        self.accounted.fetch_add(receipts, Ordering::AcqRel);
    }

    /// Whether nothing that was demanded is outstanding.
    pub(crate) fn all_accounted(&self) -> bool {
        self.accounted.load(Ordering::Acquire) >= self.demanded.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Nanos = 1_000;
    const LATER: Nanos = 3_600_000_000_000;

    fn others(rooms: &Rooms, user: u32, planned: Nanos) -> u64 {
        rooms.publish(0, user, planned, false).of_others
    }

    #[test]
    fn a_publisher_that_hears_itself_is_demanded_to_while_it_is_surely_there() {
        let rooms = Rooms::new(1, GRACE);
        let sure = rooms.enter(0, 1, LATER);
        let demanded = |planned, to_itself| rooms.publish(0, 1, planned, to_itself);
        assert_eq!(demanded(sure.from, false), Demanded::default());
        assert_eq!(demanded(sure.from - 1, true), Demanded::default());
        assert!(rooms.all_accounted());
        let itself = Demanded {
            of_others: 0,
            of_itself: true,
        };
        assert_eq!(demanded(sure.from, true), itself);
        assert_eq!(rooms.demanded(0, 1), 1);
        assert!(!rooms.all_accounted());
    }

    #[test]
    fn only_those_surely_present_are_demanded() {
        let rooms = Rooms::new(2, GRACE);
        let sure = rooms.enter(0, 1, LATER);
        rooms.enter(0, 2, LATER);
        rooms.enter(1, 3, LATER);
        assert_eq!(sure.to, LATER - GRACE);
        assert_eq!(others(&rooms, 2, sure.from), 1, "user 1, not 2 or 3");
        assert_eq!(others(&rooms, 9, sure.from - 1), 0, "too early");
        assert_eq!(others(&rooms, 9, sure.to), 0, "too late");
        assert_eq!(others(&rooms, 9, sure.to - 1), 2);
        assert_eq!((rooms.demanded(0, 1), rooms.demanded(1, 1)), (2, 0));
        assert_eq!(rooms.leave(0, 1), 2);
        assert_eq!(rooms.leave(0, 1), 0);
        assert_eq!(others(&rooms, 9, sure.to - 1), 1);
    }

    #[test]
    fn a_stay_shorter_than_two_graces_is_never_demanded_anything() {
        let rooms = Rooms::new(1, GRACE);
        let now = Clock::new().now();
        let sure = rooms.enter(0, 1, now + GRACE);
        for planned in [now, sure.from, sure.to] {
            assert_eq!(others(&rooms, 2, planned), 0);
        }
    }

    #[test]
    fn what_leaves_late_is_not_demanded() {
        let rooms = Rooms::new(1, GRACE);
        assert!(rooms.in_time(5_000, 5_000 + GRACE / 2));
        assert!(!rooms.in_time(5_000, 5_001 + GRACE / 2));
    }

    #[test]
    fn the_run_waits_until_everything_demanded_is_accounted_for() {
        let rooms = Rooms::new(1, GRACE);
        let sure = rooms.enter(0, 1, LATER);
        assert!(rooms.all_accounted());
        rooms.publish(0, 2, sure.from, false);
        assert!(!rooms.all_accounted());
        rooms.account(1);
        assert!(rooms.all_accounted());
    }
}
