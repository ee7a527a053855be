//! Simulated sockets and listeners that no driver has attached.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::endpoint::Holder;
use super::net::SimNet;
use super::peer::SimPeer;
use super::world::{EndId, ListenId};

/// A connected stream that no driver has attached. Dropping it closes it.
pub struct SimSocket {
    net: SimNet,
    end: Option<EndId>,
}

impl SimSocket {
    pub(super) fn new(net: SimNet, end: EndId) -> Self {
        Self {
            net,
            end: Some(end),
        }
    }

    /// The address of the other side.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.end.and_then(|end| self.net.remote_addr(end))
    }

    /// The end, which the caller closes from here on.
    pub(super) fn release(mut self) -> Option<EndId> {
        self.end.take()
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        if let Some(end) = self.end {
            self.net.with(|world| world.close_end(end, false));
        }
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimSocket").field(&self.end).finish()
    }
}

/// A listener that no driver has attached. Dropping it closes it.
pub struct SimListener {
    net: SimNet,
    id: Option<ListenId>,
    addr: SocketAddr,
}

impl SimListener {
    pub(super) fn new(net: SimNet, id: ListenId, addr: SocketAddr) -> Self {
        Self {
            net,
            id: Some(id),
            addr,
        }
    }

    /// The bound address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection that waits here, as a peer: for a simulated server.
    ///
    /// # Errors
    /// `WouldBlock` when none waits.
    pub fn try_accept(&self) -> io::Result<SimPeer> {
        let waiting = self.net.with(|world| world.next_waiting(self.id?));
        let end = waiting.ok_or(io::ErrorKind::WouldBlock)?;
        Ok(SimPeer::new(self.net.clone(), end))
    }

    /// The listener, which the caller closes from here on.
    pub(super) fn release(mut self) -> Option<ListenId> {
        self.id.take()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.net.with(|world| world.close_listener(id));
        }
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimListener").field(&self.addr).finish()
    }
}

impl SimNet {
    pub(super) fn remote_addr(&self, end: EndId) -> Option<SocketAddr> {
        self.with(|world| {
            let end = world.ends.get(&end)?;
            let open = end.stage == super::endpoint::Stage::Open && end.failed.is_none();
            open.then_some(end.remote)
        })
    }

    pub(super) fn connected_pair(&self) -> (EndId, EndId) {
        self.with(|world| {
            let loopback = std::net::Ipv4Addr::LOCALHOST;
            let mut address = || {
                let port = world.port;
                world.port = port.checked_add(1).unwrap_or(super::listen::FIRST_PORT);
                SocketAddr::from((loopback, port))
            };
            let (here, there) = (address(), address());
            let end = |local, remote, holder| {
                let stage = super::endpoint::Stage::Open;
                super::endpoint::Endpoint::new(local, remote, holder, stage)
            };
            let socket = world.add_end(end(here, there, Holder::Socket));
            let peer = world.add_end(end(there, here, Holder::Peer));
            world.join(socket, peer);
            (socket, peer)
        })
    }
}
