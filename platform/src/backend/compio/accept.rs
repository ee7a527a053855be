//! Accepting: a few operations per listener.

use std::io;

use compio_buf::BufResult;
use compio_driver::PushEntry;

use super::CompioDriver;
use super::finished::{Kind, Tag};
use super::system::{self, AcceptOp};
use super::table::{Flags, Role};
use crate::clock::Nanos;
use crate::driver::{Event, Token};
use crate::socket::{AcceptFault, Socket, accept_fault};

/// How long a listener that ran out of descriptors waits, unless this driver
/// closes one before: other threads of the process close some too.
const RETRY: Nanos = 100_000_000;

impl CompioDriver {
    pub(super) fn list_listener(&mut self, slot: u32) {
        if self.table.slot_mut(slot).flags.raise(Flags::LISTED_DUE) {
            self.due_listeners.push_back(slot);
        }
    }

    /// Accepts what waits and leaves operations for the next, until there are
    /// `limit` events.
    pub(super) fn accept_due(&mut self, events: &mut Vec<Event<Socket>>, limit: usize) {
        for _ in 0..self.due_listeners.len() {
            if events.len() >= limit {
                return;
            }
            let Some(slot) = self.due_listeners.pop_front() else {
                return;
            };
            self.table.slot_mut(slot).flags.clear(Flags::LISTED_DUE);
            if let Some(token) = self.table.occupant(slot) {
                self.accept(token, events, limit);
            }
        }
    }

    fn accept(&mut self, token: Token, events: &mut Vec<Event<Socket>>, limit: usize) {
        for index in 0..system::ACCEPTS {
            loop {
                let Some(entry) = self.table.open_mut(token) else {
                    return;
                };
                let armed = self
                    .accepts
                    .get(&token)
                    .is_some_and(|ops| ops.get(usize::from(index)).is_some_and(Option::is_some));
                if armed || entry.role != Role::Listener || entry.has(Flags::LISTED_PAUSED) {
                    break;
                }
                if events.len() >= limit {
                    return self.list_listener(token.slot());
                }
                let Some(fd) = entry.fd.clone() else { return };
                let op = match system::accept_op(fd) {
                    Ok(op) => op,
                    Err(error) => return self.accept_failed(token, &error),
                };
                let tag = Tag {
                    index,
                    ..Tag::new(Kind::Accept, token)
                };
                match self.submit(op, tag) {
                    PushEntry::Pending(key) => {
                        let ops = self.accepts.entry(token).or_default();
                        ops.resize_with(usize::from(system::ACCEPTS), || None);
                        ops[usize::from(index)] = Some(key);
                    }
                    PushEntry::Ready(BufResult(result, op)) => {
                        events.extend(self.accepted(token, result, op));
                    }
                }
            }
        }
    }

    /// An accept that had to wait is over: the listener is due again.
    pub(super) fn accept_finished(
        &mut self,
        token: Token,
        result: io::Result<usize>,
        op: AcceptOp,
    ) -> Option<Event<Socket>> {
        let event = self.accepted(token, result, op);
        self.list_listener(token.slot());
        event
    }

    fn accepted(
        &mut self,
        token: Token,
        result: io::Result<usize>,
        op: AcceptOp,
    ) -> Option<Event<Socket>> {
        match result.and_then(|_| system::accepted(op)) {
            Ok(socket) => {
                if let Some(entry) = self.table.get_mut(token) {
                    entry.flags.clear(Flags::STARVED);
                }
                // Also while closing: the peer is connected, the owner decides.
                Some(Event::Accepted {
                    listener: token,
                    socket,
                })
            }
            Err(error) => {
                self.accept_failed(token, &error);
                None
            }
        }
    }

    fn accept_failed(&mut self, token: Token, error: &io::Error) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        match accept_fault(error) {
            AcceptFault::Nothing => {}
            AcceptFault::OneSocket => self.stats.accept_errors += 1,
            // One pause lasts until the listener accepts again, however often
            // it is tried meanwhile.
            AcceptFault::Starved => {
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
            AcceptFault::Listener => {
                // The listener itself is at fault; trying at once would spin.
                self.stats.accept_errors += 1;
                tracing::debug!(?token, %error, "accept failed; it is tried again");
                self.pause_accept(token);
            }
        }
    }

    fn pause_accept(&mut self, token: Token) {
        let entry = self.table.slot_mut(token.slot());
        if entry.flags.raise(Flags::LISTED_PAUSED) {
            self.paused.push(token.slot());
        }
        self.accept_retry = Some(self.clock.now().saturating_add(RETRY));
    }

    /// Tries the paused listeners again: a descriptor was closed or it is time.
    pub(super) fn resume_accepts(&mut self) {
        self.accept_retry = None;
        for slot in std::mem::take(&mut self.paused) {
            self.table.slot_mut(slot).flags.clear(Flags::LISTED_PAUSED);
            self.list_listener(slot);
        }
    }
}
