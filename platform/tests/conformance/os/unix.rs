//! A source is a descriptor, and a pipe has one.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use hioload_platform::Socket;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;

use super::Violence;

/// What a socket or a source is to the system.
pub(crate) type Owned = OwnedFd;
pub(super) type Reader = PipeReader;
pub(super) type Writer = PipeWriter;

pub(super) fn wire() -> (Reader, Writer) {
    std::io::pipe().expect("a pipe")
}

/// Whether programs this one starts get the socket, too.
pub(crate) fn is_inherited(socket: &Socket) -> bool {
    let flags = fcntl(socket, FcntlArg::F_GETFD).expect("an open socket");
    !FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC)
}

/// Whether a signal that nothing sent ended a process.
pub(crate) fn violence(status: ExitStatus) -> Option<Violence> {
    match status.signal()? {
        libc::SIGABRT => Some(Violence::Abort),
        libc::SIGSEGV => Some(Violence::Access),
        _ => None,
    }
}
