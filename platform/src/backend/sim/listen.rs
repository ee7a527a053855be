//! Listeners, and how connections come to them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::agenda::{Action, Parcel};
use super::endpoint::{Endpoint, Holder, Stage};
use super::faults::Fault;
use super::op::{Completion, Descriptor, Failure, Payload, Tag};
use super::trace::Happening;
use super::world::{DriverId, EndId, LATENCY, ListenId, World};
use crate::clock::Nanos;

/// The first port given out by itself (`net.ipv4.ip_local_port_range`).
pub(super) const FIRST_PORT: u16 = 32_768;

/// The first wait for an answer, doubled each time, and how often it is asked
/// again: 127 seconds in all (`net.ipv4.tcp_syn_retries`).
const FIRST_RETRY: Nanos = 1_000_000_000;
const RETRIES: u32 = 6;

/// A listener and who waits at it.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) addr: SocketAddr,
    shared: bool,
    limit: usize,
    waiting: VecDeque<EndId>,
    pub(super) accept: Option<(DriverId, Tag)>,
}

impl World {
    /// A listener at `addr`; port 0 stands for a free one.
    pub(super) fn listen(
        &mut self,
        addr: SocketAddr,
        shared: bool,
        limit: usize,
    ) -> io::Result<ListenId> {
        let addr = self.bind(addr, shared)?;
        let id = ListenId(self.id());
        let backlog = Backlog {
            addr,
            shared,
            limit,
            waiting: VecDeque::new(),
            accept: None,
        };
        self.listeners.insert(id, backlog);
        self.descriptors += 1;
        Ok(id)
    }

