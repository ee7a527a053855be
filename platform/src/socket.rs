//! Sockets and listeners that no driver has attached yet.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Protocol, SockRef, Type};

use crate::error::BindError;

/// A connected TCP stream that no driver has attached.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// The address of the other side.
    ///
    /// # Errors
    /// `ENOTCONN` when the peer is gone already.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let addr = SockRef::from(self).peer_addr()?;
        addr.as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(stream.into())
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How to make a [`Listener`].
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// The address; port 0 lets the kernel choose.
    pub addr: SocketAddr,
    /// `SO_REUSEPORT`: several listeners, one per shard, share the address and
    /// the kernel spreads connections over them (Linux 3.9).
    pub reuse_port: bool,
    /// Connections the kernel queues before `accept`; `net.core.somaxconn`
    /// caps it.
    pub backlog: i32,
}

impl ListenOptions {
    /// Options for `addr` with the defaults: shared port, backlog 4096 (the
    /// default `somaxconn` since Linux 5.4).
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            reuse_port: true,
            backlog: 4096,
        }
    }
}

/// A bound, listening TCP socket that no driver has attached.
///
/// `TCP_NODELAY` is set on it and inherited by what it accepts.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// [`BindError`] says what to do about the common causes.
    pub fn bind(options: &ListenOptions) -> Result<Self, BindError> {
        Self::open(options).map_err(|source| BindError {
            addr: options.addr,
            source,
        })
    }

    fn open(options: &ListenOptions) -> io::Result<Self> {
        let domain = Domain::for_address(options.addr);
        let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(options.reuse_port)?;
        if options.addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.bind(&options.addr.into())?;
        socket.listen(options.backlog)?;
        Ok(Self(socket.into()))
    }

    /// The bound address, with the port the kernel chose.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let addr = SockRef::from(self).local_addr()?;
        addr.as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(listener.into())
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.0
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
