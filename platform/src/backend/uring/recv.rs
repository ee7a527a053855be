//! Receiving: one multishot receive per socket, from the shared pool.
//!
//! A stream that is wanted is, at any time, in exactly one of four places:
//! armed in the kernel; on the stalled list because the pool was empty; capped
//! because the socket held its share of the pool; or being cancelled, to be
//! armed again by its terminal completion. Each has one event that moves it on,
//! so no stream is forgotten.

use std::io;
use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

use super::UringDriver;
use super::buffers::GROUP;
use super::complete::Completion;
use super::table::{Flags, Role};
use super::tag::{Kind, Tag};
use crate::buffer::Lease;
use crate::driver::{Event, RecvEnd, Token};
use crate::socket::Socket;

/// `IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST`, which the crate does
/// not export. Polling first saves the attempt that finds nothing on a socket
/// just accepted, and halves what a socket with much data gets in one entry
/// before it can be told to stop: each attempt delivers up to 32 times.
const MULTISHOT_POLL_FIRST: u16 = 1 << 1 | 1;

/// A multishot receive into provided buffers.
pub(super) fn request(fd: RawFd) -> squeue::Entry {
    opcode::Recv::new(types::Fd(fd), std::ptr::null_mut(), 0)
        .ioprio(MULTISHOT_POLL_FIRST)
        .buf_group(GROUP)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT)
}

impl UringDriver {
    pub(super) fn start_recv(&mut self, token: Token) {
        if let Some(entry) = self.table.open_mut(token) {
            entry.flags.set(Flags::RECV_WANTED);
            self.arm_recv(token);
        }
    }

    pub(super) fn pause_recv(&mut self, token: Token) {
        if let Some(entry) = self.table.open_mut(token) {
            entry.flags.clear(Flags::RECV_WANTED);
            self.cancel_recv(token);
        }
    }

    /// Arms the receive if it is wanted, possible and not armed.
    pub(super) fn arm_recv(&mut self, token: Token) {
        const HELD: [Flags; 4] = [
            Flags::RECV_ARMED,
            Flags::RECV_ENDED,
            Flags::RECV_CAPPED,
            Flags::LISTED_STALLED,
        ];
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        let held = HELD.iter().any(|&flag| entry.has(flag));
        if held || !entry.has(Flags::RECV_WANTED) || entry.role != Role::Stream {
            return;
        }
        let dry = !self.buffers.stocked();
        self.stats.pool_exhausted += u64::from(dry);
        if dry && !self.buffers.grow(self.clock.now()) {
            // Armed on an empty ring it would fail at once.
            entry.flags.set(Flags::LISTED_STALLED);
            self.stalled.push(token.slot());
            return;
        }
        entry.flags.set(Flags::RECV_ARMED);
        entry.ops += 1;
        let request = request(entry.raw_fd()).user_data(Tag::new(Kind::Recv, token).bits());
        // SAFETY: the request points to no memory; the buffers it will pick
        // belong to the pool, which outlives every receive.
        unsafe { self.ring.push(request) };
    }

    /// Tells an armed receive to stop; its terminal completion says when.
    pub(super) fn cancel_recv(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        if !entry.has(Flags::RECV_ARMED) || !entry.flags.raise(Flags::RECV_CANCELLED) {
            return;
        }
        self.cancel_one(token, Tag::new(Kind::Recv, token));
    }

    pub(super) fn recv_completed(
        &mut self,
        token: Token,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        let lease = self.received(token, completion);
        let more = completion.more();
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        if !more {
            entry.flags.clear(Flags::RECV_ARMED);
            entry.flags.clear(Flags::RECV_CANCELLED);
        }
        if entry.has(Flags::CLOSING) {
            return;
        }
        if let Some(lease) = lease {
            events.push(Event::Received { token, lease });
        }
        if !more {
            self.recv_stopped(token, completion.result, events);
        }
    }

    /// The receive is no longer armed: arm it again unless it is over.
    fn recv_stopped(&mut self, token: Token, result: i32, events: &mut Vec<Event<Socket>>) {
        match result {
            1.. => self.arm_recv(token),
            0 => self.recv_over(token, RecvEnd::Eof, events),
            _ => match -result {
                libc::ENOBUFS => {
                    // While it is empty, arming counts.
                    self.stats.pool_exhausted += u64::from(self.buffers.stocked());
                    self.arm_recv(token);
                }
                libc::ECANCELED | libc::EINTR => self.arm_recv(token),
                libc::EAGAIN => {
                    self.make_blocking(token);
                    self.arm_recv(token);
                }
                code => {
                    let error = io::Error::from_raw_os_error(code);
                    self.recv_over(token, RecvEnd::Failed(error), events);
                }
            },
        }
    }

