//! What other shards and threads hand to a shard.
//!
//! An [`Inbox`] is bounded and never blocks: two shards that waited for each
//! other's inbox would wait for ever. What does not fit stays with its sender
//! in [`Outgoing`], in order and bounded too; the sender is told and stops
//! reading from whoever publishes.
//!
//! What must not be refused, the result of work that was accepted, takes a
//! place beforehand ([`Inbox::reserve`]), and that is what is refused.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_queue::{ArrayQueue, SegQueue};
use hioload_platform::Token;
use hioload_protocol::CloseCode;

use super::dial::Dialling;
use crate::app::Completion;
use crate::hub::{Encoded, Joined, Publication, Request};
use crate::offload;
use crate::source::SourceId;
use crate::task::TaskId;

/// Entries a sender keeps for one full inbox. Publishers are paused as soon as
/// there is one, so this bounds what they had sent already: a receive buffer of
/// smallest messages each.
const BACKLOG: usize = 1 << 16;

/// Bytes a sender keeps for one full inbox.
const BACKLOG_BYTES: usize = 64 << 20;

/// Bytes of messages in an inbox: large ones must not make memory of its many
/// entries. One message may go beyond it.
const INBOX_BYTES: usize = 64 << 20;

/// Places an inbox gives out for results of accepted work. Whoever works keeps
/// its own, smaller bound; this one is for all of them together.
const RESERVED: usize = 1 << 17;

/// What crosses between threads.
pub(crate) enum InboxEntry {
    /// A message for this shard's subscribers of a topic.
    Publish(Arc<Publication>),
    /// For the home of an ordered topic.
    Home(Box<Request>),
    /// A home's answer.
    Joined(Box<Joined>),
    /// A connection this shard is to make.
    Dial(Dialling),
    /// Messages for connections of this shard.
    Send(Vec<Outbound>),
    /// The close handshake of a connection is to begin.
    Close {
        token: Token,
        code: CloseCode,
        reason: Box<str>,
    },
    /// A connection is to end at once.
    Terminate(Token),
    /// A task for the app: a [`Task`](super::mail::Task) of its type.
    Post(Box<dyn Any + Send>),
    /// What became of work this shard has offloaded.
    Worked(offload::Completion),
    /// A queue of the app's has something. Each queue has one of these at
    /// most, so they take no place.
    SourceReady(SourceId),
    /// A task is to be polled. Each task has one of these at most, so they take
    /// no place.
    TaskReady(TaskId),
}

/// A message for one connection, and who wants to know what became of it.
pub(crate) struct Outbound {
    pub(crate) token: Token,
    pub(crate) encoded: Encoded,
    pub(crate) completion: Option<Completion>,
}

impl InboxEntry {
    fn bytes(&self) -> usize {
        match self {
            Self::Publish(publication) => publication.encoded.len(),
            Self::Home(request) => request.bytes(),
            Self::Send(messages) => messages.iter().map(|message| message.encoded.len()).sum(),
            Self::Joined(_)
            | Self::Dial(_)
            | Self::Close { .. }
            | Self::Terminate(_)
            | Self::Post(_)
            | Self::Worked(_)
            | Self::SourceReady(_)
            | Self::TaskReady(_) => 0,
        }
    }
}

impl fmt::Debug for InboxEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish(_) => "Publish",
            Self::Home(_) => "Home",
            Self::Joined(_) => "Joined",
            Self::Dial(_) => "Dial",
            Self::Send(_) => "Send",
            Self::Close { .. } => "Close",
            Self::Terminate(_) => "Terminate",
            Self::Post(_) => "Post",
            Self::Worked(_) => "Worked",
            Self::SourceReady(_) => "SourceReady",
            Self::TaskReady(_) => "TaskReady",
        })
    }
}

/// A shard's inbox; all other threads push, the shard pops.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: ArrayQueue<InboxEntry>,
    /// Bytes of messages in `queue`.
    bytes: AtomicUsize,
    /// What took a place before; at most [`RESERVED`].
    promised: SegQueue<InboxEntry>,
    /// Places taken: of what is in `promised`, and of what will be.
    places: AtomicUsize,
    /// The shard has ended: nobody pops any more.
    ended: AtomicBool,
    /// One per shard: it found this inbox full and wants to be woken.
    starving: Box<[AtomicBool]>,
    /// The shard itself finds another one's inbox full: what it is to send on
    /// as a home would wait.
    behind: AtomicBool,
}

impl Inbox {
    /// Entries an inbox of a real server holds: some milliseconds of publishes
    /// at the rate one shard takes them in, in 160 KiB.
    pub(crate) const ROOM: usize = 4096;

    pub(crate) fn new(shards: usize, room: usize) -> Self {
        Self {
            queue: ArrayQueue::new(room),
            bytes: AtomicUsize::new(0),
            promised: SegQueue::new(),
            places: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            starving: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            behind: AtomicBool::new(false),
        }
    }

    /// Pushes, or gives the entry back when the inbox is full.
    pub(crate) fn push(&self, entry: InboxEntry) -> Result<(), InboxEntry> {
        let bytes = entry.bytes();
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let pushed = if bytes > 0 && before > INBOX_BYTES {
            Err(entry)
        } else {
            self.queue.push(entry)
        };
        if pushed.is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.clear_if_ended();
        pushed
    }

