//! Accepting: one multishot accept per listener. Watching: one poll per source.

use super::SimDriver;
use super::op::{Completion, Descriptor, Failure, Kind, Payload, Request, Tag};
use super::socket::SimSocket;
use crate::clock::Nanos;
use crate::driver::{Driver, Event, Token};

/// How long a listener that ran out of descriptors waits, unless this driver
/// closes one before.
const RETRY: Nanos = 100_000_000;

impl SimDriver {
    pub(super) fn arm_accept(&mut self, token: Token) {
        let entry = self.table.open_mut(token);
        if let Some(Descriptor::Listener(listener)) = entry.and_then(|entry| entry.descriptor) {
            let tag = Tag::new(Kind::Accept, token);
            self.push(token, Request::Accept { listener, tag });
        }
    }

    pub(super) fn accept_completed(
        &mut self,
        token: Token,
        completion: &Completion,
        events: &mut Vec<Event<SimSocket>>,
    ) {
        if let Payload::Accepted(end) = completion.payload {
            if let Some(entry) = self.table.get_mut(token) {
                entry.starved = false;
            }
            // Also while closing: the peer is connected, the owner decides.
            events.push(Event::Accepted {
                listener: token,
                socket: SimSocket::new(self.net.clone(), end),
            });
        }
        if completion.more {
            return;
        }
        match completion.outcome {
            Err(Failure::NoDescriptors) => self.starve(token),
            Err(Failure::Aborted) => {
                self.stats.accept_errors += 1;
                self.arm_accept(token);
            }
            _ => self.arm_accept(token),
        }
    }

    /// No descriptor for a new socket: pause. One pause lasts until the
    /// listener accepts again, however often it is tried meanwhile.
    fn starve(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        if !std::mem::replace(&mut entry.starved, true) {
            self.stats.accept_paused += 1;
            tracing::warn!(?token, "accepting pauses until descriptors are free");
        }
        self.paused.insert(token.slot());
        self.accept_retry = Some(self.now().saturating_add(RETRY));
    }

    /// Arms the paused listeners again: a descriptor was closed or it is time.
    pub(super) fn resume_accepts(&mut self) {
        self.accept_retry = None;
        for slot in std::mem::take(&mut self.paused) {
            if let Some(token) = self.table.occupant(slot) {
                self.arm_accept(token);
            }
        }
    }

    pub(super) fn arm_poll(&mut self, token: Token) {
        let entry = self.table.open_mut(token);
        if let Some(Descriptor::Source(source)) = entry.and_then(|entry| entry.descriptor) {
            let tag = Tag::new(Kind::Poll, token);
            self.push(token, Request::Poll { source, tag });
        }
    }

    pub(super) fn poll_completed(
        &mut self,
        token: Token,
        completion: &Completion,
        events: &mut Vec<Event<SimSocket>>,
    ) {
        if self.table.open_mut(token).is_some() && completion.outcome.is_ok() {
            events.push(Event::Ready { token });
        }
    }
}
