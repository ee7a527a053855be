//! Receiving: one multishot receive per socket, from the shared pool.
//!
//! A stream that is wanted is, at any time, in exactly one of four places:
//! armed in the kernel; stalled because the pool was empty; capped because the
//! socket held its share of the pool; or being cancelled, to be armed again by
//! its terminal completion. Each has one event that moves it on, so no stream
//! is forgotten.

use super::SimDriver;
use super::op::{Completion, Failure, Kind, Payload, Request, Tag};
use super::socket::SimSocket;
use super::table::Role;
use crate::buffer::Lease;
use crate::driver::{Event, RecvEnd, Token};

impl SimDriver {
    pub(super) fn start_recv(&mut self, token: Token) {
        if let Some(entry) = self.table.open_mut(token) {
            entry.recv.wanted = true;
            self.arm_recv(token);
        }
    }

    pub(super) fn pause_recv(&mut self, token: Token) {
        if let Some(entry) = self.table.open_mut(token) {
            entry.recv.wanted = false;
            self.cancel_recv(token);
        }
    }

    /// Arms the receive if it is wanted, possible and not armed.
    pub(super) fn arm_recv(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        let held = entry.recv.armed || entry.recv.ended || entry.recv.capped;
        let Some(end) = entry.end().filter(|_| entry.role == Role::Stream) else {
            return;
        };
        if held || !entry.recv.wanted {
            return;
        }
        let dry = self.buffers.posted() == 0;
        if dry && !self.buffers.grow(self.net.now(), &mut self.requests) {
            // Armed without a buffer it would fail at once.
            if !std::mem::replace(&mut entry.stalled, true) {
                self.stalled.push_back(token.slot());
            }
            return;
        }
        entry.recv.armed = true;
        let tag = Tag::new(Kind::Recv, token);
        self.push(token, Request::Recv { end, tag });
    }

    /// Tells an armed receive to stop; its terminal completion says when.
    pub(super) fn cancel_recv(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        if entry.recv.armed && !std::mem::replace(&mut entry.recv.cancelled, true) {
            self.cancel_one(token, Kind::Recv);
        }
    }

    pub(super) fn recv_completed(
        &mut self,
        token: Token,
        completion: Completion,
        events: &mut Vec<Event<SimSocket>>,
    ) {
        let lease = match completion.payload {
            Payload::Buffer { buffer, bytes } => Some(self.received(token.slot(), buffer, &bytes)),
            _ => None,
        };
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        if !completion.more {
            entry.recv.armed = false;
            entry.recv.cancelled = false;
        }
        if entry.closing {
            return;
        }
        if let Some(lease) = lease {
            events.push(Event::Received { token, lease });
        }
        if !completion.more {
            self.recv_stopped(token, completion.outcome, events);
        }
    }

    /// The receive is no longer armed: arm it again unless it is over.
    fn recv_stopped(
        &mut self,
        token: Token,
        outcome: Result<usize, Failure>,
        events: &mut Vec<Event<SimSocket>>,
    ) {
        let end = match outcome {
            Ok(0) => RecvEnd::Eof,
            Ok(_) | Err(Failure::Cancelled) => return self.arm_recv(token),
            Err(Failure::NoBuffers) => {
                self.stats.pool_exhausted += 1;
                return self.arm_recv(token);
            }
            Err(failure) => RecvEnd::Failed(failure.into()),
        };
        if let Some(entry) = self.table.get_mut(token) {
            entry.recv.ended = true;
            events.push(Event::RecvEnded { token, end });
        }
    }

    /// The bytes a completion carries. Whoever drops the lease gives the
    /// buffer back, once.
    pub(super) fn received(&mut self, slot: u32, buffer: u16, bytes: &[u8]) -> Lease {
        let entry = self.table.slot_mut(slot);
        entry.leases += 1;
        if entry.leases >= self.config.max_leases_per_socket {
            self.share.insert(slot);
        }
        self.buffers.take(slot, buffer, bytes)
    }

    /// Takes back the leases dropped since the last turn, then pauses, resumes
    /// and un-stalls the receives this concerns. Runs before the kernel is
    /// entered, so a lease dropped within its turn never counts against its
    /// socket.
    pub(super) fn restock(&mut self) {
        let (table, resumed) = (&mut self.table, &mut self.resumed);
        let cap = self.config.max_leases_per_socket;
        self.buffers.restock(&mut self.requests, |owner| {
            let entry = table.slot_mut(owner);
            debug_assert!(entry.leases > 0, "slot {owner} returns more than it got");
            entry.leases = entry.leases.saturating_sub(1);
            if entry.recv.capped && entry.leases < cap {
                entry.recv.capped = false;
                resumed.insert(owner);
            }
        });
        self.check_shares();
        // Those that got nothing come before those that had their share. One
        // stream for each buffer: ten thousand would find ten buffers gone.
        for _ in 0..self.buffers.posted() {
            let Some(slot) = self.stalled.pop_front() else {
                break;
            };
            self.table.slot_mut(slot).stalled = false;
            self.rearm(slot);
        }
        for slot in std::mem::take(&mut self.resumed) {
            self.rearm(slot);
        }
    }

    fn rearm(&mut self, slot: u32) {
        if let Some(token) = self.table.occupant(slot) {
            self.arm_recv(token);
        }
    }

    /// Whether a stalled stream could be armed.
    pub(super) fn may_unstall(&self) -> bool {
        !self.stalled.is_empty() && self.buffers.posted() > 0
    }

    /// Pauses sockets that hold their share of the pool.
    fn check_shares(&mut self) {
        while let Some(slot) = self.share.pop_first() {
            let entry = self.table.slot_mut(slot);
            let over = entry.leases >= self.config.max_leases_per_socket;
            let wanted = entry.recv.wanted && !entry.recv.ended;
            if !over || !wanted || std::mem::replace(&mut entry.recv.capped, true) {
                continue;
            }
            self.stats.lease_capped += 1;
            if let Some(token) = self.table.occupant(slot) {
                self.cancel_recv(token);
            }
        }
    }
}
