//! Closing: cancel, await every terminal completion, close, report. And
//! dropping a driver, which closes everything.

use super::SimDriver;
use super::op::{Descriptor, Kind, Request, Tag};
use super::socket::SimSocket;
use super::table::Role;
use crate::driver::{Event, Token};

impl SimDriver {
    pub(super) fn start_close(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        entry.closing = true;
        let armed = [
            (entry.recv.armed && !entry.recv.cancelled, Kind::Recv),
            (entry.op.is_some(), Kind::Send),
            (entry.role == Role::Connecting, Kind::Connect),
            (entry.role == Role::Listener, Kind::Accept),
            (entry.role == Role::Source, Kind::Poll),
        ];
        for (_, kind) in armed.into_iter().filter(|&(armed, _)| armed) {
            self.cancel_one(token, kind);
        }
        self.settle(token);
    }

    /// Cancels one operation. The cancel's own result proves nothing about its
    /// target: only the target's terminal completion does.
    pub(super) fn cancel_one(&mut self, token: Token, kind: Kind) {
        let target = Tag::new(kind, token);
        let tag = Tag::new(Kind::Cancel, token);
        self.push(token, Request::Cancel { target, tag });
    }

    /// Closes the descriptor once nothing of a closing socket is in flight.
    pub(super) fn settle(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        if !entry.closing || entry.close_sent || entry.ops > 0 {
            return;
        }
        if let Some(Descriptor::Listener(listener)) = entry.descriptor
            && !std::mem::replace(&mut entry.accepted_last, true)
        {
            // As io_uring: what waits is accepted, and no more.
            let tag = Tag::new(Kind::Accept, token);
            self.push(token, Request::Accept { listener, tag });
            return self.cancel_one(token, Kind::Accept);
        }
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        entry.close_sent = true;
        if let Some(descriptor) = entry.descriptor {
            let tag = Tag::new(Kind::Close, token);
            self.push(token, Request::Close { descriptor, tag });
        }
    }

    pub(super) fn close_completed(&mut self, token: Token, events: &mut Vec<Event<SimSocket>>) {
        self.table.remove(token);
        if !self.paused.is_empty() {
            self.resume_accepts();
        }
        events.push(Event::Closed { token });
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Perhaps by a check of the kernel's, which would fail again.
            return self.net.with(|world| world.forget_driver(self.id));
        }
        for token in self.table.tokens() {
            self.start_close(token);
        }
        let mut events = Vec::new();
        // Each round finishes something, or lets time pass until it can.
        loop {
            self.enter(usize::MAX, &mut events);
            events.clear();
            if self.table.occupied() == 0 && self.requests.is_empty() {
                break;
            }
            let stuck = self.requests.is_empty()
                && !self.has_completions()
                && !self.net.with(|world| world.step(None));
            if stuck {
                tracing::error!(driver = ?self, "operations never completed");
                debug_assert!(!stuck, "{self:?} never ends");
                break;
            }
        }
        self.net.with(|world| world.forget_driver(self.id));
    }
}
