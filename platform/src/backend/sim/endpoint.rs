//! One end of a connection, and the bytes between two of them.
//!
//! Bytes are sent only into the other end's window, so what is under way is
//! bounded, and what was sent arrives whatever becomes of the sender.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::agenda::{Action, Parcel};
use super::faults::Fault;
use super::op::{Completion, Failure, Payload, Tag};
use super::trace::Happening;
use super::world::{DriverId, EndId, LATENCY, World};
use crate::clock::Nanos;

/// Bytes an end takes before its owner reads: what Linux grants a loopback
/// socket within its first round trips.
pub(super) const WINDOW: usize = 256 << 10;

/// Bytes one parcel carries at most: a segment as loopback cuts them.
const PARCEL: usize = 64 << 10;

/// Completions of one receive at a time; Linux: 32. The rest follows a
/// microsecond later, so that a driver may intervene.
const BURST: u32 = 8;
const BURST_PAUSE: Nanos = 1_000;

/// How long the kernel tries to have bytes acknowledged: 15 retransmissions
/// (`net.ipv4.tcp_retries2`).
const PERSISTENCE: Nanos = 924_600_000_000;

/// Whose descriptor an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The machine under test: it counts against the limit.
    Socket,
    /// A simulated peer.
    Peer,
}

/// What became of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Open,
    Failed(Failure),
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) holder: Holder,
    pub(super) stage: Stage,
    /// The other end, once the handshake has made it. It may be closed.
    pub(super) peer: Option<EndId>,
    /// Arrived and not read.
    pub(super) inbox: VecDeque<u8>,
    /// Bytes the other end takes before it reads.
    pub(super) credit: usize,
    /// Bytes by which the window shrank that the other end could still send.
    debt: usize,
    window: usize,
    /// No later parcel arrives before this.
    latest_parcel: Nanos,
    fin_sent: bool,
    pub(super) fin_arrived: bool,
    pub(super) failed: Option<Failure>,
    /// Nothing arrives and nothing leaves, and nobody says so.
    pub(super) gone: bool,
    /// Opens its window late.
    slow: bool,
    /// A connect that is never answered.
    pub(super) unheard: bool,
    /// Whether [`Action::Resume`] is on the agenda: the receive has had its
    /// burst.
    resting: bool,
    /// Whether [`Action::GiveUp`] is on the agenda.
    doomed: bool,
    pub(super) recv: Option<(DriverId, Tag)>,
    pub(super) send: Option<Sending>,
    pub(super) connect: Option<(DriverId, Tag)>,
}

/// A send in flight.
#[derive(Debug)]
pub(super) struct Sending {
    driver: DriverId,
    tag: Tag,
    bytes: Vec<u8>,
    done: usize,
    /// A short send ends here.
    stop: Option<usize>,
}

impl Endpoint {
    pub(super) fn new(local: SocketAddr, remote: SocketAddr, holder: Holder, stage: Stage) -> Self {
        Self {
            local,
            remote,
            holder,
            stage,
            peer: None,
            inbox: VecDeque::new(),
            credit: WINDOW,
            debt: 0,
            window: WINDOW,
            latest_parcel: 0,
            fin_sent: false,
            fin_arrived: false,
            failed: None,
            gone: false,
            slow: false,
            unheard: false,
            resting: false,
            doomed: false,
            recv: None,
            send: None,
            connect: None,
        }
    }

    /// Why nothing can be sent any more.
    pub(super) fn send_fault(&self) -> Option<Failure> {
        match (self.stage, self.failed) {
            (Stage::Failed(failure), _) | (_, Some(failure)) => Some(failure),
            _ if self.fin_sent => Some(Failure::BrokenPipe),
            _ => None,
        }
    }
}

impl World {
    pub(super) fn add_end(&mut self, end: Endpoint) -> EndId {
        if end.holder == Holder::Socket {
            self.descriptors += 1;
        }
        let id = EndId(self.id());
        self.ends.insert(id, end);
        id
    }

    /// Joins two ends; they are open.
    pub(super) fn join(&mut self, one: EndId, two: EndId) {
        for (this, other) in [(one, two), (two, one)] {
            if let Some(end) = self.ends.get_mut(&this) {
                end.peer = Some(other);
                end.stage = Stage::Open;
            }
        }
        self.maybe_slow(one);
        self.maybe_slow(two);
    }

    /// A peer may turn out to be a slow reader.
    pub(super) fn maybe_slow(&mut self, id: EndId) {
        let holder = self.ends.get(&id).map(|end| end.holder);
        if holder != Some(Holder::Peer) || !self.suffers(Fault::SlowReader) {
            return;
        }
        let window = 256 + self.random.index(4096);
        self.set_window(id, window);
        if let Some(end) = self.ends.get_mut(&id) {
            end.slow = true;
        }
    }

