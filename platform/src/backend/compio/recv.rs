//! Receiving: wait until a socket is readable, then receive what there is.
//!
//! No memory is set aside for a socket that waits: only a readable one gets a
//! buffer. A stream that is wanted is, at any time, in exactly one of four
//! places: waiting for readiness; on the list of those that are due; on the
//! stalled list because the pool was empty; or capped because the socket held
//! its share of the pool. Each has one event that moves it on, so no stream is
//! forgotten.

use std::io;

use compio_driver::PushEntry;
use socket2::SockRef;

use super::CompioDriver;
use super::buffers::Filled;
use super::finished::{Kind, Tag};
use super::system;
use super::table::{Flags, Role};
use crate::driver::{Event, RecvEnd, Token};
use crate::socket::Socket;

impl CompioDriver {
    pub(super) fn start_recv(&mut self, token: Token) {
        if let Some(entry) = self.table.open_mut(token) {
            entry.flags.set(Flags::RECV_WANTED);
            self.arm_recv(token);
        }
    }

    /// What waits for readiness goes on waiting: it takes nothing.
    pub(super) fn pause_recv(&mut self, token: Token) {
        if let Some(entry) = self.table.open_mut(token) {
            entry.flags.clear(Flags::RECV_WANTED);
        }
    }

    /// Waits for readiness if the stream is wanted and in no other place.
    pub(super) fn arm_recv(&mut self, token: Token) {
        const HELD: [Flags; 4] = [
            Flags::RECV_ENDED,
            Flags::RECV_CAPPED,
            Flags::LISTED_DUE,
            Flags::LISTED_STALLED,
        ];
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        let held = HELD.iter().any(|&flag| entry.has(flag)) || entry.ready.is_some();
        if held || !entry.has(Flags::RECV_WANTED) || entry.role != Role::Stream {
            return;
        }
        let Some(fd) = entry.fd.clone() else { return };
        match self.submit(system::ready_op(fd), Tag::new(Kind::Ready, token)) {
            PushEntry::Pending(key) => {
                if let Some(entry) = self.table.get_mut(token) {
                    entry.ready = Some(key);
                }
            }
            PushEntry::Ready(over) => match over.0 {
                Ok(_) => self.list_due(token.slot()),
                Err(error) => {
                    if let Some(end) = self.recv_over(token, RecvEnd::Failed(error)) {
                        self.backlog.push_back(end);
                    }
                }
            },
        }
    }

    pub(super) fn list_due(&mut self, slot: u32) {
        if self.table.slot_mut(slot).flags.raise(Flags::LISTED_DUE) {
            self.due.push_back(slot);
        }
    }

    /// Receives once from each socket that is due, until there are `limit`
    /// events.
    pub(super) fn receive_due(&mut self, events: &mut Vec<Event<Socket>>, limit: usize) {
        for _ in 0..self.due.len() {
            if events.len() >= limit {
                return;
            }
            let Some(slot) = self.due.pop_front() else {
                return;
            };
            self.table.slot_mut(slot).flags.clear(Flags::LISTED_DUE);
            if let Some(token) = self.table.occupant(slot) {
                events.extend(self.receive(token));
            }
        }
    }

    fn receive(&mut self, token: Token) -> Option<Event<Socket>> {
        let entry = self.table.open_mut(token)?;
        if !entry.has(Flags::RECV_WANTED) || entry.has(Flags::RECV_ENDED) {
            return None;
        }
        let share = self.config.max_leases_per_socket;
        if entry.has(Flags::SHARE_TAKEN) && entry.leases >= share {
            entry.flags.set(Flags::RECV_CAPPED);
            self.stats.lease_capped += 1;
            return None;
        }
        let fd = entry.fd.as_ref()?;
        if !self.buffers.stocked() && self.buffers.grow(self.clock.now()) {
            self.stats.pool_exhausted += 1;
        }
        let filled = self
            .buffers
            .fill(token.slot(), |room| SockRef::from(&**fd).recv(room));
        match filled {
            Filled::Exhausted => {
                self.stats.pool_exhausted += 1;
                entry.flags.set(Flags::LISTED_STALLED);
                self.stalled.push(token.slot());
                None
            }
            Filled::Eof => {
                let end = match system::check_end(fd) {
                    Ok(()) => RecvEnd::Eof,
                    Err(error) => RecvEnd::Failed(error),
                };
                self.recv_over(token, end)
            }
            Filled::Bytes { lease, full } => {
                entry.leases += 1;
                if entry.leases >= share {
                    entry.flags.set(Flags::SHARE_TAKEN);
                }
                if full {
                    self.list_due(token.slot());
                } else {
                    self.arm_recv(token);
                }
                Some(Event::Received { token, lease })
            }
            Filled::Failed(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.arm_recv(token);
                    None
                }
                io::ErrorKind::Interrupted => {
                    self.list_due(token.slot());
                    None
                }
                _ => self.recv_over(token, RecvEnd::Failed(error)),
            },
        }
    }

    fn recv_over(&mut self, token: Token, end: RecvEnd) -> Option<Event<Socket>> {
        let entry = self.table.get_mut(token)?;
        entry.flags.set(Flags::RECV_ENDED);
        Some(Event::RecvEnded { token, end })
    }

    /// Takes back the leases dropped since the last turn, and lists the
    /// receives this sets going. Runs before anything is received, so a lease
    /// dropped within its turn never counts against its socket.
    pub(super) fn restock(&mut self) {
        let Self {
            buffers,
            table,
            config,
            due,
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
                if entry.flags.raise(Flags::LISTED_DUE) {
                    due.push_back(owner);
                }
            }
        });
        if buffers.stocked() {
            // Those that got nothing come before those that had their share.
            for slot in self.stalled.drain(..).rev() {
                let entry = table.slot_mut(slot);
                entry.flags.clear(Flags::LISTED_STALLED);
                if entry.flags.raise(Flags::LISTED_DUE) {
                    due.push_front(slot);
                }
            }
        }
    }
}
