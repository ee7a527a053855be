//! Closing: cancel, await every operation's end, close, report.

use super::CompioDriver;
use super::system;
use super::table::{Flags, Role};
use crate::driver::{Event, Token};

impl CompioDriver {
    pub(super) fn start_close(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        entry.flags.set(Flags::CLOSING);
        let ready = entry
            .ready
            .as_ref()
            .map(|key| self.proactor.register_cancel(key));
        let send = entry
            .send
            .as_ref()
            .map(|key| self.proactor.register_cancel(key));
        let connect = self
            .connects
            .get(&token)
            .map(|connecting| self.proactor.register_cancel(&connecting.key));
        let accepts = self.accepts.get(&token).into_iter().flatten().flatten();
        let accepts: Vec<_> = accepts
            .map(|key| self.proactor.register_cancel(key))
            .collect();
        // An operation that ends at this moment can not be cancelled: either
        // way it ends, and that is awaited.
        for cancel in ready.into_iter().chain(send).chain(connect).chain(accepts) {
            self.proactor.cancel_token(cancel);
        }
        self.settle(token);
    }

    /// Closes the descriptor once nothing of a closing socket is in flight. The
    /// slot is free when the event has been delivered.
    pub(super) fn settle(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        if !entry.has(Flags::CLOSING) || entry.ops > 0 || !entry.flags.raise(Flags::CLOSED) {
            return;
        }
        // Operations share it, so that it outlives them; this is the last.
        let fd = entry.fd.take();
        if entry.role == Role::Listener {
            let waiting = fd.iter().flat_map(system::accept_waiting).map(|socket| {
                let listener = token;
                Event::Accepted { listener, socket }
            });
            self.backlog.extend(waiting);
        }
        drop(fd);
        self.accepts.remove(&token);
        self.resume_accepts();
        self.backlog.push_back(Event::Closed { token });
    }
}
