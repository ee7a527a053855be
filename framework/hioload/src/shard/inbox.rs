//! What other shards and threads hand to a shard.
//!
//! An [`Inbox`] is bounded and never blocks: two shards that waited for each
//! other's inbox would wait for ever. What does not fit stays with its sender
//! in [`Outgoing`], in order and bounded too; the sender is told and stops
//! reading from whoever publishes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::dial::Dialling;
use crate::hub::Encoded;
use crossbeam_queue::ArrayQueue;

/// Entries a sender keeps for one full inbox. Publishers are paused as soon as
/// there is one, so this bounds what they had sent already: a receive buffer of
/// smallest messages each.
const BACKLOG: usize = 1 << 16;

/// Bytes a sender keeps for one full inbox.
const BACKLOG_BYTES: usize = 64 << 20;

/// What crosses between shards.
#[derive(Clone, Debug)]
pub(crate) enum InboxEntry {
    /// A message for this shard's subscribers of a topic.
    Publish { topic: Arc<str>, encoded: Encoded },
    /// A connection this shard is to make.
    Dial(Dialling),
}

impl InboxEntry {
    fn bytes(&self) -> usize {
        match self {
            Self::Publish { encoded, .. } => encoded.len(),
            Self::Dial(_) => 0,
        }
    }
}

/// A shard's inbox; all other threads push, the shard pops.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: ArrayQueue<InboxEntry>,
    /// One per shard: it found this inbox full and wants to be woken.
    starving: Box<[AtomicBool]>,
}

impl Inbox {
    /// Entries an inbox of a real server holds: some milliseconds of publishes
    /// at the rate one shard takes them in, in 160 KiB.
    pub(crate) const ROOM: usize = 4096;

    pub(crate) fn new(shards: usize, room: usize) -> Self {
        Self {
            queue: ArrayQueue::new(room),
            starving: (0..shards).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Pushes, or gives the entry back when the inbox is full.
    pub(crate) fn push(&self, entry: InboxEntry) -> Result<(), InboxEntry> {
        self.queue.push(entry)
    }

    /// As [`push`](Self::push), and notes that `sender` waits for room. The
    /// second try closes the gap in which the inbox was emptied before the
    /// note was made.
    fn push_or_starve(&self, entry: InboxEntry, sender: usize) -> Result<(), InboxEntry> {
        self.queue.push(entry).or_else(|entry| {
            self.starving[sender].store(true, Ordering::SeqCst);
            self.queue.push(entry)
        })
    }

    pub(crate) fn pop(&self) -> Option<InboxEntry> {
        self.queue.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The shards that wait for room, once each; the caller wakes them.
    pub(crate) fn take_starving(&self) -> impl Iterator<Item = usize> + '_ {
        self.starving
            .iter()
            .enumerate()
            .filter(|(_, flag)| flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::SeqCst))
            .map(|(shard, _)| shard)
    }
}

/// What one shard has for the others.
#[derive(Debug)]
pub(crate) struct Outgoing {
    shard: usize,
    inboxes: Arc<[Inbox]>,
    backlogs: Box<[Backlog]>,
    /// Shards that got something since the last [`take_wakes`](Self::take_wakes).
    wakes: u64,
}

#[derive(Debug, Default)]
struct Backlog {
    entries: VecDeque<InboxEntry>,
    bytes: usize,
}

/// How [`Outgoing::push`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// In the inbox, or on the way.
    Accepted,
    /// Kept here because an inbox is full: stop publishing.
    Congested,
    /// Refused as a whole: a backlog is full.
    Full,
}

impl Outgoing {
    pub(crate) fn new(shard: usize, inboxes: Arc<[Inbox]>) -> Self {
        let backlogs = inboxes.iter().map(|_| Backlog::default()).collect();
        Self {
            shard,
            inboxes,
            backlogs,
            wakes: 0,
        }
    }

