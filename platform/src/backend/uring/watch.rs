//! Watching foreign event sources.

use io_uring::{opcode, types};

use super::UringDriver;
use super::complete::Completion;
use super::table::Role;
use super::tag::{Kind, Tag};
use crate::driver::{Event, Token};
use crate::socket::Socket;

impl UringDriver {
    pub(super) fn arm_poll(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        entry.ops += 1;
        let events = libc::POLLIN.cast_unsigned();
        let request = opcode::PollAdd::new(types::Fd(entry.raw_fd()), u32::from(events))
            .multi(true)
            .build()
            .user_data(Tag::new(Kind::Poll, token).bits());
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(request) };
    }

    pub(super) fn poll_completed(
        &mut self,
        token: Token,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        if entry.role == Role::Listener {
            return self.connection_waits(token);
        }
        // An error counts as readable: whoever reads the source learns it. It
        // is not armed again, which would fail for ever.
        if completion.result != -libc::ECANCELED {
            events.push(Event::Ready { token });
        }
        if !completion.more() && completion.result >= 0 {
            self.arm_poll(token);
        }
    }
}
