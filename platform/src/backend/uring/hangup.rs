//! Resets that the kernel does not report.
//!
//! A multishot receive that has emptied the socket waits for the next wake-up
//! without another look (`io_recv_finish`, Linux 6.18; the end of a stream is
//! accounted for there, a reset is not). Bytes and a reset that arrive before
//! the receive has run are one wake-up: the bytes are delivered, the reset is
//! not, and the socket would stay until somebody sends on it. So sockets that
//! have received are looked at once, a little later: one `poll(2)` without
//! waiting for up to 256 of them, whatever they received meanwhile.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use smallvec::SmallVec;

use super::UringDriver;
use super::table::Flags;
use crate::clock::Nanos;
use crate::driver::Token;

/// How long a reset may go unnoticed. Longer saves nothing: an idle socket is
/// never looked at, a busy one twice a second.
const INTERVAL: Nanos = 500_000_000;

/// Sockets per system call: 2 KiB of descriptors to look at.
const BATCH: usize = 256;

/// Slots that have received since they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Hangups {
    slots: Vec<u32>,
    pub(super) due: Option<Nanos>,
}

impl UringDriver {
    /// `slot` received bytes.
    pub(super) fn heard(&mut self, slot: u32) {
        if self.table.slot_mut(slot).flags.raise(Flags::LISTED_HEARD) {
            self.hangups.slots.push(slot);
            if self.hangups.due.is_none() {
                self.hangups.due = Some(self.clock.now().saturating_add(INTERVAL));
            }
        }
    }

    /// Arms the receive of every socket that hung up anew: the first attempt
    /// finds the reset.
    pub(super) fn find_hangups(&mut self) {
        self.hangups.due = None;
        let mut slots = std::mem::take(&mut self.hangups.slots);
        for batch in slots.chunks(BATCH) {
            for &slot in batch {
                self.table.slot_mut(slot).flags.clear(Flags::LISTED_HEARD);
            }
            for token in self.hung_up(batch) {
                // Still wanted: the terminal completion arms it again.
                self.cancel_recv(token);
            }
        }
        slots.clear();
        self.hangups.slots = slots;
    }

    /// Those of at most [`BATCH`] slots. Without an allocation: it is done
    /// twice a second while there is traffic.
    fn hung_up(&self, slots: &[u32]) -> SmallVec<[Token; BATCH]> {
        let armed = slots.iter().filter_map(|&slot| {
            let token = self.table.occupant(slot)?;
            let entry = self.table.get(token)?;
            let fd = entry.fd.as_ref().filter(|_| {
                entry.has(Flags::RECV_ARMED)
                    && !entry.has(Flags::RECV_CANCELLED)
                    && !entry.has(Flags::CLOSING)
            })?;
            // Nothing is asked for: errors and hang-ups are always reported.
            Some((token, PollFd::new(fd.as_fd(), PollFlags::empty())))
        });
        let (tokens, mut fds): (SmallVec<[_; BATCH]>, SmallVec<[_; BATCH]>) = armed.unzip();
        if let Err(error) = poll(&mut fds, PollTimeout::ZERO) {
            tracing::debug!(%error, "resets are looked for again later");
            return SmallVec::new();
        }
        let gone = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let hung_up = tokens.into_iter().zip(&fds).filter(|(_, fd)| gone(fd));
        hung_up.map(|(token, _)| token).collect()
    }
}