    /// As [`push`](Self::push), and notes that `sender` waits for room. The
    /// second try closes the gap in which the inbox was emptied before the
    /// note was made.
    fn push_or_starve(&self, entry: InboxEntry, sender: usize) -> Result<(), InboxEntry> {
        self.push(entry).or_else(|entry| {
            self.starving[sender].store(true, Ordering::SeqCst);
            self.push(entry)
        })
    }

    /// Whether its shard has more to send than others have room for.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::SeqCst)
    }

    /// As [`is_behind`](Self::is_behind), and notes that `sender` waits for the
    /// end of it. The second look closes the gap in which it ended before the
    /// note was made.
    fn is_behind_for(&self, sender: usize) -> bool {
        self.is_behind() && {
            self.starving[sender].store(true, Ordering::SeqCst);
            self.is_behind()
        }
    }

    /// Takes a place for [`keep`](Self::keep); `false` when all are taken.
    /// Give it back with [`release`](Self::release) if nothing comes of it.
    pub(crate) fn reserve(&self) -> bool {
        let taken = self.places.fetch_add(1, Ordering::Relaxed) < RESERVED;
        if !taken {
            self.release();
        }
        taken
    }

    /// Gives back a place.
    pub(crate) fn release(&self) {
        self.places.fetch_sub(1, Ordering::Relaxed);
    }

    /// Pushes what has a place.
    pub(crate) fn keep(&self, entry: InboxEntry) {
        self.promised.push(entry);
        self.clear_if_ended();
    }

    /// The next entry: first what was promised.
    pub(crate) fn pop(&self) -> Option<InboxEntry> {
        if let Some(entry) = self.promised.pop() {
            let placeless = matches!(entry, InboxEntry::SourceReady(_) | InboxEntry::TaskReady(_));
            if !placeless {
                self.release();
            }
            return Some(entry);
        }
        let entry = self.queue.pop()?;
        self.bytes.fetch_sub(entry.bytes(), Ordering::Relaxed);
        Some(entry)
    }

    /// Entries in it.
    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.promised.len()
    }

    /// Bytes of messages in it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Places taken.
    pub(crate) fn places(&self) -> usize {
        self.places.load(Ordering::Relaxed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.promised.is_empty()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// The shard has ended: what is here is dropped, so that whoever waits for
    /// it hears of that, and so is what still comes.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.clear_if_ended();
    }

    /// Whoever pushes after the end clears it himself: between his look at
    /// `ended` and his push the shard may have cleared it already.
    fn clear_if_ended(&self) {
        if self.has_ended() {
            while let Some(entry) = self.pop() {
                drop(entry);
            }
        }
    }

    /// The shards that wait for room, once each; the caller wakes them.
    pub(crate) fn take_starving(&self) -> impl Iterator<Item = usize> + '_ {
        self.starving
            .iter()
            .enumerate()
            .filter(|(_, flag)| flag.load(Ordering::SeqCst) && flag.swap(false, Ordering::SeqCst))
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
    /// Something is kept here, and the other shards know.
    behind: bool,
    /// Shards that publishers here wait for to catch up.
    awaited: u64,
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
            behind: false,
            awaited: 0,
        }
    }

    /// Whether one more entry for these shards would be taken.
    pub(crate) fn has_room(&self, targets: u64) -> bool {
        let targets = targets & !(1 << self.shard);
        !bits(targets).any(|target| self.backlogs[target].is_full())
    }

    /// Whether a home, which may be this shard, has more to send on than others
    /// have room for. [`retry`](Self::retry) says no more that all is well
    /// until it has caught up.
    pub(crate) fn is_behind(&mut self, home: usize) -> bool {
        if home == self.shard {
            return self.behind;
        }
        let behind = self.inboxes[home].is_behind_for(self.shard);
        self.awaited |= u64::from(behind) << home;
        behind
    }

    /// Hands what `entry` makes to every shard in `targets` but this one: to all
    /// or, when one backlog is full, to none.
    pub(crate) fn push(&mut self, targets: u64, entry: impl Fn() -> InboxEntry) -> Pushed {
        if !self.has_room(targets) {
            return Pushed::Full;
        }
        let mut pushed = Pushed::Accepted;
        for target in bits(targets & !(1 << self.shard)) {
            if !self.append(target, entry()) {
                pushed = Pushed::Congested;
            }
        }
        pushed
    }

    /// Hands what `entry` makes to every shard in `targets` but this one. Never
    /// refused: there was room when it was numbered, and whoever numbered it
    /// bounds what has come since.
    pub(crate) fn push_numbered(&mut self, targets: u64, entry: impl Fn() -> InboxEntry) {
        for target in bits(targets & !(1 << self.shard)) {
            self.append(target, entry());
        }
    }

    /// Hands an answer to another shard, after all that was handed to it
    /// before. Never refused: whoever asked was counted.
    pub(crate) fn push_reserved(&mut self, target: usize, entry: InboxEntry) {
        self.append(target, entry);
    }

    /// `false` when it has to wait here.
    fn append(&mut self, target: usize, entry: InboxEntry) -> bool {
        let backlog = &mut self.backlogs[target];
        backlog.bytes += entry.bytes();
        backlog.entries.push_back(entry);
        self.wakes |= 1 << target;
        let gone = backlog.forward(&self.inboxes[target], self.shard);
        if !gone {
            self.set_behind(true);
        }
        gone
    }

    fn set_behind(&mut self, behind: bool) {
        if self.behind != behind {
            self.behind = behind;
            self.inboxes[self.shard]
                .behind
                .store(behind, Ordering::SeqCst);
        }
    }

    /// Tries again what is kept; `true` when nothing is left, and no home that
    /// is waited for is behind.
    #[inline]
    pub(crate) fn retry(&mut self) -> bool {
        (!self.behind && self.awaited == 0) || self.try_again()
    }

    #[cold]
    fn try_again(&mut self) -> bool {
        let mut empty = true;
        for (target, backlog) in self.backlogs.iter_mut().enumerate() {
            if backlog.entries.is_empty() {
                continue;
            }
            empty &= backlog.forward(&self.inboxes[target], self.shard);
            self.wakes |= 1 << target;
        }
        self.set_behind(!empty);
        for home in bits(std::mem::take(&mut self.awaited)) {
            self.is_behind(home);
        }
        empty && self.awaited == 0
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

    /// Entries and bytes kept for each shard.
    pub(crate) fn backlogs(&self) -> impl Iterator<Item = (usize, usize)> {
        let of = |backlog: &Backlog| (backlog.entries.len(), backlog.bytes);
        self.backlogs.iter().map(of)
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
    use crate::hub::{Encoded, HubId};

    fn entry(n: usize) -> InboxEntry {
        publish(&n.to_le_bytes())
    }

    fn publish(payload: &[u8]) -> InboxEntry {
        InboxEntry::Publish(Arc::new(Publication {
            hub: HubId::DEFAULT,
            topic: "t".into(),
            encoded: Encoded::new(Message::binary(payload)),
            place: None,
            except: None,
        }))
    }

    fn number(entry: &InboxEntry) -> usize {
        let InboxEntry::Publish(publication) = entry else {
            panic!("{entry:?} is no publish");
        };
        usize::from_le_bytes(publication.encoded.message().payload().try_into().unwrap())
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
            assert_eq!(outgoing.push(0b11, || entry(n)), expected);
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
        while outgoing.push(0b10, || entry(0)) != Pushed::Full {
            accepted += 1;
        }
        assert_eq!(accepted, Inbox::ROOM + BACKLOG);
        assert_eq!(outgoing.take_wakes().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_took_a_place_is_never_refused() {
        let inbox = Inbox::new(1, 1);
        assert!(inbox.reserve());
        inbox.push(entry(0)).unwrap();
        assert!(inbox.push(entry(1)).is_err(), "full");
        inbox.keep(entry(2));
        assert_eq!(inbox.pop().map(|entry| number(&entry)), Some(2));
        assert_eq!(inbox.pop().map(|entry| number(&entry)), Some(0));
        let places = (0..).take_while(|_| inbox.reserve()).count();
        assert_eq!(places, RESERVED, "the place was given back");
    }

    #[test]
    fn publishers_wait_until_a_home_has_caught_up_and_are_woken_then() {
        let inboxes: Arc<[Inbox]> = (0..3).map(|_| Inbox::new(3, 1)).collect();
        let mut home = Outgoing::new(0, Arc::clone(&inboxes));
        let mut publisher = Outgoing::new(1, Arc::clone(&inboxes));
        assert!(!publisher.is_behind(0) && publisher.retry());
        for n in 0..2 {
            home.push(0b100, || entry(n));
        }
        assert!(publisher.is_behind(0) && !publisher.retry());
        assert!(home.is_behind(0), "of itself it knows, too");
        home.push_reserved(2, entry(2));
        for n in 0..3 {
            assert!(!home.retry() || n == 2);
            assert_eq!(inboxes[2].pop().map(|entry| number(&entry)), Some(n));
        }
        assert!(home.retry() && !home.is_behind(0));
        assert_eq!(inboxes[0].take_starving().collect::<Vec<_>>(), [1]);
        assert!(publisher.retry());
    }

    #[test]
    fn bytes_bound_an_inbox_of_few_entries() {
        let inbox = Inbox::new(1, Inbox::ROOM);
        let large = || publish(&vec![0; 16 << 20]);
        let accepted = (0..).take_while(|_| inbox.push(large()).is_ok()).count();
        assert_eq!(accepted, 4, "64 MiB and a header each");
        assert!(inbox.pop().is_some());
        assert!(inbox.push(large()).is_ok());
    }

    #[test]
    fn an_ended_inbox_keeps_nothing() {
        let inbox = Inbox::new(1, Inbox::ROOM);
        inbox.push(entry(0)).unwrap();
        inbox.end();
        assert!(inbox.is_empty());
        assert!(inbox.push(entry(1)).is_ok());
        assert!(inbox.is_empty());
    }
}
