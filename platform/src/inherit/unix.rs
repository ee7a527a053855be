//! The environment, and the descriptors from 3 on.

use std::env;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{InheritError, Inherited, parse};
use crate::socket::Listener;

/// `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;

/// Who takes a descriptor owns it: that may happen once.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The names of the descriptors that are meant for this process.
pub(super) fn announced() -> Result<Vec<String>, InheritError> {
    let (Ok(pid), Ok(fds)) = (env::var("LISTEN_PID"), env::var("LISTEN_FDS")) else {
        return Ok(Vec::new());
    };
    // For a parent that has handed its environment down.
    if pid != std::process::id().to_string() {
        return Ok(Vec::new());
    }
    parse(&fds, env::var("LISTEN_FDNAMES").ok().as_deref())
}

pub(super) fn take() -> Result<Vec<Inherited>, InheritError> {
    let names = announced()?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(InheritError::Taken);
    }
    (FIRST..).zip(names).map(adopt).collect()
}

fn adopt((number, name): (RawFd, String)) -> Result<Inherited, InheritError> {
    let fault = |name: &str, source| InheritError::Descriptor {
        number,
        name: name.into(),
        source,
    };
    // SAFETY: the number is not -1; that it is open is what is asked. It is
    // borrowed for this one call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    // Fails for a number that is not open.
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(|errno| fault(&name, errno.into()))?;
    // SAFETY: it is open, and by the protocol this process's own; it is taken
    // once, see `TAKEN`.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let listener = Listener::adopt(fd).map_err(|source| fault(&name, source))?;
    Ok(Inherited { name, listener })
}
