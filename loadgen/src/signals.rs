//! Ctrl-C and SIGTERM: the first ends the run and reports, the second exits.

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::exit::Exit;

/// Blocks the signals in the calling thread, and so in all it spawns, and calls
/// `interrupted` from a thread of its own when one arrives. Call it before any
/// other thread exists.
///
/// # Errors
/// When the thread can not be started.
pub(crate) fn watch(interrupted: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if set.wait().is_ok() {
                interrupted();
            }
            if set.wait().is_ok() {
                std::process::exit(Exit::Interrupted.code().into());
            }
        })?;
    Ok(())
}
