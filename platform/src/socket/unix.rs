//! Sockets are descriptors, and a port can be shared.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::{AcceptFault, Listener, Socket};

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

/// Lets the kernel choose the port when the target is known, so that a port
/// serves many targets (Linux 4.2). The option is of the IP level for IPv6 too.
pub(super) fn port_at_connect(socket: &socket2::Socket) -> io::Result<()> {
    const INT: libc::socklen_t = 4;
    const { assert!(size_of::<libc::c_int>() == 4) };
    let on: libc::c_int = 1;
    // SAFETY: the value is an int that outlives the call, its size is given.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            INT,
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// What a send or connect ends with when its socket is closed under it.
pub(crate) fn cancelled() -> io::Error {
    io::Error::from_raw_os_error(libc::ECANCELED)
}

/// `accept(2)` passes on errors of the connection it was about to return.
pub(crate) fn accept_fault(error: &io::Error) -> AcceptFault {
    match error.raw_os_error() {
        Some(libc::ECANCELED | libc::EINTR | libc::EAGAIN) => AcceptFault::Nothing,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => AcceptFault::Starved,
        Some(
            libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENOPROTOOPT
            | libc::ENONET
            | libc::ETIMEDOUT
            | libc::ECONNRESET,
        ) => AcceptFault::OneSocket,
        _ => AcceptFault::Listener,
    }
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

impl Listener {
    /// A listening TCP socket that was made elsewhere: handed over, or
    /// inherited. Whether it is non-blocking is left alone, since that is
    /// shared with whoever else holds it.
    ///
    /// # Errors
    /// `InvalidInput` when it is something else; those of the calls.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let socket = socket2::Socket::from(fd);
        if socket.r#type()? != socket2::Type::STREAM || !socket.is_listener()? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it does not listen for streams",
            ));
        }
        let listener = Self(socket);
        listener.local_addr()?;
        listener.0.set_tcp_nodelay(true)?;
        Ok(listener)
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
