//! Sending: one operation per socket, of a list of segments.

use std::collections::VecDeque;
use std::io;

use io_uring::{opcode, squeue, types};

use super::UringDriver;
use super::complete::Completion;
use super::table::Flags;
use super::tag::{Kind, Tag};
use crate::backend::batch::Batch;
use crate::buffer::Segment;
use crate::driver::{Event, Token};
use crate::socket::{self, Socket};

/// Bytes handed to the kernel at once at most: a completion counts in an i32.
const MAX_ONCE: usize = 1 << 30;

/// Operations kept for reuse: as many as send in one busy turn.
const MAX_SPARE: usize = 1024;

/// Kept operations may have room for so many segments; larger ones are freed.
const SPARE_SEGMENTS: usize = 8;

/// `MSG_WAITALL` lets the kernel continue short sends itself (6.0); without
/// `MSG_NOSIGNAL` a send to a closed peer would raise `SIGPIPE`.
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// `IORING_SEND_ZC_REPORT_USAGE`, which the crate does not export.
const REPORT_USAGE: u16 = 1 << 3;

/// The memory of a send in flight. Boxed: the kernel holds its address.
#[derive(Debug)]
pub(super) struct SendOp {
    batch: Batch,
    /// One per segment left, when there are several.
    vectors: Vec<libc::iovec>,
    message: libc::msghdr,
}

/// Operations not in use.
#[derive(Debug, Default)]
#[expect(
    clippy::vec_box,
    reason = "boxes move between here and the table; their contents must not"
)]
pub(super) struct SpareOps(Vec<Box<SendOp>>);

impl SpareOps {
    fn take(&mut self) -> Box<SendOp> {
        self.0.pop().unwrap_or_else(|| {
            Box::new(SendOp {
                batch: Batch::default(),
                vectors: Vec::new(),
                message: empty_message(),
            })
        })
    }

    /// The segments are dropped here: chunks go back to their pool.
    pub(super) fn give_back(&mut self, mut op: Box<SendOp>) {
        op.batch.clear();
        op.vectors.clear();
        if self.0.len() < MAX_SPARE && op.batch.capacity() <= SPARE_SEGMENTS {
            self.0.push(op);
        }
    }
}

fn empty_message() -> libc::msghdr {
    // SAFETY: `msghdr` is plain data for which all zeroes are valid: null
    // pointers with zero lengths.
    unsafe { std::mem::zeroed() }
}

impl SendOp {
    pub(super) fn total(&self) -> usize {
        self.batch.total()
    }

    pub(super) fn unfinished(&self) -> bool {
        self.batch.left() > 0
    }

    /// The request for what is left. It points into this operation and its
    /// segments, none of which move until it has completed.
    pub(super) fn request(&mut self, fd: i32, zero_copy: bool) -> squeue::Entry {
        let fd = types::Fd(fd);
        let (rest, skip) = self.batch.rest();
        if let [] | [_] = rest {
            let bytes = rest.first().map_or(&[][..], |only| &only.bytes()[skip..]);
            let len = u32::try_from(bytes.len().min(MAX_ONCE)).unwrap_or(u32::MAX);
            if zero_copy {
                let send = opcode::SendZc::new(fd, bytes.as_ptr(), len);
                return send.flags(FLAGS).zc_flags(REPORT_USAGE).build();
            }
            return opcode::Send::new(fd, bytes.as_ptr(), len)
                .flags(FLAGS)
                .build();
        }
        let mut vectors = std::mem::take(&mut self.vectors);
        vectors.clear();
        vectors.extend(self.batch.slices().map(|bytes| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        }));
        self.vectors = vectors;
        self.message.msg_iov = self.vectors.as_mut_ptr();
        self.message.msg_iovlen = self.vectors.len();
        let flags = FLAGS.cast_unsigned();
        if zero_copy {
            let send = opcode::SendMsgZc::new(fd, &raw const self.message);
            return send.flags(flags).ioprio(REPORT_USAGE).build();
        }
        opcode::SendMsg::new(fd, &raw const self.message)
            .flags(flags)
            .build()
    }
}

/// What a completion means for a send.
pub(super) enum Progress {
    /// Over: all bytes, or the error.
    Over(io::Result<usize>),
    /// More to send.
    Rest,
}

