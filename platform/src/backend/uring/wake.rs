//! Waking a driver: a message to its ring, or its eventfd.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use io_uring::{opcode, types};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::UringDriver;
use super::complete::Completion;
use super::ring::Ring;
use super::tag::{Kind, Tag};
use crate::driver::{Event, Token};
use crate::error::DriverError;
use crate::socket::Socket;
use crate::wake::Wake;

/// Wakes a [`UringDriver`] from any thread.
#[derive(Clone, Debug)]
pub struct UringWaker(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    /// Blocking: `read` armed in the ring waits for it. A write never blocks,
    /// since `rung` admits one at a time.
    eventfd: EventFd,
    /// A duplicate of the ring's descriptor, so that a message can never reach
    /// a stranger's ring that got the same number. It keeps the ring, drained
    /// and without buffers, until the last waker is dropped.
    ring: OwnedFd,
    /// Whether a signal is under way.
    ///
    /// No wake is lost: a waker stores what it has to say, then raises the
    /// flag. Found clear, it signals. Found raised, the signal is still under
    /// way and the driver will lower the flag after that; both are
    /// read-modify-writes of one location, so the driver's lowering reads the
    /// waker's raising and with it everything stored before, and `Woken`
    /// follows the lowering. Sequential consistency is more than this needs
    /// and costs nothing on x86.
    rung: AtomicBool,
}

impl UringWaker {
    pub(super) fn new(ring: &Ring) -> Result<Self, DriverError> {
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)
            .map_err(|error| DriverError::system("eventfd", error.into()))?;
        let ring = ring
            .fd()
            .try_clone_to_owned()
            .map_err(|error| DriverError::system("dup of the ring", error))?;
        Ok(Self(Arc::new(Bell {
            eventfd,
            ring,
            rung: AtomicBool::new(false),
        })))
    }

    /// Whether the caller has to signal.
    fn raise(&self) -> bool {
        !self.0.rung.swap(true, Ordering::SeqCst)
    }

    fn lower(&self) {
        self.0.rung.swap(false, Ordering::SeqCst);
    }

    pub(super) fn signal(&self) {
        if let Err(error) = self.0.eventfd.write(1) {
            tracing::warn!(%error, "a driver can not be woken");
        }
    }
}

impl Wake for UringWaker {
    fn wake(&self) {
        if self.raise() {
            self.signal();
        }
    }
}

/// Messages to other rings whose delivery the kernel has not confirmed.
#[derive(Debug, Default)]
pub(super) struct Messages {
    peers: Vec<Option<UringWaker>>,
    free: Vec<u32>,
}

impl Messages {
    fn insert(&mut self, peer: UringWaker) -> u32 {
        if let Some(index) = self.free.pop() {
            self.peers[index as usize] = Some(peer);
            return index;
        }
        self.peers.push(Some(peer));
        u32::try_from(self.peers.len() - 1).unwrap_or(u32::MAX)
    }

    fn remove(&mut self, index: u32) -> Option<UringWaker> {
        let peer = self.peers.get_mut(index as usize)?.take();
        if peer.is_some() {
            self.free.push(index);
        }
        peer
    }

    /// The peers of messages that will never be confirmed.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = UringWaker> {
        self.peers.drain(..).flatten()
    }
}

impl UringDriver {
    pub(super) fn wake_peer(&mut self, peer: &UringWaker) {
        if !peer.raise() {
            return;
        }
        if !self.features.msg_ring || Arc::ptr_eq(&peer.0, &self.waker.0) {
            peer.signal();
            return;
        }
        let ring = types::Fd(peer.0.ring.as_raw_fd());
        let index = self.messages.insert(peer.clone());
        let tag = Tag::new(Kind::Ring, Token::new(index, 0));
        let arrival = Tag::global(Kind::Rung).bits();
        let request = opcode::MsgRingData::new(ring, 0, arrival, None).build();
        // SAFETY: the request points to no memory; `messages` keeps the peer's
        // ring descriptor open.
        unsafe { self.ring.push(request.user_data(tag.bits())) };
    }

    /// A message was delivered, or not: then the eventfd has to do.
    pub(super) fn ring_delivered(&mut self, completion: Completion) {
        let Some(peer) = self.messages.remove(completion.tag.token().slot()) else {
            self.stats.stale += 1;
            return;
        };
        if completion.result < 0 {
            peer.signal();
        }
    }

    /// A message of another driver arrived.
    pub(super) fn rung(&mut self, events: &mut Vec<Event<Socket>>) {
        self.waker.lower();
        // Several signals in one turn are one event: whatever the second
        // announces is visible already.
        if !std::mem::replace(&mut self.woken, true) {
            events.push(Event::Woken);
        }
    }

    pub(super) fn arm_doorbell(&mut self) {
        let fd = types::Fd(self.waker.0.eventfd.as_fd().as_raw_fd());
        let request = opcode::Read::new(fd, self.doorbell.as_mut_ptr(), 8).build();
        let request = request.user_data(Tag::global(Kind::Doorbell).bits());
        // SAFETY: the driver holds the eight bytes, boxed and otherwise unused,
        // until the read has completed.
        unsafe { self.ring.push(request) };
    }

    pub(super) fn doorbell_rang(
        &mut self,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        self.armed_doorbell = false;
        if self.ending {
            return;
        }
        if completion.result > 0 {
            self.rung(events);
        }
        self.armed_doorbell = true;
        self.arm_doorbell();
    }
}