    /// Changes how many bytes an end takes before its owner reads.
    pub(super) fn set_window(&mut self, id: EndId, window: usize) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        let (old, peer) = (std::mem::replace(&mut end.window, window), end.peer);
        let Some(sender) = peer.and_then(|peer| self.ends.get_mut(&peer)) else {
            return;
        };
        let mut debt = old.saturating_sub(window);
        let taken = debt.min(sender.credit);
        sender.credit = sender.credit - taken + window.saturating_sub(old);
        debt -= taken;
        if let Some(end) = self.ends.get_mut(&id) {
            end.debt += debt;
        }
        if let Some(peer) = peer {
            self.run_send(peer);
        }
    }

    /// Sends a parcel; it overtakes none sent before.
    pub(super) fn dispatch(&mut self, from: EndId, parcel: Parcel) {
        let due = self.now + LATENCY + self.delay(Fault::Delay);
        let Some(end) = self.ends.get_mut(&from) else {
            return;
        };
        let (Some(to), false) = (end.peer, end.gone) else {
            return;
        };
        end.latest_parcel = end.latest_parcel.max(due);
        let at = end.latest_parcel;
        self.agenda.add(at, Action::Arrive { from, to, parcel });
    }

    /// Sends as many bytes as the other end's window takes; how many.
    pub(super) fn transmit(&mut self, from: EndId, bytes: &[u8]) -> usize {
        let Some(end) = self.ends.get_mut(&from) else {
            return 0;
        };
        let len = bytes.len().min(end.credit);
        if len == 0 {
            return 0;
        }
        end.credit -= len;
        let (holder, peer) = (end.holder, end.peer);
        if holder == Holder::Peer && self.suffers(Fault::HalfOpen) {
            self.vanish(from);
            return len;
        }
        if self.suffers(Fault::Reset) {
            self.dispatch(from, Parcel::Reset);
            if let Some(peer) = peer {
                let at = self.now + LATENCY;
                let parcel = Parcel::Reset;
                let (from, to) = (peer, from);
                self.agenda.add(at, Action::Arrive { from, to, parcel });
            }
            return len;
        }
        for piece in bytes[..len].chunks(PARCEL) {
            self.dispatch(from, Parcel::Bytes(piece.to_vec()));
        }
        len
    }

    /// From now on nobody hears of this end, and it hears of nobody.
    pub(super) fn vanish(&mut self, id: EndId) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.gone = true;
            self.note(Happening::Gone { end: id });
        }
    }

    pub(super) fn arrive(&mut self, from: EndId, to: EndId, parcel: Parcel) {
        let Some(end) = self.ends.get_mut(&to) else {
            // Closed: bytes are answered with a reset, the rest with nothing.
            if matches!(parcel, Parcel::Bytes(_)) {
                let at = self.now + LATENCY;
                let (from, to, parcel) = (to, from, Parcel::Reset);
                self.agenda.add(at, Action::Arrive { from, to, parcel });
            }
            return;
        };
        if end.gone {
            self.expect_nothing(from);
            return;
        }
        if end.failed.is_some() {
            return;
        }
        match parcel {
            Parcel::Bytes(bytes) => {
                end.inbox.extend(&bytes);
                let len = bytes.len();
                self.note(Happening::Bytes { to, len });
            }
            Parcel::Fin => {
                end.fin_arrived = true;
                self.note(Happening::Fin { to });
            }
            Parcel::Reset => {
                end.failed = Some(Failure::Reset);
                self.note(Happening::Reset { to });
                self.run_send(to);
            }
        }
        self.run_recv(to);
    }

    /// Bytes of `id` will never be acknowledged: the kernel gives up some day.
    fn expect_nothing(&mut self, id: EndId) {
        if let Some(end) = self.ends.get_mut(&id)
            && !std::mem::replace(&mut end.doomed, true)
        {
            self.agenda.add(self.now + PERSISTENCE, Action::GiveUp(id));
        }
    }

    pub(super) fn give_up(&mut self, id: EndId) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.failed.get_or_insert(Failure::TimedOut);
            self.note(Happening::GaveUp { end: id });
            self.run_send(id);
            self.run_recv(id);
        }
    }

    pub(super) fn credit(&mut self, to: EndId, bytes: usize) {
        if let Some(end) = self.ends.get_mut(&to) {
            end.credit += bytes;
            self.run_send(to);
        }
    }

    /// Takes bytes out of an inbox and lets the sender know.
    pub(super) fn read(&mut self, id: EndId, len: usize) -> Vec<u8> {
        let Some(end) = self.ends.get_mut(&id) else {
            return Vec::new();
        };
        let len = len.min(end.inbox.len());
        let bytes: Vec<u8> = end.inbox.drain(..len).collect();
        let paid = end.debt.min(len);
        end.debt -= paid;
        let (slow, peer, gone) = (end.slow, end.peer, end.gone);
        let mut at = self.now + LATENCY;
        if slow {
            at += self
                .random
                .below(self.faults.longest_delay.saturating_mul(4));
        }
        if let Some(to) = peer.filter(|_| !gone && len > paid) {
            let bytes = len - paid;
            self.agenda.add(at, Action::Credit { to, bytes });
        }
        bytes
    }

    /// Lets an armed receive have what there is.
    pub(super) fn run_recv(&mut self, id: EndId) {
        for _ in 0..BURST {
            let Some(end) = self.ends.get(&id) else {
                return;
            };
            let Some((driver, tag)) = end.recv.filter(|_| !end.resting) else {
                return;
            };
            let over = match (end.inbox.is_empty(), end.failed, end.fin_arrived) {
                (false, ..) => None,
                (true, Some(failure), _) => Some(Err(failure)),
                (true, None, true) => Some(Ok(0)),
                (true, None, false) => return,
            };
            let over = over.or_else(|| {
                let short = self.suffers(Fault::PoolExhausted);
                (short || !self.has_buffer(driver)).then_some(Err(Failure::NoBuffers))
            });
            if let Some(outcome) = over {
                self.finish(driver, tag, outcome);
                return;
            }
            self.fill_one(id, driver, tag);
        }
        if let Some(end) = self.ends.get_mut(&id) {
            end.resting = true;
            self.agenda.add(self.now + BURST_PAUSE, Action::Resume(id));
        }
    }

    /// A receive goes on with what its last burst left.
    pub(super) fn resume(&mut self, id: EndId) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.resting = false;
            self.run_recv(id);
        }
    }

    /// One completion with bytes; there are bytes and a buffer.
    fn fill_one(&mut self, id: EndId, driver: DriverId, tag: Tag) {
        let Some((buffer, size)) = self.take_buffer(driver) else {
            return;
        };
        let mut len = self
            .ends
            .get(&id)
            .map_or(0, |end| end.inbox.len().min(size));
        if len > 1 && self.suffers(Fault::PartialRead) {
            len = 1 + self.random.index(len - 1);
        }
        let bytes = self.read(id, len);
        let completion = Completion {
            tag,
            outcome: Ok(bytes.len()),
            more: true,
            payload: Payload::Buffer { buffer, bytes },
        };
        self.complete(driver, completion);
    }

    /// Starts a send.
    pub(super) fn start_send(&mut self, id: EndId, driver: DriverId, tag: Tag, bytes: Vec<u8>) {
        let mut stop = None;
        if bytes.len() > 1 && self.strikes(Fault::ShortSend) {
            stop = Some(1 + self.random.index(bytes.len() - 1));
        }
        if let Some(end) = self.ends.get_mut(&id) {
            assert!(end.send.is_none(), "{tag:?}: one send in flight per socket");
            end.send = Some(Sending {
                driver,
                tag,
                bytes,
                done: 0,
                stop,
            });
            self.run_send(id);
        }
    }

    /// Lets a send in flight have the window there is.
    pub(super) fn run_send(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        let fault = end.send_fault();
        let Some(mut sending) = end.send.take() else {
            return;
        };
        let limit = sending.stop.unwrap_or(sending.bytes.len());
        if fault.is_none() {
            sending.done += self.transmit(id, &sending.bytes[sending.done..limit]);
        }
        let (driver, tag, done) = (sending.driver, sending.tag, sending.done);
        let outcome = match fault {
            Some(failure) if done == 0 => Err(failure),
            // What was taken before the fault is told first.
            Some(_) => Ok(done),
            None if done == limit => Ok(done),
            None => {
                if let Some(end) = self.ends.get_mut(&id) {
                    end.send = Some(sending);
                }
                return;
            }
        };
        if outcome.is_ok() && done < sending.bytes.len() {
            self.injected.add(Fault::ShortSend);
        }
        self.finish(driver, tag, outcome);
    }

    /// Bytes of the send in flight that were taken.
    pub(super) fn taken(&self, id: EndId) -> usize {
        let sending = self.ends.get(&id).and_then(|end| end.send.as_ref());
        sending.map_or(0, |sending| sending.done)
    }

    /// Ends the sending direction.
    pub(super) fn shutdown(&mut self, id: EndId) {
        if let Some(end) = self.ends.get_mut(&id)
            && end.stage == Stage::Open
            && end.failed.is_none()
            && !std::mem::replace(&mut end.fin_sent, true)
        {
            self.dispatch(id, Parcel::Fin);
        }
    }

    /// Closes an end: an orderly end for the other side, or a reset when bytes
    /// were left unread or `abrupt` asks for it.
    pub(super) fn close_end(&mut self, id: EndId, abrupt: bool) {
        let Some(end) = self.ends.get(&id) else {
            return;
        };
        let (holder, peer, gone) = (end.holder, end.peer, end.gone);
        if end.failed.is_none() {
            if abrupt || !end.inbox.is_empty() || end.stage == Stage::Connecting {
                self.dispatch(id, Parcel::Reset);
            } else {
                self.shutdown(id);
            }
        }
        if holder == Holder::Socket {
            self.descriptors -= 1;
        }
        self.note(Happening::Closed { end: id });
        let survives = |world: &Self, id| world.ends.contains_key(&id);
        if gone && peer.is_some_and(|peer| survives(self, peer)) {
            // It stays silent until the other side has closed.
            return;
        }
        self.ends.remove(&id);
        if let Some(peer) = peer
            && self
                .ends
                .get(&peer)
                .is_some_and(|end| end.gone && end.holder == Holder::Peer)
        {
            self.ends.remove(&peer);
        }
    }
}
