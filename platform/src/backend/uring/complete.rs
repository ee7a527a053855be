//! What the kernel reported, and whom it concerns.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;

use super::UringDriver;
use super::table::Flags;
use super::tag::{Kind, Tag};
use crate::driver::Event;
use crate::socket::Socket;

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) tag: Tag,
    /// The result of the system call: negative is an error number.
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    pub(super) fn read(entry: &cqueue::Entry) -> Self {
        Self {
            tag: Tag::from_bits(entry.user_data()),
            result: entry.result(),
            flags: entry.flags(),
        }
    }

    /// Whether the request will complete again. When it will not it is over
    /// and, if it was multishot, must be armed again.
    pub(super) fn more(self) -> bool {
        cqueue::more(self.flags)
    }

    /// The receive buffer it carries.
    pub(super) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Whether it is the second completion of a zero-copy send.
    pub(super) fn notification(self) -> bool {
        cqueue::notif(self.flags)
    }
}

impl UringDriver {
    /// Hands a completion to whom it concerns: at most one event.
    pub(super) fn complete(&mut self, completion: Completion, events: &mut Vec<Event<Socket>>) {
        let Some(kind) = completion.tag.kind() else {
            self.stats.stale += 1;
            return;
        };
        // `Rung` answers a request of another ring.
        if kind != Kind::Rung && !completion.more() {
            self.ring.finished();
        }
        match kind {
            Kind::Rung => self.rung(events),
            Kind::Doorbell => self.doorbell_rang(completion, events),
            Kind::Ring => self.ring_delivered(completion),
            Kind::SendZc => self.zero_copy_completed(completion, events),
            Kind::Sweep => {}
            _ => self.complete_slot(kind, completion, events),
        }
    }

    fn complete_slot(
        &mut self,
        kind: Kind,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        let token = completion.tag.token();
        let Some(entry) = self.table.get_mut(token) else {
            self.discard(kind, completion);
            return;
        };
        if !completion.more() {
            debug_assert!(entry.ops > 0, "{token:?}: more completions than requests");
            entry.ops = entry.ops.saturating_sub(1);
        }
        match kind {
            Kind::Accept => self.accept_completed(token, completion, events),
            Kind::Recv => self.recv_completed(token, completion, events),
            Kind::Send => self.send_completed(token, completion, events),
            Kind::Connect => self.connect_completed(token, completion, events),
            Kind::Poll => self.poll_completed(token, completion, events),
            Kind::CancelAll | Kind::CancelRecv => self.cancel_completed(token, kind, completion),
            Kind::Close => return self.close_completed(token, completion, events),
            Kind::ConnectTimeout
            | Kind::SendZc
            | Kind::Doorbell
            | Kind::Ring
            | Kind::Rung
            | Kind::Sweep => {}
        }
        self.settle(token);
    }

    /// A completion for an earlier occupant of its slot: what it carries is
    /// given back, the rest ignored.
    fn discard(&mut self, kind: Kind, completion: Completion) {
        self.stats.stale += 1;
        if kind == Kind::Recv {
            drop(self.received(completion.tag.token(), completion));
        }
        if kind == Kind::Accept && completion.result >= 0 {
            // SAFETY: the kernel made this descriptor for us alone.
            drop(unsafe { OwnedFd::from_raw_fd(completion.result) });
        }
    }

    /// Closes the descriptor once nothing of a closing socket is in flight.
    pub(super) fn settle(&mut self, token: crate::driver::Token) {
        let done = self.table.get(token).is_some_and(|entry| {
            entry.has(Flags::CLOSING) && !entry.has(Flags::CLOSE_SENT) && entry.ops == 0
        });
        if done {
            self.close_descriptor(token);
        }
    }
}