impl SendOp {
    /// Accounts for a completion; `short` counts continuations.
    pub(super) fn advance(&mut self, result: i32, short: &mut u64) -> Progress {
        match usize::try_from(result) {
            Ok(0) if self.unfinished() => {
                Progress::Over(Err(io::Error::from(io::ErrorKind::WriteZero)))
            }
            Ok(sent) => {
                self.batch.advance(sent);
                if !self.unfinished() {
                    return Progress::Over(Ok(self.total()));
                }
                *short += 1;
                Progress::Rest
            }
            Err(_) => match -result {
                libc::EINTR | libc::EAGAIN => Progress::Rest,
                code => Progress::Over(Err(io::Error::from_raw_os_error(code))),
            },
        }
    }
}

impl UringDriver {
    pub(super) fn start_send(&mut self, token: Token, queue: &mut VecDeque<Segment>) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        if queue.is_empty() || entry.has(Flags::SENDING) {
            return;
        }
        entry.flags.set(Flags::SENDING);
        let mut op = self.spare.take();
        op.batch.fill(queue);
        if self.zero_copy.wants(op.total()) {
            self.send_zero_copy(token, op);
        } else {
            self.send_plain(token, op);
        }
    }

    /// Sends what is left of `op`, which the entry holds meanwhile.
    pub(super) fn send_plain(&mut self, token: Token, mut op: Box<SendOp>) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        let request = op.request(entry.raw_fd(), false);
        entry.ops += 1;
        entry.op = Some(op);
        let request = request.user_data(Tag::new(Kind::Send, token).bits());
        // SAFETY: the entry holds the boxed operation, and with it segments,
        // vectors and message, until this request has completed.
        unsafe { self.ring.push(request) };
    }

    pub(super) fn send_completed(
        &mut self,
        token: Token,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        let closing = entry.has(Flags::CLOSING);
        let Some(mut op) = entry.op.take() else {
            return;
        };
        match op.advance(completion.result, &mut self.stats.short_sends) {
            Progress::Rest if closing => {
                self.send_over(token, Err(socket::cancelled()), events);
                self.spare.give_back(op);
            }
            Progress::Rest => {
                if completion.result == -libc::EAGAIN {
                    self.make_blocking(token);
                }
                self.send_plain(token, op);
            }
            Progress::Over(outcome) => {
                self.send_over(token, outcome, events);
                self.spare.give_back(op);
            }
        }
    }

    /// The terminal event of a send, and the shutdown that waited for it.
    pub(super) fn send_over(
        &mut self,
        token: Token,
        outcome: io::Result<usize>,
        events: &mut Vec<Event<Socket>>,
    ) {
        if let Some(entry) = self.table.get_mut(token) {
            entry.flags.clear(Flags::SENDING);
            if entry.has(Flags::SHUT_WANTED) {
                self.shut(token);
            }
        }
        events.push(Event::Sent { token, outcome });
    }

    /// Ends the sending direction, now or when the send in flight is over.
    ///
    /// `shutdown(2)` does not block, while `OP_SHUTDOWN` always takes a worker
    /// thread of the kernel.
    pub(super) fn shut(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        entry.flags.set(Flags::SHUT_WANTED);
        if entry.has(Flags::SENDING) {
            return;
        }
        entry.flags.clear(Flags::SHUT_WANTED);
        if let Some(fd) = &entry.fd {
            // ENOTCONN: the peer was faster; there is nothing left to end.
            let _ = socket2::SockRef::from(fd).shutdown(std::net::Shutdown::Write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Frame;

    fn queue(sizes: &[usize]) -> VecDeque<Segment> {
        sizes
            .iter()
            .map(|&size| Segment::Frame(Frame::from(vec![7; size])))
            .collect()
    }

    #[test]
    fn a_short_send_continues_where_it_stopped() {
        let mut op = SpareOps::default().take();
        op.batch.fill(&mut queue(&[4, 0, 6]));
        let mut short = 0;
        assert!(matches!(op.advance(5, &mut short), Progress::Rest));
        let (rest, skip) = op.batch.rest();
        assert_eq!((rest.len(), skip, short), (1, 1, 1));
        assert!(matches!(
            op.advance(-libc::EINTR, &mut short),
            Progress::Rest
        ));
        assert!(matches!(op.advance(5, &mut short), Progress::Over(Ok(10))));
        assert_eq!(short, 1);
    }

    #[test]
    fn an_operation_is_reused() {
        let mut spare = SpareOps::default();
        let mut op = spare.take();
        op.batch.fill(&mut queue(&[1, 2]));
        let address = &raw const *op;
        spare.give_back(op);
        assert_eq!(&raw const *spare.take(), address);
    }
}
