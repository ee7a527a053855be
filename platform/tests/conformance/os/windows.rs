//! A source is a socket: completion ports know no readiness of anything else.

use std::net::TcpStream;
use std::os::windows::io::{AsRawSocket, OwnedSocket};
use std::process::ExitStatus;
use std::ptr;

use hioload_platform::Socket;
use windows_sys::Win32::Foundation::{
    GetHandleInformation, HANDLE, HANDLE_FLAG_INHERIT, STATUS_ACCESS_VIOLATION,
    STATUS_STACK_BUFFER_OVERRUN,
};

use super::{Os, Violence};
use crate::net::Net;

/// What a socket or a source is to the system.
pub(crate) type Owned = OwnedSocket;
pub(super) type Reader = TcpStream;
pub(super) type Writer = TcpStream;

pub(super) fn wire() -> (Reader, Writer) {
    let (server, addr) = Os.serve(None);
    let writer = Os.connect(addr).expect("the backlog has room");
    writer.set_nodelay(true).expect("TCP_NODELAY can be set");
    let (reader, _) = Os.accept(&server);
    (reader, writer)
}

/// Whether programs this one starts get the socket, too.
#[expect(unsafe_code, reason = "the standard library does not tell")]
pub(crate) fn is_inherited(socket: &Socket) -> bool {
    let socket = socket2::SockRef::from(socket).as_raw_socket();
    let handle: HANDLE = ptr::with_exposed_provenance_mut(socket.try_into().expect("a handle"));
    let mut flags = 0;
    // SAFETY: the socket is open, and the flags are written within the call.
    let told = unsafe { GetHandleInformation(handle, &raw mut flags) };
    assert_ne!(told, 0, "{}", std::io::Error::last_os_error());
    flags & HANDLE_FLAG_INHERIT != 0
}

/// Whether the code a process ended with is that of an exception. `abort` is a
/// fast fail, whose code has the name of its first use.
pub(crate) fn violence(status: ExitStatus) -> Option<Violence> {
    match status.code()? {
        STATUS_STACK_BUFFER_OVERRUN => Some(Violence::Abort),
        STATUS_ACCESS_VIOLATION => Some(Violence::Access),
        _ => None,
    }
}
