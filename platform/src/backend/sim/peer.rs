//! Simulated peers: what a client, or an outside server, does on a connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::agenda::Parcel;
use super::endpoint::Stage;
use super::net::SimNet;
use super::trace::Happening;
use super::world::EndId;

/// A connection as its simulated owner sees it. Nothing blocks: `WouldBlock`
/// says that the world has to go on first. Dropping it closes it.
pub struct SimPeer {
    net: SimNet,
    end: EndId,
}

impl SimPeer {
    pub(super) fn new(net: SimNet, end: EndId) -> Self {
        Self { net, end }
    }

    /// Whether the handshake is over, or why it failed.
    ///
    /// # Errors
    /// `WouldBlock` while it is under way; `ConnectionRefused`, `TimedOut`.
    pub fn try_connected(&self) -> io::Result<()> {
        self.net.with(|world| {
            let stage = world.ends.get(&self.end).map(|end| end.stage);
            match stage {
                Some(Stage::Open) => Ok(()),
                Some(Stage::Failed(failure)) => Err(failure.into()),
                Some(Stage::Connecting) | None => Err(io::ErrorKind::WouldBlock.into()),
            }
        })
    }

    /// Reads what has arrived; 0 is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; `ConnectionReset` and the errors
    /// of a failed connect.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.net.with(|world| {
            let end = world.ends.get(&self.end).filter(|end| !end.gone);
            let end = end.ok_or(io::ErrorKind::WouldBlock)?;
            if end.inbox.is_empty() {
                return match (end.stage, end.failed) {
                    (Stage::Failed(failure), _) | (_, Some(failure)) => Err(failure.into()),
                    _ if end.fin_arrived => Ok(0),
                    _ => Err(io::ErrorKind::WouldBlock.into()),
                };
            }
            let bytes = world.read(self.end, into.len());
            into[..bytes.len()].copy_from_slice(&bytes);
            world.note(Happening::PeerRead {
                end: self.end,
                len: bytes.len(),
            });
            Ok(bytes.len())
        })
    }

    /// Writes as much as the other side's window takes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing, or the connection is not made yet;
    /// `ConnectionReset`, `BrokenPipe` and the errors of a failed connect.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.net.with(|world| {
            let end = world.ends.get(&self.end).filter(|end| !end.gone);
            let end = end.ok_or(io::ErrorKind::WouldBlock)?;
            if let Some(failure) = end.send_fault() {
                return Err(failure.into());
            }
            if end.stage != Stage::Open {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let len = world.transmit(self.end, bytes);
            if len == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            world.note(Happening::PeerWrote { end: self.end, len });
            Ok(len)
        })
    }

    /// Ends the sending direction.
    pub fn shutdown(&self) {
        self.net.with(|world| world.shutdown(self.end));
    }

    /// Closes with a reset.
    pub fn reset(self) {
        self.net.with(|world| world.close_end(self.end, true));
    }

    /// Is silently gone, as a machine that lost its power: nothing is sent,
    /// not even an end.
    pub fn vanish(self) {
        self.net.with(|world| world.vanish(self.end));
    }

    /// Changes how many bytes it takes before it reads.
    pub fn set_window(&self, bytes: usize) {
        self.net.with(|world| world.set_window(self.end, bytes));
    }

    /// Whether a fault made it vanish.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.net
            .with(|world| world.ends.get(&self.end).is_none_or(|end| end.gone))
    }

    /// Its own address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.net
            .with(|world| world.ends.get(&self.end).map(|end| end.local))
    }

    /// The address of the other side.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.net
            .with(|world| world.ends.get(&self.end).map(|end| end.remote))
    }
}

impl Drop for SimPeer {
    fn drop(&mut self) {
        self.net.with(|world| world.close_end(self.end, false));
    }
}

impl fmt::Debug for SimPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimPeer").field(&self.end).finish()
    }
}

impl SimNet {
    /// Resets a connection on the network: both sides hear of it.
    pub fn cut(&self, peer: &SimPeer) {
        self.with(|world| {
            let other = world.ends.get(&peer.end).and_then(|end| end.peer);
            world.dispatch(peer.end, Parcel::Reset);
            if let Some(other) = other {
                world.dispatch(other, Parcel::Reset);
            }
        });
    }
}