    /// A local address that may be used.
    fn bind(&mut self, addr: SocketAddr, shared: bool) -> io::Result<SocketAddr> {
        if !is_ours(addr.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if addr.port() == 0 {
            return self
                .free_port(addr.ip())
                .ok_or_else(|| io::ErrorKind::AddrInUse.into());
        }
        let taken = self
            .listeners
            .values()
            .any(|other| other.addr == addr && !(shared && other.shared));
        if taken {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(addr)
    }

    fn free_port(&mut self, ip: IpAddr) -> Option<SocketAddr> {
        for _ in FIRST_PORT..=u16::MAX {
            let addr = SocketAddr::new(ip, self.port);
            self.port = self.port.checked_add(1).unwrap_or(FIRST_PORT);
            // Connections may share a port with others to elsewhere: only
            // listeners are looked at.
            if self.listeners.values().all(|other| other.addr != addr) {
                return Some(addr);
            }
        }
        None
    }

    /// A socket that asks for a connection to `addr`.
    pub(super) fn start_connect(
        &mut self,
        source: Option<SocketAddr>,
        addr: SocketAddr,
        holder: Holder,
    ) -> io::Result<EndId> {
        let unspecified = match addr {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let local = self.bind(source.unwrap_or((unspecified, 0).into()), true)?;
        let end = self.add_end(Endpoint::new(local, addr, holder, Stage::Connecting));
        if let Some(endpoint) = self.ends.get_mut(&end) {
            endpoint.credit = 0;
        }
        let at = self.now + LATENCY + self.delay(Fault::Delay);
        let syn = Action::Syn {
            from: end,
            attempt: 0,
        };
        self.agenda.add(at, syn);
        Ok(end)
    }

    pub(super) fn syn_arrived(&mut self, from: EndId, attempt: u32) {
        let Some(end) = self.ends.get(&from) else {
            return;
        };
        if end.stage != Stage::Connecting || end.gone {
            return;
        }
        let (target, client, mut unheard) = (end.remote, end.local, end.unheard);
        self.note(Happening::Syn { from, attempt });
        if attempt == 0 && self.suffers(Fault::ConnectSilent) {
            unheard = true;
            if let Some(end) = self.ends.get_mut(&from) {
                end.unheard = true;
            }
        }
        let listeners = self.listeners_at(target);
        let Some(&first) = listeners.first() else {
            return self.answer(from, Err(Failure::Refused));
        };
        let chosen = match listeners.len() {
            1 => first,
            several => listeners[self.random.index(several)],
        };
        let full = self
            .listeners
            .get(&chosen)
            .is_none_or(|backlog| backlog.waiting.len() >= backlog.limit);
        if unheard || full {
            return self.ask_again(from, attempt);
        }
        if attempt == 0 && self.suffers(Fault::ConnectRefused) {
            return self.answer(from, Err(Failure::Refused));
        }
        let server = Endpoint::new(target, client, Holder::Peer, Stage::Open);
        let server = self.add_end(server);
        if let Some(end) = self.ends.get_mut(&server) {
            // It becomes a descriptor when it is accepted.
            end.peer = Some(from);
        }
        if let Some(end) = self.ends.get_mut(&from) {
            end.peer = Some(server);
        }
        self.maybe_slow(from);
        self.answer(from, Ok(()));
        if let Some(backlog) = self.listeners.get_mut(&chosen) {
            backlog.waiting.push_back(server);
        }
        self.run_accept(chosen);
    }

    /// Nobody answered: the request is repeated, a limited number of times.
    fn ask_again(&mut self, from: EndId, attempt: u32) {
        let next = if attempt < RETRIES {
            let attempt = attempt + 1;
            Action::Syn { from, attempt }
        } else {
            let (to, outcome) = (from, Err(Failure::TimedOut));
            Action::Answer { to, outcome }
        };
        self.agenda.add(self.now + (FIRST_RETRY << attempt), next);
    }

    fn answer(&mut self, to: EndId, outcome: Result<(), Failure>) {
        // Not through `dispatch`: nothing was sent before it.
        let at = self.now + LATENCY;
        self.agenda.add(at, Action::Answer { to, outcome });
    }

    pub(super) fn answered(&mut self, to: EndId, outcome: Result<(), Failure>) {
        let Some(end) = self.ends.get_mut(&to) else {
            return;
        };
        if end.stage != Stage::Connecting {
            return;
        }
        let connect = end.connect;
        end.stage = match outcome {
            Ok(()) => Stage::Open,
            Err(failure) => Stage::Failed(failure),
        };
        end.credit = super::endpoint::WINDOW;
        self.note(Happening::Answer {
            to,
            ok: outcome.is_ok(),
        });
        if let Some((driver, tag)) = connect {
            self.finish(driver, tag, outcome.map(|()| 0));
        }
    }

    /// A driver wants to hear of the answer, which may have come already: the
    /// request left when it was made.
    pub(super) fn await_answer(&mut self, id: EndId, driver: DriverId, tag: Tag, timeout: Nanos) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        end.connect = Some((driver, tag));
        match end.stage {
            Stage::Connecting => {
                let at = self.now.saturating_add(timeout);
                self.agenda.add(at, Action::ConnectTimeout { driver, tag });
            }
            Stage::Open => self.finish(driver, tag, Ok(0)),
            Stage::Failed(failure) => self.finish(driver, tag, Err(failure)),
        }
    }

    pub(super) fn connect_timed_out(&mut self, driver: DriverId, tag: Tag) {
        let Some(Descriptor::End(end)) = self.target(driver, tag) else {
            return;
        };
        if let Some(end) = self.ends.get_mut(&end) {
            end.stage = Stage::Failed(Failure::TimedOut);
        }
        self.finish(driver, tag, Err(Failure::TimedOut));
    }

    /// Who listens at an address, exactly or at all of the machine's.
    fn listeners_at(&self, addr: SocketAddr) -> Vec<ListenId> {
        let hears = |own: SocketAddr| {
            own == addr || (own.port() == addr.port() && own.ip().is_unspecified())
        };
        let matching = self
            .listeners
            .iter()
            .filter(|(_, backlog)| hears(backlog.addr));
        matching.map(|(&id, _)| id).collect()
    }

    /// Hands waiting connections to an armed accept.
    pub(super) fn run_accept(&mut self, id: ListenId) {
        loop {
            let Some(backlog) = self.listeners.get(&id) else {
                return;
            };
            let Some((driver, tag)) = backlog.accept else {
                return;
            };
            let Some(&end) = backlog.waiting.front() else {
                return;
            };
            let full = self.descriptors >= self.descriptor_limit;
            if full || self.suffers(Fault::AcceptStarved) {
                return self.finish(driver, tag, Err(Failure::NoDescriptors));
            }
            self.next_waiting(id);
            if self.suffers(Fault::AcceptAborted) {
                self.close_end(end, true);
                return self.finish(driver, tag, Err(Failure::Aborted));
            }
            self.hold(end);
            let completion = Completion {
                tag,
                outcome: Ok(0),
                more: true,
                payload: Payload::Accepted(end),
            };
            self.complete(driver, completion);
        }
    }

    /// The next connection that waits at a listener.
    pub(super) fn next_waiting(&mut self, id: ListenId) -> Option<EndId> {
        self.listeners.get_mut(&id)?.waiting.pop_front()
    }

    /// The end becomes a descriptor of the machine under test.
    pub(super) fn hold(&mut self, id: EndId) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.holder = Holder::Socket;
            self.descriptors += 1;
        }
    }

    pub(super) fn close_listener(&mut self, id: ListenId) {
        let Some(backlog) = self.listeners.remove(&id) else {
            return;
        };
        self.descriptors -= 1;
        for end in backlog.waiting {
            self.dispatch(end, Parcel::Reset);
            self.ends.remove(&end);
        }
    }
}

/// The machines of the simulation have every loopback and private address.
fn is_ours(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unspecified(),
    }
}
