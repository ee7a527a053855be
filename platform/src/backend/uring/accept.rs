//! Accepting: one multishot accept per listener.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::{opcode, types};

use super::UringDriver;
use super::complete::Completion;
use super::table::{Flags, Role};
use super::tag::{Kind, Tag};
use crate::clock::Nanos;
use crate::driver::{Event, Token};
use crate::socket::{AcceptFault, Socket, accept_fault};

/// How long a listener that ran out of descriptors waits, unless this driver
/// closes one before: other threads of the process close some too.
const RETRY: Nanos = 100_000_000;

impl UringDriver {
    pub(super) fn arm_accept(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        if entry.role == Role::Listener {
            self.push_accept(token);
        }
    }

    pub(super) fn push_accept(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        entry.ops += 1;
        let request = opcode::AcceptMulti::new(types::Fd(entry.raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(Tag::new(Kind::Accept, token).bits());
        // SAFETY: the request points to no memory: no peer address is asked.
        unsafe { self.ring.push(request) };
    }

    pub(super) fn accept_completed(
        &mut self,
        token: Token,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        if completion.result >= 0 {
            // SAFETY: the kernel made this descriptor for us alone.
            let fd = unsafe { OwnedFd::from_raw_fd(completion.result) };
            if let Some(entry) = self.table.get_mut(token) {
                entry.flags.clear(Flags::STARVED);
            }
            // Also while closing: the peer is connected, the owner decides.
            events.push(Event::Accepted {
                listener: token,
                socket: Socket::from(fd),
            });
        }
        if completion.more() {
            return;
        }
        let code = -completion.result;
        if code == libc::EAGAIN {
            return self.await_connection(token);
        }
        let error = io::Error::from_raw_os_error(code);
        match accept_fault(&error) {
            _ if code <= 0 => self.arm_accept(token),
            AcceptFault::Nothing => self.arm_accept(token),
            AcceptFault::Starved => self.starve(token, &error),
            AcceptFault::OneSocket => {
                self.stats.accept_errors += 1;
                self.arm_accept(token);
            }
            AcceptFault::Listener => {
                // The listener itself is at fault; trying at once would spin.
                self.stats.accept_errors += 1;
                tracing::debug!(?token, %error, "accept failed; it is tried again");
                self.pause_accept(token);
            }
        }
    }

    /// A non-blocking listener has nothing more: accepting goes on when it has.
    ///
    /// It stays non-blocking. That is a property of the socket, which another
    /// process may share: one that accepts from it, and would block.
    fn await_connection(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        entry.ops += 1;
        entry.flags.set(Flags::ACCEPT_AWAITS);
        let readable = u32::from(libc::POLLIN.cast_unsigned());
        let request = opcode::PollAdd::new(types::Fd(entry.raw_fd()), readable)
            .build()
            .user_data(Tag::new(Kind::Poll, token).bits());
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(request) };
    }

    /// What [`await_connection`](Self::await_connection) waited for.
    pub(super) fn connection_waits(&mut self, token: Token) {
        if let Some(entry) = self.table.get_mut(token) {
            entry.flags.clear(Flags::ACCEPT_AWAITS);
        }
        self.arm_accept(token);
    }

    /// No descriptor or memory for a new socket: pause. One pause lasts until
    /// the listener accepts again, however often it is tried meanwhile.
    fn starve(&mut self, token: Token, error: &io::Error) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        if entry.flags.raise(Flags::STARVED) {
            self.stats.accept_paused += 1;
            tracing::warn!(
                ?token,
                %error,
                "accepting pauses until descriptors are free; raise the limit on open files"
            );
        }
        self.pause_accept(token);
    }

    fn pause_accept(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        if entry.flags.raise(Flags::LISTED_PAUSED) {
            self.paused.push(token.slot());
        }
        self.accept_retry = Some(self.clock.now().saturating_add(RETRY));
    }

    /// Arms the paused listeners again: a descriptor was closed or it is time.
    pub(super) fn resume_accepts(&mut self) {
        self.accept_retry = None;
        let mut slots = std::mem::take(&mut self.paused);
        for slot in slots.drain(..) {
            self.table.slot_mut(slot).flags.clear(Flags::LISTED_PAUSED);
            if let Some(token) = self.table.occupant(slot) {
                self.arm_accept(token);
            }
        }
        self.paused = slots;
    }
}
