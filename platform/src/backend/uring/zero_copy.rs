//! Zero-copy sends (`SEND_ZC` 6.0, `SENDMSG_ZC` 6.1).
//!
//! Such a send completes twice: with its result, when the socket may send
//! again, and with a notification, when the kernel no longer reads the memory.
//! The memory is kept here in between, apart from its socket: the peer decides
//! when it acknowledges, so a socket is closed without waiting for it (a peer
//! that stops reading would otherwise keep the descriptor open), and the memory
//! outlives the socket.

use super::UringDriver;
use super::complete::Completion;
use super::send::{Progress, SendOp};
use super::table::Flags;
use super::tag::{Kind, Tag};
use crate::driver::{Event, Token};
use crate::socket::{self, Socket};

/// `IORING_NOTIF_USAGE_ZC_COPIED`: the kernel copied after all.
const COPIED: u32 = 1 << 31;

/// Zero-copy sends whose memory the kernel may still read.
#[derive(Debug)]
pub(super) struct ZeroCopy {
    threshold: Option<usize>,
    held: Vec<Option<Held>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Held {
    op: Box<SendOp>,
    owner: Token,
    /// The result was short: the rest is sent after the notification.
    rest: bool,
}

impl ZeroCopy {
    pub(super) fn new(threshold: Option<usize>) -> Self {
        Self {
            threshold,
            held: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn wants(&self, bytes: usize) -> bool {
        self.threshold.is_some_and(|threshold| bytes >= threshold)
    }

    /// The sockets whose memory the kernel may still read.
    pub(super) fn owners(&self) -> impl Iterator<Item = Token> {
        self.held.iter().flatten().map(|held| held.owner)
    }

    /// The tag of the send in flight of a socket.
    pub(super) fn tag_of(&self, owner: Token) -> Option<Tag> {
        let of = |held: &Option<Held>| {
            held.as_ref()
                .is_some_and(|held| held.owner == owner && held.op.unfinished())
        };
        let index = u32::try_from(self.held.iter().position(of)?).ok()?;
        Some(Tag::new(Kind::SendZc, Token::new(index, 0)))
    }

    fn insert(&mut self, held: Held) -> u32 {
        if let Some(index) = self.free.pop() {
            self.held[index as usize] = Some(held);
            return index;
        }
        self.held.push(Some(held));
        u32::try_from(self.held.len() - 1).unwrap_or(u32::MAX)
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Held> {
        self.held.get_mut(index as usize)?.as_mut()
    }

    fn remove(&mut self, index: u32) -> Option<Held> {
        let held = self.held.get_mut(index as usize)?.take();
        if held.is_some() {
            self.free.push(index);
        }
        held
    }
}

impl UringDriver {
    pub(super) fn send_zero_copy(&mut self, token: Token, mut op: Box<SendOp>) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        entry.ops += 1;
        let request = op.request(entry.raw_fd(), true);
        let index = self.zero_copy.insert(Held {
            op,
            owner: token,
            rest: false,
        });
        let tag = Tag::new(Kind::SendZc, Token::new(index, 0));
        // SAFETY: the boxed operation, and with it segments, vectors and
        // message, stays in `zero_copy` until the notification.
        unsafe { self.ring.push(request.user_data(tag.bits())) };
    }

    pub(super) fn zero_copy_completed(
        &mut self,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        let index = completion.tag.token().slot();
        if completion.notification() {
            self.zero_copy_released(index, completion, events);
        } else {
            self.zero_copy_result(index, completion, events);
        }
    }

    fn zero_copy_result(
        &mut self,
        index: u32,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        let Some(held) = self.zero_copy.get_mut(index) else {
            self.stats.stale += 1;
            return;
        };
        let owner = held.owner;
        let progress = held
            .op
            .advance(completion.result, &mut self.stats.short_sends);
        let rest = matches!(progress, Progress::Rest);
        let closing = self.table.open_mut(owner).is_none();
        if rest && !closing && completion.more() {
            // Its operation stays counted, so that a close waits for the rest.
            held.rest = true;
            return;
        }
        if let Some(entry) = self.table.get_mut(owner) {
            entry.ops = entry.ops.saturating_sub(1);
        }
        match progress {
            Progress::Over(outcome) => self.send_over(owner, outcome, events),
            Progress::Rest if closing => self.send_over(owner, Err(socket::cancelled()), events),
            Progress::Rest => {
                if let Some(held) = self.zero_copy.remove(index) {
                    self.send_plain(owner, held.op);
                }
                return;
            }
        }
        if !completion.more()
            && let Some(held) = self.zero_copy.remove(index)
        {
            self.spare.give_back(held.op);
        }
        self.settle(owner);
    }

    /// The kernel no longer reads the memory.
    fn zero_copy_released(
        &mut self,
        index: u32,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        if completion.result.cast_unsigned() & COPIED != 0 {
            self.stats.zc_copied += 1;
            if let Some(threshold) = self.zero_copy.threshold.take() {
                tracing::info!(
                    threshold,
                    "the kernel copied a zero-copy send; this driver sends plainly from now on"
                );
            }
        }
        let Some(held) = self.zero_copy.remove(index) else {
            self.stats.stale += 1;
            return;
        };
        if !held.rest {
            self.spare.give_back(held.op);
            return;
        }
        let Held { op, owner, .. } = held;
        if let Some(entry) = self.table.get_mut(owner) {
            debug_assert!(entry.has(Flags::SENDING), "{owner:?}: the rest of no send");
            entry.ops = entry.ops.saturating_sub(1);
        }
        if self.table.open_mut(owner).is_some() {
            self.send_plain(owner, op);
        } else {
            self.send_over(owner, Err(socket::cancelled()), events);
            self.spare.give_back(op);
            self.settle(owner);
        }
    }
}
