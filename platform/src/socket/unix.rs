//! Sockets are descriptors, and a port can be shared.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Listener, Socket};

pub(super) const PORTS_CAN_BE_SHARED: bool = true;

/// Why a bind may be forbidden.
pub(crate) const DENIED: &str = "choose a port of 1024 or above, or grant the right to low ones \
                                 (AmbientCapabilities=CAP_NET_BIND_SERVICE of systemd, --cap-add \
                                 NET_BIND_SERVICE of docker, sysctl \
                                 net.ipv4.ip_unprivileged_port_start)";

/// `SO_REUSEADDR` lets a server start again while connections of the last one
/// are in `TIME_WAIT`.
pub(super) fn share(socket: &socket2::Socket, reuse_port: bool) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)
}

pub(super) fn backlog(asked: i32) -> i32 {
    asked
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0.into()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.0.into()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
