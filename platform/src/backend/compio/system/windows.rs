//! I/O completion ports.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::windows::io::{AsRawSocket, OwnedSocket};
use std::time::Duration;

use compio_driver::SharedFd;
use compio_driver::op::{self, RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockRef, Type};
use windows_sys::Win32::Foundation::{
    ERROR_CONNECTION_ABORTED, ERROR_CONNECTION_REFUSED, ERROR_HOST_UNREACHABLE,
    ERROR_NETNAME_DELETED, ERROR_NETWORK_UNREACHABLE, ERROR_SEM_TIMEOUT, WAIT_TIMEOUT,
};
use windows_sys::Win32::Networking::WinSock::{
    FIONREAD, POLLRDNORM, SOCKET, WSAECONNABORTED, WSAECONNREFUSED, WSAECONNRESET, WSAEHOSTUNREACH,
    WSAENETUNREACH, WSAETIMEDOUT, WSAPOLLFD, WSAPoll, ioctlsocket,
};

use crate::backend::batch::Batch;
use crate::driver::Connect;
use crate::socket::Socket;

pub(in crate::backend::compio) type Owned = OwnedSocket;
pub(in crate::backend::compio) type ReadyOp = op::Recv<Vec<u8>, SharedFd<OwnedSocket>>;
pub(in crate::backend::compio) type SendOp = op::SendVectored<Batch, SharedFd<OwnedSocket>>;
pub(in crate::backend::compio) type AcceptOp = op::Accept<SharedFd<OwnedSocket>, socket2::Socket>;
pub(in crate::backend::compio) type ConnectOp = op::Connect<SharedFd<OwnedSocket>>;

/// The name errors and reports use.
pub(in crate::backend::compio) const NAME: &str = "IOCP";

/// Accepts waiting at once. A connection beyond them waits in the backlog until
/// the next turn arms more.
pub(in crate::backend::compio) const ACCEPTS: u8 = 8;

/// There is no such signal here.
pub(in crate::backend::compio) const SEND_FLAGS: i32 = 0;

/// A poll that finds itself woken returns without a look at the port.
pub(in crate::backend::compio) const WOKEN_POLL_IS_BLIND: bool = true;

/// Waits until there is something to receive, an end or an error: a receive of
/// no bytes ends then, and pins no memory meanwhile.
pub(in crate::backend::compio) fn ready_op(fd: SharedFd<OwnedSocket>) -> ReadyOp {
    op::Recv::new(fd, Vec::new(), RecvFlags::empty())
}

pub(in crate::backend::compio) fn send_op(fd: SharedFd<OwnedSocket>, batch: Batch) -> SendOp {
    op::SendVectored::new(fd, batch, SendFlags::empty())
}

/// `AcceptEx` wants the socket it connects.
pub(in crate::backend::compio) fn accept_op(fd: SharedFd<OwnedSocket>) -> io::Result<AcceptOp> {
    let listener: &OwnedSocket = &fd;
    let addr = SockRef::from(listener).local_addr()?;
    let domain = Domain::from(i32::from(addr.family()));
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    Ok(op::Accept::new(fd, socket))
}

/// Until then the socket knows neither its addresses nor its options.
pub(in crate::backend::compio) fn accepted(op: AcceptOp) -> io::Result<Socket> {
    op.update_context()?;
    let (socket, _) = op.into_addr()?;
    socket.set_tcp_nodelay(true)?;
    Ok(Socket::from(OwnedSocket::from(socket)))
}

/// An accept is an operation, and those in flight have ended: Windows resets
/// what waits.
pub(in crate::backend::compio) fn accept_waiting(
    _fd: &SharedFd<Owned>,
) -> impl Iterator<Item = Socket> + use<> {
    std::iter::empty()
}

/// `ConnectEx` wants a bound socket.
pub(in crate::backend::compio) fn prepare_connect(
    client: &socket2::Socket,
    target: &Connect,
) -> io::Result<()> {
    if target.source.is_some() {
        return Ok(());
    }
    let any: SocketAddr = if target.addr.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    client.bind(&any.into())
}

/// Until then the socket can neither be shut down nor tell its peer.
pub(in crate::backend::compio) fn finish_connect(op: &ConnectOp) -> io::Result<()> {
    op.update_context()
}

/// Fails when a receive of nothing was a reset. The operation that waited for
/// readiness may have taken the error with it: `compio-driver` reports
/// `ERROR_NETNAME_DELETED` as success, and Wine's next receive then tells the
/// end (Windows repeats the reset). A send of nothing still fails; not to be
/// told from an end after a shutdown (`WSAESHUTDOWN`).
pub(in crate::backend::compio) fn check_end(fd: &SharedFd<OwnedSocket>) -> io::Result<()> {
    let socket: &OwnedSocket = fd;
    match SockRef::from(socket).send(&[]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(error),
        _ => Ok(()),
    }
}

/// Whether a source that is readable will stay so for ever: its other end is
/// gone and nothing is left to read.
pub(in crate::backend::compio) fn ended(fd: &SharedFd<OwnedSocket>) -> bool {
    let owned: &OwnedSocket = fd;
    let Ok(socket) = SOCKET::try_from(owned.as_raw_socket()) else {
        return true;
    };
    let mut polled = WSAPOLLFD {
        fd: socket,
        events: POLLRDNORM,
        revents: 0,
    };
    // SAFETY: one structure is given, which outlives the call.
    let ready = unsafe { WSAPoll(&raw mut polled, 1, 0) };
    let mut unread = 0;
    // SAFETY: the request writes one number, which outlives the call.
    let told = unsafe { ioctlsocket(socket, FIONREAD, &raw mut unread) };
    ready > 0 && (told != 0 || unread == 0)
}

/// Waits count milliseconds, and those of a port cut fractions off.
pub(in crate::backend::compio) fn round_up(timeout: Duration) -> Duration {
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX).min(MAX_MILLIS))
}

/// A day; all ones would mean for ever.
const MAX_MILLIS: u64 = 86_400_000;

/// Whether a poll merely found nothing in time.
pub(in crate::backend::compio) fn is_timeout(error: &io::Error) -> bool {
    code(error) == Some(WAIT_TIMEOUT)
}

/// Completions carry the errors of the transport below the sockets. Those that
/// sockets have their own for are given as such, with the kinds people expect.
pub(in crate::backend::compio) fn socket_error(error: io::Error) -> io::Error {
    let code = match code(&error) {
        Some(ERROR_CONNECTION_REFUSED) => WSAECONNREFUSED,
        Some(ERROR_CONNECTION_ABORTED) => WSAECONNABORTED,
        Some(ERROR_NETNAME_DELETED) => WSAECONNRESET,
        Some(ERROR_NETWORK_UNREACHABLE) => WSAENETUNREACH,
        Some(ERROR_HOST_UNREACHABLE) => WSAEHOSTUNREACH,
        Some(ERROR_SEM_TIMEOUT) => WSAETIMEDOUT,
        _ => return error,
    };
    io::Error::from_raw_os_error(code)
}

fn code(error: &io::Error) -> Option<u32> {
    error.raw_os_error().map(i32::cast_unsigned)
}
