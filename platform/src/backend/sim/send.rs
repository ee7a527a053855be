//! Sending: one operation per socket, of a list of segments.

use std::collections::VecDeque;
use std::io;

use super::SimDriver;
use super::op::{Completion, Failure, Kind, Request, Tag};
use super::socket::SimSocket;
use crate::backend::batch::Batch;
use crate::buffer::Segment;
use crate::driver::{Event, Token};

impl SimDriver {
    pub(super) fn start_send(&mut self, token: Token, queue: &mut VecDeque<Segment>) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        if queue.is_empty() || entry.op.is_some() {
            return;
        }
        let mut batch = Batch::default();
        batch.fill(queue);
        entry.op = Some(batch);
        self.send_rest(token);
    }

    /// Hands what is left of the send to the kernel.
    fn send_rest(&mut self, token: Token) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        if let (Some(end), Some(op)) = (entry.end(), &entry.op) {
            let bytes = op.slices().flatten().copied().collect();
            let tag = Tag::new(Kind::Send, token);
            self.push(token, Request::Send { end, tag, bytes });
        }
    }

    pub(super) fn send_completed(
        &mut self,
        token: Token,
        completion: &Completion,
        events: &mut Vec<Event<SimSocket>>,
    ) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        let closing = entry.closing;
        let Some(op) = &mut entry.op else {
            return;
        };
        let outcome = match completion.outcome {
            Ok(sent) => {
                op.advance(sent);
                if op.left() == 0 {
                    Ok(op.total())
                } else {
                    self.stats.short_sends += 1;
                    if !closing {
                        return self.send_rest(token);
                    }
                    Err(Failure::Cancelled.into())
                }
            }
            Err(failure) => Err(failure.into()),
        };
        self.send_over(token, outcome, events);
    }

    /// The terminal event of a send, and the shutdown that waited for it.
    fn send_over(
        &mut self,
        token: Token,
        outcome: io::Result<usize>,
        events: &mut Vec<Event<SimSocket>>,
    ) {
        if let Some(entry) = self.table.get_mut(token) {
            entry.op = None;
            if entry.shut_wanted {
                self.shut(token);
            }
        }
        events.push(Event::Sent { token, outcome });
    }

    /// Ends the sending direction, now or when the send in flight is over.
    pub(super) fn shut(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        entry.shut_wanted = entry.op.is_some();
        if let (Some(end), false) = (entry.end(), entry.shut_wanted) {
            self.net.with(|world| world.shutdown(end));
        }
    }
}
