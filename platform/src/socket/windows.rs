//! Sockets are handles of their own kind, and a port has one listener.

use std::io;
use std::os::windows::io::{AsRawSocket, AsSocket, BorrowedSocket, OwnedSocket};

use windows_sys::Win32::Foundation::{ERROR_NETNAME_DELETED, ERROR_OPERATION_ABORTED};
use windows_sys::Win32::Networking::WinSock::{
    SO_EXCLUSIVEADDRUSE, SOCKET, SOL_SOCKET, WSAECONNABORTED, WSAECONNRESET, WSAEINTR, WSAEMFILE,
    WSAENOBUFS, WSAEWOULDBLOCK, setsockopt,
};

use super::{AcceptFault, Listener, Socket};

/// With `SO_REUSEADDR` several sockets may bind one address, but which of them
/// gets a connection is undefined. A completion port does not help: a listener
/// belongs to one for ever.
pub(super) const PORTS_CAN_BE_SHARED: bool = false;

/// Why a bind may be forbidden.
pub(crate) const DENIED: &str = "another process has the port for itself, or it is in a reserved \
                                 range (netsh interface ipv4 show excludedportrange tcp)";

const DWORD_LEN: i32 = 4;

/// Without `SO_EXCLUSIVEADDRUSE` any process of the machine may bind the same
/// address with `SO_REUSEADDR`, and take the connections (Winsock, "Using
/// `SO_REUSEADDR` and `SO_EXCLUSIVEADDRUSE`"). `TIME_WAIT` does not prevent
/// a bind.
pub(super) fn share(socket: &socket2::Socket, reuse_port: bool) -> io::Result<()> {
    if reuse_port {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "on Windows listeners can not share a port",
        ));
    }
    let on = 1_u32.to_ne_bytes();
    let socket = SOCKET::try_from(socket.as_raw_socket()).map_err(io::Error::other)?;
    // SAFETY: the socket is open, and the option's value is a DWORD that
    // outlives the call.
    let result = unsafe {
        setsockopt(
            socket,
            SOL_SOCKET,
            SO_EXCLUSIVEADDRUSE,
            on.as_ptr(),
            DWORD_LEN,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `SOMAXCONN_HINT`: a negative backlog is taken as it is, between 200 and
/// 65,535; a positive one may be cut to less (Winsock, `listen`).
pub(super) fn backlog(asked: i32) -> i32 {
    -asked.max(0)
}

/// A bind chooses the port at once: there is no such option.
#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere there is something to do"
)]
pub(super) fn port_at_connect(_socket: &socket2::Socket) -> io::Result<()> {
    Ok(())
}

/// What a send or connect ends with when its socket is closed under it.
pub(crate) fn cancelled() -> io::Error {
    io::Error::from_raw_os_error(ERROR_OPERATION_ABORTED.cast_signed())
}

/// `AcceptEx` fails with the error of the connection it was about to make.
pub(crate) fn accept_fault(error: &io::Error) -> AcceptFault {
    match error.raw_os_error().map_or(0, i32::cast_unsigned) {
        ERROR_OPERATION_ABORTED => AcceptFault::Nothing,
        ERROR_NETNAME_DELETED => AcceptFault::OneSocket,
        code => match code.cast_signed() {
            WSAEINTR | WSAEWOULDBLOCK => AcceptFault::Nothing,
            WSAEMFILE | WSAENOBUFS => AcceptFault::Starved,
            WSAECONNRESET | WSAECONNABORTED => AcceptFault::OneSocket,
            _ => AcceptFault::Listener,
        },
    }
}

impl From<OwnedSocket> for Socket {
    fn from(socket: OwnedSocket) -> Self {
        Self(socket.into())
    }
}

impl From<Socket> for OwnedSocket {
    fn from(socket: Socket) -> Self {
        socket.0.into()
    }
}

impl AsSocket for Socket {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.0.as_socket()
    }
}

impl From<Listener> for OwnedSocket {
    fn from(listener: Listener) -> Self {
        listener.0.into()
    }
}

impl AsSocket for Listener {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.0.as_socket()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use crate::{ListenOptions, Listener};

    fn options() -> ListenOptions {
        ListenOptions::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    #[test]
    fn a_port_is_not_shared_with_those_who_ask_for_it() {
        let listener = Listener::bind(&options()).expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let thief = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        thief.set_reuse_address(true).expect("it may ask");
        thief.bind(&addr.into()).expect_err("the port is taken");
    }

    #[test]
    fn a_listener_that_is_to_share_its_port_is_refused() {
        let error = Listener::bind(&ListenOptions {
            reuse_port: true,
            ..options()
        })
        .expect_err("Windows can not");
        assert_eq!(error.source.kind(), std::io::ErrorKind::Unsupported);
    }
}
