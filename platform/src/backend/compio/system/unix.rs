//! `epoll(7)`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use compio_buf::IntoInner;
use compio_driver::SharedFd;
use compio_driver::op::{self, Interest, SendFlags};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::backend::batch::Batch;
use crate::driver::Connect;
use crate::socket::Socket;

pub(in crate::backend::compio) type Owned = OwnedFd;
pub(in crate::backend::compio) type ReadyOp = op::PollOnce<SharedFd<OwnedFd>>;
pub(in crate::backend::compio) type SendOp = op::SendVectored<Batch, SharedFd<OwnedFd>>;
pub(in crate::backend::compio) type AcceptOp = op::Accept<SharedFd<OwnedFd>>;
pub(in crate::backend::compio) type ConnectOp = op::Connect<SharedFd<OwnedFd>>;

/// The name errors and reports use.
pub(in crate::backend::compio) const NAME: &str = "epoll";

/// Accepts waiting at once: each takes what is there until nothing is.
pub(in crate::backend::compio) const ACCEPTS: u8 = 1;

/// Without it a send to a closed peer would raise `SIGPIPE`.
pub(in crate::backend::compio) const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;

/// A poll that was interrupted looks at the descriptors all the same.
pub(in crate::backend::compio) const WOKEN_POLL_IS_BLIND: bool = false;

/// Waits until there is something to receive, an end or an error.
pub(in crate::backend::compio) fn ready_op(fd: SharedFd<OwnedFd>) -> ReadyOp {
    op::PollOnce::new(fd, Interest::Readable)
}

pub(in crate::backend::compio) fn send_op(fd: SharedFd<OwnedFd>, batch: Batch) -> SendOp {
    op::SendVectored::new(fd, batch, SendFlags::NOSIGNAL)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere the socket is made before and may fail to be"
)]
pub(in crate::backend::compio) fn accept_op(fd: SharedFd<OwnedFd>) -> io::Result<AcceptOp> {
    Ok(op::Accept::new(fd))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere an accepted socket has to be finished"
)]
pub(in crate::backend::compio) fn accepted(op: AcceptOp) -> io::Result<Socket> {
    let (socket, _) = op.into_inner();
    Ok(Socket::from(OwnedFd::from(socket)))
}

/// What waits at a listener that is about to be closed, which the kernel would
/// reset: no more than a backlog holds by default (`net.core.somaxconn`).
pub(in crate::backend::compio) fn accept_waiting(
    fd: &SharedFd<OwnedFd>,
) -> impl Iterator<Item = Socket> + use<> {
    const MOST: usize = 4096;
    let fd = fd.clone();
    let next = move || {
        let listener: &OwnedFd = &fd;
        let accepted = socket2::SockRef::from(listener).accept();
        let (socket, _) = accepted.ok()?;
        Some(Socket::from(OwnedFd::from(socket)))
    };
    std::iter::from_fn(next).take(MOST)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere a socket must be bound before"
)]
pub(in crate::backend::compio) fn prepare_connect(
    _client: &socket2::Socket,
    _target: &Connect,
) -> io::Result<()> {
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere a connected socket has to be finished"
)]
pub(in crate::backend::compio) fn finish_connect(_op: &ConnectOp) -> io::Result<()> {
    Ok(())
}

/// A receive of nothing is an orderly end.
#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere the receive does not tell a reset from the end"
)]
pub(in crate::backend::compio) fn check_end(_fd: &SharedFd<OwnedFd>) -> io::Result<()> {
    Ok(())
}

/// Whether a source that is readable will stay so for ever: its other end is
/// gone and nothing is left to read.
pub(in crate::backend::compio) fn ended(fd: &SharedFd<OwnedFd>) -> bool {
    const GONE: libc::c_short = libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR | libc::POLLNVAL;
    let source: &OwnedFd = fd;
    let asked = PollFlags::from_bits_retain(libc::POLLIN | libc::POLLRDHUP);
    let mut polled = [PollFd::new(source.as_fd(), asked)];
    if !poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        return false;
    }
    // Flags the crate has no name for are none to it: POLLRDHUP is one.
    let said = polled[0].revents().map_or(GONE, |flags| flags.bits());
    said & GONE != 0 && unread(source.as_raw_fd()) == 0
}

/// Bytes waiting in a pipe or socket; none in anything else.
fn unread(fd: RawFd) -> libc::c_int {
    let mut count: libc::c_int = 0;
    // SAFETY: the request writes one int, which outlives the call; other kinds
    // of descriptors refuse it.
    let told = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) };
    if told == 0 { count } else { 0 }
}

/// The poller's timer counts nanoseconds.
pub(in crate::backend::compio) fn round_up(timeout: Duration) -> Duration {
    timeout
}

/// Whether a poll merely found nothing in time.
pub(in crate::backend::compio) fn is_timeout(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ETIMEDOUT)
}

/// Completions carry the errors of the sockets themselves.
pub(in crate::backend::compio) fn socket_error(error: io::Error) -> io::Error {
    error
}
