//! Sending: one operation per socket, of a list of segments.

use std::collections::VecDeque;
use std::io;

use super::SimDriver;
use super::op::{Completion, Failure, Kind, Request, Tag};
use super::socket::SimSocket;
use crate::buffer::Segment;
use crate::driver::{Event, Token};

/// Segments and bytes of one operation at most, as in the io_uring backend; a
/// first segment that is larger goes alone.
const MAX_SEGMENTS: usize = 64;
const MAX_BYTES: usize = 1 << 20;

/// A send in flight.
#[derive(Debug)]
pub(super) struct SendOp {
    segments: Vec<Segment>,
    total: usize,
    done: usize,
}

impl SendOp {
    fn take(queue: &mut VecDeque<Segment>) -> Self {
        let mut op = Self {
            segments: Vec::new(),
            total: 0,
            done: 0,
        };
        while let Some(next) = queue.front() {
            let len = next.bytes().len();
            let full = op.segments.len() >= MAX_SEGMENTS || op.total + len > MAX_BYTES;
            if full && !op.segments.is_empty() {
                break;
            }
            op.total += len;
            op.segments.extend(queue.pop_front());
        }
        op
    }

    /// What is left to send.
    fn rest(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(self.total - self.done);
        let mut skip = self.done;
        for segment in &self.segments {
            let bytes = segment.bytes();
            rest.extend_from_slice(&bytes[skip.min(bytes.len())..]);
            skip = skip.saturating_sub(bytes.len());
        }
        rest
    }
}

impl SimDriver {
    pub(super) fn start_send(&mut self, token: Token, queue: &mut VecDeque<Segment>) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        if queue.is_empty() || entry.op.is_some() {
            return;
        }
        entry.op = Some(SendOp::take(queue));
        self.send_rest(token);
    }

    /// Hands what is left of the send to the kernel.
    fn send_rest(&mut self, token: Token) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        if let (Some(end), Some(op)) = (entry.end(), &entry.op) {
            let (tag, bytes) = (Tag::new(Kind::Send, token), op.rest());
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
                op.done += sent;
                if op.done == op.total {
                    Ok(op.total)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Frame;

    fn queue(sizes: &[usize]) -> VecDeque<Segment> {
        let segment = |&size| Segment::Frame(Frame::from(vec![7; size]));
        sizes.iter().map(segment).collect()
    }

    #[test]
    fn an_operation_takes_a_bounded_front_of_the_queue() {
        let mut many = queue(&[10; 100]);
        let op = SendOp::take(&mut many);
        assert_eq!((op.segments.len(), op.total, many.len()), (64, 640, 36));
        let mut huge = queue(&[3 * MAX_BYTES, 1]);
        let op = SendOp::take(&mut huge);
        assert_eq!((op.total, huge.len()), (3 * MAX_BYTES, 1));
    }

    #[test]
    fn what_is_left_begins_where_a_short_send_stopped() {
        let mut op = SendOp::take(&mut queue(&[4, 0, 6]));
        op.done = 5;
        assert_eq!(op.rest(), [7; 5]);
    }
}
