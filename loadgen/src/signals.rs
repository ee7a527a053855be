//! Ctrl-C and SIGTERM: the first ends the run and reports, the second exits.

use std::io;

use hioload_platform::signals::{Signal, Signals, Watch};

use crate::exit::Exit;

/// What keeps the signals from ending the process.
pub(crate) struct Watched {
    /// Ends before the signals are let through again.
    _watch: Watch,
    _signals: Signals,
}

/// Holds the signals back in the calling thread, and so in all it spawns, and
/// calls `interrupted` from a thread of its own when one arrives. Call it
/// before any other thread exists.
///
/// # Errors
/// When the thread can not be started.
pub(crate) fn watch(interrupted: impl FnOnce() + Send + 'static) -> io::Result<Watched> {
    let signals = Signals::hold(false)?;
    let mut interrupted = Some(interrupted);
    let watch = signals.watch(move |signal| match (signal, interrupted.take()) {
        (Signal::Stop { .. }, Some(interrupted)) => interrupted(),
        _ => std::process::exit(Exit::Interrupted.code().into()),
    })?;
    Ok(Watched {
        _watch: watch,
        _signals: signals,
    })
}
