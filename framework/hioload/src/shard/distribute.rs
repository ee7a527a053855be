//! Accepted sockets on their way to the shard with the fewest connections.
//!
//! Where listeners can not share a port, or the kernel's hash spreads
//! connections too unevenly, one shard accepts for all. It counts a socket for
//! a shard when it hands it over, so that a burst is spread as evenly as a
//! trickle. A queue that is full passes its turn to the next shard in order of
//! connections; the accepting shard has no queue to itself and is never full,
//! so nothing waits and nothing is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::tls::TlsConfig;

/// Sockets one shard may have waiting: as many as one turn accepts. A shard
/// that has not taken them when the next turn's come is behind, and gets none.
const ROOM: usize = 1024;

/// An accepted socket, and what it speaks.
#[derive(Debug)]
pub(crate) struct Handed<S> {
    pub(crate) socket: S,
    pub(crate) tls: Option<TlsConfig>,
}

/// The queues and counts of all shards.
#[derive(Debug)]
pub(crate) struct Distribution<S> {
    shards: Box<[Seat<S>]>,
}

#[derive(Debug)]
struct Seat<S> {
    queue: ArrayQueue<Handed<S>>,
    /// Sockets it has or is about to have.
    sockets: AtomicUsize,
    /// It takes no more: its thread ends.
    ended: AtomicBool,
}

/// Whom a socket went to.
#[derive(Debug)]
pub(crate) enum Given<S> {
    /// To another shard, which is to be woken.
    Away(usize),
    /// It stays here.
    Here(Handed<S>),
}

impl<S> Distribution<S> {
    pub(crate) fn new(shards: usize) -> Self {
        Self::with_room(shards, ROOM)
    }

    fn with_room(shards: usize, room: usize) -> Self {
        let seat = |_| Seat {
            queue: ArrayQueue::new(room),
            sockets: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        };
        Self {
            shards: (0..shards).map(seat).collect(),
        }
    }

    /// Gives a socket that `own` accepted to the shard with the fewest, and
    /// counts it there.
    pub(crate) fn give(&self, own: usize, mut handed: Handed<S>) -> Given<S> {
        // One bit per shard that turned out to be full; there are at most 64.
        let mut full = 0_u64;
        loop {
            let open = self.shards.iter().enumerate();
            let fewest = open
                .filter(|(shard, _)| full & 1 << shard == 0)
                .filter(|(_, seat)| !seat.ended.load(Ordering::SeqCst))
                .min_by_key(|(_, seat)| seat.sockets.load(Ordering::Relaxed));
            let Some((shard, seat)) = fewest.filter(|&(shard, _)| shard != own) else {
                self.add(own);
                return Given::Here(handed);
            };
            seat.sockets.fetch_add(1, Ordering::Relaxed);
            match seat.queue.push(handed) {
                // It ended between the look and the push, and looks into its
                // queue no more, or does right now: whoever takes it has it.
                Ok(()) if seat.ended.load(Ordering::SeqCst) => match seat.queue.pop() {
                    Some(back) => {
                        seat.sockets.fetch_sub(1, Ordering::Relaxed);
                        handed = back;
                    }
                    None => return Given::Away(shard),
                },
                Ok(()) => return Given::Away(shard),
                Err(back) => {
                    seat.sockets.fetch_sub(1, Ordering::Relaxed);
                    full |= 1 << shard;
                    handed = back;
                }
            }
        }
    }

    /// `own` is about to end: nothing is handed to it from here on. What was
    /// before is there to be [taken](Self::take).
    pub(crate) fn end(&self, own: usize) {
        self.shards[own].ended.store(true, Ordering::SeqCst);
    }

    /// What was handed to `own`, once each.
    pub(crate) fn take(&self, own: usize) -> Option<Handed<S>> {
        self.shards[own].queue.pop()
    }

    /// `own` has one more socket, made otherwise.
    pub(crate) fn add(&self, own: usize) {
        self.shards[own].sockets.fetch_add(1, Ordering::Relaxed);
    }

    /// A socket of `own` is gone.
    pub(crate) fn remove(&self, own: usize) {
        self.shards[own].sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(distribution: &Distribution<u32>, socket: u32) -> Option<usize> {
        match distribution.give(0, Handed { socket, tls: None }) {
            Given::Away(shard) => Some(shard),
            Given::Here(handed) => {
                assert_eq!(handed.socket, socket);
                None
            }
        }
    }

    #[test]
    fn each_socket_goes_to_whoever_has_the_fewest() {
        let shared = Distribution::new(3);
        let order: Vec<_> = (0..6).map(|socket| give(&shared, socket)).collect();
        assert_eq!(order, [None, Some(1), Some(2), None, Some(1), Some(2)]);
        shared.remove(2);
        shared.remove(2);
        assert_eq!(give(&shared, 6), Some(2));
        assert_eq!(give(&shared, 7), Some(2));
        assert_eq!(give(&shared, 8), None, "all have two; the first is next");
        let taken: Vec<_> = std::iter::from_fn(|| shared.take(2)).collect();
        let taken: Vec<_> = taken.iter().map(|handed| handed.socket).collect();
        assert_eq!(taken, [2, 5, 6, 7], "in order, once each");
    }

    #[test]
    fn a_shard_that_ends_is_given_nothing_and_keeps_what_it_was_given() {
        let shared = Distribution::new(2);
        shared.add(0);
        assert_eq!(give(&shared, 1), Some(1));
        shared.end(1);
        shared.add(0);
        assert_eq!(give(&shared, 2), None, "it would be lost there");
        assert_eq!(shared.take(1).map(|handed| handed.socket), Some(1));
    }

    #[test]
    fn a_full_queue_passes_its_turn_and_nothing_is_lost() {
        let shared = Distribution::with_room(2, 2);
        (0..10).for_each(|_| shared.add(0));
        assert_eq!(give(&shared, 1), Some(1));
        assert_eq!(give(&shared, 2), Some(1));
        assert_eq!(give(&shared, 3), None, "full: it stays here");
        assert_eq!(shared.take(1).map(|handed| handed.socket), Some(1));
        assert_eq!(give(&shared, 4), Some(1));
        assert_eq!(shared.shards[1].sockets.load(Ordering::Relaxed), 3);
        assert_eq!(shared.shards[0].sockets.load(Ordering::Relaxed), 11);
    }
}
