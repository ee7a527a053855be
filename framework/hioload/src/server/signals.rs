//! Requests from outside: to stop, to reload.

use hioload_platform::signals::{Signal, Signals, Watch};

use super::handle::Handle;
use crate::error::{Error, Result};

/// Holds requests back, in this thread and in all it starts.
///
/// `reload`: those to reload too, which otherwise keep their default action.
pub(super) fn hold(reload: bool) -> Result<Signals> {
    Signals::hold(reload).map_err(|source| Error::System {
        call: "holding signals back",
        source,
    })
}

/// Turns signals into stop requests on a thread of its own: the first is a
/// graceful one, the second cuts what is left.
pub(super) fn watch(signals: &Signals, handle: Handle) -> Result<Watch> {
    let mut graceful = true;
    let heed = move |signal| match signal {
        Signal::Reload => reload(&handle),
        Signal::Stop { by } => {
            tracing::info!(signal = by, graceful, "stopping");
            if graceful {
                handle.stop();
            } else {
                handle.stop_now();
            }
            graceful = false;
        }
    };
    signals.watch(heed).map_err(|source| Error::System {
        call: "starting the signal thread",
        source,
    })
}

fn reload(handle: &Handle) {
    match handle.reread() {
        Ok(reloaded) => {
            if reloaded.certificates > 0 {
                tracing::info!("the certificates are loaded anew");
            }
            tracing::info!("reloaded: {reloaded}");
        }
        Err(error) => tracing::error!(
            "the reload is refused, and the old configuration and the old certificates stay in \
             use: {error}"
        ),
    }
}