    fn recv_over(&mut self, token: Token, end: RecvEnd, events: &mut Vec<Event<Socket>>) {
        if let Some(entry) = self.table.get_mut(token) {
            entry.flags.set(Flags::RECV_ENDED);
            events.push(Event::RecvEnded { token, end });
        }
    }

    /// The bytes a receive completion carries. Whoever drops the lease gives
    /// the buffer back, once; a buffer without bytes is given back here.
    pub(super) fn received(&mut self, token: Token, completion: Completion) -> Option<Lease> {
        let buffer = completion.buffer()?;
        let len = usize::try_from(completion.result).unwrap_or(0);
        if len == 0 {
            self.buffers.take_empty(buffer);
            return None;
        }
        self.heard(token.slot());
        let entry = self.table.slot_mut(token.slot());
        entry.leases += 1;
        if entry.leases >= self.config.max_leases_per_socket
            && entry.flags.raise(Flags::LISTED_SHARE)
        {
            self.share.push(token.slot());
        }
        // SAFETY: the completion just read carries this buffer and length.
        Some(unsafe { self.buffers.take(token.slot(), buffer, len) })
    }

    /// Takes back the leases dropped since the last turn, then pauses, resumes
    /// and un-stalls the receives this concerns. Runs before the kernel is
    /// entered, so a lease dropped within its turn never counts against its
    /// socket.
    pub(super) fn restock(&mut self) {
        let Self {
            buffers,
            table,
            config,
            resumed,
            ..
        } = self;
        buffers.restock(|owner| {
            let entry = table.slot_mut(owner);
            debug_assert!(
                entry.leases > 0,
                "slot {owner} returns more than it received"
            );
            entry.leases = entry.leases.saturating_sub(1);
            if entry.has(Flags::RECV_CAPPED) && entry.leases < config.max_leases_per_socket {
                entry.flags.clear(Flags::RECV_CAPPED);
                resumed.push(owner);
            }
        });
        self.check_shares();
        if self.buffers.stocked() {
            // Those that got nothing come before those that had their share.
            self.rearm(Flags::LISTED_STALLED);
        }
        self.rearm(Flags::RECV_CAPPED);
    }

    /// Arms the receives of one list again; `flag` tells which.
    fn rearm(&mut self, flag: Flags) {
        let stalled = flag == Flags::LISTED_STALLED;
        let mut slots = std::mem::take(if stalled {
            &mut self.stalled
        } else {
            &mut self.resumed
        });
        for slot in slots.drain(..) {
            self.table.slot_mut(slot).flags.clear(flag);
            if let Some(token) = self.table.occupant(slot) {
                self.arm_recv(token);
            }
        }
        // `arm_recv` may have listed new slots meanwhile: keep them, and the
        // larger allocation.
        let list = if stalled {
            &mut self.stalled
        } else {
            &mut self.resumed
        };
        slots.append(list);
        *list = slots;
    }

    /// Pauses sockets that hold their share of the pool.
    fn check_shares(&mut self) {
        while let Some(slot) = self.share.pop() {
            let entry = self.table.slot_mut(slot);
            entry.flags.clear(Flags::LISTED_SHARE);
            let over = entry.leases >= self.config.max_leases_per_socket;
            let wanted = entry.has(Flags::RECV_WANTED) && !entry.has(Flags::RECV_ENDED);
            if !over || !wanted || !entry.flags.raise(Flags::RECV_CAPPED) {
                continue;
            }
            self.stats.lease_capped += 1;
            if let Some(token) = self.table.occupant(slot) {
                self.cancel_recv(token);
            }
        }
    }

    /// The kernel fails an operation on a non-blocking descriptor instead of
    /// waiting for it; sockets made elsewhere may be non-blocking.
    pub(super) fn make_blocking(&mut self, token: Token) {
        if let Some(fd) = self.table.get(token).and_then(|entry| entry.fd.as_ref())
            && let Err(error) = socket2::SockRef::from(fd).set_nonblocking(false)
        {
            tracing::debug!(?token, %error, "a socket stays non-blocking");
        }
    }
}
