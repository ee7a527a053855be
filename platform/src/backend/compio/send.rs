//! Sending: at once as far as the socket takes it, the rest as an operation.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

use compio_buf::{BufResult, IntoInner, IoVectoredBuf};
use compio_driver::PushEntry;
use socket2::SockRef;

use super::CompioDriver;
use super::finished::{Kind, Tag};
use super::system::{self, Owned, SendOp};
use super::table::{Flags, Role};
use crate::backend::batch::{Batch, MAX_SEGMENTS};
use crate::buffer::Segment;
use crate::driver::{Event, Token};
use crate::socket;

/// Batches kept for reuse: as many as wait in one busy turn.
const MAX_SPARE: usize = 1024;

/// Kept batches may have room for so many segments; larger ones are freed.
const SPARE_SEGMENTS: usize = 8;

impl IoVectoredBuf for Batch {
    fn iter_slice(&self) -> impl Iterator<Item = &[u8]> {
        self.slices()
    }
}

/// How a send goes on.
enum Progress {
    /// Over: all bytes, or the error.
    Over(io::Result<usize>),
    /// The socket takes no more at the moment.
    Full,
}

/// Hands bytes to the socket until it takes no more.
fn push(fd: &Owned, batch: &mut Batch, short: &mut u64) -> Progress {
    while batch.left() > 0 {
        match send_once(fd, batch) {
            Ok(sent) => {
                if let Err(error) = advance(batch, sent, short) {
                    return Progress::Over(Err(error));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Full,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Progress::Over(Err(error)),
        }
    }
    Progress::Over(Ok(batch.total()))
}

/// The socket took `sent` bytes; `short` counts the times it left some.
fn advance(batch: &mut Batch, sent: usize, short: &mut u64) -> io::Result<()> {
    if sent == 0 {
        return Err(ErrorKind::WriteZero.into());
    }
    batch.advance(sent);
    if batch.left() > 0 {
        *short += 1;
    }
    Ok(())
}

fn send_once(fd: &Owned, batch: &Batch) -> io::Result<usize> {
    let socket = SockRef::from(fd);
    let mut slices = [IoSlice::new(&[]); MAX_SEGMENTS];
    let mut count = 0;
    for (slice, bytes) in slices.iter_mut().zip(batch.slices()) {
        *slice = IoSlice::new(bytes);
        count += 1;
    }
    match &slices[..count] {
        [only] => socket.send_with_flags(only, system::SEND_FLAGS),
        several => socket.send_vectored_with_flags(several, system::SEND_FLAGS),
    }
}

impl CompioDriver {
    pub(super) fn start_send(&mut self, token: Token, queue: &mut VecDeque<Segment>) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        if queue.is_empty() || entry.role != Role::Stream || !entry.flags.raise(Flags::SENDING) {
            return;
        }
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.fill(queue);
        self.go_on_sending(token, batch);
    }

    /// Sends what is left of `batch`.
    fn go_on_sending(&mut self, token: Token, mut batch: Batch) {
        loop {
            let Some(fd) = self.table.get(token).and_then(|entry| entry.fd.clone()) else {
                return;
            };
            match push(&fd, &mut batch, &mut self.stats.short_sends) {
                Progress::Over(outcome) => return self.send_over(token, outcome, batch),
                Progress::Full => {}
            }
            match self.submit(system::send_op(fd, batch), Tag::new(Kind::Send, token)) {
                PushEntry::Pending(key) => {
                    if let Some(entry) = self.table.get_mut(token) {
                        entry.send = Some(key);
                    }
                    return;
                }
                PushEntry::Ready(BufResult(result, op)) => {
                    batch = op.into_inner();
                    let short = &mut self.stats.short_sends;
                    let sent = result.and_then(|sent| advance(&mut batch, sent, short));
                    if let Err(error) = sent {
                        return self.send_over(token, Err(error), batch);
                    }
                }
            }
        }
    }

    /// The operation a send waited with is over.
    pub(super) fn send_finished(&mut self, token: Token, result: io::Result<usize>, op: SendOp) {
        let mut batch = op.into_inner();
        let closing = self.table.open_mut(token).is_none();
        let short = &mut self.stats.short_sends;
        match result.and_then(|sent| advance(&mut batch, sent, short)) {
            Err(error) if error.kind() == ErrorKind::Interrupted && !closing => {
                self.go_on_sending(token, batch);
            }
            Err(_) if closing => self.send_over(token, Err(socket::cancelled()), batch),
            Err(error) => self.send_over(token, Err(system::socket_error(error)), batch),
            Ok(()) if closing && batch.left() > 0 => {
                self.send_over(token, Err(socket::cancelled()), batch);
            }
            Ok(()) => self.go_on_sending(token, batch),
        }
    }

    /// The terminal event of a send, and the shutdown that waited for it.
    fn send_over(&mut self, token: Token, outcome: io::Result<usize>, mut batch: Batch) {
        // Chunks go back to their pool.
        batch.clear();
        if self.spare.len() < MAX_SPARE && batch.capacity() <= SPARE_SEGMENTS {
            self.spare.push(batch);
        }
        self.backlog.push_back(Event::Sent { token, outcome });
        if let Some(entry) = self.table.open_mut(token)
            && entry.has(Flags::SHUT_WANTED)
        {
            self.shut(token);
        }
    }

    /// Ends the sending direction, now or when the send in flight is over.
    pub(super) fn shut(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        if entry.send.is_some() {
            entry.flags.set(Flags::SHUT_WANTED);
            return;
        }
        entry.flags.clear(Flags::SHUT_WANTED);
        if let Some(fd) = &entry.fd {
            // ENOTCONN: the peer was faster; there is nothing left to end.
            let _ = SockRef::from(&**fd).shutdown(std::net::Shutdown::Write);
        }
    }
}