    /// Hands `entry` to every shard in `targets` but this one: to all or, when
    /// one backlog is full, to none.
    pub(crate) fn push(&mut self, targets: u64, entry: &InboxEntry) -> Pushed {
        let targets = targets & !(1 << self.shard);
        if bits(targets).any(|target| self.backlogs[target].is_full()) {
            return Pushed::Full;
        }
        let mut pushed = Pushed::Accepted;
        for target in bits(targets) {
            let backlog = &mut self.backlogs[target];
            backlog.bytes += entry.bytes();
            backlog.entries.push_back(entry.clone());
            if !backlog.forward(&self.inboxes[target], self.shard) {
                pushed = Pushed::Congested;
            }
            self.wakes |= 1 << target;
        }
        pushed
    }

    /// Tries again what is kept; `true` when nothing is left.
    pub(crate) fn retry(&mut self) -> bool {
        let mut empty = true;
        for (target, backlog) in self.backlogs.iter_mut().enumerate() {
            if backlog.entries.is_empty() {
                continue;
            }
            empty &= backlog.forward(&self.inboxes[target], self.shard);
            self.wakes |= 1 << target;
        }
        empty
    }

    /// The shards to wake.
    pub(crate) fn take_wakes(&mut self) -> impl Iterator<Item = usize> + use<> {
        bits(std::mem::take(&mut self.wakes))
    }

    /// Adds the shards that wait for room in this shard's own inbox.
    pub(crate) fn wake_starving(&mut self) {
        for shard in self.inboxes[self.shard].take_starving() {
            self.wakes |= 1 << shard;
        }
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inboxes[self.shard]
    }
}

impl Backlog {
    fn is_full(&self) -> bool {
        self.entries.len() >= BACKLOG || self.bytes >= BACKLOG_BYTES
    }

    /// Moves entries to the inbox in order; `true` when all went.
    fn forward(&mut self, inbox: &Inbox, sender: usize) -> bool {
        while let Some(entry) = self.entries.pop_front() {
            let bytes = entry.bytes();
            if let Err(entry) = inbox.push_or_starve(entry, sender) {
                self.entries.push_front(entry);
                return false;
            }
            self.bytes -= bytes;
        }
        true
    }
}

/// The positions of the set bits.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Message;

    fn entry(n: usize) -> InboxEntry {
        let number = n.to_le_bytes();
        let encoded = Encoded::new(Message::binary(&number));
        InboxEntry::Publish {
            topic: "t".into(),
            encoded,
        }
    }

    fn number(entry: &InboxEntry) -> usize {
        let InboxEntry::Publish { encoded, .. } = entry else {
            panic!("{entry:?} is no publish");
        };
        usize::from_le_bytes(encoded.message().payload().try_into().unwrap())
    }

    fn two() -> (Outgoing, Arc<[Inbox]>) {
        let inboxes: Arc<[Inbox]> = (0..2).map(|_| Inbox::new(2, Inbox::ROOM)).collect();
        (Outgoing::new(0, Arc::clone(&inboxes)), inboxes)
    }

    #[test]
    fn a_full_inbox_keeps_order_and_loses_nothing() {
        let (mut outgoing, inboxes) = two();
        let total = Inbox::ROOM + 100;
        for n in 0..total {
            let expected = if n < Inbox::ROOM {
                Pushed::Accepted
            } else {
                Pushed::Congested
            };
            assert_eq!(outgoing.push(0b11, &entry(n)), expected);
        }
        assert!(!outgoing.retry());
        let mut received = Vec::new();
        while let Some(entry) = inboxes[1].pop() {
            received.push(number(&entry));
        }
        assert_eq!(inboxes[1].take_starving().collect::<Vec<_>>(), [0]);
        assert_eq!(inboxes[1].take_starving().count(), 0);
        assert!(outgoing.retry());
        while let Some(entry) = inboxes[1].pop() {
            received.push(number(&entry));
        }
        assert_eq!(received, (0..total).collect::<Vec<_>>());
        assert!(inboxes[0].is_empty(), "the sender itself gets nothing");
    }

    #[test]
    fn a_full_backlog_refuses_the_whole_publish() {
        let (mut outgoing, _inboxes) = two();
        let mut accepted = 0;
        while outgoing.push(0b10, &entry(0)) != Pushed::Full {
            accepted += 1;
        }
        assert_eq!(accepted, Inbox::ROOM + BACKLOG);
        assert_eq!(outgoing.take_wakes().collect::<Vec<_>>(), [1]);
    }
}
