//! Requests from outside: to stop, to read configuration again.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;

#[cfg(unix)]
use unix as imp;
#[cfg(windows)]
use windows as imp;

pub use imp::Watch;

/// What someone outside asks of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To stop. On Unix SIGINT and SIGTERM; on Windows [`ask_to_stop`], Ctrl-C,
    /// Ctrl-Break, and the end of the console, the session or the machine.
    Stop {
        /// What asks.
        by: &'static str,
    },
    /// To read again what may have changed: SIGHUP, or [`ask_to_reload`].
    Reload,
}

/// Signals that are held back from ending the process; as before once dropped.
///
/// On Unix they are blocked in the calling thread and in all that it starts
/// from then on, so hold them before others exist. On Windows the console's
/// handler is the process's: one `Signals` at a time. What is asked twice
/// before it is heeded may count once.
#[derive(Debug)]
pub struct Signals(imp::Held);

impl Signals {
    /// Holds back requests to stop, and with `reload` those to reload; without
    /// it SIGHUP keeps its default action.
    ///
    /// # Errors
    /// When the system refuses; on Windows `AlreadyExists` while another
    /// `Signals` lives.
    pub fn hold(reload: bool) -> io::Result<Self> {
        imp::Held::new(reload).map(Self)
    }

    /// Calls `heed` for each signal, the held ones first, on a thread of its
    /// own that ends when the result is dropped.
    ///
    /// Windows ends a process some seconds after its console was closed,
    /// whatever it does; until then it has the time to stop.
    ///
    /// # Errors
    /// When the thread can not be started.
    pub fn watch(&self, heed: impl FnMut(Signal) + Send + 'static) -> io::Result<Watch> {
        self.0.watch(heed)
    }
}

/// Asks a process to stop gracefully: SIGTERM on Unix; on Windows an event that
/// [`Signals`] waits for, `Local\hioload-stop-` and the process's number, so
/// that the two need not share a console.
///
/// # Errors
/// When there is no such process, or it is not the caller's to stop.
pub fn ask_to_stop(process: u32) -> io::Result<()> {
    imp::ask_to_stop(process)
}

/// Asks a process to reload: SIGHUP on Unix; on Windows an event,
/// `Local\hioload-reload-` and the process's number.
///
/// # Errors
/// As [`ask_to_stop`]; on Windows also when the process does not reload.
pub fn ask_to_reload(process: u32) -> io::Result<()> {
    imp::ask_to_reload(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_not_asked() {
        ask_to_stop(0).expect_err("0 would be a whole group on Unix");
        ask_to_reload(0).expect_err("0 would be a whole group on Unix");
    }
}
