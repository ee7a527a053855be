//! What the kernel reported, and whom it concerns.

use super::SimDriver;
use super::op::{Completion, Kind, Payload, Request, Tag};
use super::socket::SimSocket;
use crate::driver::{Event, Token};

impl SimDriver {
    /// Queues an operation of a socket.
    pub(super) fn push(&mut self, token: Token, request: Request) {
        if let Some(entry) = self.table.get_mut(token) {
            entry.ops += 1;
            self.stats.in_flight += 1;
            self.requests.push(request);
        }
    }

    /// Hands a completion to whom it concerns: at most one event.
    pub(super) fn complete(&mut self, completion: Completion, events: &mut Vec<Event<SimSocket>>) {
        self.stats.completions += 1;
        let Tag { kind, token } = completion.tag;
        if kind == Kind::Rung {
            return self.rung(events);
        }
        let Some(entry) = self.table.get_mut(token) else {
            return self.discard(completion);
        };
        if !completion.more {
            debug_assert!(entry.ops > 0, "{token:?}: more completions than requests");
            entry.ops = entry.ops.saturating_sub(1);
            self.stats.in_flight -= 1;
        }
        match kind {
            Kind::Accept => self.accept_completed(token, &completion, events),
            Kind::Recv => self.recv_completed(token, completion, events),
            Kind::Send => self.send_completed(token, &completion, events),
            Kind::Connect => self.connect_completed(token, &completion, events),
            Kind::Poll => self.poll_completed(token, &completion, events),
            Kind::Close => return self.close_completed(token, events),
            Kind::Cancel | Kind::Rung => {}
        }
        self.settle(token);
    }

    /// A completion for an earlier occupant of its slot: what it carries is
    /// given back, the rest ignored.
    fn discard(&mut self, completion: Completion) {
        self.stats.stale += 1;
        match completion.payload {
            Payload::Buffer { buffer, bytes } => {
                let slot = completion.tag.token.slot();
                drop(self.received(slot, buffer, &bytes));
            }
            Payload::Accepted(end) => drop(SimSocket::new(self.net.clone(), end)),
            Payload::None => {}
        }
    }
}
