//! Requests from outside: to stop, to read configuration again.

#[cfg_attr(unix, path = "signals/unix.rs")]
#[cfg_attr(windows, path = "signals/windows.rs")]
mod imp;

use std::io;

pub use imp::Watch;

/// What someone outside asks of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To stop. On Unix SIGINT and SIGTERM; on Windows Ctrl-C, Ctrl-Break, and
    /// the end of the console, the session or the machine.
    Stop {
        /// What asks.
        by: &'static str,
    },
    /// To read again what may have changed: SIGHUP. Windows has no such
    /// request.
    Reload,
}

/// Signals that are held back from ending the process; as before once dropped.
///
/// On Unix they are blocked in the calling thread and in all that it starts
/// from then on, so hold them before others exist. On Windows the console's
/// handler is the process's: one `Signals` at a time.
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

/// Asks another process to stop gracefully: SIGTERM on Unix; on Windows
/// Ctrl-Break to the process group `process`, which has the caller's console
/// (`CREATE_NEW_PROCESS_GROUP` makes a child the first of its group).
///
/// # Errors
/// When there is no such process, or it is not the caller's to stop.
pub fn ask_to_stop(process: u32) -> io::Result<()> {
    imp::ask_to_stop(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_not_asked_to_stop() {
        let error = ask_to_stop(0).expect_err("0 would be a whole group");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
