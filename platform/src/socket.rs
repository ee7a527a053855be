//! Sockets and listeners that no driver has attached yet.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Protocol, Type};

use crate::driver::Connect;
use crate::error::{BindError, DriverError};

#[cfg(unix)]
use unix as imp;
#[cfg(windows)]
use windows as imp;

pub(crate) use imp::{DENIED, accept_fault, cancelled};

/// Whether several listeners may share an address, so that each shard has its
/// own ([`ListenOptions::reuse_port`]).
pub const PORTS_CAN_BE_SHARED: bool = imp::PORTS_CAN_BE_SHARED;

/// A connected TCP stream that no driver has attached.
///
/// It converts from and to the owned handle of the system: `OwnedFd` on Unix,
/// `OwnedSocket` on Windows.
#[derive(Debug)]
pub struct Socket(socket2::Socket);

impl Socket {
    /// The address of the other side.
    ///
    /// # Errors
    /// `ENOTCONN` when the peer is gone already.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.0.peer_addr()?;
        addr.as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(stream.into())
    }
}

/// How to make a [`Listener`].
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// The address; port 0 lets the kernel choose.
    pub addr: SocketAddr,
    /// `SO_REUSEPORT`: several listeners, one per shard, share the address and
    /// the kernel spreads connections over them (Linux 3.9). Windows has
    /// nothing like it, see [`PORTS_CAN_BE_SHARED`].
    pub reuse_port: bool,
    /// Connections the kernel queues before `accept`; `net.core.somaxconn`
    /// caps it on Linux. Windows takes 200 to 65,535.
    pub backlog: i32,
}

impl ListenOptions {
    /// Options for `addr` with the defaults: a shared port where ports can be
    /// shared, backlog 4096 (the default `somaxconn` since Linux 5.4).
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            reuse_port: PORTS_CAN_BE_SHARED,
            backlog: 4096,
        }
    }
}

/// A bound, listening TCP socket that no driver has attached.
///
/// `TCP_NODELAY` is set on it and inherited by what it accepts.
#[derive(Debug)]
pub struct Listener(socket2::Socket);

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// [`BindError`] says what to do about the common causes. `Unsupported`
    /// when the port is to be shared where that can not be.
    pub fn bind(options: &ListenOptions) -> Result<Self, BindError> {
        Self::open(options).map_err(|source| BindError {
            addr: options.addr,
            source,
        })
    }

    fn open(options: &ListenOptions) -> io::Result<Self> {
        let domain = Domain::for_address(options.addr);
        let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        imp::share(&socket, options.reuse_port)?;
        if options.addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.bind(&options.addr.into())?;
        socket.listen(imp::backlog(options.backlog))?;
        Ok(Self(socket))
    }

    /// The bound address, with the port the kernel chose.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.0.local_addr()?;
        addr.as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }
}

impl Listener {
    /// Another descriptor of the same socket: what waits to be accepted waits
    /// until the last of them is closed.
    ///
    /// # Errors
    /// Those of `dup`.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(listener.into())
    }
}

/// Whom an error of accepting concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptFault {
    /// Nobody: it was cancelled or interrupted.
    Nothing,
    /// The connection that was about to be accepted.
    OneSocket,
    /// The process or the system: no descriptor or memory is left.
    Starved,
    /// The listener itself.
    Listener,
}

/// A socket that may connect to `target`, bound to the source it names.
pub(crate) fn open_client(target: &Connect) -> Result<socket2::Socket, DriverError> {
    let socket = socket2::Socket::new(
        Domain::for_address(target.addr),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .map_err(|error| DriverError::system("socket", error))?;
    socket
        .set_tcp_nodelay(true)
        .map_err(|error| DriverError::system("TCP_NODELAY", error))?;
    if let Some(source) = target.source {
        if source.port() == 0 {
            imp::port_at_connect(&socket)
                .map_err(|error| DriverError::system("IP_BIND_ADDRESS_NO_PORT", error))?;
        }
        socket
            .bind(&source.into())
            .map_err(|error| DriverError::system("bind", error))?;
    }
    Ok(socket)
}
