//! Closing: cancel, await every terminal completion, close, report.

use std::os::fd::{AsRawFd, IntoRawFd};

use io_uring::types::CancelBuilder;
use io_uring::{opcode, types};

use super::UringDriver;
use super::complete::Completion;
use super::table::{Flags, Role};
use super::tag::{Kind, Tag};
use crate::clock::Nanos;
use crate::driver::{Event, Token};
use crate::socket::Socket;

/// A cancel misses an operation that is being retried at that moment. So many
/// cancels follow each other at once; the next ones wait, and the socket is
/// shut down, which ends receives and sends for certain.
const PROMPT_CANCELS: u8 = 4;

/// Between later cancels.
const CANCEL_INTERVAL: Nanos = 10_000_000;

impl UringDriver {
    pub(super) fn start_close(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        entry.flags.set(Flags::CLOSING);
        if entry.ops == 0 {
            self.settle(token);
        } else {
            self.cancel_each(token);
        }
    }

    /// Ends the closing of a socket once nothing of it is in flight: what waits
    /// at a listener is accepted, then the descriptor is closed.
    pub(super) fn settle(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        if !entry.has(Flags::CLOSING) || entry.has(Flags::CLOSE_SENT) || entry.ops > 0 {
            return;
        }
        let listens = entry.role == Role::Listener && !self.ending;
        if listens && entry.flags.raise(Flags::ACCEPTED_LAST) {
            self.accept_last(token);
        } else {
            self.close_descriptor(token);
        }
    }

    /// The kernel resets what waits at a listener that is closed. An accept
    /// takes all of it at once, while it is submitted; the cancel behind it ends
    /// the wait for more.
    fn accept_last(&mut self, token: Token) {
        self.push_accept(token);
        self.cancel_one(token, Tag::new(Kind::Accept, token));
    }

    /// Cancels the operations of a socket one by one.
    ///
    /// Not all at once by descriptor: for that the kernel (6.18) walks every
    /// armed operation of the ring, 650 microseconds per close with 10,000
    /// sockets, while a tag is found by its hash.
    fn cancel_each(&mut self, token: Token) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        let plain = entry.op.is_some();
        let awaits = entry.has(Flags::ACCEPT_AWAITS);
        let armed = [
            (entry.has(Flags::RECV_ARMED), Kind::Recv),
            (entry.has(Flags::SENDING) && plain, Kind::Send),
            (entry.role == Role::Connecting, Kind::Connect),
            (entry.role == Role::Listener && !awaits, Kind::Accept),
            (entry.role == Role::Listener && awaits, Kind::Poll),
            (entry.role == Role::Source, Kind::Poll),
        ];
        let zero_copy = entry.has(Flags::SENDING) && !plain;
        for (_, kind) in armed.into_iter().filter(|&(armed, _)| armed) {
            self.cancel_one(token, Tag::new(kind, token));
        }
        if zero_copy && let Some(tag) = self.zero_copy.tag_of(token) {
            self.cancel_one(token, tag);
        }
    }

    /// Cancels the operation tagged `target`.
    pub(super) fn cancel_one(&mut self, token: Token, target: Tag) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        entry.ops += 1;
        let target = CancelBuilder::user_data(target.bits());
        let request = opcode::AsyncCancel2::new(target).build();
        let request = request.user_data(Tag::new(Kind::CancelOne, token).bits());
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(request) };
    }

    /// Cancels whatever is left on the descriptor.
    fn cancel_all(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        entry.ops += 1;
        entry.cancels = entry.cancels.saturating_add(1);
        let target = CancelBuilder::fd(types::Fd(entry.raw_fd())).all();
        let request = opcode::AsyncCancel2::new(target).build();
        let request = request.user_data(Tag::new(Kind::CancelAll, token).bits());
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(request) };
    }

    /// A cancel's own result proves nothing about its target: only the target's
    /// terminal completion does. If it found less than there is, it is repeated.
    pub(super) fn cancel_completed(&mut self, token: Token, kind: Kind, completion: Completion) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        let missed = match kind {
            Kind::CancelAll => completion.result < i32::from(entry.ops),
            _ if entry.has(Flags::CLOSING) => completion.result < 0,
            _ => completion.result < 0 && entry.has(Flags::RECV_CANCELLED),
        };
        if entry.ops == 0 || !missed || !entry.flags.raise(Flags::LISTED_CANCEL) {
            return;
        }
        let prompt = entry.cancels < PROMPT_CANCELS;
        self.cancels.push(token.slot());
        let due = if prompt {
            0
        } else {
            self.clock.now().saturating_add(CANCEL_INTERVAL)
        };
        self.cancel_retry = Some(self.cancel_retry.map_or(due, |earlier| earlier.min(due)));
    }

    /// Repeats the cancels that missed something.
    pub(super) fn repeat_cancels(&mut self) {
        self.cancel_retry = None;
        let mut slots = std::mem::take(&mut self.cancels);
        for slot in slots.drain(..) {
            self.table.slot_mut(slot).flags.clear(Flags::LISTED_CANCEL);
            let Some(token) = self.table.occupant(slot) else {
                continue;
            };
            let entry = self.table.slot_mut(slot);
            if entry.ops == 0 || entry.has(Flags::CLOSE_SENT) {
                continue;
            }
            if !entry.has(Flags::CLOSING) {
                if entry.has(Flags::RECV_CANCELLED) {
                    self.cancel_one(token, Tag::new(Kind::Recv, token));
                }
                continue;
            }
            if entry.cancels == PROMPT_CANCELS
                && let Some(fd) = &entry.fd
            {
                // ENOTCONN or ENOTSOCK: then this was not what kept it.
                let _ = socket2::SockRef::from(fd).shutdown(std::net::Shutdown::Both);
            }
            self.cancel_all(token);
        }
        self.cancels.append(&mut slots);
    }

    /// Nothing of the socket is in flight any more: closes its descriptor.
    pub(super) fn close_descriptor(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        let Some(fd) = &entry.fd else { return };
        entry.flags.set(Flags::CLOSE_SENT);
        entry.ops += 1;
        let request = opcode::Close::new(types::Fd(fd.as_raw_fd())).build();
        let request = request.user_data(Tag::new(Kind::Close, token).bits());
        // SAFETY: the request points to no memory. The entry owns the
        // descriptor and uses it for nothing else from here on.
        unsafe { self.ring.push(request) };
    }

    pub(super) fn close_completed(
        &mut self,
        token: Token,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        let fd = entry.fd.take();
        if completion.result == -libc::ECANCELED {
            // It never ran: the descriptor is still ours to close.
            drop(fd);
        } else {
            // Closed, whatever the result: Linux frees the number first.
            let _ = fd.map(IntoRawFd::into_raw_fd);
        }
        self.table.remove(token);
        if !self.paused.is_empty() {
            self.resume_accepts();
        }
        events.push(Event::Closed { token });
    }
}
